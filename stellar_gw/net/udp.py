"""One UDP socket for SIP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EAGAIN, ENOBUFS
from hashlib import blake2b

from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from stellar_gw.net.sockets import fold, peer_address, set_dscp
from stellar_gw.sip.flow import Address, Flow, Listener

RECEIVE_BUFFER = 1 << 20
"""Octets asked of the kernel, so that a burst waits there while we are busy."""
KEEPALIVE = b"\r\n\r\n"
MAGIC_COOKIE = b"\x21\x12\xa4\x42"
"""At octet 4 of a STUN message (RFC 8489 5); phones ping by STUN, which a UDP listener of ours does not speak."""
REMEMBERED = 4096
"""Flows kept, so that a peer's next datagram finds its own; beyond, all are forgotten and made anew."""


def flow_id(listener: str, remote: Address) -> int:
    """Negative, so that no connection has it; the same for the same way, in every run."""
    host, port = remote
    digest = blake2b(f"{listener}\0{host}\0{port}".encode(), digest_size=7).digest()
    return -1 - int.from_bytes(digest, "big")


class SipUdp(DatagramProtocol):
    """Join one UDP socket to who takes its messages.

    Keepalives are not messages: of white space and NUL alone, empty, or STUN. The double CRLF is answered as on
    a stream (RFC 5626 4.4.1), since phones use it over UDP too; the answer is shorter, so nobody gains by spoofing.
    """

    transport: IUDPTransport

    def __init__(self, listener: Listener, received: Callable[[bytes, Flow], None], dscp: int) -> None:
        self._listener, self._received, self._dscp = listener, received, dscp
        self._flows: dict[tuple[str, int], Flow] = {}
        self._local: Address = listener.bind
        self._six = False

    def startProtocol(self) -> None:
        self._local = peer_address(self.transport.getHost())
        self._six = ":" in self._local[0]
        get_handle = getattr(self.transport, "getHandle", None)
        sock = get_handle() if get_handle is not None else None
        if isinstance(sock, socket.socket):
            set_dscp(sock, self._dscp)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    @property
    def local(self) -> Address:
        """What the socket is bound to."""
        return self._local

    def reaches(self, host: str) -> bool:
        """Whether a numeric host is of this socket's family."""
        return (":" in host) == self._six

    def flow_to(self, remote: Address) -> Flow:
        flow = self._flows.get(remote)
        if flow is None:
            if len(self._flows) >= REMEMBERED:
                self._flows.clear()
            flow = self._flows[remote] = Flow(
                id=flow_id(self._listener.name, remote),
                transport="udp",
                listener=self._listener.name,
                local=self._local,
                remote=remote,
            )
        return flow

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        if datagram[:1] in b"\r\n\0 \t" and not datagram.strip(b"\r\n\0 \t"):
            if datagram == KEEPALIVE:
                self.send(b"\r\n", addr)
            return
        if datagram[0] < 4 and datagram[4:8] == MAGIC_COOKIE:
            return
        host, port = addr[:2]
        self._received(datagram, self.flow_to((fold(host), port)))

    def send(self, packet: bytes, remote: Address) -> bool:
        """Whether the packet is on its way, or could be next time: a full queue is loss, which UDP has anyway."""
        try:
            self.transport.write(packet, remote)
        except MessageLengthError:
            return False
        except OSError as error:
            return error.errno in (EAGAIN, ENOBUFS)
        except ValueError:  # InvalidAddressError: the other family
            return False
        return True
