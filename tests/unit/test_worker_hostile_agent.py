"""An agent that asks for more than anybody needs: neither the gateway nor the other calls of the worker feel it."""

from __future__ import annotations

import json

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import provider

from stellar_gw.control import messages
from stellar_gw.control.messages import AgentAsked, Outcome
from stellar_gw.worker.call_agent import LOGGED, MOST_ASKS
from tests.unit.test_worker_session import CallTestCase
from tests.unit.worker_world import FakeLink, set_media, start_agent


class Unread(str):
    """Text that is not to be looked through."""

    def upper(self) -> str:
        raise AssertionError("it is longer than may be")


class HostileAgentTests(CallTestCase):
    def begin(self) -> FakeLink:
        self.world.ask(set_media())
        self.world.ask(start_agent(dialect="native"))
        link = self.world.connector.links[0]
        link.events.link_opened(2.0)
        self.world.ask(messages.Answered(request=0, call="c-1"))
        self.world.told()
        link.take()
        return link

    def asked(self) -> list[str]:
        return [event.ask for event in self.world.told() if isinstance(event, AgentAsked)]

    def told(self, link: FakeLink) -> list[tuple[str, str]]:
        """What each request came to, by its id."""
        events = [json.loads(frame) for frame in link.take()]
        return [(event["id"], event.get("code", event["event"])) for event in events]

    def test_too_many_asks(self) -> None:
        """The gateway gets no more of them than may wait; the others fail at once, and later ones have room again."""
        link = self.begin()
        most = MOST_ASKS
        for ids in ([f"h{number}" for number in range(3 * most)], [""] * 3 * most):
            for each in ids:
                link.events.link_received(json.dumps({"action": "hold", "id": each}))
            asked = self.asked()
            self.assertEqual((asked, self.told(link)), (ids[:most], [(each, "busy") for each in ids[most:]]))
            for each in asked:
                self.world.ask(Outcome(request=0, call="c-1", ask=each, state="done"))
            self.assertEqual(self.told(link), [(each, "call:done") for each in asked])

    def test_steps_on_the_way(self) -> None:
        """A step is no outcome, and an outcome that nobody waits for makes no room."""
        link = self.begin()
        for _ in range(MOST_ASKS):
            link.events.link_received('{"action":"transfer","id":"t","to":"x"}')
        self.asked()
        self.world.ask(Outcome(request=0, call="c-1", ask="t", state="trying", final=False))
        link.events.link_received('{"action":"hold"}')
        self.assertEqual(self.asked(), [])
        for _ in range(3 * MOST_ASKS):
            self.world.ask(Outcome(request=0, call="c-1", ask="t", state="done"))
        for _ in range(MOST_ASKS + 1):
            link.events.link_received('{"action":"hold"}')
        self.assertEqual(len(self.asked()), MOST_ASKS)

    def test_digits_without_end(self) -> None:
        """Digits by the megabyte are not looked through, and those that are refused fill no log."""
        link = self.begin()
        leg = self.world.carrier._sessions["c-1"].legs["caller"]
        self.assertIn("at most 256", leg.send_digits(Unread("1" * 257)))
        lines: list[object] = []

        @provider(ILogObserver)
        def observer(event: LogEvent) -> None:
            if event["log_level"] is LogLevel.warn:
                lines.append(event)

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(100):
            link.events.link_received('{"action":"send_dtmf","digits":"call me"}')
        self.assertEqual(len(lines), LOGGED)
