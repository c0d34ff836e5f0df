"""OpenAI's Realtime API, message by message."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.contract import (
    AGENT_ERROR,
    AgentEvent,
    Ask,
    Audio,
    AudioFormat,
    Clear,
    Dialect,
    Frame,
    Hangup,
    Malformed,
    Reply,
    SendDigits,
)
from stellar_gw.dialects.openai_realtime import MAX_CALLS, OptionError
from stellar_gw.dialects.registry import make_dialect
from stellar_gw.dialects.template import TemplateError
from tests.unit.call_contexts import CONTEXT

FIELDS = st.sampled_from(
    ["response", "id", "status", "status_details", "error", "item", "item_id", "response_id", "delta",
     "call_id", "name", "arguments", "type", "code", "event_id", "session", "audio", "input",
     "turn_detection", "interrupt_response", "rate_limits", "remaining"]
)  # fmt: skip
KINDS = st.sampled_from(
    ["session.updated", "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
     "response.created", "error", "response.output_item.added", "response.output_audio.delta",
     "response.output_audio.done", "response.done", "response.function_call_arguments.done",
     "rate_limits.updated"]
)  # fmt: skip
SCALARS = st.sampled_from([None, True, False, -1, 0, 2.5, "", "AAAA", "completed", "function_call", "\u2028"])
NESTED = st.dictionaries(FIELDS, SCALARS | st.lists(SCALARS, max_size=2), max_size=4)
EVENTS = st.builds(
    lambda kind, fields: {**fields, "type": kind}, KINDS, st.dictionaries(FIELDS, SCALARS | NESTED, max_size=5)
)
CREATE_1 = {"type": "response.create", "event_id": "response-1"}
CREATE_2 = {"type": "response.create", "event_id": "response-2"}
STARTED = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 10, "item_id": "u"}
STOPPED = {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 20, "item_id": "u"}


def told(frames: Any) -> list[Any]:
    return [json.loads(frame) for frame in frames]


def truncate(item: str, heard: int) -> dict[str, Any]:
    return {"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": heard}


def pressed(digit: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": f"The caller pressed {digit}"}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}


def output(call: str, **result: str) -> dict[str, Any]:
    text = json.dumps(result, separators=(",", ":"), sort_keys=True)
    item = {"type": "function_call_output", "call_id": call, "output": text}
    return {"type": "conversation.item.create", "item": item}


def response(kind: str, name: str = "r1", **rest: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": name, "object": "realtime.response", **rest}}


class RealtimeCase(SynchronousTestCase):
    dialect: Dialect

    def make(self, **options: str) -> None:
        self.dialect = make_dialect("openai", CONTEXT, options)

    def setUp(self) -> None:
        self.make()

    def hears(self, *events: dict[str, Any]) -> list[AgentEvent]:
        """What these events of the server's mean; replies as what they say."""
        return [each for event in events for each in self.dialect.received(json.dumps(event))]

    def replies(self, *events: dict[str, Any]) -> list[Any]:
        """What is sent back to them at once."""
        return [each for event in self.hears(*events) if isinstance(event, Reply) for each in told(event.frames)]

    def says(self, item: str, audio: bytes, name: str = "r1") -> list[AgentEvent]:
        delta = base64.b64encode(audio).decode()
        return self.hears(
            {"type": "response.output_audio.delta", "response_id": name, "item_id": item, "delta": delta,
             "output_index": 0, "content_index": 0}
        )  # fmt: skip

    def cleared(self, played: int, discarded: int) -> list[Any]:
        return told(self.dialect.cleared(played, discarded))

    def calls(self, *calls: tuple[str, str, str], status: str = "completed") -> list[AgentEvent]:
        """A whole response of function calls: call id, name, arguments."""
        events = [response("created")]
        for call, name, arguments in calls:
            item = {"type": "function_call", "call_id": call, "name": name, "arguments": "", "id": "i-" + call}
            events.append({"type": "response.output_item.added", "item": item, "response_id": "r1"})
            events.append({"type": "response.function_call_arguments.done", "call_id": call, "arguments": arguments})
        return self.hears(*events, response("done", status=status))


