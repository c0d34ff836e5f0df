"""Frames of the control channel, whole, strict and bounded."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.control.codec import FrameError, decode_for_gateway, decode_for_worker, encode
from stellar_gw.errors import LocalProtocolError

modest = settings(max_examples=300, derandomize=True, deadline=None)

CONTEXT = messages.CallContext(
    call_id="c-1",
    tenant="acme",
    connector="front-desk",
    agent="reception",
    environment="production",
    version="7",
    from_uri="sip:+31612345678@example.net",
    headers=(("X-Case-Id", "4711"),),
    variables={"company": "Acme"},
    tls=True,
)
PCMU = messages.Codec(name="PCMU", payload_type=0)

REQUESTS: list[messages.Request] = [
    messages.Configure(
        request=1, bind=("127.0.0.1",), ports=(10000, 10100), dscp=0, quarantine=0.5, recordings="/var/x"
    ),
    messages.Configure(request=1, bind=("0.0.0.0", "::"), ports=(10000, 10100), no_media=10.0, fast_path="/run/x"),
    messages.Ping(request=2),
    messages.ListCalls(request=3, after="c-1"),
    messages.Drain(request=4),
    messages.Allocate(request=5, call="c-1", leg="target", version=6),
    messages.SetMedia(
        request=6,
        call="c-1",
        remote=("192.0.2.1", 4000),
        remote_rtcp=("192.0.2.1", 4001),
        send=PCMU,
        receive=(PCMU,),
        dtmf_receive=(messages.Codec(name="telephone-event", payload_type=101),),
        direction="recvonly",
        ptime=30,
        ice=messages.Ice("lite", "p" * 24),
    ),
    messages.Release(request=7, call="c-1", cause="caller_hangup", by="caller"),
    messages.StartAgent(
        request=8,
        call="c-1",
        dialect="twilio",
        url=messages.Secret("wss://agents.example/ws?key=s3cret"),
        headers=(("Authorization", messages.Secret("Bearer s3cret")),),
        context=CONTEXT,
        options={"file": "x.wav"},
    ),
    messages.Answered(request=9, call="c-1"),
    messages.Answered(request=9, call="c-1", leg="target"),
    messages.Early(request=9, call="c-1", source="agent"),
    messages.Early(request=9, call="c-1", leg="target", source="ringback"),
    messages.StopAgent(request=11, call="c-1"),
    messages.bridge("c-1"),
    messages.unbridge("c-1", "caller", "second"),
    messages.Rebind(
        request=12,
        call="c-1",
        bindings=(
            messages.Binding(leg="caller", source="file", file="/var/lib/stellar-gw/hold.wav"),
            messages.Binding(leg="target", source="tone", tone="425/1000,0/4000", agent_hears=True),
        ),
    ),
    messages.Record(request=17, call="c-1"),
    messages.Tell(request=10, call="c-1", kind="limit", detail={"seconds": "60"}),
    messages.Pressed(request=13, call="c-1", leg="caller", digit="#", duration_ms=160),
    messages.SendDigits(request=14, call="c-1", digits="12#"),
    messages.Outcome(request=15, call="c-1", ask="a", state="failed", final=True, detail={"code": "unavailable"}),
]
ANSWERS: list[messages.Message] = [
    messages.Hello(version=messages.VERSION, worker=1, generation=7, pid=4711),
    messages.Done(request=1),
    messages.Pong(request=1, at=1234.5, worked=60.25, turns=800, late=3, skipped=12),
    messages.Failed(request=2, code="no_ports", message="all 50 are taken"),
    messages.Listing(request=3, calls=("c-1", "c-2"), more=True),
    messages.Allocated(request=5, rtp_port=10000, rtcp_port=10001, cname="x@y", ssrc=0xFFFFFFFF),
    messages.Released(request=7, legs=(messages.LegStatistics(leg="caller", codec="PCMU", jitter_ms=1.5),)),
    messages.Released(request=7, conversation=messages.ConversationStatistics(heard_ms=20, turns=1, p50_ms=300)),
    messages.AgentReady(generation=7, call="c-1", connect_ms=3.25),
    messages.AgentTurned(generation=1, call="c-1", wait_ms=700.0),
    messages.AgentFailed(generation=7, call="c-1", code="http_401", message="wss://agents.example answered 401"),
    messages.AgentHangup(generation=7, call="c-1"),
    messages.AgentLost(generation=7, call="c-1", code="lost", message="gone"),
    messages.AgentResumed(generation=7, call="c-1", gap_ms=412.5),
    messages.AgentAsked(generation=7, call="c-1", ask="t1", verb="transfer", parameters={"to": "support"}),
    messages.MediaLost(generation=7, call="c-1", leg="caller", seconds=30.0, ever=True),
    messages.MediaBack(generation=7, call="c-1", leg="caller"),
    messages.OneWayAudio(generation=7, call="c-1", leg="caller", local="192.0.2.9:10000", remote="10.0.0.1:4000"),
    messages.Played(generation=7, call="c-1", leg="caller", note="no WAV file"),
    messages.RecordingEnded(
        generation=3, call="c-1", leg="caller", path="/r/a.wav", seconds=1.5, octets=48044, missing=2, note="a note"
    ),
    messages.DigitReceived(generation=7, call="c-1", leg="caller", digit="#", duration_ms=160),
]


class CodecTests(SynchronousTestCase):
    def test_requests(self) -> None:
        """Every request comes back equal from its frame."""
        self.assertEqual([decode_for_worker(encode(request)) for request in REQUESTS], REQUESTS)

    def test_answers(self) -> None:
        """Hello, every reply and every event come back equal from their frames."""
        self.assertEqual([decode_for_gateway(encode(answer)) for answer in ANSWERS], ANSWERS)

    def test_samples_are_complete(self) -> None:
        """The two samples above name every message there is, so that none goes untested."""
        self.assertEqual({type(message) for message in [*REQUESTS, *ANSWERS]}, set(messages.Anything.__args__))

    def test_directions(self) -> None:
        """A message of the other direction is no message; a request's id is still known."""
        for request in REQUESTS:
            with self.assertRaises(FrameError) as caught:
                decode_for_gateway(encode(request))
            self.assertEqual(
                (caught.exception.reason, caught.exception.request), ("Invalid value - at `$.type`", request.request)
            )
        for answer in ANSWERS:
            self.assertRaises(FrameError, decode_for_worker, encode(answer))

    def test_unknown_fields(self) -> None:
        """A field of a later release is passed over."""
        frame = msgspec.msgpack.encode({"type": "Ping", "request": 5, "colour": "blue"})
        self.assertEqual(decode_for_worker(frame), messages.Ping(request=5))

    def test_wrong_type(self) -> None:
        """A field of the wrong type is named, its value is not."""
        frame = msgspec.msgpack.encode({"type": "Answered", "request": 5, "call": ["s3cret"]})
        with self.assertRaises(FrameError) as caught:
            decode_for_worker(frame)
        self.assertEqual(
            (caught.exception.reason, caught.exception.request), ("Expected `str`, got `array` - at `$.call`", 5)
        )

    def test_too_long(self) -> None:
        """What is longer than a frame may be is refused on either side, before it is decoded."""
        long = messages.Tell(request=1, call="c-1", kind="x" * messages.MAX_FRAME)
        self.assertRaises(LocalProtocolError, encode, long)
        self.assertRaises(FrameError, decode_for_worker, msgspec.msgpack.encode(long))

    def test_unencodable(self) -> None:
        """A number beyond 64 bits is our own mistake, told as such."""
        self.assertRaises(LocalProtocolError, encode, messages.Done(request=1 << 70))

    def test_deep_nesting(self) -> None:
        """A frame nested deeper than the interpreter's stack is malformed like any other."""
        self.assertRaises(FrameError, decode_for_worker, b"\x91" * 100_000)

    def test_secrets(self) -> None:
        """Neither repr nor str of a message shows URL or headers."""
        self.assertNotIn("s3cret", repr(REQUESTS) + str(REQUESTS))

    @modest
    @given(st.binary(max_size=200))
    def test_any_octets(self, frame: bytes) -> None:
        """Any octets are a message or a FrameError, in both directions."""
        for decode in (decode_for_worker, decode_for_gateway):
            try:
                decoded: messages.Message = decode(frame)
            except FrameError:
                continue
            self.assertIsInstance(decoded, messages.Message)

    @modest
    @given(st.sampled_from([*REQUESTS, *ANSWERS]), st.integers(0, 2000), st.integers(0, 255), st.booleans())
    def test_damaged(self, message: messages.Message, place: int, octet: int, cut: bool) -> None:
        """A damaged frame is another message or a FrameError."""
        frame = bytearray(encode(message))
        frame[place % len(frame)] = octet
        damaged = bytes(frame[: place % len(frame)] if cut else frame)
        for decode in (decode_for_worker, decode_for_gateway):
            try:
                decoded: messages.Message = decode(damaged)
            except FrameError:
                continue
            self.assertIsInstance(decoded, messages.Message)
