"""A recording as its call sees it: wanted, begun once its leg is up, and over with the leg at the latest."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from stellar_gw.control.messages import RecordingEnded
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.recording import Recorded, Recording
from stellar_gw.worker.surroundings import Surroundings
from stellar_gw.worker.tap import Tap


class LegRecording:
    """At most one for a call, of one leg: what its peer says, and what it hears.

    The gateway is told once what became of one that was begun, which may be after the call has been released.

    :param up: the legs whose dialogs are up.
    """

    def __init__(self, call: str, surroundings: Surroundings, up: Collection[str]) -> None:
        self._call = call
        self._around = surroundings
        self._recorder = surroundings.recorder
        self._now = surroundings.now
        self._up = up
        self._wanted = ""
        self._leg: Leg | None = None  # until it goes: it would keep the call, and the call us
        self._tap: Tap | None = None
        self._recording: Recording | None = None

    def want(self, leg: Leg) -> None:
        """Record this leg; nothing where one is wanted already."""
        if not self._wanted:
            self._wanted, self._leg = leg.name, leg
            self.look()

    def look(self) -> None:
        """Something has changed: begin, if the leg is up and its codecs are known."""
        leg = self._leg
        if leg is None or leg.media is None or self._tap is not None or leg.name not in self._up:
            return
        tap = self._tap = Tap(leg.media, self._now())
        leg.port.tap(tap)
        self._recording = self._recorder.begin(self._call, tap, self._over)

    def stop(self, leg: Leg) -> None:
        """The leg is about to go."""
        if self._leg is not leg:
            return
        if self._tap is not None:
            leg.port.untap(self._tap)
        if self._recording is not None:
            self._recorder.end(self._recording, self._now())
        self._leg = None

    @property
    def finishing(self) -> bool:
        """It was ended, and what became of it is not known yet."""
        return self._recording is not None and self._recording.stop_at is not None

    def _over(self, recorded: Recorded) -> None:
        if self._leg is not None and self._tap is not None:
            self._leg.port.untap(self._tap)
        self._recording = None
        ended = partial(
            RecordingEnded,
            leg=self._wanted,
            path=recorded.path,
            seconds=recorded.seconds,
            octets=recorded.octets,
            missing=recorded.missing,
            note=recorded.note,
        )
        self._around.tell(self._call, ended)