class ToTheModelTests(RealtimeCase):
    def test_the_session(self) -> None:
        """Everything is said once, when the link opens."""
        self.make(voice="marin", instructions="Help {from_display}\nof {company}.", turn_detection="semantic_vad")
        (update,) = told(self.dialect.opened())
        tools = update["session"].pop("tools")
        pcm = {"type": "audio/pcm", "rate": 24000}
        detection = {"type": "semantic_vad", "create_response": True, "interrupt_response": True}
        self.assertEqual(
            update,
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "output_modalities": ["audio"],
                    "audio": {
                        "input": {"format": pcm, "turn_detection": detection},
                        "output": {"format": pcm, "voice": "marin"},
                    },
                    "tool_choice": "auto",
                    "instructions": 'Help Jan "J" Müller\nof Acme & Co.',
                },
            },
        )
        self.assertEqual(
            [(tool["type"], tool["name"], tool["parameters"]["required"]) for tool in tools],
            [
                ("function", "transfer_call", ["to"]),
                ("function", "end_call", []),
                ("function", "send_dtmf", ["digits"]),
            ],
        )
        self.assertEqual(self.dialect.audio_format, AudioFormat("pcm", 24000))

    def test_a_callers_codec_goes_through_where_the_model_knows_it(self) -> None:
        """``caller``, the default: G.711 as it is, 24 kHz for anything else; a format that is named is everybody's."""
        pcm = ({"type": "audio/pcm", "rate": 24000}, AudioFormat("pcm", 24000))
        mulaw = ({"type": "audio/pcmu"}, AudioFormat("mulaw", 8000))
        alaw = ({"type": "audio/pcma"}, AudioFormat("alaw", 8000))
        found = {}
        for wanted in ("", "caller", "pcm", "pcmu", "pcma"):
            for codec in ("PCMU", "PCMA", "G722", ""):
                context = msgspec.structs.replace(CONTEXT, codec=codec)
                dialect = make_dialect("openai", context, {"format": wanted} if wanted else {})
                (update,) = told(dialect.opened())
                audio = update["session"]["audio"]
                self.assertEqual(audio["output"], {"format": audio["input"]["format"]})
                self.assertNotIn("instructions", update["session"])
                found[wanted, codec] = audio["input"]["format"], dialect.audio_format
        callers = {"PCMU": mulaw, "PCMA": alaw, "G722": pcm, "": pcm}
        self.assertEqual(
            found,
            {(wanted, codec): found for wanted in ("", "caller") for codec, found in callers.items()}
            | {
                (wanted, codec): found
                for wanted, found in (("pcm", pcm), ("pcmu", mulaw), ("pcma", alaw))
                for codec in callers
            },
        )

    def test_a_greeting_begins_the_conversation(self) -> None:
        self.make(greeting="Greet the caller in {language}.")
        _, item, create = told(self.dialect.opened())
        content = [{"type": "input_text", "text": "Greet the caller in nl."}]
        self.assertEqual(item["item"], {"type": "message", "role": "system", "content": content})
        self.assertEqual(create, CREATE_1)

    def test_the_callers_audio(self) -> None:
        (frame,) = told(self.dialect.audio(b"\1\2" * 480, 20))
        audio = base64.b64encode(b"\1\2" * 480).decode()
        self.assertEqual(frame, {"type": "input_audio_buffer.append", "audio": audio})

    def test_transfers_are_a_choice_where_they_are_known(self) -> None:
        context = msgspec.structs.replace(CONTEXT, transfers={"sales": "orders and prices", "desk": ""})
        self.dialect = make_dialect("openai", context, {})
        tool = told(self.dialect.opened())[0]["session"]["tools"][0]
        about = "sales: orders and prices; desk"
        self.assertEqual(
            tool["parameters"]["properties"],
            {"to": {"type": "string", "enum": ["sales", "desk"], "description": about}},
        )
        malformed, reply, again = self.calls(("c1", "transfer_call", '{"to":"+19005550100"}'))
        assert isinstance(malformed, Malformed) and isinstance(reply, Reply) and isinstance(again, Reply)
        self.assertEqual((malformed.code, malformed.ask), ("unknown_target", "c1"))
        message = "to must be one of: sales, desk"
        self.assertEqual(told(reply.frames), [output("c1", code="unknown_target", message=message, state="failed")])
        self.assertEqual(told(again.frames), [CREATE_1])

    def test_options_that_make_no_sense(self) -> None:
        for name, wrong in (("format", "opus"), ("turn_detection", "none"), ("dtmf", "perhaps")):
            self.assertRaises(OptionError, make_dialect, "openai", CONTEXT, {name: wrong})
        self.assertRaises(TemplateError, make_dialect, "openai", CONTEXT, {"instructions": "{nobody}"})

    def test_nothing_is_said_where_the_api_has_no_word(self) -> None:
        dialect = self.dialect
        self.assertEqual(
            [
                dialect.mark_reached("m", cleared=True, played_ms=1),
                dialect.told("limit", {}),
                dialect.complaint(Malformed("x")),
                dialect.stopped("caller_hangup", "caller"),
                dialect.outcome("", "done", final=True, detail={}),
                dialect.outcome("c9", "done", final=True, detail={}),
            ],
            [()] * 6,
        )


