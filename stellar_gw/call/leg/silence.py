"""What to do when a caller's media stops (RELIABILITY: "RTP stops, signalling alive").

Nothing was ever received: the call ends. Something was: silence suppression looks the same, so we ask the
peer by OPTIONS inside the dialog, and go on asking; while it answers, the call lives, for a bounded time.
A peer that is gone (408, 481) has its dialog ended by the core.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from stellar_gw.call.machine import Ending
from stellar_gw.call.timers import Timers
from stellar_gw.call.usages import Heard
from stellar_gw.control.messages import MediaLost


@define(kw_only=True)
class Silence:
    """The silence of one caller.

    :ivar probe: sends an OPTIONS inside the dialog.
    :ivar interval: seconds between the answer to one probe and the next.
    :ivar longest: seconds that answered probes keep a call alive.
    """

    timers: Timers
    probe: Callable[[Heard], None]
    give_up: Callable[[Ending], None]
    interval: float
    longest: float
    _asked: int = field(default=0, init=False)
    _lost: MediaLost | None = field(default=None, init=False)

    def began(self, lost: MediaLost) -> None:
        if not lost.ever:
            reason = f"no RTP in {lost.seconds:g} s; check the firewall and the phone system's external address"
            self.give_up(Ending(cause="no_media", by="gateway", reason=reason))
            return
        if self._lost is None:
            self._lost = lost
            self.timers.start("silence", self.longest, self._too_long)
            self._ask()

    def over(self) -> None:
        """Media came again."""
        self._lost = None
        self.timers.stop("silence")
        self.timers.stop("probe")

    def _ask(self) -> None:
        self._asked = asked = self._asked + 1
        self.probe(lambda _: self._answered(asked))

    def _answered(self, asked: int) -> None:
        if self._lost is not None and asked == self._asked:
            self.timers.start("probe", self.interval, self._ask)

    def _too_long(self) -> None:
        assert self._lost is not None
        seconds = self._lost.seconds + self.longest
        self.give_up(Ending(cause="no_media", by="gateway", reason=f"no RTP for {seconds:g} s, OPTIONS was answered"))
