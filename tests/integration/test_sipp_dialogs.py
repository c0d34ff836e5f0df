"""What phone systems do to a call besides calling and hanging up, with SIPp as the phone system."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.agents import AgentServer, closing
from stellar_gw.testing.gateway_process import wait_until
from tests.integration.gateway_support import BOT, CLOSED, ECHO, HOST, NOBODY, PASSWORD, USER, Silent
from tests.integration.shared_gateway import share_gateway
from tests.integration.sipp_support import (
    OFFER,
    Result,
    Sipp,
    ack,
    ack_refusal,
    answered,
    awaits,
    bye,
    invite,
    pause,
    receive,
    reinvite,
    request,
    scenario,
    sdp,
    talk,
)

SDES = "\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


@cache
def silent() -> Silent:
    """Behind :data:`NOBODY`."""
    return Silent(None)


class Closing(AgentServer):
    """Behind :data:`BOT`: closes each call's link at once, with the code that is set.

    :ivar code: for the next call.
    """

    def __init__(self) -> None:
        super().__init__(lambda call: closing(self.code)(call))
        self.code = 1000


@cache
def agent() -> Closing:
    made = Closing()
    made.__enter__()  # its thread ends with the process
    return made


class DialogCase(SynchronousTestCase):
    """A gateway with quick timers, which all of these tests share, and SIPp."""

    timeout = 90

    def setUp(self) -> None:
        self.gateway = share_gateway(self, t1="100ms", nobody=silent().url, bot=agent().url)
        self.sipp = Sipp(self, self.gateway)

    def records(self, result: Result, name: str = "cdr") -> list[dict[str, Any]]:
        """The run's own."""
        return [record for record in self.gateway.records(name) if record["sip_call_id"] == result.call_id]

    def run_steps(self, *steps: str, to: str = ECHO, **options: Any) -> Result:
        """One call by these steps; all of them came true."""
        result = self.sipp.run(scenario(*steps), to=to, **options)
        self.assertEqual(result.ok, (0, 1, 0), f"{result.errors}\n{result.received()}")
        return result

    def ending(self, result: Result) -> tuple[Any, ...]:
        """What the call's one record says of its end."""
        record = self.gateway.record(result.call_id)
        return record["status"], record["cause"], record["ended_by"], record["codec"]

    def refusal(self, result: Result, response: str) -> tuple[Any, ...]:
        """What the one record says that the response's Warning refers to."""
        record = self.gateway.record(result.call_id, "refusals")
        self.assertEqual(result.one(response).header("Warning"), f'399 sip.acme.example "ref {record["reference"]}"')
        return record["status"], record["check"]


class SetUpTests(DialogCase):
    """Calls that come up in another way, or do not."""

    def test_delayed_offer(self) -> None:
        """An INVITE without SDP gets our offer in the 200; its answer comes in the ACK, and RTP flows both ways."""
        result = self.run_steps(invite(""), receive(180), receive(200), ack(sdp()), talk(), pause(1000), bye())
        offer = result.one("200 INVITE")
        self.assertEqual((offer.direction, self.ending(result)), ("sendrecv", (200, "caller_hangup", "caller", "PCMU")))
        self.assertRegex(offer.body, r"m=audio \d+ RTP/AVP 9 0 8 \d+\n")
        (leg,) = self.gateway.record(result.call_id)["legs"]
        self.assertTrue(leg["packets_received"] > 35 and leg["packets_sent"] > 40 and leg["agent_audio_ms"] > 700, leg)

    def test_delayed_offer_without_an_answer(self) -> None:
        """An ACK that does not answer our offer leaves nothing to talk with: BYE."""
        result = self.run_steps(invite(""), receive(180), receive(200), ack(), awaits("BYE"))
        self.assertEqual(self.ending(result), (200, "not_acceptable", "gateway", ""))

    def test_cancel_while_ringing(self) -> None:
        """CANCEL while the agent is still being connected: 200, 487; the agent's connection is given up."""
        result = self.run_steps(
            invite(), receive(180), pause(300),
            request("CANCEL", branch="INVITE", dialog=False), receive(200), receive(487), ack_refusal(),
            to=NOBODY,
        )  # fmt: skip
        self.assertEqual(result.received(), ["100 INVITE", "180 INVITE", "200 CANCEL", "487 INVITE"])
        self.assertEqual((self.ending(result), silent().left()), ((487, "cancelled", "caller", "PCMU"), True))
        self.assertEqual(self.records(result, "refusals"), [])

    def test_cancel_after_the_answer(self) -> None:
        """A CANCEL that comes too late is answered and changes nothing (RFC 3261 9.2)."""
        result = self.run_steps(
            answered(), request("CANCEL", branch="INVITE", dialog=False), receive(200), pause(300), bye()
        )
        self.assertEqual(result.received()[-2:], ["200 CANCEL", "200 BYE"])
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))

    def test_early_bye(self) -> None:
        """A BYE in the early dialog ends it: 200, and 487 to the INVITE (RFC 3261 15.1.2)."""
        result = self.run_steps(
            invite(), receive(180), pause(300), request("BYE", cseq=2), receive(200), receive(487), ack_refusal(),
            to=NOBODY,
        )  # fmt: skip
        self.assertEqual(sorted(result.received()[2:]), ["200 BYE", "487 INVITE"])
        self.assertEqual((self.ending(result)[:3], silent().left()), ((487, "caller_hangup", "caller"), True))

    def test_retransmitted_invite(self) -> None:
        """An INVITE that comes again after its 200 is absorbed: one call, one agent, one and the same 200."""
        again = request("INVITE", OFFER, dialog=False, retransmit=False)
        result = self.run_steps(invite(), receive(180), receive(200), again, again, ack(), pause(300), bye())
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))
        self.assertFalse(wait_until(lambda: len(self.records(result)) > 1, 0.5))
        self.assertEqual(len({each.text for each in result.messages if each.name == "200 INVITE"}), 1)

    def test_lost_ack(self) -> None:
        """A 200 that nobody acknowledges is repeated at T1, 2*T1, ... for 64*T1; then BYE (RFC 3261 13.3.1.4)."""
        result = self.run_steps(invite(), receive(180), receive(200), awaits("BYE", timeout=12000))
        record = self.gateway.record(result.call_id)
        self.assertEqual(
            (record["cause"], record["ended_by"], record["confirmed"], record["duration"] > 6.0),
            ("ack_timeout", "gateway", None, True),
        )
        came = [float(line.split()[0]) for line in record["ladder"] if "-> " in line and line.endswith(" 200 OK")]
        gaps = [later - earlier for earlier, later in pairwise(came)]
        due = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
        self.assertEqual(
            [near(gap, seconds) for gap, seconds in zip(gaps, due, strict=True)], [True] * len(due), f"gaps {gaps}"
        )

    def test_late_ack(self) -> None:
        """An ACK for the third 200 confirms the call; no more 200s come after it."""
        result = self.run_steps(invite(), receive(180), receive(200), pause(500), ack(), pause(1500), bye())
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))
        names = [(message.sent, message.name) for message in result.messages]
        acked = names.index((True, "ACK"))
        self.assertGreaterEqual(names[:acked].count((False, "200 INVITE")), 3)
        self.assertNotIn((False, "200 INVITE"), names[acked:])


