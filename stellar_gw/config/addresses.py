"""This host's own addresses, for the hint of what to advertise."""

from __future__ import annotations

import socket


def own_addresses() -> list[str]:
    """The addresses that packets to the internet would leave from; none is sent to find out."""
    found = []
    # Documentation addresses (RFC 5737, RFC 3849): routed like any other, and nobody's.
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue  # no route, or no such family here
    return found
