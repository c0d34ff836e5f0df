"""What each supported phone system sends, over the transport it uses: whole calls, from the INVITE to the BYE.

Two gateways are called side by side, one whose agent echoes, and one whose agent wants its caller transferred.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports
from tests.integration.sample_house import House
from tests.integration.sample_support import TONE, Account, ListeningPeer, SamplePeer
from tests.integration.telnyx_sample import telnyx

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
  mutual: {transport: tls, bind: "127.0.0.2:0", media_advertise: 127.0.0.1, certificate: tls.pem, client_ca: ca.pem}
sip: {trusted_ca: ca.pem}
media: {ports: @ports, bind: 127.0.0.1, workers: 1, quarantine: 500ms}
records: {directory: "{records}"}
trunk_providers:
@providers
tenants:
  acme:
    private_targets: true
    transfers:
      house: {to: "@house"}
    credentials:
      freepbx-hq: {password: "correct horse", platform: freepbx}
    connectors:
      desk: {identifier: "8004417290", @agent}
      device: {identifier: "17205550100*11115", @agent}
@lines
"""


@frozen(kw_only=True)
class System:
    """One sample, and what comes of it.

    :ivar platform: the profile; empty: it logs in with a credential.
    :ivar number: the phone connector that it dials; empty: one that is there anyway.
    :ivar profile, codec: of the answer, or of what is agreed on.
    :ivar hold: how it puts a call on hold, and the direction that answers it.
    :ivar mutual: both sides show certificates.
    :ivar refer: the statuses that it answers our REFER with, by response and NOTIFYs; empty: its Allow has no REFER.
    """

    platform: str = ""
    number: str = ""
    transport: str = "udp"
    profile: str = "RTP/AVP"
    codec: str
    hold: tuple[str, str] = ("sendonly", "recvonly")
    mutual: bool = False
    refer: tuple[int, ...] = ()


SYSTEMS = {
    "8x8": System(platform="8x8", codec="PCMU"),
    "avaya-ip-office": System(platform="avaya-ip-office", codec="PCMA", refer=(202, 100, 200)),
    "bandwidth": System(platform="bandwidth", number="+12025550143", codec="PCMU"),
    "cucm-delayed-offer": System(platform="cucm", transport="tcp", codec="G722", refer=(403,)),
    "freepbx-asterisk": System(codec="G722", refer=(202, 100, 180, 200)),
    "genesys-sip-server-delayed": System(
        platform="genesys-sip-server", codec="PCMA", hold=("0.0.0.0", "recvonly"), refer=(202, 100, 503)
    ),
    "mitel-mivoice-business": System(platform="mivoice-business", codec="G722", refer=(202, 200)),
    "mitel-mxone": System(platform="mx-one", transport="tls", profile="RTP/SAVP", codec="G722", refer=(202, 200)),
    "ringcentral": System(
        platform="ringcentral", transport="tls", profile="RTP/SAVP", codec="PCMU", refer=(202, 100, 200)
    ),
    "teams-direct-routing": System(
        platform="teams",
        number="+12025550143",
        transport="tls",
        profile="RTP/SAVP",
        codec="G722",
        hold=("inactive", "inactive"),
        mutual=True,
    ),
    "telnyx": System(platform="telnyx", number="+12025550143", codec="G722", refer=(202, 100, 180, 200)),
    "twilio": System(
        platform="twilio", number="+12025550143", transport="tls", profile="RTP/SAVP", codec="PCMU", refer=(603,)
    ),
    "vonage": System(platform="vonage", transport="tls", codec="G722"),
    "voxbone": System(platform="voxbone", number="+442079460143", codec="PCMA"),
    "webex-calling-direct": System(
        platform="webex-calling",
        number="+12025550143",
        transport="tls",
        profile="RTP/SAVP",
        codec="G722",
        refer=(405,),
    ),
}
ANSWERS = {
    "genesys-sip-server-delayed": "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
}
"""SDP of the ACK, where there is no sample of it."""


def address(name: str, *, moves: bool = False) -> str:
    """
    :param moves: of the peer whose call is transferred, at the same time as the other one's call.
    """
    return f"{NETWORK}.{list(SYSTEMS).index(name) + 1 + 100 * moves if name in SYSTEMS else 250}"


def present() -> dict[str, System]:
    """The systems of which there is a sample: Telnyx's is our own."""
    return {name: system for name, system in SYSTEMS.items() if name == "telnyx" or (SAMPLES / f"{name}.txt").is_file()}


def sample(name: str) -> bytes:
    return telnyx() if name == "telnyx" else (SAMPLES / f"{name}.txt").read_bytes()


