"""Bridges of callers and targets, by what is heard on either side: codecs, SRTP, transports, and the change itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from stellar_gw.media.analysis import level_dbfs, tone_ms
from stellar_gw.net.tls import Identity, ServerTls
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import AnswerPlan, SrtpWish, playable
from stellar_gw.sip.flow import Transport
from stellar_gw.testing.certificates import Authority
from tests.integration.call_support import SOUND, CallTestCase, heard, reactor
from tests.integration.gateway_support import TRUNK
from tests.integration.sound import ENOUGH, RATE, recognised
from tests.integration.test_recording import channels
from tests.integration.transfer_support import FIRST_NUMBER, start_with_transfers

AGENT_HZ, TARGET_HZ = 440, 700
BLOCK_MS = 10


@frozen
class Side:
    transport: Transport = "udp"
    codec: str = "PCMU"
    srtp: SrtpWish = "off"


CASES = (
    (Side(), Side()),
    (Side(codec="G722"), Side(codec="PCMU")),
    (Side(codec="PCMA"), Side("tcp", "G722")),
    (Side("tls", "PCMU", "required"), Side(codec="PCMA")),
    (Side(), Side("tls", "PCMU", "required")),
    (Side("tls", "G722", "required"), Side("tls", "G722", "required")),
    (Side("tcp", "PCMU", "optional"), Side("udp", "PCMU", "optional")),
)
"""The caller's side and the target's."""


def longest_gap_ms(pcm: bytes, rate: int) -> int:
    """The longest silence between the first sound and the last, in whole blocks."""
    size = 2 * rate * BLOCK_MS // 1000
    loud = [level_dbfs(pcm[place : place + size]) > -50.0 for place in range(0, len(pcm) - size, size)]
    first, last = loud.index(True), len(loud) - loud[::-1].index(True)
    gap = longest = 0
    for each in loud[first:last]:
        gap = 0 if each else gap + 1
        longest = max(longest, gap)
    return longest * BLOCK_MS


class AudioTests(CallTestCase):
    timeout = 180

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.certificate, self.authority = Authority.create().write(folder, TRUNK)

    def target(self, side: Side) -> Phone:
        """A phone that answers after a moment and plays a tone."""
        plan = AnswerPlan(
            ring_for=0.3, duration=0, play=playable(f"tone:{TARGET_HZ}"), codecs=(side.codec,), srtp=side.srtp
        )
        server = ServerTls(Identity(certificate=str(self.certificate)), reactor.seconds)
        made = Phone(reactor, side.transport, TRUNK, answer=plan)
        made.open(server_tls=server if side.transport == "tls" else None)
        self.addCleanup(made.stop)
        return made

    async def test_both_ways(self) -> None:
        """The caller hears the agent and then the target, the target hears the caller, whatever each side speaks.

        In the recording of what the caller heard there is no silence longer than 60 ms where one took over from the
        other.
        """
        phones = [self.target(target) for _, target in CASES]
        taken: dict[int, list[PhoneCall]] = {number: [] for number in range(len(CASES))}
        transfers = []
        for number, (phone, (_, side)) in enumerate(zip(phones, CASES, strict=True)):
            phone.incoming = taken[number].append
            params = "" if side.transport == "udp" else f";transport={side.transport}"
            transfers.append(f'to: "sip:desk@{TRUNK}:{phone.address[1]}{params}", method: invite')
        self.gateway = start_with_transfers(self, transfers, sip=f'trusted_ca: "{self.authority.absolute()}", ')
        gaps = {}
        for number, (side, other) in enumerate(CASES):
            call = self.place(
                str(FIRST_NUMBER + number), side.transport, codecs=(side.codec,), srtp=side.srtp, duration=5.0
            )
            report = await call.ended
            [there] = taken[number]
            await there.ended
            record = await self.record(report)
            case = f"{side} -> {other}"
            [transfer] = record["transfers"]
            self.assertEqual((transfer["result"], record["cause"]), ("bridged", "caller_hangup"), case)
            self.check_audio(case, call, there, record)
            legs = {leg["leg"]: bool(leg["srtp"]) for leg in record["legs"]}
            self.assertEqual(
                (legs["caller"], legs["target"]), (side.srtp != "off", other.srtp != "off"), (case, record["legs"])
            )
            rate, _, right = channels(record["recording"]["path"])
            gaps[case] = longest_gap_ms(right, rate)
        self.assertEqual({case: gap for case, gap in gaps.items() if gap > 60}, {}, gaps)

    def check_audio(self, case: str, call: PhoneCall, there: PhoneCall, record: dict[str, Any]) -> None:
        at_caller, at_target = heard(call), heard(there)
        tones = [tone_ms(at_caller, RATE, hertz) for hertz in (AGENT_HZ, TARGET_HZ)]
        self.assertTrue(tones[0] > 500 and tones[1] > 1500, (case, tones, record))
        self.assertGreater(recognised(SOUND, at_target), ENOUGH, case)
        self.assertLess(tone_ms(at_target, RATE, AGENT_HZ), 100, case)  # the agent is not heard there