class TurnTests(RealtimeCase):
    def test_digits_are_told_and_answered(self) -> None:
        self.assertEqual(told(self.dialect.digit("5", 100)), [pressed("5"), CREATE_1])

    def test_a_digit_during_a_response_waits_for_its_end(self) -> None:
        self.hears(response("created"))
        self.assertEqual(
            told(self.dialect.digit("5", 100)) + told(self.dialect.digit("6", 100)), [pressed("5"), pressed("6")]
        )
        self.assertEqual(self.replies(response("done", status="completed")), [CREATE_1])

    def test_digits_may_be_told_only_or_not_at_all(self) -> None:
        for dtmf, frames in (("note", [pressed("#")]), ("ignore", [])):
            self.make(dtmf=dtmf)
            self.assertEqual(told(self.dialect.digit("#", 100)), frames)

    def test_while_the_caller_speaks_nothing_is_asked_for(self) -> None:
        """The end of the turn brings a response by itself, which is told of the digit as well."""
        self.hears(STARTED)
        self.assertEqual(told(self.dialect.digit("5", 100)), [pressed("5")])
        self.assertEqual(self.replies(STOPPED, response("created"), response("done", status="completed")), [])

    def test_a_server_that_does_not_respond_by_itself_is_asked(self) -> None:
        detection = {"type": "server_vad", "create_response": False, "interrupt_response": True}
        self.hears({"type": "session.updated", "session": {"audio": {"input": {"turn_detection": detection}}}}, STARTED)
        self.dialect.digit("5", 100)
        self.assertEqual(self.replies(STOPPED), [CREATE_1])

    def test_a_request_that_came_too_late_is_made_again(self) -> None:
        """The server's own response was quicker: ours is refused, and made again when that one is done."""
        self.dialect.digit("5", 100)
        busy = {"code": "conversation_already_has_active_response", "event_id": "response-1", "message": "wait"}
        (event,) = self.hears({"type": "error", "error": busy})
        self.assertEqual(event, Malformed("conversation_already_has_active_response: wait", AGENT_ERROR))
        self.assertEqual(self.replies(response("done", "r0", status="completed")), [CREATE_2])

    def test_a_request_that_failed_does_not_block_the_next(self) -> None:
        self.dialect.digit("5", 100)
        self.hears({"type": "error", "error": {"code": "server_error", "event_id": "response-1"}})
        self.assertEqual(told(self.dialect.digit("6", 100)), [pressed("6"), CREATE_2])

    def test_a_response_that_begins_while_the_caller_speaks_is_stopped(self) -> None:
        self.dialect.digit("5", 100)
        self.hears(STARTED)
        self.assertEqual(self.replies(response("created")), [{"type": "response.cancel", "response_id": "r1"}])
        self.assertEqual(self.says("a", b"\1\0"), [])


