"""The kernel passes bridged packets on, between network namespaces: real helper, real worker, real kernel."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SkipTest

from stellar_gw.control import messages
from stellar_gw.control.messages import Allocate, Answered, Pressed, Rebind, Record, Release, SetMedia
from stellar_gw.gateway.worker_process import WorkerCommand
from stellar_gw.media.dtmf import DtmfSender
from stellar_gw.media.rtcp import SenderReport, SourceDescription, build_rtcp, parse_rtcp
from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp
from stellar_gw.testing.namespaces import GATEWAY, PHONE, Machines, unavailable
from tests.integration.worker_support import QUIET, PoolTestCase, kill, reactor, runtime_folder, until

PCMU = messages.Codec(name="PCMU", payload_type=0)
EVENTS = messages.Codec(name="telephone-event", payload_type=101)
PORTS = (20000, 20100)
SSRC = {"a": 0xAAAA, "b": 0xBBBB}


class Phone(DatagramProtocol):
    """Sends numbered packets from one of the machines, and keeps what comes."""

    noisy = False

    def __init__(self, test: PoolTestCase, machines: Machines, machine: str, port: int) -> None:
        self._machines = machines
        self._machine = machine
        self._test = test
        self.sender = RtpSender(SSRC[machine], 100, 8000, 0)
        self.sent = 0
        self.received: list[RtpPacket] = []
        self.sources: list[tuple[str, int]] = []
        self.rtcp: list[bytes] = []
        self.destination = ("", 0)
        self._loop = LoopingCall(self._send)
        self.listen(port)

    def listen(self, port: int) -> None:
        sock = self._machines.socket(self._machine, (PHONE[self._machine], port))
        sock.setblocking(False)
        self.address: tuple[str, int] = sock.getsockname()
        self._port = reactor.adoptDatagramPort(sock.fileno(), socket.AF_INET, self, maxPacketSize=65535)
        sock.close()
        self._test.addCleanup(self._port.stopListening)
        self._test.addCleanup(self.hush)  # before its port closes, so added after it

    def speak(self, destination: tuple[str, int]) -> None:
        self.destination = destination
        self._loop.start(0.02)

    def hush(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _send(self) -> None:
        self.sent += 1
        self.send(self.sender.packet(payload(self.sent), 160))

    def send(self, datagram: bytes) -> None:
        # By the port: a packet may be due while the phone moves, and has no transport of its own.
        self._port.write(datagram, self.destination)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        packet = parse_rtp(datagram)
        if packet is not None:
            self.received.append(packet)
            self.sources.append(addr)

    def hears(self, ssrc: int) -> bool:
        return bool(self.received) and self.received[-1].ssrc == ssrc

    async def more(self, count: int) -> list[RtpPacket]:
        """So many packets, from now on."""
        start = len(self.received)
        await until(lambda: len(self.received) >= start + count)
        return self.received[start : start + count]


def payload(number: int) -> bytes:
    return number.to_bytes(4, "big") * 40


class FastPathTestCase(PoolTestCase):
    """A bridged call between two phones, the helper beside its worker."""

    def setUp(self) -> None:
        why = unavailable() or ("" if which("nft") else "nft is not installed: tools/peers.sh installs it")
        if why:
            raise SkipTest(why)
        self.machines = Machines()
        self.addCleanup(self.machines.close)
        self.folder = runtime_folder(self)
        self.helper_socket = str(Path(self.folder) / "helper.sock")

    def command(self, *options: str) -> list[str]:
        first, end = PORTS
        ours = ("-P", "-m", "stellar_gw.fastpath.main", "--socket", self.helper_socket, "--ports", f"{first}-{end - 1}")
        return [*self.machines.command("gateway"), *options, sys.executable, *ours]

    async def start_helper(self) -> subprocess.Popen[str]:
        helper = subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end_helper, helper)
        await until(lambda: helper.poll() is not None or Path(self.helper_socket).exists())
        self.assertIsNone(helper.poll())
        return helper

    def end_helper(self, helper: subprocess.Popen[str]) -> None:
        if helper.poll() is None:
            helper.terminate()
        helper.communicate(timeout=10)

    async def call(self, **caller_media: Any) -> tuple[Any, Phone, Phone]:
        """The pool and both phones, which speak to each other."""
        line = (*self.machines.command("gateway"), sys.executable, "-c", QUIET, "--priority", "0")
        self.pool = await self.start_pool(
            ports=PORTS,
            bind=("0.0.0.0",),
            runtime=self.folder,
            command=WorkerCommand(arguments=line),
            fast_path=self.helper_socket,
            recordings=self.folder,
        )
        phones = Phone(self, self.machines, "a", 4000), Phone(self, self.machines, "b", 5000)
        self.legs = {}
        for leg, phone in zip(("caller", "target"), phones, strict=True):
            allocated: Any = await self.pool.ask(Allocate(request=0, call="c-1", leg=leg))
            self.legs[leg] = allocated
            await self.pool.ask(self.media(leg, phone.address, **(caller_media if leg == "caller" else {})))
            await self.pool.ask(Answered(request=0, call="c-1", leg=leg))
            phone.speak((GATEWAY["a" if leg == "caller" else "b"], allocated.rtp_port))
        await self.pool.ask(messages.bridge("c-1"))
        return (self.pool, *phones)

    def media(self, leg: str, remote: tuple[str, int], **changes: Any) -> SetMedia:
        fields: dict[str, Any] = {
            "remote": remote,
            "remote_rtcp": (remote[0], remote[1] + 1),
            "send": PCMU,
            "receive": (PCMU,),
            "dtmf_send": EVENTS,
            "dtmf_receive": (EVENTS,),
            **changes,
        }
        return SetMedia(request=0, call="c-1", leg=leg, **fields)

    async def in_kernel(self, caller: Phone, target: Phone) -> None:
        """Each hears the other's own SSRC."""
        await until(lambda: caller.hears(SSRC["b"]) and target.hears(SSRC["a"]))

    async def in_user_space(self, caller: Phone, target: Phone) -> None:
        """Each hears the gateway's SSRC, and no bridge has a rule."""
        ours = self.legs["caller"].ssrc, self.legs["target"].ssrc
        await until(lambda: (caller.received[-1].ssrc, target.received[-1].ssrc) == ours)
        await until(lambda: self.rules() == 0)

    def rules(self) -> int:
        """Elements in the maps of our table."""
        listed = self.machines.run("gateway", "nft", "-j", "list", "ruleset")
        maps = [each["map"] for each in json.loads(listed)["nftables"] if "map" in each]
        return sum(len(each.get("elem", ())) for each in maps)


