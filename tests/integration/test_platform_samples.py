"""What each supported phone system sends, over the transport it uses: a whole call with audio, hold and BYE."""

from __future__ import annotations

import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports
from tests.integration.sample_support import TONE, Account, SamplePeer

SAMPLES = Path(__file__).parents[3] / "shared" / "platforms"
PAGE = Path(__file__).parents[2] / "docs" / "platforms" / "index.rst"
NETWORK = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
"""Whose addresses nobody else uses at the moment: peers send from the ports that their samples say."""

CONFIGURATION = """\
domain: sip.stellar.example
aliases: [203.0.113.10]
listeners:
  udp: {bind: "127.0.0.1:0"}
  tcp: {bind: "127.0.0.1:0"}
  tls: {bind: "127.0.0.1:0", certificate: tls.pem}
media: {ports: @ports, bind: 127.0.0.1, workers: 1, quarantine: 500ms}
records: {directory: "{records}"}
trunk_providers:
@providers
tenants:
  acme:
    credentials:
      freepbx-hq: {password: "correct horse", platform: freepbx}
    connectors:
      desk: {identifier: "8004417290", agent: "builtin:echo"}
      device: {identifier: "17205550100*11115", agent: "builtin:echo"}
@lines
"""


@frozen(kw_only=True)
class System:
    """One sample, and what comes of it.

    :ivar platform: the profile; empty: it logs in with a credential.
    :ivar number: the phone connector that it dials; empty: one that is there anyway.
    :ivar profile, codec: of the answer, or of what is agreed on.
    :ivar hold: how it puts a call on hold, and the direction that answers it.
    """

    platform: str = ""
    number: str = ""
    transport: str = "udp"
    profile: str = "RTP/AVP"
    codec: str
    hold: tuple[str, str] = ("sendonly", "recvonly")


SYSTEMS = {
    "8x8": System(platform="8x8", codec="PCMU"),
    "avaya-ip-office": System(platform="avaya-ip-office", codec="PCMA"),
    "bandwidth": System(platform="bandwidth", number="+12025550143", codec="PCMU"),
    "cucm-delayed-offer": System(platform="cucm", transport="tcp", codec="G722"),
    "freepbx-asterisk": System(codec="G722"),
    "genesys-sip-server-delayed": System(platform="genesys-sip-server", codec="PCMA", hold=("0.0.0.0", "recvonly")),
    "mitel-mivoice-business": System(platform="mivoice-business", codec="G722"),
    "mitel-mxone": System(platform="mx-one", transport="tls", profile="RTP/SAVP", codec="G722"),
    "ringcentral": System(platform="ringcentral", transport="tls", profile="RTP/SAVP", codec="PCMU"),
    "teams-direct-routing": System(
        platform="teams",
        number="+12025550143",
        transport="tls",
        profile="RTP/SAVP",
        codec="G722",
        hold=("inactive", "inactive"),
    ),
    "twilio": System(platform="twilio", number="+12025550143", transport="tls", profile="RTP/SAVP", codec="PCMU"),
    "vonage": System(platform="vonage", transport="tls", codec="G722"),
    "voxbone": System(platform="voxbone", number="+442079460143", codec="PCMA"),
    "webex-calling-direct": System(
        platform="webex-calling", number="+12025550143", transport="tls", profile="RTP/SAVP", codec="G722"
    ),
}
ANSWERS = {
    "genesys-sip-server-delayed": "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
}
"""SDP of the ACK, where there is no sample of it."""


def address(name: str) -> str:
    return f"{NETWORK}.{list(SYSTEMS).index(name) + 1 if name in SYSTEMS else 250}"


def configuration(ports: str) -> str:
    providers, lines = [], []
    for name, system in SYSTEMS.items():
        if system.platform:
            providers.append(
                f"  {system.platform}: {{platform: {system.platform}, allowed_ips: [{address(name)}], tenants: [acme]}}"
            )
        if system.number:
            lines.append(
                f'      line-{name}: {{type: phone, number: "{system.number}", provider: {system.platform}, '
                f'agent: "builtin:echo"}}'
            )
    text = CONFIGURATION.replace("@ports", ports).replace("@lines", "\n".join(lines))
    return text.replace("@network", NETWORK).replace("@providers", "\n".join(providers))