class InterruptionTests(RealtimeCase):
    MS = 48
    """Octets."""

    def test_an_item_is_cut_where_it_was_heard(self) -> None:
        self.hears(response("created"))
        self.assertEqual(self.says("a", bytes(1000 * self.MS)), [Audio(bytes(1000 * self.MS))])
        self.assertEqual(self.hears(STARTED), [Clear()])
        self.assertEqual(self.cleared(340, 660), [truncate("a", 340)])

    def test_two_items_are_queued(self) -> None:
        """The first was heard to its end and stays whole; the second is cut; a third was not heard at all."""
        self.says("a", bytes(500 * self.MS))
        self.says("b", bytes(700 * self.MS), "r2")
        self.says("b", bytes(300 * self.MS), "r2")
        self.says("c", bytes(100 * self.MS), "r3")
        self.hears({"type": "response.output_audio.done", "item_id": "c"}, STARTED)
        self.assertEqual(self.cleared(760, 840), [truncate("b", 260), truncate("c", 0)])

    def test_the_first_of_two_is_cut(self) -> None:
        self.says("a", bytes(500 * self.MS))
        self.says("b", bytes(500 * self.MS))
        self.hears(response("done", status="completed"), STARTED)
        self.assertEqual(self.cleared(20, 980), [truncate("a", 20), truncate("b", 0)])

    def test_positions_go_on_after_a_clear(self) -> None:
        """What was played before, and what was thrown away, is not counted again."""
        self.says("a", bytes(1000 * self.MS))
        self.hears(STARTED)
        self.cleared(340, 660)
        self.hears(STOPPED, response("created", "r2"))
        self.says("b", bytes(400 * self.MS), "r2")
        self.hears(STARTED)
        self.assertEqual(self.cleared(440, 300), [truncate("b", 100)])

    def test_what_was_heard_to_its_end_is_left_alone(self) -> None:
        self.says("a", bytes(500 * self.MS))
        self.hears(response("done", status="completed"), STARTED)
        self.assertEqual(self.cleared(500, 0), [])
        self.hears(STARTED)
        self.assertEqual(self.cleared(500, 0), [])

    def test_an_item_that_is_still_being_made_is_cut_at_its_present_end(self) -> None:
        self.hears(response("created"))
        self.says("a", bytes(200 * self.MS))
        self.hears(STARTED)
        self.assertEqual(self.cleared(200, 0), [truncate("a", 200)])

    def test_nothing_is_cut_beyond_its_length(self) -> None:
        """A queue's fractions of a millisecond make no item longer than it is: the server would refuse that."""
        self.says("a", bytes(100 * self.MS + 40))
        self.hears(STARTED)
        self.assertEqual(self.cleared(105, 0), [truncate("a", 100)])

    def test_tones_between_two_items_are_not_counted_as_theirs(self) -> None:
        """A caller without telephone events hears digits as tones, which are in the same queue: here 480 ms."""
        self.says("a", bytes(100 * self.MS))
        (ask,) = self.calls(("c1", "send_dtmf", '{"digits":"12"}'))
        self.assertEqual(ask, SendDigits("12", "c1"))
        self.says("b", bytes(300 * self.MS), "r2")
        self.hears(STARTED)
        self.assertEqual(self.cleared(630, 250), [truncate("b", 50)])

    def test_audio_under_way_is_dropped(self) -> None:
        """After the interruption no more is played of the response and the items that it cut."""
        self.hears(response("created"))
        self.says("a", bytes(960))
        self.hears(STARTED)
        self.assertEqual(
            (self.says("a", b"\1\0"), self.says("b", b"\1\0"), self.says("a", b"\1\0", "r7")), ([], [], [])
        )
        self.hears(response("done", status="cancelled"), STOPPED, response("created", "r2"))
        self.assertEqual(self.says("c", b"\1\0", "r2"), [Audio(b"\1\0")])

    def test_a_server_that_does_not_interrupt_is_told_to(self) -> None:
        detection = {"type": "server_vad", "interrupt_response": False}
        self.hears({"type": "session.updated", "session": {"audio": {"input": {"turn_detection": detection}}}})
        self.hears(response("created"))
        self.says("a", bytes(100 * self.MS))
        self.hears(STARTED)
        cancel = {"type": "response.cancel", "response_id": "r1"}
        self.assertEqual(self.cleared(40, 60), [cancel, truncate("a", 40)])

    def ours(self, state: str, *, cleared: bool) -> list[Any]:
        """The gateway's own speech detection tells this."""
        return told(self.dialect.told("speech", {"state": state, "at_ms": 20, "played_ms": 40, "cleared": cleared}))

    def test_the_gateways_ear_interrupts_as_the_models_does(self) -> None:
        """What is under way is dropped; where the model's ear follows, the turn is its own."""
        self.hears(response("created"))
        self.says("a", bytes(100 * self.MS))
        self.assertEqual(self.ours("started", cleared=True), [])
        self.assertEqual(self.cleared(40, 60), [truncate("a", 40)])
        self.assertEqual(self.says("b", b"\1\0"), [])
        self.assertEqual(self.hears(STARTED), [Clear()])
        self.hears(response("done", status="cancelled"))
        self.assertEqual(self.ours("ended", cleared=False), [])
        self.assertEqual(self.replies(STOPPED), [])

    def test_an_interruption_that_the_model_does_not_hear_is_answered_all_the_same(self) -> None:
        """A response is asked for when the caller has ended, after the one that was interrupted."""
        self.hears(response("created"))
        self.says("a", bytes(100 * self.MS))
        self.ours("started", cleared=True)
        self.cleared(40, 60)
        self.assertEqual(self.ours("ended", cleared=False), [])
        self.assertEqual(self.replies(response("done", status="completed")), [CREATE_1])

    def test_the_gateways_ear_alone_says_nothing(self) -> None:
        """Speech that interrupts nothing is the model's affair."""
        self.hears(response("created"))
        self.assertEqual(self.ours("started", cleared=False) + self.ours("ended", cleared=False), [])
        self.assertEqual(self.says("a", b"\1\0"), [Audio(b"\1\0")])
        self.assertEqual(told(self.dialect.told("limit", {"seconds_left": "60"})), [])

    def test_a_long_call_costs_no_more_memory(self) -> None:
        """Of items long played only their length is kept; the last ones are still cut exactly."""
        for number in range(2000):
            self.says(f"i{number}", bytes(self.MS))
        self.hears(STARTED)
        frames = self.cleared(1990, 10)
        self.assertEqual(frames, [truncate(f"i{number}", 0) for number in range(1990, 2000)])