class PassedOnTests(FastPathTestCase):
    async def test_passed_on(self) -> None:
        """Once both are latched the kernel passes all on and the worker sees nothing more; all is counted."""
        await self.start_helper()
        pool, caller, target = await self.call()
        await self.in_kernel(caller, target)
        before = caller.sent, target.sent
        heard = await target.more(60)
        await caller.more(1)
        self.assertEqual({packet.ssrc for packet in heard}, {SSRC["a"]})
        numbers = [packet.sequence_number for packet in heard]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 60)))
        self.assertEqual([packet.payload for packet in heard], [payload(number - 99) for number in numbers])
        self.assertEqual(set(target.sources[-60:]), {(GATEWAY["b"], self.legs["target"].rtp_port)})
        caller.hush()
        target.hush()
        await until(lambda: target.received[-1].payload == payload(caller.sent))
        released: Any = await pool.ask(Release(request=0, call="c-1"))
        for leg, phone, sent_before in zip(released.legs, (caller, target), before, strict=True):
            self.assertEqual((leg.packets_received, leg.octets_received), (phone.sent, 160 * phone.sent))
            self.assertGreaterEqual(leg.packets_in_kernel, phone.sent - sent_before)
            self.assertEqual((leg.packets_lost, leg.packets_rejected), (0, 0))
        self.assertEqual(self.rules(), 0)

    async def test_rtcp(self) -> None:
        """Reports go on in user space: the peers' pass as they are, because SSRCs do."""
        await self.start_helper()
        _, caller, target = await self.call()
        sockets = {}
        for name, phone in (("a", caller), ("b", target)):
            sockets[name] = self.machines.socket(name, (PHONE[name], phone.address[1] + 1))
            sockets[name].setblocking(False)
            self.addCleanup(sockets[name].close)
        await self.in_kernel(caller, target)
        report = SenderReport(SSRC["a"], 1 << 32, 0, 10, 1600)
        there = GATEWAY["a"], self.legs["caller"].rtcp_port
        sockets["a"].sendto(build_rtcp(report, SourceDescription(SSRC["a"], "a@phone")), there)
        heard: list[Any] = []

        def listen() -> bool:
            try:
                heard.extend(parse_rtcp(sockets["b"].recv(2048)) or ())
            except BlockingIOError:
                pass
            return report in heard

        await until(listen)

    async def test_stranger(self) -> None:
        """What comes from elsewhere, with the caller's SSRC and the next sequence numbers, is passed on to nobody."""
        await self.start_helper()
        _, caller, target = await self.call()
        await self.in_kernel(caller, target)
        stranger = self.machines.socket("a", (PHONE["a"], 0))
        self.addCleanup(stranger.close)
        forger = RtpSender(SSRC["a"], caller.sender.sequence_number + 1, caller.sender.timestamp + 160, 0)
        for _ in range(100):
            stranger.sendto(forger.packet(b"forged" * 10, 160), caller.destination)
        heard = await target.more(50)
        self.assertEqual([packet for packet in heard if packet.payload.startswith(b"forged")], [])
        self.assertTrue(caller.hears(SSRC["b"]) and target.hears(SSRC["a"]))


