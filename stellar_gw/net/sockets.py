"""What every SIP socket has in common: its class of service, keepalive, and how an address is written down."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

from twisted.internet.interfaces import IAddress

from stellar_gw.sip.flow import Address

KEEPALIVE = ((socket.TCP_KEEPIDLE, 45), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 3))
"""A peer that vanished is found out within 90 s."""
UNACKNOWLEDGED = 90_000
"""Milliseconds that octets of ours may stay unacknowledged (RFC 5482)."""


def fold(host: str) -> str:
    """Write an IPv4 address that came in as IPv6 (``::ffff:192.0.2.1``, in any spelling) as what it is."""
    if not host.startswith("::ffff:"):
        return host
    try:
        mapped = IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return str(mapped) if mapped is not None else host


def peer_address(address: IAddress) -> Address:
    """:param address: of IPv4 or IPv6, as Twisted's transports give it."""
    return fold(str(getattr(address, "host", ""))), int(getattr(address, "port", 0))


def set_dscp(sock: socket.socket, dscp: int) -> None:
    """Mark what this socket sends (RFC 2474); a kernel that refuses is no reason to refuse a call."""
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    except OSError:
        return


def mark(transport: object, dscp: int) -> None:
    """Prepare a TCP connection, under TLS or not: class of service, no delay, keepalive.

    Transports without a socket (in memory) are left as they are.
    """
    inner = getattr(transport, "transport", None) or transport
    get_handle = getattr(inner, "getHandle", None)
    sock = get_handle() if get_handle is not None else None
    if not isinstance(sock, socket.socket):
        return
    set_dscp(sock, dscp)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
