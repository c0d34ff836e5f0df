"""Transfers with SIPp as the phone system that is asked to transfer, and as the target that is called instead."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.gateway_support import RealGateway
from tests.integration.sipp_support import (
    OFFER,
    Result,
    Run,
    Sipp,
    answered,
    awaits,
    pause,
    receive,
    request,
    scenario,
    talk,
)
from tests.integration.transfer_support import SippTarget, answer, start_with_transfers

BRIDGED_MS = 3500
"""Of a call whose agent asks for the target a second after the answer: a bridge is one for good after two."""
ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER"


def refer(status: str, *headers: str) -> str:
    """Wait for a REFER, and answer it."""
    return '<recv request="REFER" timeout="20000"/>' + answer(status, *headers, tag=False)


def notify(line: str, state: str, cseq: int) -> str:
    """A NOTIFY of the REFER's subscription, and its 200."""
    headers = ("Event: refer", f"Subscription-State: {state}", "Content-Type: message/sipfrag;version=2.0")
    sent = request("NOTIFY", f"SIP/2.0 {line}", cseq=cseq, headers=headers)
    return sent.replace("Content-Type: application/sdp\n", "") + receive(200)


TERMINATED = "terminated;reason=noresource"
STYLES = {
    "every step": (
        refer("202 Accepted")
        + notify("100 Trying", "active;expires=60", 2)
        + notify("180 Ringing", "active;expires=60", 3)
        + notify("200 OK", TERMINATED, 4)
        + awaits("BYE"),
        "transferred",
    ),
    "only the end": (refer("202 Accepted") + notify("200 OK", TERMINATED, 2) + awaits("BYE"), "transferred"),
    "200 to the REFER": (refer("200 OK") + notify("200 OK", TERMINATED, 2) + awaits("BYE"), "transferred"),
    "a NOTIFY after our BYE": (
        refer("202 Accepted")
        + notify("200 OK", "active;expires=60", 2)
        + awaits("BYE")
        + notify("200 OK", TERMINATED, 3),
        "transferred",
    ),
    "BYE before the end, and NOTIFY after it": (
        refer("202 Accepted")
        + notify("100 Trying", "active;expires=60", 2)
        + request("BYE", cseq=3)
        + receive(200)
        + notify("200 OK", TERMINATED, 4),
        "accepted_unconfirmed",
    ),
    "no subscription": (refer("200 OK", "Refer-Sub: false") + awaits("BYE"), "accepted_unconfirmed"),
}


class SippCase(SynchronousTestCase):
    gateway: RealGateway
    sipp: Sipp

    def begin(self, *steps: str, to: str = "700") -> Run:
        """A call of a phone system that takes REFER."""
        call = answered().replace("Max-Forwards: 70\n", f"Max-Forwards: 70\n{ALLOW}\n", 1)
        return self.sipp.begin(scenario(call, talk(), *steps), to=to)

    def transferred(self, run: Run) -> tuple[Result, dict[str, Any]]:
        """What it came to, and the one transfer in its record."""
        result = run.result()
        self.assertEqual(result.ok, (0, 1, 0), result.errors)
        [transfer] = self.gateway.record(result.call_id)["transfers"]
        return result, transfer


class ReferTests(SippCase):
    def test_every_way_to_tell_how_it_goes(self) -> None:
        """REFER is followed to its end as phone systems tell it, and never answered with a password."""
        self.gateway = start_with_transfers(self, ['to: "sip:200@127.0.0.2", method: refer'])
        self.sipp = Sipp(self, self.gateway)
        runs = {style: self.begin(steps) for style, (steps, _) in STYLES.items()}
        for style, (_, expected) in STYLES.items():
            result, transfer = self.transferred(runs[style])
            self.assertEqual(transfer["result"], expected, style)
            sent = result.one("REFER")
            names = ("Refer-To", "Referred-By", "Authorization")
            self.assertEqual(
                [sent.header(name) for name in names],
                ["<sip:200@127.0.0.2>", f"<sip:700@127.0.0.1:{self.gateway.ports['udp']}>", ""],
                style,
            )


