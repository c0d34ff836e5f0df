"""What a leg's port tells, on its way to the call: with the leg's name, and to the gateway where it is for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from stellar_gw.control.messages import Event, MediaBack, MediaLost, OneWayAudio
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Piece
from stellar_gw.media.liveness import Lost
from stellar_gw.media.presses import Way


class LegsListener(Protocol):
    """A call, told what its legs hear (:class:`stellar_gw.worker.session.MediaSession`)."""

    def heard(self, leg: str, pieces: Sequence[Piece]) -> None: ...
    def straight(self, leg: str, payload_type: int) -> Callable[[bytes], None] | None: ...
    def noise(self, leg: str, payload: bytes) -> None: ...
    def pressed(self, leg: str, digit: Digit, way: Way) -> None: ...
    def failed(self, what: str) -> None: ...
    def emit(self, event: Callable[..., Event]) -> None: ...


class LegEvents:
    """One leg's :class:`stellar_gw.worker.port_contracts.PortListener`."""

    def __init__(self, call: LegsListener, leg: str) -> None:
        self._call = call
        self._leg = leg
        self.heard: Callable[[Sequence[Piece]], None] = partial(call.heard, leg)

    def straight(self, payload_type: int) -> Callable[[bytes], None] | None:
        return self._call.straight(self._leg, payload_type)

    def noise(self, payload: bytes) -> None:
        self._call.noise(self._leg, payload)

    def digit(self, digit: Digit, way: Way) -> None:
        self._call.pressed(self._leg, digit, way)

    def media_lost(self, lost: Lost) -> None:
        self._call.emit(partial(MediaLost, leg=self._leg, seconds=lost.seconds, ever=lost.ever))

    def media_back(self) -> None:
        self._call.emit(partial(MediaBack, leg=self._leg))

    def one_way(self, local: str, remote: str) -> None:
        self._call.emit(partial(OneWayAudio, leg=self._leg, local=local, remote=remote))

    def port_failed(self) -> None:
        self._call.failed(f"a socket of leg {self._leg} failed")