class ChangeTests(DialogCase):
    """Calls that change while they are up."""

    def test_hold_and_resume(self) -> None:
        """sendonly is answered recvonly, sendrecv by sendrecv; the session version counts up (RFC 3264 8)."""
        result = self.run_steps(
            answered(), talk(), pause(300),
            reinvite(sdp("sendonly", version=2)), receive(200), ack(cseq=2), pause(500),
            reinvite(sdp("sendrecv", version=3), cseq=3), receive(200), ack(cseq=3), pause(300),
            bye(4),
        )  # fmt: skip
        answers = [result.one("200 INVITE", place) for place in range(3)]
        self.assertEqual([answer.direction for answer in answers], ["sendrecv", "recvonly", "sendrecv"])
        versions = [int(answer.body.split("o=")[1].split()[2]) for answer in answers]
        self.assertEqual(versions, [versions[0], versions[0] + 1, versions[0] + 2])
        self.assertEqual(len({answer.body.split("m=audio ")[1].split()[0] for answer in answers}), 1)
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))

    def test_hold_by_an_address_of_zeros(self) -> None:
        """c=0.0.0.0 is the old way to say hold (RFC 3264 8.4): answered, and the call goes on."""
        zeros = sdp("sendonly", version=2).replace("[media_ip]", "0.0.0.0")
        result = self.run_steps(
            answered(), reinvite(zeros), receive(200), ack(cseq=2), pause(300),
            reinvite(sdp(version=3), cseq=3), receive(200), ack(cseq=3), talk(), pause(300), bye(4),
        )  # fmt: skip
        self.assertEqual(
            ([result.one("200 INVITE", place).direction for place in (1, 2)], self.ending(result)),
            (["recvonly", "sendrecv"], (200, "caller_hangup", "caller", "PCMU")),
        )

    def test_reinvite_without_sdp(self) -> None:
        """It asks for an offer: ours comes in the 200, its answer in the ACK; another codec is taken up."""
        result = self.run_steps(
            answered(), talk(), pause(300),
            reinvite(""), receive(200), ack(sdp(codecs="8", version=2), cseq=2), pause(500), bye(3),
        )  # fmt: skip
        offer = result.one("200 INVITE", 1)
        self.assertEqual((offer.direction, self.ending(result)), ("sendrecv", (200, "caller_hangup", "caller", "PCMA")))
        self.assertRegex(offer.body, r"m=audio \d+ RTP/AVP [0-9 ]*\b8\b")

    def test_reinvite_that_does_not_fit(self) -> None:
        """A change that we cannot follow gets 488, and the call goes on as it was (RFC 3261 14.2)."""
        result = self.run_steps(
            answered(), talk(), pause(300),
            reinvite(sdp(codecs="18", version=2)), receive(488), ack_refusal(cseq=2, dialog=True), pause(500), bye(3),
        )  # fmt: skip
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))
        (leg,) = self.gateway.record(result.call_id)["legs"]
        self.assertGreater(leg["packets_sent"], 30)

    def test_options_in_the_dialog(self) -> None:
        """Asked whether it is still there, the gateway says yes, and what it can do."""
        result = self.run_steps(answered(), request("OPTIONS", cseq=2), receive(200), bye(3))
        said = result.one("200 OPTIONS")
        self.assertEqual(
            (
                said.header("Accept"),
                {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS"} - set(said.header("Allow").split(", ")),
            ),
            ("application/sdp", set()),
        )
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))

    def test_other_methods_in_the_dialog(self) -> None:
        """UPDATE is taken, MESSAGE refused with what is allowed, an unknown method with 501; the call goes on."""
        result = self.run_steps(
            answered(),
            request("UPDATE", cseq=2),
            receive(200),
            request("MESSAGE", cseq=3),
            receive(405),
            request("FROBNICATE", cseq=4),
            receive(501),
            bye(5),
        )
        allowed = result.one("405 MESSAGE").header("Allow")
        self.assertEqual(("UPDATE" in allowed, "MESSAGE" in allowed, "REFER" in allowed), (True, False, False))
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))


