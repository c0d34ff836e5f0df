"""How many connections fit into what this process may open, with room left for everything else."""

from __future__ import annotations

import os
import resource

from twisted.logger import Logger

SHARE = 0.8
"""Of the descriptors that this process may open; beyond, records could not be written nor workers started."""
ENOUGH = 65_536
"""Descriptors for what a whole host can carry (the unit's LimitNOFILE=)."""

_log = Logger()


def raise_limit() -> None:
    """Raise the soft limit as far as the hard one permits: it is low for programs that use ``select``.

    Before workers are started: they inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))


def connections_within(wanted: int) -> int:
    """As many connections as are wanted, or as fit; says so where they do not."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    fit = max(1, int(SHARE * soft) - len(os.listdir("/proc/self/fd")))
    if fit < wanted:
        _log.warn(
            "this process may open {soft} descriptors: {fit} connections are taken at a time, not the {wanted} of "
            "limits.all_connections. Raise LimitNOFILE= in the unit (ulimit -Hn)",
            soft=soft,
            fit=fit,
            wanted=wanted,
        )
    return min(fit, wanted)
