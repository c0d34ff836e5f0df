"""Digits by SIP INFO, from SIPp through a real gateway and its worker into the record."""

from __future__ import annotations

from tests.integration.sipp_support import answered, bye, pause, receive, request, talk
from tests.integration.test_sipp_dialogs import DialogCase


def info(cseq: int, content_type: str, body: str, *headers: str) -> str:
    step = request("INFO", body, cseq=cseq, headers=headers)
    return step.replace("Content-Type: application/sdp", f"Content-Type: {content_type}")


class InfoTests(DialogCase):
    def test_digits(self) -> None:
        """Both bodies are accepted, other INFOs refused by name; the record has the digits, the call goes on."""
        result = self.run_steps(
            answered(), talk(),
            info(2, "application/dtmf-relay", "Signal=5\nDuration=160"), receive(200),
            info(3, "application/dtmf", "#"), receive(200),
            info(4, "application/media_control+xml", "&lt;media_control/&gt;"), receive(415),
            info(5, "application/dtmf", "7", "Info-Package: conference"), receive(469),
            pause(300), bye(6),
        )  # fmt: skip
        self.assertEqual(
            (result.one("415 INFO").header("Accept"), "Recv-Info:" in result.one("469 INFO").text),
            ("application/dtmf-relay, application/dtmf", True),
        )
        self.assertIn("INFO", result.one("200 INVITE").header("Allow").split(", "))
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))
        self.assertEqual([leg["digits"] for leg in self.gateway.record(result.call_id)["legs"]], ["5#"])
