#!/bin/sh
# Install the phones and tools that the suite calls as real peers. Never fails: a test whose peer is missing skips and says so.
set -u
missing=
command -v sipp >/dev/null 2>&1 || missing="$missing sip-tester"
command -v baresip >/dev/null 2>&1 || missing="$missing baresip-core"
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    printf 'peers: no apt-get here; tests that need%s will skip\n' "$missing"
elif [ "$(id -u)" != 0 ]; then
    printf 'peers: tests that need%s will skip; to run them: sudo apt-get install --no-install-recommends%s\n' \
        "$missing" "$missing"
else
    printf 'peers: installing%s\n' "$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of words on purpose
    { timeout 120 apt-get update -qq && timeout 300 apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
        printf 'peers: apt-get failed; tests that need%s will skip\n' "$missing"
fi
exit 0
