"""The command line of ``stellar-gw-call``."""

from __future__ import annotations

import contextlib
import io
import wave
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.cli.call import main, make_run, parser
from stellar_gw.phone.plan import SRTP_WISHES, PlanError
from stellar_gw.phone.runner import Run


def run_of(*arguments: str) -> Run:
    return make_run(parser().parse_args(arguments))


class OptionTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """A number alone makes a call over UDP with every codec and a tone."""
        plan = run_of("600@127.0.0.1").plan
        self.assertEqual(
            (str(plan.to), plan.transport, plan.codecs, plan.play.tone, plan.duration, plan.user, plan.headers),
            ("sip:600@127.0.0.1", "udp", ("G722", "PCMU", "PCMA"), 440.0, 5.0, "", ()),
        )

    def test_srtp(self) -> None:
        """--srtp says off, optional or required; nothing else."""
        self.assertEqual(
            [run_of("6@h", *more).plan.srtp for more in ((), *(("--srtp", wish) for wish in SRTP_WISHES))],
            ["off", "off", "optional", "required"],
        )
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertRaises(SystemExit, run_of, "6@h", "--srtp", "maybe")
        self.assertIn("invalid choice: 'maybe'", said.getvalue())

    def test_transport(self) -> None:
        """--transport goes into the URI; a URI may say it itself; sips is TLS."""
        given = [("sip:6@h", "--transport", "tls"), ("sip:6@h;transport=TCP",), ("sips:6@h",),
                 ("sip:6@h;transport=tcp", "--transport", "udp")]  # fmt: skip
        plans = [run_of(*arguments).plan for arguments in given]
        self.assertEqual(
            [(str(plan.to), plan.transport) for plan in plans],
            [
                ("sip:6@h;transport=tls", "tls"),
                ("sip:6@h;transport=TCP", "tcp"),
                ("sips:6@h", "tls"),
                ("sip:6@h", "udp"),
            ],
        )

    def test_proxy(self) -> None:
        """--proxy takes the URI's transport along, unless it has its own."""
        plans = [
            run_of("sip:600@acme.example", "--proxy", "127.0.0.1:5070", "--transport", "tcp").plan,
            run_of("sip:600@acme.example", "--proxy", "127.0.0.1;transport=tls").plan,
        ]
        self.assertEqual(
            [(str(plan.proxy), plan.transport) for plan in plans],
            [("sip:127.0.0.1:5070;transport=tcp", "tcp"), ("sip:127.0.0.1;transport=tls", "tls")],
        )

    def test_everything_else(self) -> None:
        """Codecs, headers, the caller, credentials and the verdict's demands arrive in the plan."""
        path = self.mktemp()
        Path(path).write_text("secret12\nnot this\n")
        run = run_of(
            "sip:600@127.0.0.1", "--codec", "pcma, G722,pcma", "--header", "X-Foo: bar", "--header", "X-Foo:baz",
            "--from", '"Ann" <sip:+31201234567@example.com>', "--user", "freepbx-hq", "--password-file", path,
            "--dtmf", "12#", "--expect", "403", "--expect-tone", "440", "--json",
        )  # fmt: skip
        plan = run.plan
        self.assertEqual(
            (plan.codecs, plan.headers, str(plan.from_), plan.user, plan.password, plan.digits, run.expect,
             run.expect_tone, run.live),
            (("PCMA", "G722"), (("X-Foo", "bar"), ("X-Foo", "baz")), '"Ann" <sip:+31201234567@example.com>',
             "freepbx-hq", "secret12", "12#", 403, 440.0, False),
        )  # fmt: skip
        self.assertNotIn("secret12", repr(run))

    def test_wav(self) -> None:
        """A WAV file is played whole: the call lasts as long, and a moment."""
        path = self.mktemp() + ".wav"
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(16000 * 8))
        self.assertEqual((run_of("600@h", "--play", path).plan.duration), 9.5)

    def test_mistakes(self) -> None:
        """What cannot be done is one line that says what it must be."""
        empty = self.mktemp()
        Path(empty).write_bytes(b"no wav")
        found = []
        for arguments in (
            ("sip:",),
            ("tel:+31201234567",),
            ("6@h", "--play", "tone:x"),
            ("6@h", "--play", "tone:9000"),
            ("6@h", "--play", "/none.wav"),
            ("6@h", "--play", empty),
            ("6@h", "--codec", "opus"),
            ("6@h", "--dtmf", "12x"),
            ("6@h", "--ptime", "25"),
            ("6@h", "--header", "X-Foo"),
            ("6@h", "--header", "X-Foo: a\r\nX-Bar: b"),
            ("6@h", "--user", "me"),
            ("6@h", "--user", "me", "--password-file", "/none"),
            ("6@h", "--bind", "here"),
            ("6@h;transport=sctp",),
            ("6@h", "--count", "2", "--record", "x.wav"),
        ):
            with self.assertRaises(PlanError) as caught:
                run_of(*arguments).plan.transport  # noqa: B018 - judged when asked for
            found.append("\n" not in str(caught.exception) and bool(str(caught.exception)))
        self.assertEqual(found, [True] * 16)

    def test_usage_errors_exit_with_2(self) -> None:
        """Wrong usage ends with status 2 and one line, without a traceback."""
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(["6@h", "--codec", "opus"])
        self.assertEqual((status, said.getvalue()), (2, "stellar-gw-call: --codec opus: there are g722, pcmu, pcma\n"))
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as left:
            main(["6@h", "--duration", "-1"])
        self.assertEqual(left.exception.code, 2)
