"""Which item of a model's each stretch of the queued audio belongs to, and how much of each was heard.

A model makes its audio faster than it is played, so several of its items can wait in one queue. When the caller
interrupts, the model must learn of each how far it came: it then forgets the words that nobody has heard.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define

MAX_STRETCHES: Final = 256
"""Kept; older ones are taken for heard, having had more than so many behind them."""


@define
class _Stretch:
    """:ivar item: empty for digits that may have been queued as tones, of a length that only the queue knows."""

    item: str
    octets: int = 0
    digits: int = 0


class Spoken:
    """The queue's contents since it was last cleared.

    Positions are of the queue as the gateway counts it, in octets of the dialect's format, from the last clear on.
    The gateway tells whole milliseconds, so what is told of an item is true to a millisecond, and never more than
    its length.

    :param octets_per_ms: 48 for PCM at 24 kHz, 8 for G.711.
    """

    def __init__(self, octets_per_ms: int) -> None:
        self._octets_per_ms = octets_per_ms
        self._begin = 0
        self._before = _Stretch("")
        self._stretches: deque[_Stretch] = deque()
        self._going_on = ""

    def said(self, item: str, octets: int) -> None:
        """Audio of an item was queued, behind everything else."""
        self._going_on = item
        if self._stretches and self._stretches[-1].item == item:
            self._stretches[-1].octets += octets
        else:
            self._put(_Stretch(item, octets=octets))

    def digits(self, count: int) -> None:
        """Digits were sent; for some callers that is by tones in the same queue."""
        self._put(_Stretch("", digits=count))

    def finished(self) -> None:
        """No more audio of the present item comes."""
        self._going_on = ""

    def items(self) -> tuple[str, ...]:
        """Those that have audio since the last clear, in order."""
        return tuple(dict.fromkeys(each.item for each in self._stretches if each.item))

    def cleared(self, played_ms: int, discarded_ms: int) -> tuple[tuple[str, int], ...]:
        """The queue was emptied: the items that were not heard to their end, each with the milliseconds heard.

        An item of which more was to come is among them even if all that had come was heard.

        :param played_ms: since the queue was made.
        :param discarded_ms: that were waiting.
        """
        per_ms = self._octets_per_ms
        played = played_ms * per_ms - self._begin
        tone = self._tone_octets(played + discarded_ms * per_ms)
        position = self._before.octets + self._before.digits * tone
        heard: dict[str, int] = {}
        length: dict[str, int] = {}
        for stretch in self._stretches:
            octets = stretch.octets + stretch.digits * tone
            if stretch.item:
                share = min(max(played - position, 0), octets)
                heard[stretch.item] = heard.get(stretch.item, 0) + share
                length[stretch.item] = length.get(stretch.item, 0) + octets
            position += octets
        # A queue's remainder below a millisecond is told as nothing: nobody misses it.
        cut = tuple(
            (item, octets // per_ms)
            for item, octets in heard.items()
            if item == self._going_on or length[item] - octets >= per_ms
        )
        self._begin = played_ms * per_ms
        self._before = _Stretch("")
        self._stretches.clear()
        self._going_on = ""
        return cut

    def _tone_octets(self, total: int) -> int:
        """How much of the queue each digit took: what was in it besides the items, evenly."""
        stretches = (self._before, *self._stretches)
        digits = sum(stretch.digits for stretch in stretches)
        besides = total - sum(stretch.octets for stretch in stretches)
        return max(0, besides) // digits if digits else 0

    def _put(self, stretch: _Stretch) -> None:
        self._stretches.append(stretch)
        if len(self._stretches) > MAX_STRETCHES:
            oldest = self._stretches.popleft()
            self._before.octets += oldest.octets
            self._before.digits += oldest.digits
