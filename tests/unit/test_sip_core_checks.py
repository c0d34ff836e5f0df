"""What the core answers by itself: refusals before anybody is asked, OPTIONS, and answers without state."""

from __future__ import annotations

import csv
from pathlib import Path

from stellar_gw.sip.events import RequestReceived
from stellar_gw.sip.message import Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.values import parse_name_addr
from stellar_gw.testing.sip_peer import OFFER
from tests.unit.sip_case import PEER, TCP, UDP, US, CoreCase, Headers, flow, invite, request
from tests.unit.sip_case import lines as brief

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "rfc4475"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, NOTIFY"


class RefusalTests(CoreCase):
    def refusal(self, data: bytes) -> tuple[int, str | None]:
        """The status of the one answer, and the header that goes with it; nobody was asked."""
        [response] = self.receive(data)
        assert isinstance(response, Response)
        self.assertEqual((self.events(), self.core.idle), ([], True))
        named = {420: "Unsupported", 405: "Allow", 501: "Allow", 503: "Retry-After"}.get(response.status)
        return response.status, named and response.headers.first(named)

    def test_methods(self) -> None:
        """405 for methods that others serve, 481 for those that only make sense in a dialog, 501 for the unknown."""
        self.assertEqual(
            {
                method: self.refusal(request(method))
                for method in (
                    "REGISTER",
                    "SUBSCRIBE",
                    "PUBLISH",
                    "MESSAGE",
                    "REFER",
                    "BYE",
                    "INFO",
                    "NOTIFY",
                    "PRACK",
                    "UPDATE",
                    "FOO",
                    "invite",
                )
            },
            {
                "REGISTER": (405, ALLOW),
                "SUBSCRIBE": (405, ALLOW),
                "PUBLISH": (405, ALLOW),
                "MESSAGE": (405, ALLOW),
                "REFER": (405, ALLOW),
                "BYE": (481, None),
                "INFO": (481, None),
                "NOTIFY": (481, None),
                "PRACK": (481, None),
                "UPDATE": (481, None),
                "FOO": (501, ALLOW),
                "invite": (501, ALLOW),
            },
        )

    def test_unknown_dialogs(self) -> None:
        """A To tag that no dialog has is 481 whatever the method, but 405 and 501 come first; ACK gets nothing."""
        self.assertEqual(
            {
                method: self.statuses(request(method, to_tag="gone"))
                for method in ("INVITE", "BYE", "INFO", "OPTIONS", "NOTIFY", "UPDATE", "PRACK", "FOO", "ACK")
            },
            {
                "INVITE": [481],
                "BYE": [481],
                "INFO": [481],
                "OPTIONS": [481],
                "NOTIFY": [481],
                "UPDATE": [405],
                "PRACK": [405],
                "FOO": [501],
                "ACK": [],
            },
        )

    def test_schemes(self) -> None:
        """A number can be called; what is no SIP and no number cannot."""
        self.receive(invite(uri="tel:+31201234567"))
        self.assertIsInstance(self.core.next_event(), RequestReceived)
        self.assertEqual(self.refusal(invite(uri="http://example.com/")), (416, None))
        self.assertEqual(self.refusal(request("OPTIONS", uri="nobodyKnowsThisScheme:totallyopaque")), (416, None))

    def test_extensions(self) -> None:
        """Require is refused by name; nothing is supported yet, neither timer nor 100rel."""
        headers: Headers = (("Require", "100rel, timer"), ("Require", "foo"))
        self.assertEqual(self.refusal(invite(headers=headers)), (420, "100rel, timer, foo"))
        self.assertEqual(self.refusal(request("OPTIONS", headers=headers)), (420, "100rel, timer, foo"))

    def test_bodies(self) -> None:
        """415 says what would do; a multipart that holds SDP does, and so does what may be ignored."""
        [response] = self.receive(invite(content_type="application/unknownformat"))
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.headers.first("Accept")), (415, "application/sdp"))
        [response] = self.receive(invite(headers=(("Content-Encoding", "gzip"),)))
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.headers.first("Accept-Encoding")), (415, "identity"))
        self.assertEqual(self.statuses(invite(content_type="")), [415])
        multipart = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + OFFER + b"\r\n--x--\r\n"
        for passed in (
            invite(body=multipart, content_type='multipart/mixed;boundary="x"'),
            invite(body=b"?", content_type="image/x", headers=(("Content-Disposition", "icon;handling=optional"),)),
            invite(body=b""),
            invite(headers=(("Content-Encoding", "identity"),)),
        ):
            self.assertEqual(self.receive(passed), [])
            self.assertIsInstance(self.core.next_event(), RequestReceived)

    def test_more_extensions_than_an_answer_has_room_for(self) -> None:
        """Of thousands that we lack the first few are named, and none that is longer than any: the answer gets out."""
        tags = ["x" * 5000, *(f"tag{number}" for number in range(4000))]
        lines = [("Require", ", ".join(tags[place : place + 100])) for place in range(0, len(tags), 100)]
        [response] = self.receive(invite(headers=tuple(lines)))
        self.assertEqual(
            (brief([response]), response.headers.first("Unsupported")),
            (["420 INVITE"], ", ".join(f"tag{number}" for number in range(16))),
        )

    def test_accept(self) -> None:
        """406 if our SDP could not be taken; 400 where nobody can tell."""
        outcomes = {
            "text/plain": [406],
            "": [406],
            "application/sdp;q=0": [406],
            "text/plain, application/sdp": [],
            "*/*": [],
            "application/*": [],
            'application/sdp, "': [400],
            "application/sdp, <a": [400],
        }
        self.assertEqual(
            {accept: self.statuses(invite(headers=(("Accept", accept),))) for accept in outcomes}, outcomes
        )

    def test_contact(self) -> None:
        """An INVITE has one Contact with a SIP URI; the reason phrase says so. Without one it is of RFC 2543."""
        self.assertEqual(self.receive(invite(contact="")), [])
        for contact in ("<tel:+31201234567>", "*", "<sip:a@b>, <sip:c@d>"):
            [response] = self.receive(invite(contact=contact))
            assert isinstance(response, Response)
            self.assertEqual(
                (response.status, response.reason), (400, "INVITE must carry one Contact with a SIP URI"), contact
            )

    def test_version(self) -> None:
        data = invite().replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n", 1)
        self.assertEqual(self.statuses(data), [505])

    def test_malformed(self) -> None:
        """What cannot be read is answered where it can be, with the reason; a response or ACK never."""
        broken = invite().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE")
        [response] = self.receive(broken)
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.reason), (400, "CSeq: not the method of the request"))
        self.assertEqual(self.receive(request("ACK").replace(b"CSeq: 1 ACK", b"CSeq: x ACK")), [])
        self.assertEqual(self.receive(b"SIP/2.0 200 OK\r\n\r\n"), [])
        self.assertEqual(self.receive(b"\x00\x01garbage"), [])

    def test_loop(self) -> None:
        """A request of ours that comes back, by whatever hops, is 482."""
        us = parse_name_addr(f"<sip:600@{US}>")
        self.core.request("OPTIONS", us.uri, UDP, self.now, from_=us, to=us)
        [(ours, _)] = self.core.to_send()
        self.assertEqual(self.statuses(ours), [482])
        via = parse_message(ours, stream=True).via
        self.assertEqual(self.statuses(invite(headers=(("Via", str(via)),))), [482])

    def test_overload(self) -> None:
        """With the table full new calls get 503 and Retry-After, calls that are up go on."""
        self.core = self.make_core(max_transactions=1)
        _, tag = self.confirmed()
        [response] = self.receive(invite(call_id="c2"))
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.headers.first("Retry-After") is not None), (503, True))
        self.assertEqual(self.statuses(request("BYE", to_tag=tag, cseq=2)), [200])


