"""The log's lines: their form, what is taken out of them, and what hostile text can do to them (nothing)."""

from __future__ import annotations

import io
import json
import os
import re
import time
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.events import AuthenticationFailed
from stellar_gw.gateway.log import LONGEST_TRACEBACK, LogWriter, Redaction, log_writer, printable, quoted, security_line

AT = datetime(2026, 11, 23, 14, 31, 28, 123456).timestamp()


class Source:
    """A logger of the gateway's whose events go to one writer, all at one time."""

    def __init__(self, writer: LogWriter, namespace: str = "stellar_gw.gateway.report") -> None:
        def at(event: dict[str, object]) -> None:
            event["log_time"] = AT
            writer(event)

        self.log = Logger(namespace=namespace, observer=LogPublisher(at))  # type: ignore[arg-type]


class LineTests(SynchronousTestCase):
    def lines(self, form: str = "text", **options: object) -> tuple[list[str], Logger]:
        """The lines written so far, and who writes them."""
        written: list[str] = []
        writer = LogWriter(written.append, form, **options)  # type: ignore[arg-type]
        return written, Source(writer).log

    def test_text(self) -> None:
        """Time to the millisecond, level, message; levels below the least are left out."""
        written, log = self.lines()
        log.info("call {call_id} answered, {codec}", call_id="c-1", codec="G722")
        log.debug("unseen")
        log.warn("careful")
        self.assertEqual(
            written,
            [
                "2026-11-23 14:31:28.123 info  call c-1 answered, G722\n",
                "2026-11-23 14:31:28.123 warn  careful\n",
            ],
        )

    def test_colours(self) -> None:
        """On a terminal what is out of the ordinary is coloured."""
        written, log = self.lines(colours=True)
        log.info("calm")
        log.error("alarm")
        self.assertEqual(
            written,
            ["2026-11-23 14:31:28.123 info  calm\n", "\x1b[31m2026-11-23 14:31:28.123 error alarm\x1b[0m\n"],
        )

    def test_journal(self) -> None:
        """In the journal a line has its priority, for each line of a traceback too, and no time."""
        written, log = self.lines(journal=True)
        log.info("calm")
        log.failure("lost", Failure(RuntimeError("why")))
        self.assertEqual(written[0], "<6>calm\n")
        self.assertEqual({line[:3] for line in written[1].splitlines()}, {"<2>"})
        self.assertEqual(written[1].splitlines()[0], "<2>lost")
        self.assertEqual(written[1].splitlines()[-1], "<2>    | Failure: builtins.RuntimeError: why")

    def test_json(self) -> None:
        """One object a line: UTC time, level, logger, message, the call, and the event's other fields."""
        written, log = self.lines("json")
        log.warn("call {call_id}: {count} lost", call_id="c-1", count=3, flow=("udp", 1), ended=None)
        (line,) = written
        seen = json.loads(line)
        self.assertEqual(
            seen,
            {
                "time": seen["time"],
                "level": "warn",
                "logger": "stellar_gw.gateway.report",
                "message": "call c-1: 3 lost",
                "call_id": "c-1",
                "count": 3,
                "flow": "('udp', 1)",
                "ended": None,
            },
        )
        self.assertEqual(datetime.fromisoformat(seen["time"]).timestamp(), int(AT * 1000) / 1000)

    def test_json_traceback(self) -> None:
        """A failure's traceback is a field, so that a line stays a line."""
        written, log = self.lines("json")
        log.failure("broken", Failure(ValueError("secret words")))
        (line,) = written
        self.assertEqual(json.loads(line)["traceback"][-1], "Failure: builtins.ValueError: secret words")

    def test_long_tracebacks_are_cut(self) -> None:
        """Of a very long traceback the end is shown, which says what happened."""

        def deeper() -> None:
            deeper()

        written, log = self.lines("json")
        try:
            deeper()
        except RecursionError:
            log.failure("too deep")
        trace = json.loads(written[0])["traceback"]
        self.assertEqual((len(trace), trace[0]), (LONGEST_TRACEBACK + 1, "..."))
        self.assertIn("RecursionError", trace[-1])

    def test_chatter_of_others(self) -> None:
        """Twisted's own lines are written from warn up; at level debug all of them."""
        for level, expected in (("info", 1), ("debug", 2)):
            written: list[str] = []
            log = Source(LogWriter(written.append, "text", level=level), "twisted.internet.protocol").log
            log.info("Starting factory")
            log.warn("Unusual")
            self.assertEqual(len(written), expected)

    def test_events_that_do_not_format(self) -> None:
        """A field whose repr raises, or that is missing, costs the message and nothing else."""

        class Broken:
            def __repr__(self) -> str:
                raise RuntimeError("no")

            __str__ = __repr__

        for form in ("text", "json"):
            written, log = self.lines(form)
            log.info("this {broken}", broken=Broken())
            log.info("that {missing}")
            log.info("fine")
            self.assertEqual(len(written), 3)
            self.assertIn("fine", written[2])

    def test_a_log_that_cannot_be_written(self) -> None:
        """A full disk or a closed pipe does not raise into a call."""

        def full(_: str) -> None:
            raise OSError(28, "No space left on device")

        Source(LogWriter(full, "text")).log.info("lost")

    def test_hostile_text_stays_on_its_line(self) -> None:
        """Line breaks, escape sequences, separators and overrides from a peer are shown, not done."""
        hostile = "x\r\n2026-11-23 14:31:28.123 info  forged\x1b[2J\u2028\u202e\x00\ud800"
        for form in ("text", "json"):
            written, log = self.lines(form)
            log.info("User-Agent {agent}", agent=hostile)
            (line,) = written
            self.assertEqual(line.count("\n"), 1)
            message = json.loads(line)["message"] if form == "json" else line[30:-1]
            self.assertEqual(
                message,
                "User-Agent x\\x0d\\x0a2026-11-23 14:31:28.123 info  forged\\x1b[2J\\u2028\\u202e\\x00\\ud800",
            )

    def test_long_text_is_cut(self) -> None:
        """A message is at most 4,096 characters, and says how many were left out."""
        written, log = self.lines()
        log.info("{text}", text="y" * 10_000)
        self.assertTrue(written[0].endswith("y... (5904 more)\n"))

    @given(st.text(max_size=200))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_printable(self, text: str) -> None:
        """Whatever comes in, what goes out is one line without controls."""
        self.assertTrue(all(character.isprintable() or character > "\x9f" for character in printable(text)))
        self.assertEqual(len(printable(text).splitlines()), 1 if text else 0)