class FallbackTests(SippCase):
    def test_every_refusal_is_followed_by_a_call(self) -> None:
        """What a phone system may say to REFER (T26) leads to an INVITE, and the caller to the target."""
        target = SippTarget(
            self,
            scenario(
                '<recv request="INVITE"/>',
                answer("180 Ringing"),
                answer("200 OK", body=OFFER),
                '<recv request="ACK"/>',
                '<recv request="BYE" timeout="30000"/>',
                answer("200 OK", tag=False),
            ),
        )
        self.gateway = start_with_transfers(self, [f'to: "sip:200@127.0.0.2:{target.port}"'])
        self.sipp = Sipp(self, self.gateway)
        challenge = 'WWW-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"'
        refusals = {
            400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 405: "Method Not Allowed", 420: "Bad Extension",
            429: "Provide Referrer Identity", 501: "Not Implemented", 603: "Decline",
        }  # fmt: skip
        runs = {
            status: self.begin(
                refer(f"{status} {phrase}", *([challenge] if status == 401 else [])),
                pause(BRIDGED_MS), request("BYE", cseq=2), receive(200),
            )
            for status, phrase in refusals.items()
        }  # fmt: skip
        for status, run in runs.items():
            _, transfer = self.transferred(run)
            tried = [(each["method"], each.get("status")) for each in transfer["attempts"]]
            self.assertEqual((transfer["result"], tried), ("bridged", [("refer", status), ("invite", None)]), status)
        self.assertEqual(target.errors, "")


class DigestTests(SippCase):
    def test_a_target_that_asks_for_a_password_each_time(self) -> None:
        """INVITE, the re-INVITE that passes hold on, and BYE are challenged, and answered by the way's account."""
        challenge = 'WWW-Authenticate: Digest realm="carrier", nonce="n[call_number]", algorithm=MD5, qop="auth"'
        ours = (
            '<recv request="{method}" timeout="30000"><action>'
            '<verifyauth assign_to="good" username="acme-outbound" password="out secret"/>'
            "</action></recv>"
            '<nop test="good" next="{label}"/>'
        )

        def challenged(method: str, label: str, first: bool = False) -> str:
            ack = '<recv request="ACK"/>' if method == "INVITE" else ""
            unasked = f'<recv request="{method}" timeout="30000"/>' + answer("401 Unauthorized", challenge, tag=first)
            # Nothing follows a 403: the wait for it is what fails the call, whatever the method is.
            wrong = answer("403 Forbidden", tag=first) + '<recv request="OPTIONS" timeout="500"/>'
            return unasked + ack + ours.format(method=method, label=label) + wrong + f'<label id="{label}"/>'

        target = SippTarget(
            self,
            scenario(
                challenged("INVITE", "1", first=True),
                answer("200 OK", body=OFFER),
                '<recv request="ACK"/>',
                challenged("INVITE", "2"),
                answer("200 OK", body=OFFER.replace("sendrecv", "recvonly"), tag=False),
                '<recv request="ACK"/>',
                challenged("BYE", "3"),
                answer("200 OK", tag=False),
            ),
        )
        outbound = f'to: "sip:127.0.0.2:{target.port}", username: acme-outbound, password: "out secret"'
        transfers = [f'to: "sip:200@127.0.0.2:{target.port}", via: trunk, method: invite']
        self.gateway = start_with_transfers(self, transfers, outbound=outbound)
        self.sipp = Sipp(self, self.gateway)
        hold = request("INVITE", OFFER.replace("1 1 IN", "1 2 IN").replace("sendrecv", "sendonly"), cseq=2)
        steps = (
            pause(BRIDGED_MS), hold, receive(100, optional=True), receive(200), request("ACK", cseq=2), pause(1000),
            request("BYE", cseq=3), receive(200), pause(500),
        )  # fmt: skip
        _, transfer = self.transferred(self.begin(*steps))
        self.assertEqual((transfer["result"], target.errors), ("bridged", ""))
