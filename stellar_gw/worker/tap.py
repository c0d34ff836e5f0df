"""What a leg hears and says, for others to listen to, without any part of theirs in the call's own turn.

The leg's port, and the short ways past it, put each packet of audio that was accepted, and each that was sent, into
the queues of its taps: a length is compared and an item appended, which is all that the call ever does for them.
Decoding, order, and both directions on one time line come with :meth:`Tap.read`, in the reader's own time and thread.

What is tapped is the leg as its peer hears it: left is what the peer says, right what it is sent, be that the agent,
another leg, or music. Telephone events are no audio; their time is silence. So is the time on hold.
"""

from __future__ import annotations

from collections import deque

import msgspec
from attrs import field, frozen

from stellar_gw.control.messages import SetMedia
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.codec import codec_named
from stellar_gw.media.rtp import RtpPacket, parse_rtp
from stellar_gw.media.timeline import LOOK_AHEAD, Timeline

CAPACITY = 1500
"""Packets of both directions that wait for a reader: 15 s of a call in packets of 20 ms."""
OCTETS = 2


@frozen(kw_only=True)
class Sound:
    """A piece of both directions.

    :ivar at: where it begins, in seconds since the tap was made.
    :ivar rate: samples a second.
    :ivar pcm: 16 bits, little-endian, left (what the peer says) and right (what it hears) in turn.
    """

    at: float
    rate: int
    pcm: bytes = field(repr=lambda pcm: f"<{len(pcm)} octets>")


class _Item(msgspec.Struct, frozen=True, gc=False):
    """:ivar packet: parsed, or as it went out."""

    at: float
    packet: RtpPacket | bytes
    said: bool


class Tap:
    """One reader's queue. The loop puts in, one reader at a time takes out, from whichever thread.

    :ivar began: by the worker's clock.
    :ivar rate: of what is read, samples a second: the best that the leg's codecs offer when the tap is made.
    :ivar dropped: packets that came while the queue was full; their time is silence.
    """

    def __init__(self, media: SetMedia, began: float, capacity: int = CAPACITY) -> None:
        """:raise LocalProtocolError: if we have none of the leg's codecs."""
        codecs = [codec_named(each.name) for each in (media.send, *media.receive)]
        rates = [codec.rate for codec in codecs if codec is not None]
        if not rates:
            raise LocalProtocolError(f"no codec {media.send.name}")
        self.began = began
        self.rate = max(rates)
        self.dropped = 0
        self._capacity = capacity
        self._queue: deque[_Item | SetMedia] = deque()
        self._closed = False
        self._line = Timeline(self.rate)
        self._read = 0.0
        self._negotiated(media)

    # --- the leg's side, in the loop ------------------------------------------------------------

    def received(self, packet: RtpPacket, now: float) -> None:
        """A packet that was accepted, and listened to."""
        self._put(_Item(now, packet, False))

    def sent(self, datagram: bytes, now: float) -> None:
        """A packet of ours, before it was enciphered."""
        self._put(_Item(now, datagram, True))

    def passed(self, head: int, ssrc: int, payload: bytes, now: float, *, said: bool) -> None:
        """A packet of either kind on a short way.

        :param head: its header from the version to the timestamp, in one number (RFC 3550 5.1).
        :param said: it is ours.
        """
        if self._closed or len(self._queue) >= self._capacity:
            self._miss()
            return
        packet = RtpPacket(head >> 48 & 0x7F, False, head >> 32 & 0xFFFF, head & 0xFFFFFFFF, ssrc, payload)
        self._queue.append(_Item(now, packet, said))

    def negotiated(self, media: SetMedia) -> None:
        """The codecs may change with every answer; packets that come after this are of the new ones."""
        if not self._closed and len(self._queue) < 2 * self._capacity:  # never instead of a packet
            self._queue.append(media)

    def close(self) -> None:
        """Nothing is taken in any more, and what waits is thrown away. May be repeated."""
        self._closed = True
        self._queue.clear()

    def _put(self, item: _Item) -> None:
        if self._closed or len(self._queue) >= self._capacity:
            self._miss()
        else:
            self._queue.append(item)

    def _miss(self) -> None:
        if not self._closed:
            self.dropped += 1

    # --- the reader's side ----------------------------------------------------------------------

    @property
    def lost(self) -> int:
        """Packets that no reader will ever hear."""
        return self.dropped + self._line.dropped

    def __len__(self) -> int:
        """Packets that wait for the reader."""
        return len(self._queue)

    def read(self, now: float, *, last: bool = False) -> Sound:
        """Everything from the end of the last read up to a second ago.

        :param now: by the worker's clock.
        :param last: there will be no more: up to now.
        """
        queue, line, began = self._queue, self._line, self.began
        heard: list[tuple[RtpPacket, float]] = []
        said: list[tuple[RtpPacket, float]] = []
        # What is put in meanwhile is for the next time.
        for _ in range(len(queue)):
            try:
                item = queue.popleft()
            except IndexError:  # closed meanwhile
                break
            if isinstance(item, SetMedia):
                line.left.put_all(heard)
                line.right.put_all(said)
                heard, said = [], []
                self._negotiated(item)
                continue
            packet = item.packet if isinstance(item.packet, RtpPacket) else parse_rtp(item.packet)
            if packet is not None:
                (said if item.said else heard).append((packet, item.at - began))
        line.left.put_all(heard)
        line.right.put_all(said)
        begin = self._read
        until = now - self.began - (0.0 if last else LOOK_AHEAD)
        self._read = max(begin, round(until * self.rate) / self.rate)
        return Sound(at=begin, rate=self.rate, pcm=line.read(self._read))

    def _negotiated(self, media: SetMedia) -> None:
        received = {codec.payload_type: codec.name for codec in media.receive}
        self._line.left.negotiated(received)
        # A bridge may pass on whatever the peer takes.
        self._line.right.negotiated({**received, media.send.payload_type: media.send.name})