class AgentEndTests(DialogCase):
    """Calls that the agent ends: the phone system is told why (RFC 3326)."""

    def reason_after(self, code: int) -> tuple[str, str]:
        """The Reason of the BYE, and the record's cause."""
        agent().code = code
        result = self.run_steps(answered(), awaits("BYE"), to=BOT)
        return result.one("BYE").header("Reason"), self.gateway.record(result.call_id)["cause"]

    def test_hung_up(self) -> None:
        """Closed with 1000, a normal end: Q.850 cause 16."""
        self.assertEqual(self.reason_after(1000), ('Q.850;cause=16;text="agent hangup"', "agent_hangup"))

    def test_failed(self) -> None:
        """Closed with 1011, a failure: Q.850 cause 41."""
        self.assertEqual(self.reason_after(1011), ('Q.850;cause=41;text="agent lost"', "agent_lost"))


class RefusalTests(DialogCase):
    """Requests that are not taken."""

    def test_unknown_extension(self) -> None:
        """Require names something we do not know: 420, with its name in Unsupported (RFC 3261 8.2.2.3)."""
        result = self.run_steps(invite(headers=("Require: teleport",)), receive(420), ack_refusal())
        self.assertEqual(result.one("420 INVITE").header("Unsupported"), "teleport")
        self.assertEqual(self.records(result), [])

    def test_bye_of_an_unknown_dialog(self) -> None:
        """481, and nothing is recorded: there is no call."""
        result = self.run_steps(request("BYE", dialog=False, tag=";tag=nobody"), receive(481))
        self.assertEqual(result.received(), ["481 BYE"])
        self.assertEqual((self.records(result), self.records(result, "refusals")), ([], []))

    def test_numbers_that_nobody_has(self) -> None:
        """Unknown and disabled numbers look the same from outside, 404; their records say which it was."""
        steps = (invite(), receive(404), ack_refusal())
        results = [self.run_steps(*steps, to=number) for number in ("55555", CLOSED)]
        self.assertEqual(
            [self.refusal(result, "404 INVITE") for result in results], [(404, "unknown"), (404, "disabled")]
        )

    def test_srtp_offer(self) -> None:
        """SRTP with its key in SDP is answered as it was offered; with its key by DTLS it is 488."""
        offer = sdp(profile="RTP/SAVP") + SDES
        result = self.run_steps(invite(offer), receive(180), receive(200), ack(), pause(300), bye())
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "PCMU"))
        self.assertIn(" RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:", result.one("200 INVITE").text)
        refused = self.run_steps(invite(sdp(profile="UDP/TLS/RTP/SAVP")), receive(488), ack_refusal())
        self.assertEqual(self.refusal(refused, "488 INVITE"), (488, "srtp_dtls"))

    def test_wrong_password(self) -> None:
        """401 again, with a reference; its one record names the user, and nothing was admitted."""
        wrong = ("-au", USER, "-ap", f"not {PASSWORD}")
        result = self.sipp.run(
            scenario(
                request("INVITE", OFFER, dialog=False),
                receive(401).replace("/>", ' auth="true"/>'),
                ack_refusal(),
                request("INVITE", OFFER, cseq=2, dialog=False, headers=("[authentication]",)),
                receive(401),
                ack_refusal(cseq=2),
            ),
            *wrong,
            to=ECHO,
            source=HOST,
        )
        self.assertEqual((result.ok, result.received()), ((0, 1, 0), ["401 INVITE", "401 INVITE"]), result.errors)
        record = self.gateway.record(result.call_id, "refusals")
        self.assertEqual(
            (record["status"], record["check"], record["username"], record["source"]),
            (401, "wrong_password", USER, HOST),
        )
        self.assertIn(f"ref {record['reference']}", result.one("401 INVITE", 1).header("Warning"))
        self.assertEqual(self.records(result), [])


def near(gap: float, due: float) -> bool:
    """Not early, and late by no more than a busy machine is."""
    return due - 0.02 <= gap <= due + 0.3