class TakenAwayTests(FastPathTestCase):
    async def taken_away(self, *requests: messages.Request, **caller_media: Any) -> tuple[Phone, Phone]:
        """By these requests, from a call that the kernel has carried for a second."""
        await self.start_helper()
        pool, caller, target = await self.call(**caller_media)
        await self.in_kernel(caller, target)
        await target.more(50)
        for request in requests:
            await pool.ask(request)
        return caller, target

    async def test_re_invite(self) -> None:
        """A re-INVITE takes it away; the gateway's stream goes on where it would be, until the kernel takes over."""
        caller, target = await self.taken_away(self.media("caller", (PHONE["a"], 4000)))
        await self.in_user_space(caller, target)
        ours = [packet for packet in target.received if packet.ssrc == self.legs["target"].ssrc]
        numbers = [packet.sequence_number for packet in ours]
        self.assertEqual(numbers, [(numbers[0] + step) & 0xFFFF for step in range(len(numbers))])
        passed = (ours[-1].timestamp - ours[0].timestamp) & 0xFFFFFFFF
        self.assertGreater(passed, 160 * len(ours) + 4000)  # a second, at least, was the kernel's
        await self.in_kernel(caller, target)

    async def test_hold(self) -> None:
        """On hold nothing is passed on."""
        _, target = await self.taken_away(self.media("caller", (PHONE["a"], 4000), direction="inactive"))
        await until(lambda: target.hears(self.legs["target"].ssrc))
        self.assertEqual(self.rules(), 0)

    async def test_recording(self) -> None:
        """A recording hears every packet from its beginning on."""
        caller, target = await self.taken_away(Record(request=0, call="c-1"))
        await self.in_user_space(caller, target)

    async def test_unbridge(self) -> None:
        """Legs that are bound to something else do not hear each other any more."""
        silence = tuple(messages.Binding(leg=leg, source="silence") for leg in ("caller", "target"))
        caller, target = await self.taken_away(Rebind(request=0, call="c-1", bindings=silence))
        await self.in_user_space(caller, target)
        for phone in (caller, target):
            self.assertEqual({packet.payload for packet in await phone.more(5)}, {b"\xff" * 160})

    async def test_digits(self) -> None:
        """A digit that a phone sends comes up to the worker, is told, and reaches the other phone."""
        caller, target = await self.taken_away()
        sender = DtmfSender(101)
        sender.send("5", 160)
        caller.hush()
        while (datagrams := sender.tick(caller.sender, 160)) is not None:
            for datagram in datagrams:
                caller.send(datagram)
        caller.speak(caller.destination)
        told = await self.event(messages.DigitReceived)
        self.assertEqual((told.leg, told.digit), ("caller", "5"))
        await self.in_user_space(caller, target)
        self.assertIn(101, {packet.payload_type for packet in target.received})

    async def test_signalled_digit(self) -> None:
        """A digit told by SIP INFO is sent to the other side by us, and so the kernel keeps out of it."""
        press = Pressed(request=0, call="c-1", leg="caller", digit="7", duration_ms=100)
        caller, target = await self.taken_away(press, dtmf_receive=())
        await until(lambda: 101 in {packet.payload_type for packet in target.received})
        await self.in_user_space(caller, target)

    async def test_moved(self) -> None:
        """A phone whose address changes is silent for the kernel; user space finds it again."""
        caller, target = await self.taken_away()
        caller.hush()
        await self.moved(caller)
        caller.speak(caller.destination)
        await until(lambda: target.received[-1].payload == payload(caller.sent))
        await self.in_kernel(caller, target)

    async def moved(self, phone: Phone) -> None:
        stopped = phone._port.stopListening()
        if stopped is not None:
            await stopped
        phone.listen(4444)

    async def test_worker_killed(self) -> None:
        """The rules of a worker that is gone are gone, too."""
        await self.taken_away()
        self.assertGreater(self.rules(), 0)
        kill(self.pool.describe()[0].pid, signal.SIGKILL)
        await until(lambda: self.rules() == 0)


