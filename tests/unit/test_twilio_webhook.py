"""The voice webhook: its form, its signature, and what its answer means."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.registry import make_dialect
from stellar_gw.dialects.twilio import account_sid, call_sid
from stellar_gw.dialects.twilio_webhook import Answer, Rejected, as_options, form, read_answer, signature
from stellar_gw.dialects.twiml import Stream, TwimlError
from tests.unit.call_contexts import CONTEXT, PARAMETERS


class RequestTests(SynchronousTestCase):
    def test_the_form(self) -> None:
        """Twilio's fields of an inbound call, and the call's own X-* headers by Twilio's prefix."""
        fields = dict(form(CONTEXT, account_sid("acme")))
        headers = {name: value for name, value in fields.items() if name.startswith("SipHeader_")}
        self.assertEqual(
            fields,
            {
                "AccountSid": account_sid("acme"),
                "ApiVersion": "2010-04-01",
                "CallSid": call_sid(CONTEXT.call_id),
                "CallStatus": "ringing",
                "Called": PARAMETERS["to"],
                "Caller": PARAMETERS["from"],
                "CallerName": PARAMETERS["from_display"],
                "Direction": "inbound",
                "From": PARAMETERS["from"],
                "To": PARAMETERS["to"],
                **headers,
            },
        )
        self.assertEqual(
            headers, {"SipHeader_X-Case-Id": "4711", "SipHeader_X-Tag": "a, b", "SipHeader_X-Raw": "\ufffd"}
        )

    def test_the_signature(self) -> None:
        """The example of Twilio's own documentation and libraries (token 12345)."""
        fields = [
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Digits", "1234"),
            ("Caller", "+14158675309"),
            ("CallSid", "CA1234567890ABCDE"),
        ]
        self.assertEqual(
            signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", fields), "RSOYDt4T1cUTdK1PDd93/VVr8B8="
        )


class AnswerTests(SynchronousTestCase):
    def test_what_an_answer_means(self) -> None:
        """A stream, a rejection, or a hang-up that is one; what is said before is passed over and told."""
        told = {
            '<Say>Hi</Say><Pause/><Connect><Stream url="wss://a.example/"/></Connect><Hangup/>':
                Answer(Stream("wss://a.example/"), ("Say", "Pause")),
            '<Reject reason="busy"/>': Answer(Rejected(486, "busy")),
            "<Reject/>": Answer(Rejected(603, "rejected by the webhook")),
            "<Say>Closed</Say><Hangup/>": Answer(Rejected(603, "hung up by the webhook"), ("Say",)),
        }  # fmt: skip
        self.assertEqual({text: read_answer(f"<Response>{text}</Response>".encode()) for text in told}, told)

    def test_an_answer_without_a_stream(self) -> None:
        """Verbs that need an answered call, or none at all, are no answer."""
        told = {
            "": "no <Connect><Stream url>, <Reject> or <Hangup> in it",
            "<Say>Hi</Say>": "no <Connect><Stream url>, <Reject> or <Hangup> in it",
            "<Dial>+31201234567</Dial>": "<Dial> cannot come before <Connect>, <Reject> or <Hangup>",
        }
        for text, why in told.items():
            error = self.assertRaises(TwimlError, read_answer, f"<Response>{text}</Response>".encode())
            self.assertEqual(str(error), why)

    def test_parameters_reach_the_start_message(self) -> None:
        """What <Parameter> says stands in customParameters, before anything of the same name."""
        stream = Stream("wss://a.example/", (("from", "somebody"), ("plan", "gold")))
        dialect = make_dialect("twilio", CONTEXT, {**dict(as_options(stream)), "account_sid": "AC" + "0" * 32})
        start = json.loads(str(dialect.opened()[1]))["start"]
        self.assertEqual(start["customParameters"], {**PARAMETERS, "from": "somebody", "plan": "gold"})
        self.assertEqual(start["accountSid"], "AC" + "0" * 32)
