"""The HTTP server's bounds, whether calls can be taken, and TwiML carried out on a call."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from stellar_gw.call.agent.asks import Told
from stellar_gw.call.events import CallEnded, CallStarted
from stellar_gw.call.machine import Ending
from stellar_gw.console.health import Health, not_ready
from stellar_gw.console.site import HttpListening, Sources
from stellar_gw.console.twilio_calls import TwilioCalls
from stellar_gw.console.twilio_record import MOST_ENDED, CallIndex, status_of
from stellar_gw.console.twilio_verbs import DIGIT, OUTCOME_PATIENCE, VerbRefused, carry_out
from stellar_gw.console.web import MOST_CONNECTIONS, PATIENCE, BoundedSite, Page, Root
from stellar_gw.control.messages import AgentAsked, Outcome
from stellar_gw.dialects.twilio import account_sid, call_sid
from stellar_gw.dialects.twiml import parse
from stellar_gw.directory.records import Agent, Environment, Secret, Snapshot
from stellar_gw.errors import StellarError
from stellar_gw.gateway.journal import Journal
from stellar_gw.gateway.metrics import Metrics, Sight
from stellar_gw.testing.directory import MemoryDirectory
from tests.unit.test_metrics import record, workers


class Broken(Page):
    def show(self, request: Request) -> None:
        raise RuntimeError("a secret of ours")


class ServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.site = BoundedSite(Root({"healthz": Health(), "broken": Broken()}, bare=("healthz",)), self.clock)
        self.site.doStart()

    def connect(self) -> tuple[ProtocolWrapper, StringTransport]:
        connection = self.site.buildProtocol(None)
        assert connection is not None
        transport = StringTransport()
        connection.makeConnection(transport)
        return connection, transport

    def test_at_rest(self) -> None:
        """A server that nobody asks does nothing."""
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connections_are_few(self) -> None:
        """Beyond the most there is nothing to connect to; one that leaves makes room."""
        connections = [self.connect()[0] for _ in range(MOST_CONNECTIONS)]
        self.assertIsNone(self.site.buildProtocol(None))
        connections[0].connectionLost(connectionDone)
        self.connect()

    def test_slow_and_idle_connections_are_cut(self) -> None:
        """What finishes no request in time is cut, however busily it dribbles; what does, is not."""
        dribbling, slow = self.connect()
        asking, quick = self.connect()
        for _ in range(int(PATIENCE // 5)):
            self.clock.advance(5.0)
            dribbling.dataReceived(b"X")
            asking.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((slow.disconnected, quick.disconnected), (True, False))
        self.assertEqual(quick.value().count(b'{"status":"ok"}'), PATIENCE // 5)

    def test_what_breaks_is_told_to_the_log_alone(self) -> None:
        """A page that raises is a 500 without a word of what happened."""
        connection, transport = self.connect()
        connection.dataReceived(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = transport.value()
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 "), answer)
        self.assertTrue(answer.endswith(b'{"message":"internal error; the log of the gateway has it whole"}'), answer)
        self.assertIn(b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n", answer)
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ReadinessTests(SynchronousTestCase):
    def test_reasons(self) -> None:
        """No worker that has room, records that cannot be written, and draining each say no; one worker is enough."""
        journal = Journal(Path("cdr.jsonl"), Clock(), execute)
        full, down = workers()
        sight = Sight(workers=lambda: [full, down], journals=[journal], draining=lambda: False)
        self.assertEqual(not_ready(sight), ["every media worker has all that it can carry"])
        sight = evolve(sight, workers=lambda: [full, evolve(down, up=True)])
        self.assertEqual(not_ready(sight), [])
        journal.failing = "No space left on device"
        none_up = evolve(sight, workers=lambda: [evolve(each, up=False) for each in workers()], draining=lambda: True)
        self.assertEqual(
            not_ready(none_up),
            [
                "the gateway is draining",
                "no media worker is up",
                "cdr.jsonl cannot be written: No space left on device",
            ],
        )


class ListeningTests(SynchronousTestCase):
    def test_a_port_that_is_taken(self) -> None:
        """The gateway does not start, and says which key is to be changed."""

        class Taken(Clock):
            def listenTCP(self, port: int, factory: object, interface: str) -> None:
                raise CannotListenError(interface, port, OSError(98, "Address already in use"))

        clock = Taken()
        sight = Sight(workers=workers, journals=[], draining=lambda: False)
        sources = Sources(
            metrics=Metrics(clock.seconds, sight),
            sight=sight,
            index=CallIndex(),
            count=lambda: 0,
            find=lambda _: None,
            directory=lambda: MemoryDirectory(Snapshot(domain="x")),
        )
        error = self.assertRaises(StellarError, HttpListening, clock, ("127.0.0.1", 8080), sources)
        self.assertEqual(
            str(error),
            "http.bind 127.0.0.1:8080: Address already in use; bind another port, or end the program that has it",
        )


class IndexTests(SynchronousTestCase):
    def test_calls_by_sid(self) -> None:
        """A tenant finds its own calls, up or ended a while ago, and nobody else's."""
        index, first = CallIndex(), record("c-1")
        index.tell(CallStarted(first))
        self.assertIs(index.find(call_sid("c-1"), "acme"), first)
        self.assertIsNone(index.find(call_sid("c-1"), "globex"))
        for number in range(MOST_ENDED + 1):
            index.tell(CallEnded(record(f"c-{number}")))
        held = [
            index.find(call_sid(f"c-{number}"), "acme") is not None for number in (0, 1, MOST_ENDED, MOST_ENDED + 1)
        ]
        self.assertEqual(held, [False, True, True, False])

    def test_states(self) -> None:
        """Twilio's words for where a call is."""
        ringing, up = record("c"), record("c", answered=1.0)
        told = [
            status_of(call)
            for call in (
                ringing, up, evolve(up, ended=2.0, cause="agent_hangup"), evolve(ringing, ended=2.0, cause="cancelled"),
                evolve(ringing, ended=2.0, status=486), evolve(ringing, ended=2.0, status=480),
            )
        ]  # fmt: skip
        self.assertEqual(told, ["ringing", "in-progress", "completed", "canceled", "busy", "failed"])


