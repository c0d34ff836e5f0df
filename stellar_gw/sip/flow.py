"""Flows and listeners: where SIP messages come from and go to, as plain data (RFC 5626 2)."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Transport = Literal["udp", "tcp", "tls"]
Address = tuple[str, int]
"""A numeric host and a port."""


@frozen(kw_only=True)
class Listener:
    """One socket that peers can reach us at; Via and Contact of everything sent on its flows follow it.

    :ivar name: as in the configuration, unique.
    :ivar bind: the address the socket is bound to.
    :ivar advertise: host (name or address) and port that peers shall use for signalling.
    :ivar media_advertise: the address that SDP offers and answers carry for calls of this listener.
    """

    name: str
    transport: Transport
    bind: Address
    advertise: Address
    media_advertise: str


def address_text(address: Address) -> str:
    """``host:port`` for people, logs and records, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@frozen
class Flow:
    """A way to one peer: a connection, or a UDP socket with the peer's address.

    Equal for as long as it is the same way: the id of a connection is never used again.

    :ivar id: unique among connections; for UDP derived from listener and peer, so it stays the same.
    :ivar remote: the socket's peer address, never anything a header says.
    """

    id: int
    transport: Transport
    listener: str
    local: Address
    remote: Address

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits for us (RFC 3261 17)."""
        return self.transport != "udp"

    @property
    def secure(self) -> bool:
        return self.transport == "tls"
