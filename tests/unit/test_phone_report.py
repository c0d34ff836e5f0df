"""What the test phone says of a call: ladder, report, exit status."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.phone.ladder import Rung, call_id_in, rung
from stellar_gw.phone.report import (
    EXIT_AUDIO,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    CallReport,
    Echo,
    MediaReport,
    Sound,
    audio_problem,
    exit_status,
    explain,
    json_text,
    lines,
    quantiles,
    reference_in,
    summary,
    summary_lines,
    to_json,
)
from stellar_gw.sip.flow import Flow

FLOW = Flow(7, "tls", "phone", ("127.0.0.1", 40000), ("127.0.0.1", 5061))
MEDIA = MediaReport(
    codec="G722", ptime=20, direction="sendrecv", remote="127.0.0.1:14022", rtcp_mux=False, telephone_event=True,
    packets_sent=250, packets_received=245, packets_lost=5, packets_late=1, duplicates=2, jitter_ms=0.84,
    first_packet_ms=21.0, round_trip_ms=1.25, remote_loss=0.004, digits_sent="12#", digits_heard="",
    sent=Sound(seconds=5.0, level_dbfs=-16.0, tone_hz=440.0, tone_share=0.99),
    heard=Sound(seconds=4.9, level_dbfs=-16.2, tone_hz=440.1, tone_share=0.97),
    echo=Echo(correlation=0.98, delay_ms=62.0), mos=4.31,
)  # fmt: skip
REPORT = CallReport(
    to="sip:600@127.0.0.1", call_id="c1", transport="tls", status=200, reason="OK", trying_ms=2.0, ringing_ms=3.0,
    answered_ms=12.4, duration_s=5.01, ended_by="local", cause="bye", media=MEDIA, record="out.wav",
)  # fmt: skip


class LadderTests(SynchronousTestCase):
    def test_rungs(self) -> None:
        """A request by its start line, a response with the method that it answers, both with their size."""
        invite = b"INVITE sip:600@127.0.0.1 SIP/2.0\r\nCSeq: 1 INVITE\r\ni: abc\r\n\r\n"
        ringing = b"SIP/2.0 180 Ringing\r\nCALL-ID : xyz\r\nCSEQ:  1  INVITE\r\n\r\n"
        first = rung(invite, FLOW, sent=True, at_ms=0.0)
        second = rung(ringing, FLOW, sent=False, at_ms=12.5)
        self.assertEqual(
            (first, second.text(), call_id_in(invite), call_id_in(ringing), call_id_in(b"x")),
            (
                Rung(at_ms=0.0, sent=True, transport="tls", remote="127.0.0.1:5061",
                     start_line="INVITE sip:600@127.0.0.1 SIP/2.0", octets=len(invite)),
                "   0.013 s <-- SIP/2.0 180 Ringing [INVITE]  (56 octets)",
                "abc", "xyz", "",
            ),
        )  # fmt: skip

    def test_hostile_start_line(self) -> None:
        """Terminal escapes and overlong lines of a peer do not reach the terminal."""
        line = rung(b"SIP/2.0 200 \x1b[2J\x07" + b"x" * 500, FLOW, sent=False, at_ms=0.0).start_line
        self.assertEqual((line[:16], len(line)), ("SIP/2.0 200 ?[2J", 100))

    def test_colours(self) -> None:
        """Requests, provisional, successful and failed responses differ in colour."""
        starts = ["INVITE x SIP/2.0", "SIP/2.0 180 R", "SIP/2.0 200 OK", "SIP/2.0 302 M", "SIP/2.0 404 N"]
        made = [rung(start.encode(), FLOW, sent=False, at_ms=0.0).text(colour=True)[15:20] for start in starts]
        self.assertEqual(made, ["\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[31m"])


class ReportTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """The whole report of a good call."""
        self.assertEqual(
            list(lines(REPORT)),
            [
                "to            sip:600@127.0.0.1 over TLS",
                "status        200 OK",
                "set-up        first response 2 ms, ringing 3 ms, answered 12 ms",
                "duration      5.0 s, ended by us (bye)",
                "negotiated    G722, 20 ms a packet, sendrecv, digits as RFC 4733, with 127.0.0.1:14022",
                "sent          250 packets, 0.4% lost by the peer's report",
                "received      245 packets, 5 lost (2.0%), 1 late, 2 twice, jitter 0.8 ms",
                "round trip    1.2 ms; first packet after 21 ms",
                "quality       MOS 4.31 (E-model, ITU-T G.107)",
                "we sent       5.0 s at -16.0 dBFS, a tone of 440 Hz (99% of the energy)",
                "we heard      4.9 s at -16.2 dBFS, a tone of 440 Hz (97% of the energy)",
                "echo          what we sent came back 62 ms later (correlation 0.98)",
                "digits        sent 12#, heard none",
                "recorded      what was heard: out.wav",
            ],
        )

    def test_encrypted(self) -> None:
        """SRTP has a line of its own, with what was not authentic."""
        assert REPORT.media is not None
        found = [
            [line for line in lines(evolve(REPORT, media=evolve(REPORT.media, srtp=suite, unauthenticated=count)))
             if line.startswith("encrypted")]
            for suite, count in (("", 0), ("AEAD_AES_128_GCM", 0), ("AEAD_AES_128_GCM", 7))
        ]  # fmt: skip
        self.assertEqual(
            found,
            [
                [],
                ["encrypted     SRTP, AEAD_AES_128_GCM"],
                ["encrypted     SRTP, AEAD_AES_128_GCM; 7 packets were not authentic"],
            ],
        )

    def test_refused_call(self) -> None:
        """A refusal shows the reference, what it means and what to do."""
        problem, fix = explain(401, "Unauthorized", "7K3F2Q", credentials=True, user="freepbx-hq")
        report = CallReport(to="sip:600@127.0.0.1", transport="udp", status=401, reason="Unauthorized",
                            reference="7K3F2Q", trying_ms=1.0, problem=problem, fix=fix)  # fmt: skip
        self.assertEqual(
            list(lines(report)),
            [
                "to            sip:600@127.0.0.1 over UDP",
                "status        401 Unauthorized  (ref 7K3F2Q)",
                "set-up        first response 1 ms",
                "problem       401 Unauthorized: wrong user name or password for freepbx-hq",
                "what to do    check both; the realm must be the gateway's domain; "
                "stellar-gw-why 7K3F2Q on the gateway says more",
            ],
        )

    def test_explanations(self) -> None:
        """Each status that a newcomer meets has words; an unknown one too; no control character gets through."""
        self.assertEqual(
            [explain(status, reason)[0] for status, reason in
             ((401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (488, "Not \x1bHere"), (699, ""))],
            [
                "401 Unauthorized: credentials are wanted",
                "403 Forbidden: it may not",
                "404 Not Found: nothing answers there",
                "488 Not Here: no audio in common",
                "699: refused",
            ],
        )  # fmt: skip

    def test_references(self) -> None:
        """The reference is read from the Warning of a gateway like ours, and from no other text."""
        self.assertEqual(
            [reference_in(['399 sip.acme.example "ref 7K3F2S"']), reference_in(['399 x "busy"', '399 y "ref ABCD1"']),
             reference_in(['399 x "preference abc"']), reference_in([])],
            ["7K3F2S", "ABCD1", "", ""],
        )  # fmt: skip

    def test_json(self) -> None:
        """JSON carries everything by the fields' names."""
        plain = to_json(evolve(REPORT, ladder=(rung(b"BYE x SIP/2.0\r\n", FLOW, sent=True, at_ms=1.0),)))
        self.assertEqual(
            (plain["media"]["mos"], plain["answered"], plain["ladder"][0]["start_line"], plain["status"]),
            (4.31, True, "BYE x SIP/2.0", 200),
        )
        self.assertIn('"packets_received": 245', json_text(plain))


