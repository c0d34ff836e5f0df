"""The worker's slice of ports: pairs of sockets opened for legs, and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from errno import EADDRINUSE
from typing import Protocol

from twisted.internet.error import CannotListenError, InvalidAddressError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.liveness import HOLD, INACTIVITY, Liveness
from stellar_gw.media.ports import PortSlice, Random
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.port_contracts import Clocks, PortListener
from stellar_gw.worker.rtp_port import RtpPort

TRIES = 16
"""Ports that are tried before a leg is refused: another program may sit on some of them."""
_log = Logger()


def _taken(reason: Exception) -> bool:
    return isinstance(reason, CannotListenError) and getattr(reason.socketError, "errno", 0) == EADDRINUSE


class Network(Protocol):
    """Where sockets come from: the poller, or the network in memory."""

    def listen(self, protocol: DatagramProtocol, host: str, port: int) -> IUDPTransport:
        """:raise CannotListenError: if the address cannot be bound."""


class PortPairs:
    """
    :ivar hosts: what sockets are bound to, by IP version, the usual one first.
    """

    def __init__(self, network: Network, clocks: Clocks, random: Random) -> None:
        self._network = network
        self._clocks = clocks
        self._random = random
        self._slice = PortSlice(0, 0, random)
        self._no_media = (INACTIVITY, HOLD)
        self.hosts: dict[int, str] = {}

    def configure(
        self,
        hosts: Sequence[str],
        ports: tuple[int, int],
        quarantine: float,
        no_media: float = INACTIVITY,
        no_media_on_hold: float = HOLD,
    ) -> None:
        """:param hosts: at most one of each IP version, the usual one first.
        :param ports: the first, and the one after the last.
        :param no_media: seconds without RTP and RTCP after which a leg counts as dead.
        """
        self.hosts = {6 if ":" in host else 4: host for host in hosts}
        self._no_media = (no_media, no_media_on_hold)
        self._slice = PortSlice(*ports, self._random, quarantine)

    def open(self, name: str, version: int, listener: PortListener) -> Leg | None:
        """A leg on a pair of ports; None where all are taken, resting, or in other programs' hands.

        :param version: of IP; 0: the usual one.
        :raise LocalProtocolError: if no address of that version is there.
        :raise CannotListenError: if the host is none of this machine's.
        :raise InvalidAddressError: if the host is a name.
        """
        version = version or next(iter(self.hosts), 0)
        host = self.hosts.get(version)
        if host is None:
            raise LocalProtocolError(f"RTP sockets are bound to no IPv{version} address")
        now = self._clocks.now()
        for _ in range(TRIES):
            number = self._slice.take(now)
            if number is None:
                return None
            port = RtpPort(listener, self._clocks, Liveness(now, *self._no_media))
            try:
                self._bind(port, host, number)
            except (CannotListenError, InvalidAddressError) as reason:
                self._slice.give_back(number, now)
                if not _taken(reason):
                    raise
                _log.warn("an RTP port is passed over: {reason}", reason=str(reason))
                continue
            return Leg(name, port, (number, number + 1), version)
        return None

    def _bind(self, port: RtpPort, host: str, number: int) -> None:
        self._network.listen(port, host, number)
        try:
            self._network.listen(port.rtcp, host, number + 1)
        except CannotListenError:
            port.close()
            raise

    def close(self, leg: Leg) -> None:
        """Close a leg's sockets; its ports rest from then on."""
        pairs, number = self._slice, leg.ports[0]
        leg.close().addCallback(lambda _: pairs.give_back(number, self._clocks.now()))