class ToolTests(RealtimeCase):
    def test_verbs(self) -> None:
        """All at the end of the response, in order."""
        self.assertEqual(
            self.calls(
                ("c1", "transfer_call", '{"to":"sip:desk@pbx.example"}'),
                ("c2", "send_dtmf", '{"digits":"12#"}'),
                ("c3", "end_call", "{}"),
            ),
            [
                Ask("transfer", "c1", (("to", "sip:desk@pbx.example"), ("method", "auto"))),
                SendDigits("12#", "c2"),
                Hangup(after_playout=True, ask="c3"),
            ],
        )

    def test_an_outcome_is_the_functions_output(self) -> None:
        self.calls(("c1", "transfer_call", '{"to":"desk"}'))
        self.assertEqual(self.dialect.outcome("c1", "ringing", final=False, detail={}), ())
        detail = {"code": "unavailable", "message": "no"}
        self.assertEqual(
            told(self.dialect.outcome("c1", "failed", final=True, detail=detail)),
            [output("c1", state="failed", **detail), CREATE_1],
        )
        self.assertEqual(self.dialect.outcome("c1", "failed", final=True, detail=detail), ())

    def test_digits_are_answered_and_the_model_goes_on(self) -> None:
        self.calls(("c1", "send_dtmf", '{"digits":"1"}'), ("c2", "send_dtmf", '{"digits":"2"}'))
        first = told(self.dialect.outcome("c1", "done", final=True, detail={}))
        second = told(self.dialect.outcome("c2", "done", final=True, detail={}))
        self.assertEqual((first, second), ([output("c1", state="done")], [output("c2", state="done"), CREATE_1]))

    def test_nothing_more_is_wanted_of_a_model_whose_caller_is_gone(self) -> None:
        self.calls(("c1", "end_call", ""), ("c2", "transfer_call", '{"to":"desk"}'))
        for call in ("c1", "c2"):
            self.assertEqual(
                told(self.dialect.outcome(call, "done", final=True, detail={})), [output(call, state="done")]
            )

    def test_calls_that_cannot_be_carried_out_are_answered(self) -> None:
        """Each with why; then the model may try again, once."""
        events = self.calls(
            ("c1", "order_pizza", "{}"), ("c2", "send_dtmf", '{"digits":5}'), ("c3", "transfer_call", "{")
        )
        codes = [(event.code, event.ask) for event in events if isinstance(event, Malformed)]
        self.assertEqual(codes, [("unknown_tool", "c1"), ("bad_arguments", "c2"), ("bad_arguments", "c3")])
        replies = [frame for event in events if isinstance(event, Reply) for frame in told(event.frames)]
        self.assertEqual([each.get("item", {}).get("call_id") for each in replies], ["c1", "c2", "c3", None])
        self.assertEqual(replies[-1], CREATE_1)

    def test_an_interrupted_call_is_not_carried_out(self) -> None:
        """Its arguments are said to be done, too, though they may be cut short."""
        for status in ("cancelled", "failed", "incomplete"):
            events = self.calls(("c1", "end_call", "{}"), status=status)
            self.assertEqual([event for event in events if not isinstance(event, Malformed)], [])

    def test_the_name_may_come_with_the_arguments(self) -> None:
        done = {"type": "response.function_call_arguments.done", "call_id": "c", "name": "end_call", "arguments": "{}"}
        self.assertEqual(self.hears(done, response("done")), [Hangup(after_playout=True, ask="c")])

    def test_calls_are_bounded(self) -> None:
        events = self.calls(*((f"c{number}", "transfer_call", '{"to":"x"}') for number in range(MAX_CALLS + 1)))
        self.assertEqual([type(event) for event in events], [Malformed] + [Ask] * MAX_CALLS)
        more = self.calls(("d", "transfer_call", '{"to":"x"}'))
        self.assertEqual([event.code for event in more if isinstance(event, Malformed)], ["busy"])

    def test_calls_that_go_on_and_on_are_not_kept(self) -> None:
        """Of a call that is over nothing stays, nor more of its arguments than any tool takes."""
        for number in range(3 * MAX_CALLS):
            done = {"type": "response.function_call_arguments.done", "call_id": f"c{number}", "name": "x" * 200}
            self.hears({**done, "arguments": "1" * 100_000})
            kept = [len(value) for value in vars(self.dialect)["_calls"].values()]
            self.assertLess(max(kept), 10_000)
            self.hears(response("done", status="cancelled"))
            self.assertEqual([vars(self.dialect)[name] for name in ("_calls", "_names", "_open")], [{}, {}, {}])


