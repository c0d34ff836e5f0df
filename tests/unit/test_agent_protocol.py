"""docs/agent-protocol.schema.json says what the native dialect really says, and what it really takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.contract import Malformed
from stellar_gw.dialects.native import ACTIONS, NativeDialect
from tests.unit.call_contexts import CONTEXT

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "agent-protocol.schema.json").read_text(encoding="utf-8"))
PAGE = (DOCS / "agent-protocol.rst").read_text(encoding="utf-8")


def validator(direction: str) -> Draft202012Validator:
    return Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{direction}"})


def everything(dialect: NativeDialect) -> list[Any]:
    """One of each message that the dialect has."""
    for action in ({"action": "transfer", "id": "t1", "to": "support"}, {"action": "hold", "id": "o1"}):
        dialect.received(json.dumps(action))
    frames = [
        *dialect.opened(),
        *NativeDialect(replace(CONTEXT, resumed=True), 16000).opened(),
        *dialect.digit("#", 160),
        *dialect.mark_reached('{"mark":"m"}', cleared=True, played_ms=20),
        *dialect.cleared(20, 40),
        *dialect.told("speech", {"state": "started", "at_ms": 20, "played_ms": 0, "cleared": True}),
        *dialect.told("quality", {"state": "poor", "mos": 2.1, "loss": 0.06, "remote_loss": 0.0, "jitter_ms": 12.5}),
        *dialect.told("limit", {"seconds_left": "60"}),
        *dialect.told("srtp", {"encrypted": "false", "suite": ""}),
        *dialect.told("hold", {"state": "held"}),
        *dialect.told("moved", {"by": "refer", "uri": "sip:200@pbx.example"}),
        *dialect.outcome("t1", "ringing", final=False, detail={"method": "invite"}),
        *dialect.outcome("t1", "failed", final=True, detail={"code": "unavailable", "message": "no"}),
        *dialect.outcome("o1", "failed", final=True, detail={"code": "unavailable", "message": "no"}),
        *dialect.outcome("", "done", final=True, detail={}),
        *dialect.complaint(Malformed("no action", "unknown_action", "x")),
        *dialect.stopped("caller_hangup", "caller", duration_ms=1, agent_audio_ms=1),
    ]
    return [json.loads(frame) for frame in frames]


class SchemaTests(SynchronousTestCase):
    def test_the_schema_is_one(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    def test_every_message_of_ours_is_in_it_and_nothing_else_is(self) -> None:
        """Each message validates; each event of the schema is sent by some message."""
        messages = everything(NativeDialect(CONTEXT, 16000))
        for message in messages:
            self.assertEqual([error.message for error in validator("from_gateway").iter_errors(message)], [], message)
        named = {each["properties"]["event"]["const"] for each in SCHEMA["$defs"]["from_gateway"]["oneOf"]}
        self.assertEqual(named, {message["event"] for message in messages})

    def test_what_it_lets_an_agent_say_is_understood(self) -> None:
        """Each action of the schema, with nothing but what it requires, and with everything it allows."""
        dialect = NativeDialect(CONTEXT, 16000)
        named = set()
        for form in SCHEMA["$defs"]["from_agent"]["oneOf"]:
            action = form["properties"]["action"]["const"]
            named.add(action)
            full = {name: example(rule) for name, rule in form["properties"].items()}
            for message in (full, {name: full[name] for name in form["required"]}):
                self.assertTrue(validator("from_agent").is_valid(message), message)
                (event,) = dialect.received(json.dumps(message))
                self.assertFalse(isinstance(event, Malformed), message)
        self.assertEqual(named, set(ACTIONS))

    def test_the_page_names_them_all_and_its_examples_are_valid(self) -> None:
        for form in SCHEMA["$defs"]["from_gateway"]["oneOf"]:
            self.assertIn(form["properties"]["event"]["const"], PAGE)
        for action in ACTIONS:
            self.assertIn(f'"action":"{action}"' if action not in ("hold", "resume") else f"``{action}``", PAGE)
        examples = [text for text in re.findall(r"``(\{.*?\})``", PAGE) if "..." not in text]
        self.assertGreater(len(examples), 4)
        for text in examples:
            self.assertTrue(validator("from_agent").is_valid(json.loads(text)), text)


def example(rule: Any) -> Any:
    """A value that a rule of the schema allows."""
    if rule is True:
        return {"mark": "m"}
    if "const" in rule:
        return rule["const"]
    if "enum" in rule:
        return rule["enum"][0]
    if rule["type"] == "object":
        return {"X-Summary": "Refund"}
    if rule["type"] in ("integer", "number"):
        return rule.get("minimum", 30)
    return "12" if "pattern" in rule else "support"
