"""How packets pass a port quickly: by a shortcut where they come in, by a connected socket where they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from twisted.internet.address import IPv4Address, IPv6Address

from stellar_gw.control.fastpath import FastLeg
from stellar_gw.media.jitter import Reorder
from stellar_gw.media.latch import SILENCE, Address
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.reception import Reception
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.hearing import Hearing
from stellar_gw.worker.intake import Passage
from stellar_gw.worker.peer import Peer
from stellar_gw.worker.port_contracts import Onward, PortListener
from stellar_gw.worker.port_digits import PortDigits
from stellar_gw.worker.sending_port import SendingPort
from stellar_gw.worker.shortcut import CLOCK, Counted, Exit, Outlet, Shortcut
from stellar_gw.worker.speaking import Frames, Payloads, Speaking
from stellar_gw.worker.tap import Tap

ORDERLY = 4
"""Packets in order and alone after one that was not like the others, before the next may take the short way."""


@runtime_checkable
class QuickTransport(Protocol):
    """A transport that can be connected and disconnected, and has a short way in and out."""

    @property
    def connected(self) -> Address | None:
        """The only address it sends to and hears from, None for any."""

    @property
    def certain(self) -> Address | None:
        """The same, once nothing is left that came before it was connected: sources need no asking."""

    @property
    def socket(self) -> Outlet:
        """What its quick packets leave by."""

    @property
    def workspace(self) -> Workspace:
        """What its packets are in while a passage takes them; that of every transport in the worker."""

    def getHost(self) -> IPv4Address | IPv6Address: ...
    def connect(self, host: str, port: int) -> None:
        """:raise OSError: the kernel has no way there."""

    def disconnect(self) -> None: ...

    def make_certain(self) -> None:
        """Ask for sources no longer, if nothing is left that came before it was connected."""

    def shorten(self, passage: Passage | None) -> None:
        """Have a passage take what it can of what arrives; None: nobody."""

    def not_sent(self, reason: OSError) -> None:
        """What its outlet raised, or :meth:`connect`."""


class Written:
    """The outlet of a leg whose transport has no short way out."""

    def __init__(self, write: Callable[[bytes, Address], None]) -> None:
        self._write = write

    def send(self, data: memoryview | bytes, /) -> int:
        raise OSError("not connected")

    def sendto(self, data: memoryview | bytes, address: Address, /) -> int:
        self._write(bytes(data), address)
        return len(data)


class ShortWay:
    """One port's; the parameters are the port's own.

    :param now: seconds that never run backwards.
    :ivar transport: None where it has nothing of the kind.
    :ivar hearing: the shortcut to an agent, None where there is none at the moment.
    """

    def __init__(
        self,
        peer: Peer,
        reception: Reception,
        liveness: Liveness,
        reorder: Reorder,
        digits: PortDigits,
        now: Callable[[], float],
    ) -> None:
        self._peer = peer
        self._reception = reception
        self._liveness = liveness
        self._reorder = reorder
        self._digits = digits
        self._now = now
        self.transport: QuickTransport | None = None
        self._shortcut: Shortcut | None = None
        self.hearing: Hearing | None = None
        self._orderly = 0
        self._ready = False
        self._payload_type = (-1, -1)

    @property
    def open(self) -> bool:
        return self._shortcut is not None or self.hearing is not None

    def moves(self) -> bool:
        """Packets have passed since this was asked last, and the socket is as it shall be."""
        return self._ready and self._shortcut is not None and self._shortcut.moved()

    # --- in -------------------------------------------------------------------------------------

    def shorten(self, relay: Onward, packet: RtpPacket, taps: tuple[Tap, ...], now: float) -> None:
        """This packet was passed on: those that will be like it may take the short way, if that is clear."""
        latch, srtp = self._peer.latch, self._peer.srtp
        found = relay.shortcut(packet.payload_type)
        if found is None or latch is None or not latch.is_final(now):
            return
        if (srtp is not None and not srtp.settled) or self._digits.pending:
            return
        splice, payload_type, out = found
        number, reception, transport = packet.sequence_number, self._reception, self.transport
        if splice.highest != number or reception.ssrc != splice.ssrc or not self._next_to(number):
            return
        if latch.locked is None or splice.samples < 1 or transport is None:
            return
        self._payload_type = payload_type
        counted, workspace = Counted(reception, latch, self._liveness), transport.workspace
        opened = None if srtp is None else srtp.opener(workspace)
        self._shortcut = Shortcut(latch.locked, payload_type, splice, counted, self._now, out, workspace, opened, taps)
        transport.shorten(self._shortcut)

    def hear(self, listener: PortListener, packet: RtpPacket, taps: tuple[Tap, ...], now: float) -> None:
        """This packet was heard alone: those that will be like it may take the short way to the agent, if that is
        clear."""
        latch, srtp = self._peer.latch, self._peer.srtp
        if latch is None or not packet.payload or not latch.is_final(now):
            return
        self._orderly += 1
        if self._orderly < ORDERLY or self._reorder.waiting or self._digits.pressing:
            return
        if srtp is not None and not srtp.settled:
            return
        hear = listener.straight(packet.payload_type)
        reception, transport = self._reception, self.transport
        if hear is None or reception.ssrc != packet.ssrc or not self._next_to(packet.sequence_number):
            return
        if latch.locked is None or transport is None:
            return
        counted, workspace = Counted(reception, latch, self._liveness), transport.workspace
        opened = None if srtp is None else srtp.opener(workspace)
        self.hearing = Hearing(
            latch.locked, packet, self._reorder, counted, now, self._now, hear, workspace, opened, taps
        )
        transport.shorten(self.hearing)

    def _next_to(self, number: int) -> bool:
        """The packet of this number was the last one, and its time is known."""
        return self._reception.next == (number + 1) & 0xFFFF and self._reception.transit is not None

    def disturbed(self) -> None:
        """A packet could not take it."""
        self._orderly = 0

    def lengthen(self) -> None:
        """What the next packet means is to be found out anew."""
        if self.open:
            self.settle()
            if self.hearing is not None:
                self.hearing.current = False
            self._shortcut = self.hearing = None
            if self.transport is not None:
                self.transport.shorten(None)

    def settle(self) -> None:
        """Bring counts and numbers up to date."""
        if self._shortcut is not None:
            self._shortcut.settle()
        if self.hearing is not None:
            self.hearing.settle()

    # --- the socket -----------------------------------------------------------------------------

    def connect(self, wanted: bool, now: float) -> bool:
        """Have the socket connected to the latched source while that is heard; whether anything has changed.

        The kernel then looks up neither address nor route for each packet, a twentieth of what a packet costs. After
        500 ms of silence the peer may have moved (:mod:`stellar_gw.media.latch`), so any address is heard again. With
        ICE it is never connected, and needs no care: checks may come from elsewhere at any time.

        :param wanted: it shall not be connected otherwise.
        """
        latch, transport = self._peer.latch, self.transport
        if latch is None or not wanted:
            return self.disconnect()
        if self._peer.ice is not None:
            changed = self.disconnect()
            self._ready = True
            return changed
        if transport is None:
            return False
        if now - latch.heard_at >= SILENCE or not latch.is_final(now) or latch.locked is None:
            return self.disconnect()
        if transport.connected is not None:
            transport.make_certain()  # the packet that began the short way may have had more behind it
            self._ready = transport.certain is not None
            return False
        try:
            transport.connect(*latch.locked)
        except OSError as reason:  # no route, for the moment: packets that are sent fare no better
            transport.not_sent(reason)
            self._ready = True
            return False
        self._ready = False
        return True

    def disconnect(self) -> bool:
        """Hear any address; whether that has changed anything."""
        self._ready = False
        transport = self.transport
        if transport is None or transport.connected is None:
            return False
        transport.disconnect()
        return True

    def fast_end(self) -> tuple[FastLeg, int] | None:
        """This end of a bridge and its payload type, where the kernel could as well pass its packets on."""
        transport, latch = self.transport, self._peer.latch
        theirs, ours = self._payload_type
        if not self.open or theirs != ours or self._peer.srtp is not None or latch is None or transport is None:
            return None
        remote = latch.locked
        if remote is None or transport.connected != remote or ":" in remote[0]:
            return None
        here = transport.getHost()  # connected, so that it is the address that our packets bear
        return FastLeg(local=(here.host, here.port), remote=remote), ours

    # --- out ------------------------------------------------------------------------------------

    def exit(self, port: SendingPort, destination: Address) -> Exit:
        """The way out of the port to ``destination``, until something changes."""
        transport, srtp = self.transport, self._peer.srtp
        if transport is None:
            return Exit(Written(port.write), destination, _ignore)  # which tells the taps itself
        seal = None if srtp is None else srtp.sealer(transport.workspace)
        connected = transport.connected == destination
        return Exit(transport.socket, None if connected else destination, transport.not_sent, seal, port.taps)

    def speaking(
        self, port: SendingPort, audio: Payloads, ms: int, until: float, played: Callable[[], None]
    ) -> Speaking | None:
        """The short way back for a leg's frames, where there is one.

        :param audio: what the leg is sent.
        :param ms: of a frame.
        :param until: when something else is to be done.
        :param played: to be told of each.
        """
        hearing, transport, destination = self.hearing, self.transport, port.destination
        if hearing is None or destination is None or transport is None or not port.sender.packets_sent:
            return None
        octets = ms * CLOCK // 1000

        def write(payload: bytes) -> None:
            port.send_audio(payload, octets, destination)

        frames, out = Frames(ms=ms, octets=octets, write=write), self.exit(port, destination)
        return Speaking(audio, hearing, port.sender, out, transport.workspace, frames, until, played, self._now)


def _ignore(reason: OSError) -> None:
    """``write`` has dealt with it already."""
