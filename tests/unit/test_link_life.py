from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.failure import Failure
from stellar_gw.agent.life import (
    CANCELLED,
    Cut,
    Effect,
    LinkLife,
    Part,
    SayClose,
    TellClosed,
    TellOpened,
    new_life,
)

LOST = Failure("lost", "gone")
BROKEN = Failure("protocol", "broken", 1002)

INPUTS: dict[str, Callable[[LinkLife], None]] = {
    "opened": lambda life: life.opened(),
    "closed 1000": lambda life: life.closed(1000, Failure("closed_1000", "bye")),
    "closed 1005": lambda life: life.closed(1005, Failure("closed_1005", "?")),
    "lost": lambda life: life.failed(LOST),
    "broken": lambda life: life.failed(BROKEN),
    "close": lambda life: life.close(4000, "enough"),
    "abort": lambda life: life.abort(),
}


def live(*names: str) -> list[Effect]:
    effects: list[Effect] = []
    life = new_life(effects)
    for name in names:
        INPUTS[name](life)
    return effects


class LinkLifeTests(SynchronousTestCase):
    def test_every_end(self) -> None:
        """Each way for a link to end tells it once, and does to the connection what RFC 6455 asks for."""
        ends: dict[tuple[str, ...], list[Effect]] = {
            ("lost",): [Cut(), TellClosed(LOST, established=False)],
            ("broken",): [Cut(), TellClosed(BROKEN, established=False)],
            ("close",): [Cut(), TellClosed(CANCELLED, established=False)],
            ("abort",): [Cut(), TellClosed(CANCELLED, established=False)],
            ("opened", "closed 1000"): [
                TellOpened(),
                Part(1000),
                TellClosed(Failure("closed_1000", "bye"), established=True, clean=True),
            ],
            ("opened", "closed 1005"): [
                TellOpened(),
                Part(1000),
                TellClosed(Failure("closed_1005", "?"), established=True, clean=True),
            ],
            ("opened", "lost"): [TellOpened(), Cut(), TellClosed(LOST, established=True)],
            ("opened", "broken"): [TellOpened(), Part(1002), TellClosed(BROKEN, established=True)],
            ("opened", "abort"): [TellOpened(), Cut(), TellClosed(CANCELLED, established=True)],
            ("opened", "close", "closed 1000"): [
                TellOpened(),
                SayClose(4000, "enough"),
                Part(0),
                TellClosed(CANCELLED, established=True),
            ],
            ("opened", "close", "close", "lost"): [
                TellOpened(),
                SayClose(4000, "enough"),
                Cut(),
                TellClosed(CANCELLED, established=True),
            ],
        }
        self.assertEqual({names: live(*names) for names in ends}, ends)

    @given(st.lists(st.sampled_from(sorted(INPUTS)), max_size=12))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_told_once_and_last(self, names: list[str]) -> None:
        """In whatever order things come, the opening is told at most once and first, the end once and last."""
        effects = live(*names, "abort")
        told = [type(effect) for effect in effects if isinstance(effect, (TellOpened, TellClosed))]
        self.assertIn(told, ([TellClosed], [TellOpened, TellClosed]))
        self.assertIsInstance(effects[-1], TellClosed)