class RedactionTests(SynchronousTestCase):
    def test_secrets(self) -> None:
        """Secrets of the configuration go wherever they stand, the longest first, in fields and tracebacks too."""
        redaction = Redaction({"hunter22", "hunter22-long", "ab"})
        self.assertEqual(redaction("hunter22-long hunter22 ab"), "*** *** ab")
        written: list[str] = []
        writer = LogWriter(written.append, "json", redaction=redaction)
        log = Source(writer).log
        log.failure("url {url}", Failure(RuntimeError("bad hunter22")), url="wss://x/?k=hunter22")
        self.assertNotIn("hunter22", "".join(written))
        writer.redaction.replace({"another1"})
        log.info("hunter22 another1")
        self.assertEqual(json.loads(written[-1])["message"], "hunter22 ***")

    def test_many_secrets(self) -> None:
        """20,000 passwords are all taken out, and cost a line hardly more than ten do."""
        few, many = (Redaction(f"{number:05}-secret" for number in range(count)) for count in (10, 20_000))
        line = "call c-DSKTB61M5FPH from sip:ann@pbx.example (192.0.2.7) to sip:echo@gw.example: admitted " * 2

        def cost(redaction: Redaction) -> float:
            times = []
            for _ in range(20):
                began = time.perf_counter()
                redaction(line)
                times.append(time.perf_counter() - began)
            return min(times)

        self.assertLess(cost(many), 20 * cost(few))
        self.assertEqual(many("00000-secret, 19999-secret, 20000-secret"), "***, ***, 20000-secret")

    def test_credentials_and_keys(self) -> None:
        """Authorization, digest responses, SDES keys and X- headers never show their values."""
        redaction = Redaction()
        response = "6629fae49393a05397450978507c4ef1"
        self.assertEqual(
            [
                redaction(text)
                for text in (
                    'Authorization: Digest username="bob", response="' + response + '"',
                    f'got response="{response}" from bob',
                    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20",
                    "X-Customer-Name: Alice Jones",
                    "proxy-authorization=abc",
                )
            ],
            [
                "Authorization: ***",
                "got response=*** from bob",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***",
                "X-Customer-Name: ***",
                "proxy-authorization: ***",
            ],
        )

    def test_numbers(self) -> None:
        """Telephone numbers keep four digits; addresses, ports, times, call ids and short numbers are whole."""
        redaction = Redaction()
        masked = {
            "from sip:+31612345678@pbx": "from sip:***5678@pbx",
            "tel:0031612345678;x": "tel:***5678;x",
            "to %2B31612345678": "to %2B***5678",
            "number 1234567.": "number ***4567.",
        }
        whole = (
            "203.0.113.7:14022", "ports 10000-20000", "14:31:28.123", "extension 600", "c-12345678", "7K3F2Q12345",
            "0.1234567", "deadbeef1234567a",
        )  # fmt: skip
        self.assertEqual({text: redaction(text) for text in masked}, masked)
        self.assertEqual([redaction(text) for text in whole], list(whole))
        self.assertEqual(Redaction(whole_numbers=True)("sip:+31612345678@pbx"), "sip:+31612345678@pbx")