class VerdictTests(SynchronousTestCase):
    def test_exit_status(self) -> None:
        """0 as expected, 1 another status, 3 none, 4 audio that is not what it must be."""
        silent = evolve(REPORT, media=evolve(MEDIA, packets_received=0))
        refused = CallReport(to="x", status=404)
        self.assertEqual(
            [
                exit_status(REPORT),
                exit_status(REPORT, expect=404),
                exit_status(refused),
                exit_status(refused, expect=404),
                exit_status(CallReport(to="x")),
                exit_status(silent),
                exit_status(evolve(REPORT, media=None)),
                exit_status(REPORT, expect_tone=440, expect_echo=True),
                exit_status(REPORT, expect_tone=1000),
            ],
            [
                EXIT_OK,
                EXIT_REFUSED,
                EXIT_REFUSED,
                EXIT_OK,
                EXIT_UNREACHABLE,
                EXIT_AUDIO,
                EXIT_AUDIO,
                EXIT_OK,
                EXIT_AUDIO,
            ],
        )

    def test_audio_problems(self) -> None:
        """What is wrong with the audio is said in words; silence while we may not hear is no problem."""
        mute = evolve(MEDIA, packets_received=0, heard=Sound(seconds=0, level_dbfs=-96.0))
        cases = [
            (evolve(REPORT, media=mute), None, False),
            (evolve(REPORT, media=evolve(mute, direction="sendonly")), None, False),
            (evolve(REPORT, media=evolve(mute, packets_received=9)), 440.0, False),
            (REPORT, 500.0, False),
            (evolve(REPORT, media=evolve(MEDIA, echo=Echo(correlation=0.1, delay_ms=None))), None, True),
        ]
        self.assertEqual(
            [audio_problem(report, tone, echo) for report, tone, echo in cases],
            [
                "nothing was heard: not one packet came from 127.0.0.1:14022",
                "",
                "the tone of 440 Hz was not heard, but silence",
                "the tone of 500 Hz was not heard, but mostly 440 Hz (97% of the energy)",
                "what was sent did not come back (correlation 0.10, needed 0.60)",
            ],
        )


class SummaryTests(SynchronousTestCase):
    def test_many_calls(self) -> None:
        """Many calls are counted by status, with quantiles of the set-up time and the worst quality."""
        reports = [evolve(REPORT, answered_ms=float(ms)) for ms in range(1, 101)]
        reports.append(CallReport(to="x", status=503, reason="x", problem="503 x: overloaded"))
        self.assertEqual(
            list(summary_lines(summary(reports))),
            [
                "calls         101, answered 100 (100 x 200, 1 x 503)",
                "set-up        p50 50 ms, p90 90 ms, p99 99 ms, max 100 ms",
                "received      24500 packets, 2.00% lost, 0 calls silent",
                "quality       worst MOS 4.31 (E-model, ITU-T G.107)",
                "problem       1 x 503 x: overloaded",
            ],
        )

    def test_quantiles(self) -> None:
        """Nearest rank, also of one value; nothing of none."""
        self.assertEqual([quantiles([]), quantiles([3.0])], [None, {"p50": 3.0, "p90": 3.0, "p99": 3.0, "max": 3.0}])