class FromTheModelTests(RealtimeCase):
    def test_errors_and_limits_are_shown(self) -> None:
        limits = [
            {"name": "tokens", "limit": 50000, "remaining": 0, "reset_seconds": 2.5},
            {"name": "requests", "limit": 100, "remaining": 99, "reset_seconds": 1},
        ]
        quota = {
            "type": "failed",
            "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "pay\n"},
        }
        self.assertEqual(
            self.hears(
                {
                    "type": "error",
                    "error": {"type": "invalid_request_error", "code": "invalid_value", "message": "Bad voice"},
                },
                {"type": "error", "error": {"type": "server_error", "code": None, "message": None}},
                {"type": "rate_limits.updated", "rate_limits": limits},
                response("done", status="failed", status_details=quota),
                response("done", status="incomplete", status_details={"reason": "content_filter"}),
            ),
            [
                Malformed("invalid_value: Bad voice", AGENT_ERROR),
                Malformed("server_error: no message", AGENT_ERROR),
                Malformed("rate limit: no tokens left of 50000, more in 2.5 s", AGENT_ERROR),
                Malformed("the response is failed: insufficient_quota: pay\\x0a", AGENT_ERROR),
                Malformed("the response is incomplete: content_filter", AGENT_ERROR),
            ],
        )

    def test_what_does_not_matter_harms_nothing(self) -> None:
        for kind in ("session.created", "response.output_audio_transcript.delta", "rate_limits.other", ""):
            self.assertEqual(self.hears({"type": kind, "x": [1]}), [])

    def test_what_is_no_event_is_malformed(self) -> None:
        frames: list[Frame] = ["", "null", "{", "[]", '{"type":5}', b"\0", '{"type":"error"}', "[" * 5000]
        frames += ['{"type":"response.output_audio.delta","item_id":"a","delta":"***"}', '{"type":"response.done"}']
        for frame in frames:
            self.assertEqual([type(event) for event in self.dialect.received(frame)], [Malformed], frame)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.sampled_from(["pcm", "pcmu", "pcma"]), st.lists(st.tuples(EVENTS, st.integers(0, 50)), max_size=6))
    def test_anything_is_taken_calmly(self, audio: str, events: list[tuple[dict[str, Any], int]]) -> None:
        """Events of any order and content mean something that can be sent, or nothing."""
        dialect = make_dialect("openai", CONTEXT, {"format": audio})
        for event, played in events:
            for meaning in dialect.received(json.dumps(event)):
                if isinstance(meaning, Reply):
                    told(meaning.frames)
            for frame in told(dialect.cleared(played, 50 - played)):
                self.assertGreaterEqual(frame.get("audio_end_ms", 0), 0)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text(max_size=100) | st.binary(max_size=100))
    def test_any_frame_is_taken_calmly(self, frame: Frame) -> None:
        self.assertLessEqual(len(make_dialect("openai", CONTEXT, {}).received(frame)), 1)
