"""A call whose agent is behind a webhook, as its media plane: what is asked in which order, and what is told."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.ports import WorkerFailed, WorkerLost
from stellar_gw.control.messages import (
    AgentAsked,
    AgentFailed,
    CallContext,
    Done,
    Event,
    Release,
    Reply,
    Request,
    Secret,
    StartAgent,
    Tell,
)
from stellar_gw.dialects.twilio import account_sid, call_sid
from stellar_gw.directory.records import Environment
from stellar_gw.directory.records import Secret as Kept
from stellar_gw.gateway.http_client import HttpAnswer, HttpFailed
from stellar_gw.gateway.webhook import WebhookPlane

URL = "https://bots.example/voice"
CONTEXT = CallContext(
    call_id="c-1",
    tenant="acme",
    connector="front",
    agent="bot",
    environment="production",
    version="1",
    from_uri="sip:a@b",
)
ENVIRONMENT = Environment(
    name="production", dialect="twilio", url=Kept(value=URL), secrets={"auth_token": Kept(value="0123456789abcdef")}
)


def start(url: str = URL) -> StartAgent:
    headers = (("Authorization", Secret("Bearer x")),)
    return StartAgent(request=0, call="c-1", dialect="twilio", url=Secret(url), headers=headers, context=CONTEXT)


@define
class Workers:
    """The plane behind, which takes everything, or fails."""

    asked: list[Request] = field(factory=list)
    failing: WorkerFailed | None = None

    def ask(self, request: Request) -> Deferred[Reply]:
        self.asked.append(request)
        return succeed(Done(request=0)) if self.failing is None else fail(self.failing)


class WebhookPlaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.workers = Clock(), Workers()
        self.environment: Environment | None = ENVIRONMENT
        self.told: list[Event | WorkerLost] = []
        self.posted: list[tuple[str, list[tuple[str, str]], bytes, float]] = []
        self.answers: list[Deferred[HttpAnswer]] = []
        self.plane = WebhookPlane(
            self.workers,
            post=self.post,
            environment=lambda _: self.environment,
            listener=self.told.append,
            clock=self.clock,
        )

    def post(self, url: str, headers: list[tuple[str, str]], body: bytes, seconds: float) -> Deferred[HttpAnswer]:
        self.posted.append((url, headers, body, seconds))
        answer: Deferred[HttpAnswer] = Deferred()
        self.answers.append(answer)
        return answer

    def begin(self) -> None:
        self.assertEqual(self.successResultOf(self.plane.ask(start())), Done(request=0))

    def stream(self, url: str) -> None:
        document = (
            f'<Response><Connect><Stream url="{url}"><Parameter name="a" value="1"/></Stream></Connect></Response>'
        )
        self.answers.pop().callback(HttpAnswer(200, document.encode()))

    def started(self) -> list[tuple[str, tuple[str, ...], dict[str, str], float]]:
        return [
            (each.url.value, tuple(name for name, _ in each.headers), each.options, each.connect_timeout)
            for each in self.workers.asked
            if isinstance(each, StartAgent)
        ]

    def failure(self) -> str:
        (event,) = self.told
        assert isinstance(event, AgentFailed)
        self.assertEqual((event.call, event.established), ("c-1", False))
        return f"{event.code}: {event.message}"

    def test_a_stream_gets_what_time_is_left(self) -> None:
        """The worker connects to the webhook's stream, with its parameters, in the rest of the agent's 3 s."""
        self.begin()
        url, headers, body, seconds = self.posted[0]
        self.assertEqual(
            (url, seconds, [name for name, _ in headers]), (URL, 3.0, ["Authorization", "X-Twilio-Signature"])
        )
        self.assertIn(f"AccountSid={account_sid('acme')}&", body.decode())
        self.assertIn(f"CallSid={call_sid('c-1')}&", body.decode())
        self.assertEqual(self.started(), [])
        self.clock.advance(1.0)
        self.stream("wss://bots.example/stream")
        self.assertEqual(self.started(), [("wss://bots.example/stream", ("Authorization",), {"parameter:a": "1"}, 2.0)])
        self.assertEqual(self.told, [])

    def test_headers_stay_where_they_belong(self) -> None:
        """Another host, another port, or the same without TLS is not shown what the webhook was."""
        streams = {
            "wss://bots.example:443/x": True,
            "wss://BOTS.example/x": True,
            "ws://bots.example:443/x": False,
            "wss://bots.example:8443/x": False,
            "wss://bots.example.evil.example/x": False,
            "wss://bots.example@evil.example/x": False,
            "wss://[bots.example/x": False,
        }
        shown = {}
        for url in streams:
            self.begin()
            self.stream(url)
            shown[url] = bool(self.started()[-1][1])
        self.assertEqual(shown, streams)

    def test_other_requests_pass(self) -> None:
        """What is no webhook goes to the worker as it is, also while one is being asked."""
        self.begin()
        others: list[Request] = [Tell(request=0, call="c-1", kind="x"), start("ws://bots.example/")]
        for each in others:
            self.assertEqual(self.successResultOf(self.plane.ask(each)), Done(request=0))
        self.assertEqual(self.workers.asked, others)

    def test_asked_twice(self) -> None:
        """A start that is repeated asks nobody twice."""
        self.begin()
        self.begin()
        self.assertEqual(len(self.posted), 1)

    def test_a_call_that_ends_before(self) -> None:
        """The request is given up, nothing is told of it, and the release reaches the worker."""
        cancelled: list[object] = []
        plane = WebhookPlane(
            self.workers,
            post=lambda *_: Deferred(cancelled.append),
            environment=lambda _: ENVIRONMENT,
            listener=self.told.append,
            clock=self.clock,
        )
        plane.ask(start())
        release = Release(request=0, call="c-1")
        plane.ask(release)
        self.assertEqual((len(cancelled), self.told, self.workers.asked), (1, [], [release]))

    def test_rejections(self) -> None:
        """They are the agent's own, told as it would over its link."""
        self.begin()
        self.answers.pop().callback(HttpAnswer(200, b'<Response><Reject reason="busy"/></Response>'))
        parameters = {"status": "486", "reason": "busy"}
        self.assertEqual(
            self.told, [AgentAsked(generation=0, call="c-1", ask="", verb="reject", parameters=parameters)]
        )
        self.assertEqual(self.workers.asked, [])

    def test_failures(self) -> None:
        """Each is an agent that is not there, with its reason, and without the URL's path."""
        told = {}
        results: dict[str, HttpFailed | HttpAnswer] = {
            "no answer": HttpFailed("timeout", "https://bots.example did not answer within 3 s"),
            "status": HttpAnswer(503, b""),
            "redirect": HttpAnswer(301, b""),
            "no TwiML": HttpAnswer(200, b"<html/>"),
        }
        for name, result in results.items():
            self.told.clear()
            self.begin()
            answer = self.answers.pop()
            answer.callback(Failure(result) if isinstance(result, HttpFailed) else result)
            told[name] = self.failure()
        self.assertEqual(
            told,
            {
                "no answer": "timeout: https://bots.example did not answer within 3 s",
                "status": "http_503: webhook https://bots.example answered 503",
                "redirect": "http_301: webhook https://bots.example answered 301; redirects are not followed",
                "no TwiML": "protocol: webhook https://bots.example: the TwiML's outermost element is <html>, must be "
                "<Response>",
            },
        )

    def test_failures_of_ours(self) -> None:
        """A worker that cannot, and an agent that a reload took away, end the start too."""
        self.workers.failing = WorkerFailed("lost", "its worker is gone")
        self.begin()
        self.stream("wss://bots.example/")
        self.assertEqual(self.failure(), "internal: the agent could not be started: lost: its worker is gone")
        self.told.clear()
        self.environment = None
        self.begin()
        self.assertEqual(self.failure(), "internal: the agent is no longer in the configuration, or has no auth_token")
