"""Flows and listeners: where SIP messages come from and go to, as plain data (RFC 5626 2)."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

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
    :ivar media_other: what they carry instead for peers whose own SDP is of the other IP version; empty: there is none.
    """

    name: str
    transport: Transport
    bind: Address
    advertise: Address
    media_advertise: str
    media_other: str = ""


def ip_version(host: str) -> int:
    """4 or 6, of a numeric host."""
    return 6 if ":" in host else 4


def address_text(address: Address) -> str:
    """``host:port`` for people, logs and records, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@frozen
class TlsTerms:
    """Whom a TLS connection of ours must find, and what it shows.

    :ivar server_name: what the certificate must carry; empty: the host of the URI that is connected to.
    :ivar client_certificate: the path of the PEM file that we show if asked; empty: none.
    """

    server_name: str = ""
    client_certificate: str = ""


ANY_PEER = TlsTerms()
"""The URI that is connected to says it all."""


@frozen(kw_only=True)
class Way:
    """One place to send requests for a URI to, not opened yet (RFC 3263 4).

    :ivar host: numeric.
    :ivar server_name: for TLS, what the certificate must carry: the name before any look-up (RFC 5922 7.1), or the
        one that is configured for the trunk.
    :ivar client_certificate: for TLS, the path of the PEM file that we show if asked; empty: none.
    """

    transport: Transport
    host: str
    port: int
    server_name: str = ""
    client_certificate: str = ""

    @property
    def tls(self) -> TlsTerms:
        return TlsTerms(self.server_name, self.client_certificate)

    def __str__(self) -> str:
        return f"{address_text((self.host, self.port))} over {self.transport.upper()}"


@frozen
class Flow:
    """A way to one peer: a connection, or a UDP socket with the peer's address.

    Equal for as long as it is the same way: the id of a connection is never used again. ``tls`` follows from it.

    :ivar id: unique among connections; for UDP derived from listener and peer, so it stays the same.
    :ivar remote: the socket's peer address, never anything a header says.
    :ivar tls: for a TLS connection of ours, what it found and showed: whoever has to connect again asks for the same.
    """

    id: int
    transport: Transport
    listener: str
    local: Address
    remote: Address
    tls: TlsTerms = field(default=ANY_PEER, eq=False)

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits for us (RFC 3261 17)."""
        return self.transport != "udp"

    @property
    def secure(self) -> bool:
        return self.transport == "tls"
