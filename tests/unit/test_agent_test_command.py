"""The command line of ``stellar-gw-agent-test``."""

from __future__ import annotations

import contextlib
import io
import os
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.cli.agent_test import main, make_plan, parser
from stellar_gw.errors import StellarError
from stellar_gw.rehearsal.plan import Expectations, Plan


def plan_of(*arguments: str) -> Plan:
    return make_plan(parser().parse_args(arguments))


class OptionTests(SynchronousTestCase):
    def test_a_url_is_enough(self) -> None:
        """Twilio's dialect, a sentence of two seconds, one digit, an interruption and a cut connection."""
        plan = plan_of("ws://h/x")
        (prompt,) = plan.prompts
        self.assertEqual(
            (plan.url, plan.dialect, plan.codec, plan.digits, plan.interrupt, plan.drop, plan.answer, plan.expect),
            ("ws://h/x", "twilio", "G722", "5", True, True, "gateway", Expectations()),
        )
        self.assertTrue(2 < prompt.seconds < 2.5)

    def test_some_urls_say_the_dialect(self) -> None:
        urls = ("audiosocket://h:9092", "builtin:echo", "wss://h/")
        self.assertEqual([plan_of(url).dialect for url in urls], ["audiosocket", "builtin", "twilio"])

    def test_everything_else(self) -> None:
        """What is said arrives, secrets from where they are kept, and they are in no repr."""
        with patch.dict(os.environ, {"TOKEN": "hush-hush"}):
            plan = plan_of(
                "wss://h/{agent}", "--dialect", "native", "--option", "rate=8000",
                "--header", "Authorization: Bearer ${env:TOKEN}", "--sip-header", "X-Case-Id: 4711",
                "--variable", "company=Acme", "--transfer-to", "sales=Orders", "--transfer-to", "desk", "--from", "+31",
                "--play", "tone:440", "--play", "tone:660", "--codec", "pcmu", "--dtmf", "1#", "--max-turn", "900",
                "--expect-clear", "--strict", "--answer", "agent", "--transfer", "done",
            )  # fmt: skip
        context = plan.context
        self.assertEqual(plan.headers, (("Authorization", "Bearer hush-hush"),))
        self.assertNotIn("hush-hush", repr(plan))
        self.assertEqual(
            (plan.options, plan.codec, plan.digits, len(plan.prompts)), ({"rate": "8000"}, "PCMU", "1#", 2)
        )
        self.assertEqual((context.headers, context.variables), ((("X-Case-Id", "4711"),), {"company": "Acme"}))
        self.assertEqual((context.transfers, context.from_number), ({"sales": "Orders", "desk": ""}, "+31"))
        self.assertEqual((plan.expect, plan.answer), (Expectations(turn_ms=900, clear=True, strict=True), "agent"))

    def test_mistakes(self) -> None:
        """What cannot be done is one line that says what it must be."""
        found = []
        for arguments in (
            ("http://h/voice",),
            ("sip:600@h",),
            ("ws://h/", "--dialect", "audiosocket"),
            ("ws://h/", "--dialect", "no such\nthing"),
            ("ws://h/", "--option", "rate=8000"),
            ("ws://h/", "--header", "Authorization"),
            ("ws://h/", "--header", "Authorization: ${env:NOT_THERE_AT_ALL}"),
            ("ws://h/", "--variable", "=x"),
            ("ws://h/", "--dtmf", "12x"),
            ("ws://h/", "--play", "silence"),
            ("ws://h/", "--play", "/none.wav"),
        ):
            with self.assertRaises(StellarError) as caught:
                plan_of(*arguments)
            found.append("\n" not in str(caught.exception) and bool(str(caught.exception)))
        self.assertEqual(found, [True] * 11)

    def test_usage_errors_exit_with_2(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(["http://h/"])
        self.assertEqual(
            (status, said.getvalue()),
            (
                2,
                "stellar-gw-agent-test: a voice webhook is not followed here: "
                "give the URL of its <Stream>, ws:// or wss://\n",
            ),
        )
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as left:
            main(["ws://h/", "--timeout", "-1"])
        self.assertEqual(left.exception.code, 2)