class StatelessTests(CoreCase):
    def test_copies_get_the_same_answer(self) -> None:
        """A challenge leaves nothing behind: each copy of the INVITE is told of, and answered the same (8.2.7)."""
        answers = []
        for data in (invite(), invite(), invite(call_id="other")):
            self.receive(data)
            [event] = self.events()
            assert isinstance(event, RequestReceived)
            [answer] = self.do(self.core.respond, event.request, event.flow, 401, headers=[("X-Ref", "1")])
            answers.append(answer)
        self.assertEqual(answers[0], answers[1])
        self.assertNotEqual(answers[0].to.tag, answers[2].to.tag)
        self.assertRegex(answers[0].to.tag or "", "^[0-9a-f]{16}$")
        self.assertTrue(self.core.idle)

    def test_its_ack_is_dropped(self) -> None:
        """The ACK of a stateless answer finds nobody, and that is all right."""
        self.assertEqual(self.receive(request("ACK", to_tag="x", branch="z9hG4bK-c1-INVITE-1")), [])
        self.assertEqual(self.core.counts["dropped stray ACK"], 1)

    def test_source_is_noted(self) -> None:
        """received and rport say where a request came from, asked or not, and answers go there (RFC 3581)."""
        natted = flow(host="198.51.100.99", port=1024)
        [response] = self.receive(request("OPTIONS"), natted)
        self.assertEqual(
            (response.via.host, response.via.received, response.via.rport, self.flows),
            (PEER, "198.51.100.99", 1024, [natted]),
        )

    def test_a_scope_is_not_told(self) -> None:
        """Of a link-local peer the address is told, and not which interface of ours it is at (RFC 6874 3)."""
        near = flow(host="fe80::1%eth0", port=1024)
        [response] = self.receive(request("OPTIONS"), near)
        self.assertEqual((response.via.params.get("received"), self.flows), ("fe80::1", [near]))

    def test_lies_about_the_source_are_overwritten(self) -> None:
        data = request("OPTIONS", via=f"SIP/2.0/UDP {PEER}:5060;received=203.0.113.66;rport=7")
        [response] = self.receive(data)
        self.assertEqual((response.via.received, response.via.rport), (PEER, 5060))


