"""REFER and its NOTIFYs: what is written, what is read of anything, and how long a subscription outlives its call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.refer import Progress, read_notify, refer_to, wants_no_subscription
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.sip.usages import LINGER
from tests.unit.sip_case import CoreCase, lines, request

_text = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=60)


def notify(body: bytes = b"SIP/2.0 200 OK\r\n", **headers: str) -> Request:
    given = {"Event": "refer", "Content-Type": "message/sipfrag;version=2.0", "Subscription-State": "active;expires=60"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    uri = SipUri(host="h")
    return Request("NOTIFY", uri, [(name, value) for name, value in given.items() if value], body)


class NotifyTests(SynchronousTestCase):
    def test_styles(self) -> None:
        """Progress, its end and its subject, in the ways that phone systems write them."""
        whole = b"SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP h\r\n\r\n"
        found = [
            read_notify(notify(b"SIP/2.0 100 Trying\r\n")),
            read_notify(notify(b"SIP/2.0 180 Ringing", Event="refer;id=93809823")),
            read_notify(notify(Subscription_State='terminated;reason="noresource"')),
            read_notify(notify(whole, Subscription_State="Terminated; Reason=NoResource", Content_Type="")),
            read_notify(notify(b"\r\nsip/2.0  603\r\n", Subscription_State="")),
            read_notify(notify(b"SIP/2.0 100 Trying", Subscription_State="terminated")),
        ]
        self.assertEqual(
            found,
            [
                Progress(status=100, phrase="Trying"),
                Progress(status=180, phrase="Ringing", event_id=93809823),
                Progress(status=200, phrase="OK", ended=True, reason="noresource"),
                Progress(status=486, phrase="Busy Here", ended=True, reason="noresource"),
                Progress(status=603, ended=True),
                Progress(status=100, phrase="Trying", ended=True),
            ],
        )

    def test_unreadable(self) -> None:
        """A body of another kind, or no status in it, is a status of 0; another event is nobody's progress."""
        found = [
            read_notify(notify(b"SIP/2.0 200 OK", Content_Type="text/plain")),
            read_notify(notify(b"")),
            read_notify(notify(b"SIP/2.0 999 No")),
            read_notify(notify(b"SIP/2.0 2000 OK")),
            read_notify(notify(Event="message-summary")),
            read_notify(notify(Event="")),
        ]
        self.assertEqual(found, [Progress(status=0)] * 4 + [None, None])

    @given(st.binary(max_size=200), _text, _text)
    def test_anything(self, body: bytes, event: str, state: str) -> None:
        """Whatever a peer writes, a reading is bounded and raises nothing."""
        found = read_notify(notify(body, Event="refer;" + event, Subscription_State=state))
        assert found is not None
        self.assertTrue(found.status == 0 or 100 <= found.status < 700)
        self.assertLessEqual(max(len(found.phrase), len(found.reason)), 80)
        self.assertTrue(found.phrase.isprintable())


class ReferToTests(SynchronousTestCase):
    def test_written(self) -> None:
        """The URI alone, as it came, and what is in it escaped."""
        uris = ["sip:+31201230000@pbx.example;user=phone", "tel:+31201230000", "sips:200@pbx.example?X-Case=4711%3F"]
        self.assertEqual([refer_to(parse_uri(uri)) for uri in uris], [f"<{uri}>" for uri in uris])

    def test_no_subscription(self) -> None:
        """Only an explicit false says that nothing follows."""
        values = ["false", " False ; x=y", "true", "", "falsely"]
        found = [wants_no_subscription(Response(202, "", [("Refer-Sub", value)])) for value in values]
        self.assertEqual(found, [True, True, False, False, False])
        self.assertFalse(wants_no_subscription(Response(202, "", [])))


class SubscriptionTests(CoreCase):
    """The subscription that a REFER of ours makes lives in the call's dialog, and longer (RFC 5057 4.2)."""

    def setUp(self) -> None:
        super().setUp()
        self.usage, self.tag = self.confirmed(headers=(("Allow", "INVITE, REFER"),))

    def refer(self, status: int) -> None:
        [sent] = self.do(self.core.request_in, self.usage, "REFER", self.now, [("Refer-To", "<sip:200@h>")])
        assert isinstance(sent, Request)
        headers = [(name, value) for name in ("Via", "From", "Call-ID", "CSeq") for value in sent.headers.all(name)]
        answer = Response(status, "", [*headers, ("To", sent.headers.first("To") or ""), ("Content-Length", "0")])
        self.receive(answer.to_bytes())

    def notified(self, cseq: int) -> list[str]:
        return lines(self.receive(request("NOTIFY", to_tag=self.tag, cseq=cseq, headers=(("Event", "refer"),))))

    def test_after_the_bye(self) -> None:
        """A NOTIFY is welcome while our BYE is out and for 32 s after its answer, and 481 later; never 405."""
        self.refer(202)
        [bye] = self.do(self.core.bye, self.usage, self.now)
        found = [self.notified(2)]
        headers = [
            (name, value) for name in ("Via", "From", "To", "Call-ID", "CSeq") for value in bye.headers.all(name)
        ]
        self.receive(Response(200, "", [*headers, ("Content-Length", "0")]).to_bytes())
        found.append(self.notified(3))
        self.pass_time(LINGER - 1)
        found.append(self.notified(4))
        self.pass_time(1)
        found.append(self.notified(5))
        self.assertEqual(found, [["200 NOTIFY"]] * 3 + [["481 NOTIFY"]])
        self.assertTrue(self.core.idle)

    def test_after_theirs(self) -> None:
        """So it is when the transferee hung up, and nothing else is let in by it."""
        self.refer(200)
        self.receive(request("BYE", to_tag=self.tag, cseq=2))
        info = lines(self.receive(request("INFO", to_tag=self.tag, cseq=4)))
        self.assertEqual((self.notified(3), info), (["200 NOTIFY"], ["481 INFO"]))

    def test_refused(self) -> None:
        """A REFER that was refused made no subscription, and a challenge to it is not answered."""
        self.refer(401)
        self.receive(request("BYE", to_tag=self.tag, cseq=2))
        self.assertEqual(self.notified(3), ["481 NOTIFY"])

    def test_stranger(self) -> None:
        """Other dialogs' NOTIFYs get 481."""
        self.refer(202)
        self.receive(request("BYE", to_tag=self.tag, cseq=2))
        stray = request("NOTIFY", to_tag=self.tag, cseq=3, call_id="c2", headers=(("Event", "refer"),))
        self.assertEqual(lines(self.receive(stray)), ["481 NOTIFY"])