@define
class FakeCall:
    """Notes what is asked of it, and when; answers at once with what the test says.

    :ivar outcome: state and code of every outcome; empty: none comes yet.
    :ivar tell: whom the last asker named for its outcome.
    """

    clock: Clock
    outcome: tuple[str, str] | tuple[()] = ("done", "")
    call_id: str = "c-1"
    seen: list[tuple[float, str, dict[str, str]]] = field(factory=list)
    tell: Told = field(init=False)

    def asked(self, event: AgentAsked, told: Told) -> None:
        self.seen.append((self.clock.seconds(), event.verb, event.parameters))
        self.tell = told
        self.answer()

    def answer(self) -> None:
        if self.outcome:
            state, code = self.outcome
            self.tell(Outcome(request=0, call="c-1", ask="", state=state, detail={"code": code, "message": "said why"}))

    def give_up(self, ending: Ending) -> None:
        self.seen.append((self.clock.seconds(), f"give up: {ending.cause} by {ending.by}", {}))


class LeavingTests(SynchronousTestCase):
    """Askers that do not wait for their answer."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.call = FakeCall(self.clock, outcome=())
        index = CallIndex()
        index.tell(CallStarted(record("c-1")))
        environment = Environment(
            name="production",
            dialect="twilio",
            url=Secret(value="wss://a.example/"),
            secrets={"auth_token": Secret(value="0123456789abcdef")},
        )
        agent = Agent(name="bot", tenant="acme", environments={"production": environment})
        directory = MemoryDirectory(Snapshot(domain="gw.example", agents=(agent,)))
        calls = TwilioCalls(directory=lambda: directory, index=index, find=lambda _: self.call, clock=self.clock)
        self.site = BoundedSite(Root({"2010-04-01": calls}, bare=()), self.clock)

    def ask(self, authorization: bytes, body: bytes) -> tuple[ProtocolWrapper, StringTransport]:
        connection = self.site.buildProtocol(None)
        assert connection is not None
        transport = StringTransport()
        connection.makeConnection(transport)
        place = f"/2010-04-01/Accounts/{account_sid('acme')}/Calls/{call_sid('c-1')}.json".encode()
        connection.dataReceived(
            b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s"
            % (place, authorization, len(body), body)
        )
        return connection, transport

    def ask_and_leave(self, token: str) -> bytes:
        body = "Twiml=" + quote("<Response><Dial>+31201234567</Dial></Response>")
        connection, transport = self.ask(b64encode(f"{account_sid('acme')}:{token}".encode()), body.encode())
        connection.connectionLost(connectionDone)
        self.clock.advance(10.0)
        return bytes(transport.value())

    @given(
        st.binary(max_size=40).map(b64encode) | st.binary(max_size=40).map(lambda octets: octets.hex().encode()),
        st.binary(max_size=200),
    )
    @settings(max_examples=200, deadline=None, derandomize=True)
    def test_whatever_comes(self, authorization: bytes, body: bytes) -> None:
        """Any password and any body has an answer that is not our fault."""
        right = b64encode(f"{account_sid('acme')}:0123456789abcdef".encode())
        for header in (authorization, right):
            connection, transport = self.ask(header, body)
            self.clock.advance(10.0)
            self.assertIn(transport.value()[9:12], (b"400", b"401"))
            connection.connectionLost(connectionDone)

    def test_what_was_asked_for_stands(self) -> None:
        """A transfer whose outcome nobody waits for is asked for all the same, and nothing is left behind."""
        self.assertEqual(self.ask_and_leave("0123456789abcdef"), b"")
        self.assertEqual([verb for _, verb, _ in self.call.seen], ["transfer"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wrong_passwords(self) -> None:
        """One who does not wait for the answer leaves nothing behind either."""
        self.assertEqual(self.ask_and_leave("0123456789abcdeX"), b"")
        self.assertEqual((self.call.seen, self.clock.getDelayedCalls()), ([], []))


class VerbTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.call = FakeCall(self.clock)

    def carry_out(self, verbs: str) -> Deferred[None]:
        verbs_read = parse(f"<Response>{verbs}</Response>")
        return Deferred.fromCoroutine(carry_out(self.call, verbs_read, self.clock))

    def refusal(self, verbs: str) -> tuple[int, int, str]:
        failure: Failure = self.failureResultOf(self.carry_out(verbs), VerbRefused)
        refused = failure.value
        assert isinstance(refused, VerbRefused)
        return refused.status, refused.code, str(refused)

    def test_digits_take_their_time(self) -> None:
        """The request is answered when the first digits are on their way; pauses and the hang-up wait their turn."""
        self.successResultOf(self.carry_out('<Play digits="12wW3"/><Say>Bye</Say><Hangup/><Hangup/>'))
        for _ in range(40):
            self.clock.advance(0.125)
        self.assertEqual(
            self.call.seen,
            [
                (0.0, "send_dtmf", {"digits": "12"}),
                (2 * DIGIT + 1.5, "send_dtmf", {"digits": "3"}),
                (3 * DIGIT + 1.5, "give up: agent_hangup by agent", {}),
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_transfers(self) -> None:
        """A <Dial> is an INVITE of ours, a <Refer> a REFER; X-* headers go along."""
        self.successResultOf(self.carry_out('<Dial timeout="9"><Sip>sip:a@b?X-Case=7</Sip></Dial><Hangup/>'))
        self.successResultOf(self.carry_out("<Refer><Sip>sip:a@b</Sip></Refer>"))
        invite = {"to": "sip:a@b", "method": "invite", "timeout_s": "9", "header:X-Case": "7"}
        self.assertEqual(
            self.call.seen,
            [(0.0, "transfer", invite), (0.0, "transfer", {"to": "sip:a@b", "method": "refer"})],
        )

    def test_an_outcome_that_takes_long(self) -> None:
        """The request is answered all the same."""
        self.call.outcome = ()
        asked = self.carry_out("<Dial>+31201234567</Dial>")
        self.assertNoResult(asked)
        self.clock.pump([OUTCOME_PATIENCE / 8] * 8)
        self.successResultOf(asked)

    def test_held_up(self) -> None:
        """A refusal that a gateway which was held up has not read yet is not taken for an outcome that takes long."""
        self.call.outcome = ()
        asked = self.carry_out('<Play digits="1"/>')
        self.clock.advance(OUTCOME_PATIENCE + 0.2)
        self.call.outcome = ("failed", "bad_digits")
        self.call.answer()
        self.failureResultOf(asked, VerbRefused)

    def test_refusals(self) -> None:
        """Why not, by HTTP status and Twilio's code; what comes after is not begun."""
        self.assertEqual(self.refusal("<Say>Hi</Say>"), (400, 12100, "the TwiML holds no verb that is done here"))
        stream = '<Play digits="1"/><Connect><Stream url="wss://a"/></Connect>'
        self.assertEqual(self.refusal(stream)[:2], (501, 21220))
        self.assertEqual(self.call.seen, [])
        self.call.outcome = ("failed", "unavailable")
        self.assertEqual(self.refusal("<Dial>+31201234567</Dial>"), (501, 21220, "transfer: said why"))
        self.call.outcome = ("failed", "bad_digits")
        self.assertEqual(self.refusal('<Play digits="1"/><Hangup/>'), (400, 21220, "send_dtmf: said why"))
        self.assertEqual([verb for _, verb, _ in self.call.seen], ["transfer", "send_dtmf"])