class OptionsTests(CoreCase):
    CAPABILITIES: Headers = (
        ("Allow", ALLOW),
        ("Accept", "application/sdp"),
        ("Accept-Encoding", "identity"),
        ("Accept-Language", "en"),
        ("Supported", ""),
    )

    def answer(self, data: bytes) -> tuple[int, Headers]:
        [response] = self.receive(data)
        assert isinstance(response, Response)
        names = {name for name, _ in self.CAPABILITIES}
        return response.status, tuple(item for item in response.headers if item[0] in names)

    def test_outside_dialogs(self) -> None:
        self.assertEqual(self.answer(request("OPTIONS")), (200, self.CAPABILITIES))

    def test_no_forwards_left(self) -> None:
        """Max-Forwards 0 stops proxies; we are where it was going."""
        data = request("OPTIONS").replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
        self.assertEqual(self.answer(data), (200, self.CAPABILITIES))

    def test_inside_a_dialog(self) -> None:
        """Answered there even while draining: the call is up."""
        _, tag = self.confirmed()
        self.core.available = False
        self.assertEqual(self.answer(request("OPTIONS", to_tag=tag, cseq=2)), (200, self.CAPABILITIES))

    def test_while_draining(self) -> None:
        self.core.available = False
        [response] = self.receive(request("OPTIONS"))
        assert isinstance(response, Response)
        self.assertEqual((response.status, "Retry-After" in response.headers), (503, True))


class TortureTests(CoreCase):
    maxDiff = None
    """RFC 4475 through parser and core; None stands for an INVITE that the floor above is asked about."""

    EXPECTED: dict[str, list[int] | None] = {
        "wsinv": [481],
        "intmeth": [501],
        "esc01": None,
        "escnull": [405],
        "esc02": [501],
        "lwsdisp": [200],
        "longreq": None,
        "dblreq": [405],
        "semiuri": [200],
        "transports": [200],
        "mpart01": [405],
        "unreason": [],
        "noreason": [],
        "badinv01": [400],
        "clerr": [400],
        "ncl": [400],
        "scalar02": [400],
        "scalarlg": [],
        "quotbal": [400],
        "ltgtruri": [400],
        "lwsruri": [400],
        "lwsstart": [400],
        "trws": [400],
        "escruri": [400],
        "baddate": None,
        "regbadct": [400],
        "badaspec": [400],
        "baddn": [400],
        "badvers": [505],
        "mismatch01": [400],
        "mismatch02": [400],
        "bigcode": [],
        "badbranch": [400],
        "insuf": [400],
        "unkscm": [416],
        "novelsc": [416],
        "unksm2": [405],
        "bext01": [420],
        "invut": [415],
        "regaut01": [405],
        "multi01": [400],
        "mcl01": [400],
        "bcast": [],
        "zeromf": [200],
        "cparam01": [405],
        "cparam02": [405],
        "regescrt": [405],
        "sdp01": [406],
        "inv2543": None,
    }

    def test_each(self) -> None:
        """The gateway's column of expected.csv, where it leaves a choice the one taken here."""
        if not VECTORS.exists():
            self.skipTest(f"no torture messages at {VECTORS}")
        outcomes: dict[str, list[int] | None] = {}
        with (VECTORS / "expected.csv").open(newline="") as rows:
            for row in csv.DictReader(rows):
                self.core = self.make_core()
                outcome: list[int] | None = self.statuses(
                    (VECTORS / f"{row['name']}.dat").read_bytes(), TCP if row["transport"] == "tcp" else UDP
                )
                if [type(event) for event in self.events()] == [RequestReceived] and not outcome:
                    outcome = None
                outcomes[row["name"]] = outcome
        self.assertEqual(outcomes, self.EXPECTED)
