from __future__ import annotations

import base64
import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.contract import Audio, AudioFormat, Clear, Malformed, Mark
from stellar_gw.dialects.registry import OURS, UnknownDialectError, make_dialect
from stellar_gw.dialects.twilio import TwilioDialect, account_sid, call_sid, stream_sid
from tests.unit.call_contexts import CONTEXT, PARAMETERS

STREAM = "MZ9a6a1b4e"
"""Not this stream's."""


class ToTheAgentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dialect = TwilioDialect(CONTEXT)
        self.ids = {"accountSid": account_sid("acme"), "callSid": call_sid("c-7K3F2Q")}
        self.stream = stream_sid("c-7K3F2Q")

    def test_a_call_from_beginning_to_end(self) -> None:
        """The messages of a call are Twilio's, numbers as strings, sequence numbers without a gap."""
        frames = [
            *self.dialect.opened(),
            *self.dialect.audio(b"\xff\x7f\x00", 0),
            *self.dialect.audio(b"", 20),
            *self.dialect.digit("5", 120),
            *self.dialect.mark_reached('a "b" ü', cleared=False, played_ms=40),
            *self.dialect.cleared(40, 20),
            *self.dialect.mark_reached("c", cleared=True, played_ms=40),
            *self.dialect.told("limit", {"seconds": "60"}),
            *self.dialect.stopped("caller_hangup", "caller"),
        ]
        stream = {"streamSid": self.stream}
        start = {
            **stream,
            **self.ids,
            "tracks": ["inbound"],
            "customParameters": PARAMETERS,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        first = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": "/38A"}
        second = {"track": "inbound", "chunk": "2", "timestamp": "20", "payload": ""}
        self.assertEqual(
            [json.loads(frame) for frame in frames],
            [
                {"event": "connected", "protocol": "Call", "version": "1.0.0"},
                {"event": "start", "sequenceNumber": "1", **stream, "start": start},
                {"event": "media", "sequenceNumber": "2", **stream, "media": first},
                {"event": "media", "sequenceNumber": "3", **stream, "media": second},
                {"event": "dtmf", "sequenceNumber": "4", **stream, "dtmf": {"track": "inbound_track", "digit": "5"}},
                {"event": "mark", "sequenceNumber": "5", **stream, "mark": {"name": 'a "b" ü'}},
                {"event": "mark", "sequenceNumber": "6", **stream, "mark": {"name": "c"}},
                {"event": "stop", "sequenceNumber": "7", **stream, "stop": self.ids},
            ],
        )
        self.assertEqual({type(frame) for frame in frames}, {str})

    def test_parameters_keep_their_order(self) -> None:
        """Facts, then the operator's variables, then the caller's headers: a caller overwrites neither, in any case."""
        start = json.loads(self.dialect.opened()[1])
        self.assertEqual(list(start["start"]["customParameters"].items()), list(PARAMETERS.items()))

    def test_sids(self) -> None:
        """Sids have Twilio's shape, are the same for the same call, and another call's differ."""
        for make, prefix in ((account_sid, "AC"), (call_sid, "CA"), (stream_sid, "MZ")):
            self.assertRegex(make("c-1"), f"^{prefix}[0-9a-f]{{32}}$")
            self.assertEqual(make("c-1"), make("c-1"))
            self.assertNotEqual(make("c-1"), make("c-2"))
        self.assertEqual(len({account_sid("x")[2:], call_sid("x")[2:], stream_sid("x")[2:]}), 3)

    def test_format(self) -> None:
        """Media Streams carry mu-law at 8 kHz."""
        self.assertEqual(self.dialect.audio_format, AudioFormat("mulaw", 8000))

    @given(st.binary(max_size=400), st.integers(0, 1 << 40))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_any_audio(self, payload: bytes, timestamp: int) -> None:
        """Whatever the audio, the message is JSON that gives it back."""
        (frame,) = TwilioDialect(CONTEXT).audio(payload, timestamp)
        media = json.loads(frame)["media"]
        self.assertEqual(
            (base64.b64decode(media["payload"], validate=True), media["timestamp"]), (payload, str(timestamp))
        )


class FromTheAgentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dialect = TwilioDialect(CONTEXT)
        self.stream = stream_sid("c-7K3F2Q")

    def message(self, **fields: object) -> str:
        return json.dumps({"streamSid": self.stream, **fields})

    def test_what_is_meant(self) -> None:
        """Media of any length, marks and clear, with whatever else an agent adds."""
        payload = bytes(range(256)) * 300
        messages = {
            self.message(event="media", media={"payload": base64.b64encode(payload).decode()}): (Audio(payload),),
            self.message(event="media", media={"payload": "AA==", "track": "outbound"}, x=[{}]): (Audio(b"\0"),),
            self.message(event="media", media={"payload": ""}): (),
            self.message(event="mark", mark={"name": "ü"}): (Mark("ü"),),
            self.message(event="mark", mark={"name": ""}): (Mark(""),),
            self.message(event="clear"): (Clear(),),
            " \n" + self.message(event="clear") + " ": (Clear(),),
        }
        self.assertEqual({text: self.dialect.received(text) for text in messages}, messages)

    def test_what_is_malformed(self) -> None:
        """Every other message is one Malformed whose reason is a short printable line."""
        frames: list[str | bytes] = [
            b"\0\0",
            b"",
            "",
            "null",
            "[]",
            "{",
            '"media"',
            "{}",
            "[" * 100_000,
            '{"event":"clear","x":' + "[" * 100_000,
            self.message(event="unknown\n\x1b[31m"),
            self.message(event="x" * 10_000),
            self.message(event=1),
            self.message(event="media"),
            self.message(event="media", media=None),
            self.message(event="media", media={}),
            self.message(event="media", media={"payload": 1}),
            self.message(event="media", media={"payload": "not base64!"}),
            self.message(event="media", media={"payload": "AAA"}),
            self.message(event="mark"),
            self.message(event="mark", mark={"name": 3}),
            self.message(event="mark", mark={"name": "x" * 4097}),
            json.dumps({"event": "clear"}),
            json.dumps({"event": "clear", "streamSid": STREAM}),
            json.dumps({"event": "clear", "streamSid": None}),
            '{"event":"clear","streamSid":"\ud800"}',
        ]
        for frame in frames:
            events = self.dialect.received(frame)
            self.assertEqual([type(event) for event in events], [Malformed], frame[:80])
            (event,) = events
            assert isinstance(event, Malformed)
            self.assertTrue(event.reason.isprintable() and 0 < len(event.reason) <= 400, event.reason)

    @given(
        st.one_of(
            st.text(),
            st.binary(),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: (
                    st.lists(inner)
                    | st.dictionaries(
                        st.sampled_from(["event", "streamSid", "media", "mark", "payload", "name"]), inner
                    )
                ),
            ).map(lambda value: json.dumps(value)),
        )
    )
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_anything(self, frame: str | bytes) -> None:
        """Nothing an agent can send raises."""
        for event in self.dialect.received(frame):
            self.assertIsInstance(event, (Audio, Mark, Clear, Malformed))


class RegistryTests(SynchronousTestCase):
    def test_all_are_made(self) -> None:
        """Each name of the registry is a dialect that opens, stops, and takes rubbish calmly."""
        for name in OURS:
            dialect = make_dialect(name, CONTEXT, {})
            self.assertTrue(dialect.opened())
            self.assertEqual(bool(dialect.stopped("caller_hangup", "caller")), name not in ("vonage", "openai"))
            self.assertIsInstance(dialect.received("?")[0], Malformed)

    def test_unknown(self) -> None:
        """An unknown name is an error that lists the known ones."""
        error = self.assertRaises(UnknownDialectError, make_dialect, "twillio", CONTEXT, {})
        known = "twilio, native, vonage, openai, audiosocket, builtin"
        self.assertEqual(str(error), f"no dialect 'twillio'; there are {known}")

    def test_json_is_exact(self) -> None:
        """The media template and the JSON encoder agree to the octet."""
        (frame,) = TwilioDialect(CONTEXT).audio(b"\xff" * 160, 40)
        assert isinstance(frame, str)
        self.assertEqual(msgspec.json.encode(msgspec.json.decode(frame)).decode(), frame)