def configuration(ports: str, agent: str, house: str, teams: str = "") -> str:
    """
    :param agent: YAML of the connectors' agent.
    :param house: where transfers go.
    :param teams: YAML of what Teams has besides.
    """
    providers, lines = [], []
    for name, system in SYSTEMS.items():
        if system.platform:
            providers.append(
                f"  {system.platform}: {{platform: {system.platform}, tenants: [acme], "
                f"allowed_ips: [{address(name)}, {address(name, moves=True)}]"
                f"{teams if name == 'teams-direct-routing' else ''}}}"
            )
        if system.number:
            lines.append(
                f'      line-{name}: {{type: phone, number: "{system.number}", provider: {system.platform}, @agent}}'
            )
    text = CONFIGURATION.replace("@ports", ports).replace("@lines", "\n".join(lines))
    text = text.replace("@providers", "\n".join(providers))
    return text.replace("@agent", agent).replace("@house", house)


class SampleTests(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        if not SAMPLES.is_dir():
            raise SkipTest(f"{SAMPLES} is not there")
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        authority = Authority.create()
        self.ca = authority.write(self.folder, "sip.stellar.example")[1]
        self.shown = self.folder / "teams.pem"
        self.shown.write_bytes(authority.issue("sip.pstnhub.example"))
        self.house = House(address("house"))
        self.addCleanup(self.house.stop)

    def start(self, agent: str, teams: str = "") -> GatewayProcess:
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in ("tls.pem", "ca.pem"):
            (folder / name).write_bytes((self.folder / name).read_bytes())
        gateway = GatewayProcess(configuration(block.range, agent, self.house.uri, teams), folder)
        self.addCleanup(gateway.stop)
        return gateway.start()

    def peer(self, name: str, gateway: GatewayProcess, *, moves: bool = False) -> SamplePeer:
        system = SYSTEMS[name]
        answer = ANSWERS.get(name, "")
        if name == "cucm-delayed-offer":
            answer = (SAMPLES / f"{name}-ack.txt").read_bytes().decode().partition("\r\n\r\n")[2]
        host = "127.0.0.2" if system.mutual else "127.0.0.1"
        place = (host, gateway.places[host, system.transport])
        shown = self.shown if system.mutual else None
        peer = SamplePeer(
            name, sample(name), address(name, moves=moves), system.transport, place, self.ca, answer, shown
        )
        self.addCleanup(peer.close)
        return peer

    def test_calls_of_each_system(self) -> None:
        """Admitted as that system is, answered at once, heard both ways, held, resumed, refreshed, and over by its BYE;
        and transferred, by REFER as that system takes it, or by a call of ours.
        """
        systems = present()
        with ThreadPoolExecutor(12) as pool:
            starting = pool.submit(self.start, 'agent: "builtin:echo"')
            moves = self.start('agent: "builtin:transfer", options: {to: house}', ", srtp_without_tls: true")
            echoes = starting.result()
            transfers = [pool.submit(transferred, self.peer(name, moves, moves=True)) for name in systems]
            outcomes = list(pool.map(lambda name: whole_call(self.peer(name, echoes)), systems))
            moved = [each.result() for each in transfers]
        for (name, system), outcome in zip(systems.items(), outcomes, strict=True):
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
                    session=outcome.session,
                    refreshed=outcome.refreshed,
                ),
                name,
            )
        records = echoes.wait_for_records(len(systems))
        callers = sorted(system.platform or "freepbx-hq" for system in systems.values())
        self.assertEqual(
            sorted((record["caller"], record["cause"], record["ended_by"]) for record in records),
            [(caller, "caller_hangup", "caller") for caller in callers],
        )
        results = {
            record["caller"]: [transfer["result"] for transfer in record["transfers"]]
            for record in moves.wait_for_records(len(systems))
        }
        expected = {
            system.platform or "freepbx-hq": ["transferred" if system.refer[-1:] == (200,) else "bridged"]
            for system in systems.values()
        }
        self.assertEqual(results, expected)
        for gateway in (echoes, moves):
            self.assertNotIn("Traceback", gateway.log)
        if len(systems) < len(SYSTEMS):
            raise SkipTest(f"there are no samples of {', '.join(SYSTEMS.keys() - systems.keys())}")
        page = PAGE.read_text("utf-8")
        shown = re.search(r"(?m)^=[= ]+\nsample .*\n=[= ]+\n(?:[^=\n].*\n)+=[= ]+$", page)
        self.assertEqual(shown[0] if shown else "", table(outcomes, moved), "docs/platforms/index.rst")

    def test_teams_by_mutual_tls(self) -> None:
        """OPTIONS first, both ways, each side's certificate shown; then a call by SRTP. Without one nobody gets in.

        And Cisco UCM's OPTIONS, whose Max-Forwards is 0, is answered there too.
        """
        if "teams-direct-routing" not in present():
            raise SkipTest("there is no sample of Teams")
        with ListeningPeer(address("teams-direct-routing"), self.shown, self.ca) as teams:
            outbound = (
                f', outbound: {{to: "sip:{teams.host}:{teams.port};transport=tls", tls_name: sip.pstnhub.example, '
                "probe: 5s, client_certificate: tls.pem}"
            )
            gateway = self.start('agent: "builtin:echo"', outbound)
            with socket.create_connection(("127.0.0.1", gateway.ports["tcp"]), 5.0) as connection:
                connection.sendall((SAMPLES / "cucm-options-ping.txt").read_bytes())
                self.assertEqual(connection.recv(65535).split(b"\r\n")[0], b"SIP/2.0 200 OK")
            options, names = teams.asked()
            self.assertEqual((options.method, names), ("OPTIONS", ("sip.stellar.example",)))
            peer = self.peer("teams-direct-routing", gateway)
            pong = peer.options()
            self.assertEqual((pong.status, "REFER" in pong.allow), (200, False))
            outcome = whole_call(peer)
        self.assertEqual((outcome.statuses[:2], outcome.encrypted, outcome.heard), ((100, 200), True, True))
        [record] = gateway.wait_for_records(1)
        self.assertEqual((record["transport"], record["srtp"]), ("tls", "AES_CM_128_HMAC_SHA1_80"))
        context = ssl.create_default_context(cafile=str(self.ca))
        place = ("127.0.0.2", gateway.places["127.0.0.2", "tls"])
        with socket.create_connection(place, 5.0) as plain, self.assertRaises((ssl.SSLError, ConnectionError)):
            stranger = context.wrap_socket(plain, server_hostname="sip.stellar.example")
            stranger.sendall(b"\r\n\r\n")
            if not stranger.recv(16):
                raise ConnectionError("closed")


