"""Binary PCM in Vonage's framing, with our own control messages."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.contract import (
    AgentEvent,
    Ask,
    Audio,
    AudioFormat,
    Clear,
    Frame,
    Hangup,
    Malformed,
    Mark,
    SendDigits,
)
from stellar_gw.dialects.native import ACTIONS, NativeDialect, OptionError
from stellar_gw.dialects.registry import make_dialect
from tests.unit.call_contexts import CONTEXT, PARAMETERS


def read(frames: Any) -> list[Any]:
    return [json.loads(frame) for frame in frames]


class NativeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.dialect = NativeDialect(CONTEXT, 16000)

    def received(self, **action: object) -> AgentEvent:
        (event,) = self.dialect.received(json.dumps(action))
        return event


class ToTheAgentTests(NativeCase):
    def test_a_call_from_beginning_to_end(self) -> None:
        (opened,) = read(self.dialect.opened())
        self.assertEqual(
            {name: opened[name] for name in ("event", "content-type", "protocol", "headers", "variables", "transfers")},
            {
                "event": "websocket:connected",
                "content-type": "audio/l16;rate=16000",
                "protocol": "stellar/1",
                "headers": {"X-Case-Id": "4711", "X-Tag": "a, b", "X-Raw": "\ufffd"},
                "variables": {"company": "Acme & Co", "agent": "not the agent", "x-tag": "ours"},
                "transfers": {},
            },
        )
        self.assertEqual(
            {name: opened["call"][name] for name in ("id", "state", "resumed", "from", "to", "version", "tls", "srtp")},
            {
                "id": "c-7K3F2Q",
                "state": "ringing",
                "resumed": False,
                "from": "+31612345678",
                "to": "+31201230000",
                "version": "7",
                "tls": True,
                "srtp": False,
            },
        )
        self.assertEqual(self.dialect.audio(b"\1\2" * 320, 9020), (b"\1\2" * 320,))
        self.assertEqual(
            read(
                [
                    *self.dialect.digit("5", 260),
                    *self.dialect.mark_reached('{"mark":"greeting-end"}', cleared=False, played_ms=3200),
                    *self.dialect.cleared(1840, 2160),
                    *self.dialect.told("limit", {"seconds_left": "60"}),
                    *self.dialect.stopped("caller_hangup", "caller", duration_ms=184220, agent_audio_ms=90210),
                ]
            ),
            [
                {"event": "websocket:dtmf", "digit": "5", "duration": 260, "at_ms": 9040},
                {
                    "event": "websocket:notify",
                    "payload": {"mark": "greeting-end"},
                    "outcome": "played",
                    "played_ms": 3200,
                },
                {"event": "websocket:cleared", "played_ms": 1840, "discarded_ms": 2160},
                {"event": "call:limit", "seconds_left": "60"},
                {
                    "event": "call:stop",
                    "cause": "caller_hangup",
                    "by": "caller",
                    "duration_ms": 184220,
                    "agent_audio_ms": 90210,
                },
            ],
        )

    def test_a_plain_vonage_agent_gets_only_what_it_knows(self) -> None:
        """Its serializers choke on events of ours; everything about the call stands beside the content type."""
        dialect = make_dialect("vonage", CONTEXT, {"rate": "8000"})
        (opened,) = read(dialect.opened())
        self.assertEqual(opened, {**PARAMETERS, "event": "websocket:connected", "content-type": "audio/l16;rate=8000"})
        self.assertEqual(dialect.audio_format, AudioFormat("pcm", 8000))
        self.assertEqual(
            read([*dialect.digit("5", 260), *dialect.mark_reached("null", cleared=True, played_ms=0)]),
            [
                {"event": "websocket:dtmf", "digit": "5", "duration": 260},
                {"event": "websocket:notify", "payload": None},
            ],
        )
        self.assertEqual(
            [*dialect.told("limit", {}), *dialect.stopped("x", "y"), *dialect.complaint(Malformed("?"))], []
        )

    def test_each_request_ends_in_one_outcome_of_its_own_shape(self) -> None:
        self.received(action="hangup", id="h1", when="after_playout")
        self.received(action="transfer", id="t1", to="support")
        self.received(action="hold", id="o1")
        failed = {"code": "unavailable", "message": "transfers are not there yet"}
        self.assertEqual(
            read(
                [
                    *self.dialect.outcome("t1", "ringing", final=False, detail={"method": "invite"}),
                    *self.dialect.outcome("t1", "failed", final=True, detail=failed),
                    *self.dialect.outcome("h1", "done", final=True, detail={}),
                    *self.dialect.outcome("o1", "failed", final=True, detail=failed),
                ]
            ),
            [
                {"event": "call:transfer", "id": "t1", "state": "ringing", "final": False, "method": "invite"},
                {
                    "event": "call:transfer",
                    "id": "t1",
                    "state": "failed",
                    "final": True,
                    "code": "unavailable",
                    "reason": "transfers are not there yet",
                },
                {"event": "call:done", "id": "h1", "action": "hangup"},
                {
                    "event": "call:error",
                    "id": "o1",
                    "action": "hold",
                    "code": "unavailable",
                    "message": "transfers are not there yet",
                    "fatal": False,
                },
            ],
        )

    def test_rates(self) -> None:
        rates = [make_dialect("native", CONTEXT, options).audio_format for options in ({}, {"rate": "24000"})]
        self.assertEqual(rates, [AudioFormat("pcm", 16000), AudioFormat("pcm", 24000)])
        error = self.assertRaises(OptionError, make_dialect, "native", CONTEXT, {"rate": "44100"})
        self.assertEqual(str(error), "rate is '44100', must be 8000, 16000 or 24000")


class FromTheAgentTests(NativeCase):
    def test_what_is_meant(self) -> None:
        self.assertEqual(
            [
                self.received(action="clear", unknown="ignored"),
                self.received(action="notify", payload={"mark": "greeting-end"}),
                self.received(action="hangup"),
                self.received(action="hangup", id="h1", when="after_playout"),
                self.received(action="send_dtmf", id="d1", digits="12#"),
                self.received(action="answer", id="a1"),
                self.received(action="reject", id="r1", status=486, reason="Closed until Monday"),
                self.received(action="hold", id="o1"),
                self.received(action="resume", id="o2"),
                self.received(
                    action="transfer", id="t1", to="support", method="invite", timeout_s=20, headers={"X-S": "4711"}
                ),
            ],
            [
                Clear(),
                Mark('{"mark": "greeting-end"}'),
                Hangup(False, ""),
                Hangup(True, "h1"),
                SendDigits("12#", "d1"),
                Ask("answer", "a1"),
                Ask("reject", "r1", (("status", "486"), ("reason", "Closed until Monday"))),
                Ask("hold", "o1"),
                Ask("resume", "o2"),
                Ask(
                    "transfer",
                    "t1",
                    (("to", "support"), ("method", "invite"), ("timeout_s", "20"), ("header:X-S", "4711")),
                ),
            ],
        )
        self.assertEqual(self.dialect.received(b"\1\2\3"), (Audio(b"\1\2\3"),))
        self.assertEqual(self.dialect.received(b""), ())

    def test_what_is_malformed_is_named_with_its_id(self) -> None:
        events = [
            self.received(action="tansfer", id="t2"),
            self.received(action="transfer", id="t3"),
            self.received(action="hangup", id="h2", when="later"),
            self.received(action="clear", id="x" * 65),
            self.received(action="notify", payload="x" * 5000),
            self.received(action="transfer", id="t4", to="a", headers={f"X-{n}": "" for n in range(33)}),
            self.received(action="transfer", id="t5", to="a" * 70_000),
            self.received(action="transfer", id="t6", to="a", headers={"X-A": "a" * 40_000, "X-B": "b" * 40_000}),
        ]
        assert all(isinstance(event, Malformed) for event in events)
        self.assertEqual(
            [(event.code, event.ask) for event in events if isinstance(event, Malformed)],
            [
                ("unknown_action", "t2"),
                ("malformed", "t3"),
                ("malformed", "h2"),
                ("malformed", ""),
                ("malformed", ""),
                ("malformed", "t4"),
                ("malformed", "t5"),
                ("malformed", "t6"),
            ],
        )
        self.assertEqual(
            read(self.dialect.complaint(events[0])),  # type: ignore[arg-type]
            [
                {
                    "event": "call:error",
                    "id": "t2",
                    "code": "unknown_action",
                    "message": f"no action 'tansfer'; there are {', '.join(ACTIONS)}",
                    "fatal": False,
                }
            ],
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text() | st.binary() | st.dictionaries(st.text(), st.text() | st.integers() | st.none()).map(json.dumps))
    def test_anything_is_taken_calmly(self, frame: Frame) -> None:
        for event in self.dialect.received(frame):
            if isinstance(event, Malformed):
                self.assertEqual(len(read(self.dialect.complaint(event))), 1)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.recursive(st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner, max_size=3)))
    def test_any_payload_comes_back_as_it_went(self, payload: object) -> None:
        (event,) = self.dialect.received(json.dumps({"action": "notify", "payload": payload}))
        if isinstance(event, Mark):
            (back,) = read(self.dialect.mark_reached(event.name, cleared=False, played_ms=0))
            self.assertEqual(back["payload"], payload)