class SampleTests(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        if not SAMPLES.is_dir():
            raise SkipTest(f"{SAMPLES} is not there")
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.ca = Authority.create().write(folder, "sip.stellar.example")[1]
        self.gateway = GatewayProcess(configuration(block.range), folder)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def peer(self, name: str) -> SamplePeer:
        system = SYSTEMS.get(name, System(codec=""))
        answer = ANSWERS.get(name, "")
        if name == "cucm-delayed-offer":
            answer = (SAMPLES / f"{name}-ack.txt").read_bytes().decode().partition("\r\n\r\n")[2]
        gateway = ("127.0.0.1", self.gateway.ports[system.transport])
        peer = SamplePeer(SAMPLES / f"{name}.txt", address(name), system.transport, gateway, self.ca, answer)
        self.addCleanup(peer.close)
        return peer

    def test_a_call_of_each_system(self) -> None:
        """Admitted as that system is, answered at once, heard both ways, held and resumed, and over by its BYE."""
        with ThreadPoolExecutor(5) as pool:
            outcomes = list(pool.map(lambda name: whole_call(self.peer(name)), SYSTEMS))
        for (name, system), outcome in zip(SYSTEMS.items(), outcomes, strict=True):
            self.assertEqual(
                outcome,
                Outcome(
                    statuses=(100, 200, 200, 200, 200),
                    profile=system.profile,
                    encrypted=system.profile == "RTP/SAVP",
                    codec=system.codec,
                    held=system.hold[1],
                    resumed="sendrecv",
                    heard=True,
                    heard_again=True,
                ),
                name,
            )
        records = self.gateway.wait_for_records(len(SYSTEMS))
        self.assertEqual(
            sorted((record["caller"], record["cause"], record["ended_by"]) for record in records),
            sorted((system.platform or "freepbx-hq", "caller_hangup", "caller") for system in SYSTEMS.values()),
        )
        page = PAGE.read_text("utf-8")
        shown = re.search(r"(?m)^=[= ]+\nsample .*\n=[= ]+\n(?:[^=\n].*\n)+=[= ]+$", page)
        self.assertEqual(shown[0] if shown else "", table(outcomes), "docs/platforms/index.rst")
        self.assertNotIn("Traceback", self.gateway.log)

    def test_a_ping_that_may_go_no_further_is_answered(self) -> None:
        """Cisco UCM sends its OPTIONS with Max-Forwards: 0."""
        with socket.create_connection(("127.0.0.1", self.gateway.ports["tcp"]), 5.0) as connection:
            connection.sendall((SAMPLES / "cucm-options-ping.txt").read_bytes())
            self.assertEqual(connection.recv(65535).split(b"\r\n")[0], b"SIP/2.0 200 OK")


@frozen(kw_only=True)
class Outcome:
    """What came of one call.

    :ivar statuses: the first answer; then the final ones of INVITE, hold, resume and BYE.
    """

    statuses: tuple[int, ...]
    profile: str
    encrypted: bool
    codec: str
    held: str
    resumed: str
    heard: bool
    heard_again: bool


def whole_call(peer: SamplePeer) -> Outcome:
    system = SYSTEMS[peer.name]
    early, answered = peer.invite(Account(username="freepbx-hq", password="correct horse"))
    heard = came_back(peer)
    held_status, held_direction = held(peer, system.hold[0])
    resumed_status, resumed_direction = held(peer, "sendrecv")
    heard_again = came_back(peer)
    return Outcome(
        statuses=(early[0] if early else 0, answered.status, held_status, resumed_status, peer.bye().status),
        profile=peer.media.protocol,
        encrypted=peer.encrypted,
        codec=peer.codec,
        held=held_direction,
        resumed=resumed_direction,
        heard=heard,
        heard_again=heard_again,
    )


def came_back(peer: SamplePeer) -> bool:
    """Whether half of a tone came back by the echo, all of it authentic."""
    heard = peer.talk()
    return tone_ms(heard.pcm, heard.rate, TONE) > 600 and heard.forged == 0


def table(outcomes: list[Outcome]) -> str:
    """The rows of ``docs/platforms/index.rst``: what was seen, and nothing else."""
    rows = [
        (
            name,
            system.transport.upper(),
            "digest" if not system.platform else "address",
            f"{outcome.profile}, {outcome.codec}",
            f"{system.hold[0]}, {outcome.held}",
        )
        for (name, system), outcome in zip(SYSTEMS.items(), outcomes, strict=True)
    ]
    titles = ("sample", "over", "admitted by", "answer", "hold, its answer")
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    line = " ".join("=" * width for width in widths)
    written = [
        " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (titles, *rows)
    ]
    return "\n".join([line, written[0], line, *written[1:], line])


def held(peer: SamplePeer, style: str) -> tuple[int, str]:
    """The status that a change of direction gets, and the direction of the answer."""
    final = peer.reinvite(style)
    lines = final.body.decode().split("\r\n")
    found = [line[2:] for line in lines if line in ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive")]
    return final.status, (found or ["sendrecv"])[0]
