"""A SIP core on a table: messages go in as text, what it sends and tells is looked at."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import Event, FlowNeeded, RequestReceived, UsageId
from stellar_gw.sip.flow import Flow, Listener, Transport
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.sip_peer import ANSWER, OFFER

US = "203.0.113.10"
PEER = "192.0.2.7"


def _listener(transport: Transport, port: int) -> Listener:
    return Listener(
        name=transport, transport=transport, bind=("0.0.0.0", port), advertise=(US, port), media_advertise=US
    )


LISTENERS = {"udp": _listener("udp", 5060), "tcp": _listener("tcp", 5060), "tls": _listener("tls", 5061)}
Headers = tuple[tuple[str, str], ...]


def flow(transport: Transport = "udp", host: str = PEER, port: int = 5060, number: int = 1) -> Flow:
    return Flow(number, transport, transport, (US, LISTENERS[transport].advertise[1]), (host, port))


UDP, TCP, TLS = flow("udp"), flow("tcp", port=40001), flow("tls", port=40002)


def request(
    method: str,
    *,
    uri: str = f"sip:600@{US}",
    cseq: int = 1,
    branch: str | None = None,
    to_tag: str = "",
    from_tag: str = "f1",
    call_id: str = "c1",
    via: str = f"SIP/2.0/UDP {PEER}:5060",
    headers: Headers = (),
    contact: str = f"<sip:ann@{PEER}:5060>",
    body: bytes = b"",
    content_type: str = "application/sdp",
) -> bytes:
    """A request from PEER; its branch is made of method and CSeq."""
    branch = branch if branch is not None else f"z9hG4bK-{call_id}-{method}-{cseq}"
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via}" + (f";branch={branch}" if branch else ""),
        "Max-Forwards: 70",
        f"From: <sip:ann@{PEER}>" + (f";tag={from_tag}" if from_tag else ""),
        f"To: <sip:600@{US}>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        *([f"Contact: {contact}"] if contact and method == "INVITE" else []),
        *(f"{name}: {value}" for name, value in headers),
        *([f"Content-Type: {content_type}"] if body and content_type else []),
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def invite(*, body: bytes = OFFER, headers: Headers = (), **parts: object) -> bytes:
    return request("INVITE", body=body, headers=headers, **parts)  # type: ignore[arg-type]  # passed on as they come


class CoreCase(SynchronousTestCase):
    """A core with three listeners, and a clock that only moves when told."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.core = self.make_core()

    def make_core(self, max_transactions: int = 100) -> SipCore:
        return SipCore(LISTENERS, user_agent="gateway", rng=Random(1).randbytes, max_transactions=max_transactions)

    def receive(self, data: bytes, on: Flow = UDP) -> list[Request | Response]:
        """Give it a message; return what it sends."""
        self.core.receive(data, on, self.now)
        return self.sent()

    def pass_time(self, seconds: float) -> list[Request | Response]:
        """Let the timers fire at their own times; return what is sent meanwhile."""
        end, sent = self.now + seconds, []
        while (due := self.core.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.core.advance(self.now)
            sent += self.sent()
        self.now = end
        return sent

    def sent(self) -> list[Request | Response]:
        self.flows: list[Flow] = []
        messages = []
        for data, on in self.core.to_send():
            messages.append(parse_message(data, stream=True))
            self.flows.append(on)
        return messages

    def do(self, verb: Callable[..., object], *arguments: object, **options: object) -> list[Request | Response]:
        """Call a verb of the core at this time; return what it sends."""
        verb(*arguments, **options)
        return self.sent()

    def events(self) -> list[Event]:
        events = []
        while (event := self.core.next_event()) is not None:
            events.append(event)
        return events

    def statuses(self, data: bytes, on: Flow = UDP) -> list[int]:
        """What a request is answered with."""
        return [message.status for message in self.receive(data, on) if isinstance(message, Response)]

    # Calls that came in

    def accepted(self, on: Flow = UDP, **parts: object) -> UsageId:
        """Accept an INVITE; its 100 is taken away, and so are events before it."""
        self.events()
        self.receive(invite(**parts), on)  # type: ignore[arg-type]
        [event] = self.events()
        assert isinstance(event, RequestReceived)
        usage = self.core.accept(event.request, event.flow, self.now)
        assert usage is not None
        self.sent()
        return usage

    def answered(self, on: Flow = UDP, **parts: object) -> tuple[UsageId, str]:
        """Answer it; return the usage and our tag."""
        usage = self.accepted(on, **parts)
        [response] = self.do(self.core.answer, usage, ANSWER, self.now)
        return usage, response.to.tag or ""

    def confirmed(self, on: Flow = UDP, **parts: object) -> tuple[UsageId, str]:
        """And acknowledge it."""
        usage, tag = self.answered(on, **parts)
        same = {name: parts[name] for name in ("call_id", "cseq") if name in parts}
        ack = request("ACK", to_tag=tag, branch="z9hG4bK-ack", **same)  # type: ignore[arg-type]
        self.receive(ack, on)
        self.events()
        return usage, tag

    def needed(self) -> FlowNeeded:
        [event] = [event for event in self.events() if isinstance(event, FlowNeeded)]
        return event


def lines(messages: list[Request | Response]) -> list[str]:
    """Messages by method or status: ``BYE``, ``200 INVITE``."""
    return [
        message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"
        for message in messages
    ]
