#!/bin/sh
# Pipecat in a virtual environment of its own (var/pipecat, some 530 MB), for its test and its example. Made once, within
# three minutes or not at all. Never fails: without it the test skips, and says so.
set -u
cd "$(dirname "$0")/.." || exit 0
version=1.14.0
venv=var/pipecat
making=var/pipecat.making
python=${PYTHON:-python3}

[ "$(cat $venv/.version 2>/dev/null)" != $version ] || exit 0
mkdir -p var && mkdir $making 2>/dev/null || exit 0
trap 'rmdir $making' EXIT
trap 'exit 0' INT TERM
printf 'pipecat: making %s (a minute the first time)\n' $venv
rm -rf $venv
"$python" -m venv $venv >/dev/null &&
    timeout "${PIPECAT_SECONDS:-180}" $venv/bin/python -m pip install --quiet --disable-pip-version-check \
        "pipecat-ai[websocket]==$version" uvicorn 2>$venv/pip.log &&
    printf '%s\n' $version >$venv/.version && exit 0
printf 'pipecat: pip could not bring it in time; its test will be skipped\n'
exit 0