class SecurityLineTests(SynchronousTestCase):
    def failed(self, username: str, call_id: str = "a@b") -> str:
        return security_line(
            AuthenticationFailed(
                source="203.0.113.9",
                port=5060,
                transport="udp",
                reason="bad_password",
                sip_call_id=call_id,
                username=username,
                failures=3,
                banned=False,
            )
        )

    def test_line(self) -> None:
        """The line is what conf/fail2ban expects."""
        self.assertEqual(
            self.failed("freepbx-hq"),
            "stellar-gw security: event=auth_failed ip=203.0.113.9 port=5060 transport=udp reason=bad_password "
            'callid="a@b" user="freepbx-hq"',
        )

    @given(st.text(max_size=300), st.text(max_size=300))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_hostile_names_stay_in_their_quotes(self, username: str, call_id: str) -> None:
        """Whatever a peer calls itself, there is one address in the line, and quotes end where they should."""
        line = self.failed(username, call_id)
        outside = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
        self.assertEqual(
            outside,
            "stellar-gw security: event=auth_failed ip=203.0.113.9 port=5060 transport=udp reason=bad_password "
            'callid="" user=""',
        )
        self.assertTrue(line.isascii() and line.isprintable())

    def test_quoted(self) -> None:
        """Quotes and backslashes are escaped, the rest is printable ASCII."""
        self.assertEqual(quoted('" ip=1.2.3.4 \\ é\n😀'), '"\\" ip=1.2.3.4 \\\\ \\xe9\\x0a\\U0001f600"')


class Stream(io.StringIO):
    """Standard error, of a terminal or not, with a given encoding."""

    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = terminal, encoding

    def isatty(self) -> bool:
        return self._terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


class ChoiceTests(SynchronousTestCase):
    def written(self, stream: Stream, environ: dict[str, str], **options: object) -> str:
        Source(log_writer(stream, environ, **options)).log.warn("é")  # type: ignore[arg-type]
        return stream.getvalue()

    def test_auto(self) -> None:
        """Text with colours on a terminal, JSON elsewhere; NO_COLOR and plain encodings are respected."""
        self.assertEqual(
            self.written(Stream(True), {"TERM": "xterm"}), "\x1b[33m2026-11-23 14:31:28.123 warn  é\x1b[0m\n"
        )
        self.assertEqual(self.written(Stream(True), {"NO_COLOR": "1"}), "2026-11-23 14:31:28.123 warn  é\n")
        self.assertEqual(json.loads(self.written(Stream(False), {}))["message"], "é")
        self.assertEqual(self.written(Stream(False, "ascii"), {}, form="text"), "2026-11-23 14:31:28.123 warn  \\xe9\n")

    def test_journal_is_recognised(self) -> None:
        """Only a stream that is the journal's gets prefixes; the variable alone may be inherited."""
        path = self.mktemp()
        with open(path, "w+", encoding="utf-8") as stream:
            stat = os.fstat(stream.fileno())
            log = Source(log_writer(stream, {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}, form="text")).log
            log.info("in the journal")
            log = Source(log_writer(stream, {"JOURNAL_STREAM": "1:1"}, form="text")).log
            log.info("elsewhere")
            stream.seek(0)
            self.assertEqual(stream.read(), "<6>in the journal\n2026-11-23 14:31:28.123 info  elsewhere\n")