class HelperTests(FastPathTestCase):
    async def test_helper_killed(self) -> None:
        """Without the helper there are no rules, and the call goes on; with a new one the kernel takes over again."""
        helper = await self.start_helper()
        _, caller, target = await self.call()
        await self.in_kernel(caller, target)
        helper.kill()
        helper.wait()
        await self.in_user_space(caller, target)
        self.assertEqual({packet.ssrc for packet in await target.more(20)}, {self.legs["target"].ssrc})
        await self.start_helper()
        await self.in_kernel(caller, target)

    async def test_not_let_out(self) -> None:
        """Where somebody's firewall forwards nothing, calls are back in user space within seconds."""
        rules = "table ip theirs { chain forward { type filter hook forward priority 0; policy drop; }; }"
        self.machines.run("gateway", "nft", rules)
        await self.start_helper()
        _, caller, target = await self.call()
        await until(lambda: self.rules() > 4)
        await self.in_user_space(caller, target)
        self.assertNotIn(SSRC["a"], {packet.ssrc for packet in target.received})

    async def test_documented_firewall(self) -> None:
        """Behind the firewall of docs/media.rst, which forwards nothing else, the kernel passes calls on."""
        page = (Path(__file__).parents[2] / "docs" / "media.rst").read_text("utf-8")
        found = re.search(r"^    table inet filter \{\n.*?\n    \}\n", page, re.MULTILINE | re.DOTALL)
        assert found is not None
        self.machines.run("gateway", "nft", found[0])
        await self.start_helper()
        _, caller, target = await self.call()
        await self.in_kernel(caller, target)
        await target.more(50)

    def refuses(self, *options: str) -> str:
        """What a helper says that does not start."""
        done = subprocess.run(self.command(*options), capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        return done.stderr

    def test_no_capability(self) -> None:
        """Without CAP_NET_ADMIN it says so, and ends."""
        said = self.refuses("setpriv", "--bounding-set=-net_admin", "--inh-caps=-all")
        self.assertRegex(said, r"^stellar-gw fast path: the fast path cannot be had: CAP_NET_ADMIN is missing .*\n$")

    def test_no_forwarding(self) -> None:
        """Where the kernel does not forward it says so, and ends."""
        self.machines.run("gateway", "sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
        said = self.refuses()
        self.assertRegex(
            said, r"^stellar-gw fast path: .*the kernel forwards no packets: set net.ipv4.ip_forward=1 .*\n$"
        )

    async def test_second_helper(self) -> None:
        """There is one helper in a network namespace; a second leaves the first alone."""
        await self.start_helper()
        self.assertRegex(self.refuses(), r"another helper runs")
        _, caller, target = await self.call()
        await self.in_kernel(caller, target)
