"""A call that is over: nothing of it waits for the collector of circles, and whoever asks late is answered."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from stellar_gw.call.events import CallStarted
from stellar_gw.control.messages import AgentAsked, Allocate, Allocated, Outcome, Reply, Request
from stellar_gw.sip.events import Ended, RequestInDialog, RequestReceived
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.circles import circles
from tests.configurations import CONFIGURATION, configuration
from tests.messages import flow, invite, parsed
from tests.unit.test_call import MAIN_LINE, TELNYX, CallCase

ASKS = ("answer", "reject", "send_dtmf", "transfer", "hold", "resume")


class OverTests(CallCase):
    def test_nothing_of_it_waits_for_the_collector_of_circles(self) -> None:
        """Whether it was answered, given up by its caller, or refused."""

        def answered() -> None:
            self.talk()
            self.hang_up()
            self.settle()

        def cancelled() -> None:
            self.invite()
            self.calls.handle(Ended("usage of a1", "cancelled", "remote"))
            self.settle()

        def refused() -> None:
            self.invite(body=b"v=0\r\n")
            self.settle()

        self.assertEqual([circles(each) for each in (answered, cancelled, refused)], [Counter()] * 3)

    def test_whoever_asks_late_hears_that_it_is_over(self) -> None:
        """An agent's digits by HTTP may wait for longer than the call lasts."""
        self.talk()
        (call_id,) = [event.record.call_id for event in self.events if isinstance(event, CallStarted)]
        call = self.calls.find(call_id)
        assert call is not None
        self.hang_up()
        self.settle()
        told: list[Outcome] = []
        for verb in ASKS:
            call.asked(AgentAsked(generation=0, call=call_id, ask="7", verb=verb, parameters={}), told.append)
        self.settle()
        detail = {"code": "call_over", "message": "the call is over"}
        over = Outcome(request=0, call=call_id, ask="7", state="failed", final=True, detail=detail)
        self.assertEqual(told, [over] * len(ASKS))

    def test_a_notify_in_a_dialog_that_was_to_be_its_callers_is_481(self) -> None:
        """An INVITE with Replaces that had no ACK yet when the call ended."""
        text = CONFIGURATION.replace("telnyx: {", "telnyx: {replaces: true, ")
        self.calls = self.make_calls(configuration(text))
        self.plane.listener = self.calls.heard
        self.talk()
        replaces = ("Replaces", "a1;to-tag=t1;from-tag=f1")
        self.signalling.found = "usage of a1"
        request = parsed(invite(MAIN_LINE, call_id="b1", headers=(replaces,)))
        self.calls.handle(RequestReceived(request, flow(TELNYX)))
        self.wait()
        self.hang_up()
        self.calls.end_all("shutdown", "the gateway stops")
        self.wait()
        self.assertEqual(len(self.calls), 0)
        self.said()
        notify = parsed(invite(MAIN_LINE, body=b""))
        notify.method = "NOTIFY"
        self.calls.handle(RequestInDialog("usage of b1", 9, notify))
        self.assertEqual(self.said(), [("respond_in", 481)])

    def test_ports_that_come_late_are_nobodys(self) -> None:
        """The worker had no room, its caller gave up, and another worker had."""
        plane = _SecondWorker(self.clock)
        self.plane = plane
        self.calls = self.make_calls(configuration())
        self.invite()
        self.calls.handle(Ended("usage of a1", "cancelled", "remote"))
        self.settle()
        plane.late.callback(Allocated(request=0, rtp_port=10000, rtcp_port=10001, cname="c", ssrc=1))
        self.assertIsNone(self.successResultOf(plane.late))
        self.assertEqual(self.record().cause, "cancelled")


class _SecondWorker(FakeMediaPlane):
    """Ports come when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.late: Deferred[Reply] = Deferred()

    def ask(self, request: Request) -> Deferred[Reply]:
        return self.late if isinstance(request, Allocate) else super().ask(request)
