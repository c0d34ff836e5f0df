"""The short way of an agent's audio to its caller, every 20 ms, for as long as nothing else is to be done for a leg.

What :mod:`stellar_gw.worker.hearing` is to the caller's audio, this is to the agent's, and it holds for as long as that
does: then the peer is where it was, nothing was negotiated, no digit is on its way, the same taps listen in, and the
leg's own 20 ms consist of one packet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen

from stellar_gw.media.rtp import RtpSender
from stellar_gw.media.workspace import HEADER, Workspace
from stellar_gw.worker.hearing import Hearing
from stellar_gw.worker.shortcut import Exit

_unpack = struct.Struct("!QI").unpack_from
"""The header from the version to the timestamp, and the SSRC, which stay in clear (RFC 3711 3.1)."""
FRESH = 0.1
"""Seconds since the last packet of the peer's in which nothing can have gone missing yet."""


class Payloads(Protocol):
    """What payloads come from (:class:`stellar_gw.worker.leg_audio.LegAudio`)."""

    def payload(self, ms: int, *, sent: bool = True) -> bytes: ...


@frozen(kw_only=True)
class Frames:
    """Of what length they are.

    :ivar octets: of a payload, and units of the RTP clock, as in all our codecs.
    :ivar write: sends a payload of any other length.
    """

    ms: int
    octets: int
    write: Callable[[bytes], None]


class Speaking:
    """One leg's.

    :param audio: what the leg is sent.
    :param hearing: what the peer's packets take; no longer current as soon as anything about the leg changes.
    :param sender: numbers our packets.
    :param out: the way out of the leg.
    :param workspace: what packets are in while they are sent.
    :param until: when something else is to be done.
    :param now: seconds of ``hearing``'s clock.
    :param played: to be told of each packet once it was sent.
    """

    __slots__ = (
        "_address",
        "_body",
        "_destination",
        "_failed",
        "_handle",
        "_hearing",
        "_leaving",
        "_ms",
        "_now",
        "_octets",
        "_outlet",
        "_packet",
        "_payload",
        "_played",
        "_seal",
        "_sender",
        "_taps",
        "_transform",
        "_unsealed",
        "_until",
        "_write",
    )

    def __init__(
        self,
        audio: Payloads,
        hearing: Hearing,
        sender: RtpSender,
        out: Exit,
        workspace: Workspace,
        frames: Frames,
        until: float,
        played: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._hearing = hearing
        self._payload = audio.payload
        self._sender = sender
        self._outlet, self._destination, self._failed = out.outlet, out.destination, out.failed
        self._packet, self._body = workspace.piece(HEADER + frames.octets), workspace.payload(frames.octets)
        seal = out.seal
        self._transform = seal
        self._seal = None if seal is None else seal.apply
        self._handle: Any = None if seal is None else seal.handle
        self._address: Any = None if seal is None else seal.address
        self._unsealed = _nothing if seal is None else seal.failed
        self._leaving = workspace.piece(HEADER + frames.octets + (0 if seal is None else seal.tag))
        self._ms, self._octets, self._write = frames.ms, frames.octets, frames.write
        self._until = until
        self._played = played
        self._taps = out.taps

    def tick(self) -> bool:
        """A frame is due: send it; False where that has to go the long way, and nothing was done."""
        now, hearing = self._now(), self._hearing
        if not hearing.current or now >= self._until or now - hearing.heard >= FRESH:
            return False
        payload, octets = self._payload(self._ms), self._octets
        if len(payload) == octets:
            self._sender.head(self._packet, octets)
            self._body[:] = payload
            if self._seal is None or self._seal(self._handle, self._address, HEADER + octets):
                try:
                    if self._destination is None:
                        self._outlet.send(self._leaving)
                    else:
                        self._outlet.sendto(self._leaving, self._destination)
                except OSError as reason:
                    self._failed(reason)
                if self._taps:
                    head, ssrc = _unpack(self._packet)
                    for tap in self._taps:
                        tap.passed(head, ssrc, payload, now, said=True)
            else:
                self._unsealed()  # it must not go out
        else:
            self._write(payload)
        self._played()
        return True


def _nothing() -> None:
    """What leaves plain is never left unsealed."""