@frozen(kw_only=True)
class Outcome:
    """What came of one call.

    :ivar statuses: the first answer; then the final ones of INVITE, hold, resume and BYE.
    :ivar session: Session-Expires of our 200; empty: there is no timer.
    :ivar refreshed: how it refreshed the session, and what we said to that.
    """

    statuses: tuple[int, ...]
    profile: str
    encrypted: bool
    codec: str
    held: str
    resumed: str
    heard: bool
    heard_again: bool
    session: str
    refreshed: str


def whole_call(peer: SamplePeer) -> Outcome:
    system = SYSTEMS[peer.name]
    early, answered = peer.invite(Account(username="freepbx-hq", password="correct horse"))
    assert answered.status == 200, f"{peer.name}: {answered.status} {answered.reason}"
    heard = came_back(peer)
    held_status, held_direction = held(peer, system.hold[0])
    resumed_status, resumed_direction = held(peer, "sendrecv")
    refreshed = ""
    if peer.session:
        method, final, same = peer.refresh()
        assert same, f"{peer.name}: our description changed with a refresh"
        refreshed = f"{method}, {final.status}"
    heard_again = came_back(peer)
    statuses = (early[0] if early else 0, answered.status, held_status, resumed_status, peer.bye().status)
    peer.close()
    return Outcome(
        statuses=statuses,
        profile=peer.media.protocol,
        encrypted=peer.encrypted,
        codec=peer.codec,
        held=held_direction,
        resumed=resumed_direction,
        heard=heard,
        heard_again=heard_again,
        session=peer.session,
        refreshed=refreshed,
    )


def transferred(peer: SamplePeer) -> str:
    """How the agent's wish to transfer its caller is carried out; the call is over then."""
    system = SYSTEMS[peer.name]
    peer.invite(Account(username="freepbx-hq", password="correct horse"))
    peer.talk(2.0)  # the agent listens to a second of it first
    told = []
    if system.refer:
        status, *notifies = system.refer
        peer.answer(peer.asked("REFER"), status)
        told.append(f"REFER {status}")
        for step in notifies:
            state = "active;expires=60" if step < 200 else "terminated;reason=noresource"
            assert peer.notify(f"{step} Told", state) == 200, f"{peer.name}: NOTIFY"
        if notifies:
            told.append("NOTIFY " + " ".join(map(str, notifies)))
    moved = system.refer[-1:] == (200,)
    if not moved:
        told.append("INVITE")
    peer.answer(peer.asked("BYE"), 200)
    if moved:  # what is told too late is answered as well
        assert peer.notify("200 Told", "terminated;reason=noresource") == 200, f"{peer.name}: NOTIFY after BYE"
    return ", ".join(told)


def came_back(peer: SamplePeer) -> bool:
    """Whether half of a tone came back by the echo, all of it authentic."""
    heard = peer.talk()
    return tone_ms(heard.pcm, heard.rate, TONE) > 600 and heard.forged == 0


def table(outcomes: list[Outcome], transfers: list[str]) -> str:
    """The rows of ``docs/platforms/index.rst``: what was seen, and nothing else."""
    rows = [
        (
            name,
            "TLS, mutual" if system.mutual else system.transport.upper(),
            "digest" if not system.platform else "address",
            f"{outcome.profile}, {outcome.codec}",
            f"{system.hold[0]}, {outcome.held}",
            outcome.session or "none",
            outcome.refreshed or "none",
            transfer,
        )
        for (name, system), outcome, transfer in zip(SYSTEMS.items(), outcomes, transfers, strict=True)
    ]
    titles = ("sample", "over", "admitted by", "answer", "hold, its answer", "session", "refresh", "transfer")
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
