"""REFER inside a call: the subscription that it opens lives and dies beside the call (RFC 3515, RFC 5057)."""

from __future__ import annotations

from stellar_gw.sip.events import Ended, RequestInDialog, ResponseReceived, UsageId
from stellar_gw.sip.message import Request, Response, response_to
from tests.unit.sip_case import Headers, lines, request
from tests.unit.test_sip_core_uac import CHALLENGE, CREDENTIALS, CallCase

REFER_TO: Headers = (("Refer-To", "<sip:200@192.0.2.7>"),)


class ReferCase(CallCase):
    def refer(self, usage: UsageId) -> Request:
        self.core.request_in(usage, "REFER", self.now, REFER_TO)
        [refer] = self.asked(self.sent())
        return refer

    def notify(self, tag: str, cseq: int, event: str = "refer", call_id: str = "c1") -> list[int]:
        headers = (("Event", event), ("Subscription-State", "active"))
        body = b"SIP/2.0 180 Ringing\r\n"
        data = request(
            "NOTIFY", to_tag=tag, cseq=cseq, call_id=call_id, headers=headers, body=body, content_type="message/sipfrag"
        )
        return self.statuses(data)

    def answer_to(self, refer: Request, status: int) -> list[Request | Response]:
        return self.receive(response_to(refer, status, "", []).to_bytes())


class CallAndSubscriptionTests(ReferCase):
    def test_481_and_silence_end_the_refer_and_not_the_call(self) -> None:
        for status in (481, 408, 0):
            self.setUp()
            usage, _tag = self.confirmed()
            refer = self.refer(usage)
            if status:
                self.answer_to(refer, status)
            else:
                self.pass_time(40.0)
            told = self.events()
            self.assertEqual([type(event) for event in told], [ResponseReceived], status)
            self.assertEqual(lines(self.do(self.core.bye, usage, self.now)), ["BYE"], status)

    def test_a_challenged_refer_is_never_answered_with_a_password(self) -> None:
        self.call(credentials=CREDENTIALS)
        self.reply(200)
        self.events()
        for status, header in ((401, "WWW-Authenticate"), (407, "Proxy-Authenticate")):
            refer = self.refer(self.usage)
            sent = self.receive(response_to(refer, status, "", [(header, CHALLENGE)]).to_bytes())
            self.assertEqual((sent, "Authorization" in refer.headers), ([], False))
            [event] = self.events()
            assert isinstance(event, ResponseReceived) and event.response is not None
            self.assertEqual(event.response.status, status)

    def test_notifies_during_the_call_are_told(self) -> None:
        usage, tag = self.confirmed()
        self.refer(usage)
        self.assertEqual(self.notify(tag, 5), [])
        [event] = self.events()
        assert isinstance(event, RequestInDialog)
        self.assertEqual((event.usage, event.request.method), (usage, "NOTIFY"))


class LateNotifyTests(ReferCase):
    def test_notifies_after_the_peers_bye_are_answered_for_32_seconds_and_change_nothing(self) -> None:
        usage, tag = self.confirmed()
        self.answer_to(self.refer(usage), 202)
        self.receive(request("BYE", to_tag=tag, cseq=3))
        self.assertIsInstance(self.events()[-1], Ended)
        found = [(self.notify(tag, 4), self.events())]
        self.pass_time(31.0)
        found.append((self.notify(tag, 5), self.events()))
        self.pass_time(2.0)
        found.append((self.notify(tag, 6), self.events()))
        self.assertEqual(found, [([200], []), ([200], []), ([481], [])])
        self.assertTrue(self.core.idle)

    def test_so_are_those_after_our_own_bye_answered_or_not(self) -> None:
        for answered in (False, True):
            self.setUp()
            usage, tag = self.confirmed()
            self.answer_to(self.refer(usage), 202)
            [bye] = self.asked(self.do(self.core.bye, usage, self.now))
            if answered:
                self.answer_to(bye, 200)
            self.events()
            self.assertEqual((self.notify(tag, 4), self.events()), ([200], []), answered)

    def test_other_late_requests_get_481(self) -> None:
        usage, tag = self.confirmed()
        self.answer_to(self.refer(usage), 202)
        self.receive(request("BYE", to_tag=tag, cseq=3))
        found = [self.notify("other", 5), self.statuses(request("INFO", to_tag=tag, cseq=6))]
        self.assertEqual(found, [[481], [481]])

    def test_a_call_without_a_refer_leaves_nothing_behind(self) -> None:
        _, tag = self.confirmed()
        self.receive(request("BYE", to_tag=tag, cseq=3))
        self.assertEqual(self.notify(tag, 4), [481])
