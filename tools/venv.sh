#!/bin/sh
# Make or refresh .venv: does nothing when neither setup.cfg nor pyproject.toml changed since the last time.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv
stamp=$venv/.stellar-gw.stamp

fail() {
    printf 'stellar-gw: %s\n' "$@" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "$python is missing. Mend it: sudo apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old, 3.11 or newer is needed. Name another: make PYTHON=python3.11 venv"

wanted=$(
    "$python" -c 'import sys; print(sys.version)'
    cat setup.cfg pyproject.toml
)
wanted=$(printf '%s' "$wanted" | cksum)
if [ -x $venv/bin/python ] && $venv/bin/python -c '' 2>/dev/null && [ "$(cat $stamp 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
if ! { [ -x $venv/bin/python ] && $venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python cannot make virtual environments here. Mend it: sudo apt-get install python3-venv"
    printf 'making %s with %s\n' "$venv" "$("$python" --version)"
    "$python" -m venv --clear $venv
fi
printf 'installing stellar-gw and what it needs into %s (a minute or two the first time)\n' "$venv"
rm -f $stamp
# compat: with the default way of installing in place, twistd finds the plugin in this folder only.
PYTHONWARNINGS=ignore $venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' \
    --config-settings editable_mode=compat ||
    fail "pip could not install the packages of setup.cfg; its message is above." \
        "Behind a proxy set HTTPS_PROXY, with a mirror of your own PIP_INDEX_URL, and run the same again."
printf '%s\n' "$wanted" >$stamp
