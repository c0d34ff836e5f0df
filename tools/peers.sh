#!/bin/sh
# Install what is called as a real peer: the phones, proxies and name servers of the suite, and for `peers.sh bench`
# the relay that benchmarks compare with; what judges our work (firewall, alerts, logs, voices); Pipecat; a compiler.
# Never fails: a test whose peer is missing skips, and says so.
set -u
missing=

# A program, and the Debian package that brings it.
wants() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}

wants sipp sip-tester
wants baresip baresip-core
wants linphonec linphone-cli
wants unbound unbound
wants kamailio "kamailio kamailio-tls-modules"
wants fail2ban-regex fail2ban
wants promtool prometheus
wants espeak-ng espeak-ng
wants sox sox
wants faketime faketime
wants ip iproute2
wants sysctl procps
wants nft nftables
wants systemd-analyze systemd
# Not a peer: what stellar-gw-compile needs, so that workers are tested as they run best.
wants gcc "gcc libc6-dev"
"${PYTHON:-python3}" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    missing="$missing python3-dev"
# The load generator's, which has tests of its own.
[ -e /usr/include/openssl/evp.h ] || missing="$missing libssl-dev"
[ "${1:-}" != bench ] || wants rtpengine rtpengine-daemon

# A minute of pip's, while the tests run that need no clock.
nice -n 10 "$(dirname "$0")/pipecat.sh" &
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    printf 'peers: no apt-get here; what needs%s will be left out\n' "$missing"
elif [ "$(id -u)" != 0 ]; then
    printf 'peers: what needs%s will be left out; to have it: sudo apt-get install --no-install-recommends%s\n' \
        "$missing" "$missing"
else
    printf 'peers: installing%s\n' "$missing"
    export DEBIAN_FRONTEND=noninteractive
    # Some bring a service: this is no machine that asked for it to run.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
    fi
    # shellcheck disable=SC2086  # a list of words on purpose
    { timeout 120 apt-get update -qq && timeout 300 apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
        printf 'peers: apt-get failed; what needs%s will be left out\n' "$missing"
fi
exit 0
