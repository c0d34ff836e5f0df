"""How packets pass a port quickly: by a shortcut where they come in, by a connected socket where they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from stellar_gw.media.jitter import Reorder
from stellar_gw.media.latch import SILENCE, Address, Latch
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.splice import Splice
from stellar_gw.media.srtp import Transform
from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.hearing import Hearing
from stellar_gw.worker.intake import Passage
from stellar_gw.worker.shortcut import Counted, Exit, Outlet, Shortcut
from stellar_gw.worker.tap import Tap


@runtime_checkable
class QuickTransport(Protocol):
    """A transport that can be connected and disconnected, and has a short way in and out."""

    @property
    def connected(self) -> Address | None:
        """The only address it sends to and hears from, None for any."""

    @property
    def socket(self) -> Outlet:
        """What its quick packets leave by."""

    @property
    def workspace(self) -> Workspace:
        """What its packets are in while a passage takes them; that of every transport in the worker."""

    def connect(self, host: str, port: int) -> None: ...
    def disconnect(self) -> None: ...

    def shorten(self, passage: Passage | None) -> None:
        """Have a passage take what it can of what arrives; None: nobody."""

    def not_sent(self, reason: OSError) -> None:
        """What its outlet raised."""


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
    """One port's.

    :ivar transport: None where it has nothing of the kind.
    :ivar payload_type: theirs and ours, of the packets that took it last.
    :ivar hearing: the shortcut to an agent, None where there is none at the moment.
    """

    def __init__(self) -> None:
        self.transport: QuickTransport | None = None
        self._shortcut: Shortcut | None = None
        self.hearing: Hearing | None = None
        self._ready = False
        self.payload_type = (-1, -1)

    @property
    def open(self) -> bool:
        return self._shortcut is not None or self.hearing is not None

    def moves(self) -> bool:
        """Packets have passed since this was asked last, and the socket is as it shall be."""
        return self._ready and self._shortcut is not None and self._shortcut.moved()

    def shorten(
        self,
        latch: Latch,
        payload_type: tuple[int, int],
        splice: Splice,
        counted: Counted,
        now: Callable[[], float],
        out: Exit,
        opened: Callable[[Workspace], Transform | None],
        taps: tuple[Tap, ...],
    ) -> None:
        """The packet after the one that was passed on last may take the short way, if it is like that one.

        :param opened: how its packets are deciphered in a workspace; None where they are plain.
        """
        reception = counted.reception
        next_number = (splice.highest + 1) & 0xFFFF
        if reception.ssrc != splice.ssrc or reception.next != next_number or reception.transit is None:
            return
        transport = self.transport
        if latch.locked is None or splice.samples < 1 or transport is None:
            return
        self.payload_type = payload_type
        workspace = transport.workspace
        self._shortcut = Shortcut(
            latch.locked, payload_type, splice, counted, now, out, workspace, opened(workspace), taps
        )
        transport.shorten(self._shortcut)

    def hear(
        self,
        latch: Latch,
        packet: RtpPacket,
        reorder: Reorder,
        counted: Counted,
        heard: float,
        now: Callable[[], float],
        hear: Callable[[bytes], None],
        opened: Callable[[Workspace], Transform | None],
        taps: tuple[Tap, ...],
    ) -> None:
        """The packet after this one may take the short way to ``hear``, if it is like this one."""
        reception, transport = counted.reception, self.transport
        if reception.ssrc != packet.ssrc or reception.next != (packet.sequence_number + 1) & 0xFFFF:
            return
        if latch.locked is None or transport is None or reception.transit is None:
            return
        workspace = transport.workspace
        self.hearing = Hearing(
            latch.locked, packet, reorder, counted, heard, now, hear, workspace, opened(workspace), taps
        )
        transport.shorten(self.hearing)

    def lengthen(self) -> None:
        """What the next packet means is to be found out anew."""
        if self.open:
            self.settle()
            self._shortcut = self.hearing = None
            if self.transport is not None:
                self.transport.shorten(None)

    def settle(self) -> None:
        """Bring counts and numbers up to date."""
        if self._shortcut is not None:
            self._shortcut.settle()
        if self.hearing is not None:
            self.hearing.settle()

    def connect(self, latch: Latch, now: float) -> bool:
        """Have the socket connected to the latched source while that is heard; whether anything has changed.

        The kernel then looks up neither address nor route for each packet, a twentieth of what a packet costs. After
        500 ms of silence the peer may have moved (:mod:`stellar_gw.media.latch`), so any address is heard again.
        """
        transport = self.transport
        if transport is None:
            return False
        if now - latch.heard_at >= SILENCE or not latch.is_final(now) or latch.locked is None:
            return self.disconnect()
        self._ready = True
        if transport.connected is None:
            transport.connect(*latch.locked)
            return True
        return False

    def stay_unconnected(self) -> None:
        """The socket shall never be connected, and needs no care."""
        self._ready = True

    def disconnect(self) -> bool:
        """Hear any address; whether that has changed anything."""
        self._ready = False
        transport = self.transport
        if transport is None or transport.connected is None:
            return False
        transport.disconnect()
        return True

    def exit(
        self,
        destination: Address,
        write: Callable[[bytes, Address], None],
        sealed: Callable[[Workspace], Transform | None],
        taps: tuple[Tap, ...],
    ) -> Exit:
        """The way out to ``destination``.

        :param write: by which packets leave where there is no short one; it tells the taps itself.
        :param sealed: what enciphers packets in a workspace; None where nothing does.
        """
        transport = self.transport
        if transport is None:
            return Exit(Written(write), destination, _ignore)
        seal = sealed(transport.workspace)
        connected = transport.connected == destination
        return Exit(transport.socket, None if connected else destination, transport.not_sent, seal, taps)


def _ignore(reason: OSError) -> None:
    """``write`` has dealt with it already."""
