"""Transfers of a call that are refused before anybody is asked or called: the agent is told, and so is the operator."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.transfer.transfer import Surroundings
from stellar_gw.call.transfer.transfers import MOST_TOLD, TransferRequest, Transfers
from tests.unit.transfer_case import BY_INVITE, FakeCaller, FakeLeg


class RefusedTests(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        self.noted: list[tuple[str, str]] = []
        self.around = Surroundings(
            caller=FakeCaller([]),
            make_leg=lambda target, headers, listener: FakeLeg([], headers, listener),
            clock=clock,
            wall=clock.seconds,
            note=lambda kind, line: self.noted.append((kind, line)),
        )

    def refuse(self, to: str, *, by_limit: bool = False, times: int = 1) -> list[tuple[str, str, str | None]]:
        """Ask as often; what came of each."""
        refused = TargetRefused("no_such_target", "there is no transfer of that name")
        transfers = Transfers(
            around=self.around,
            choose=lambda to, method: BY_INVITE if by_limit else refused,
            begin=lambda: refused,
            end=lambda: self.fail("nothing has begun"),
            record=[],
        )
        outcomes = [
            self.successResultOf(transfers.transfer(TransferRequest(to=to), lambda state, detail: None))
            for _ in range(times)
        ]
        return [(each.result, each.failure.code, each.failure.reason) for each in outcomes if each.failure is not None]

    def test_the_operator_is_told(self) -> None:
        """Whether the target was refused, or the attempt."""
        for by_limit in (False, True):
            self.assertEqual(
                self.refuse("sales", by_limit=by_limit),
                [("failed", "no_such_target", "there is no transfer of that name")],
            )
        line = ("transfer_failed", "transfer sales failed: there is no transfer of that name")
        self.assertEqual(self.noted, [line, line])

    def test_what_was_asked_for_is_quoted_as_one_short_line(self) -> None:
        self.refuse("sip:a\r\nb@c" + 500 * "x")
        [(_, line)] = self.noted
        self.assertEqual(line, f"transfer sip:a??b@c{70 * 'x'} failed: there is no transfer of that name")

    def test_an_agent_that_asks_again_and_again_fills_no_log(self) -> None:
        self.assertEqual(len(self.refuse("sales", times=MOST_TOLD + 5)), MOST_TOLD + 5)
        self.assertEqual(len(self.noted), MOST_TOLD)
