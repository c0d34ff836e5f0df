"""What the tests of real media workers share: a pool on loopback, a peer that speaks RTP, processes looked at."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from stellar_gw.control import messages
from stellar_gw.gateway.pool import WorkerPool
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.worker_process import WorkerCommand
from stellar_gw.media.codec import codec_named
from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp
from stellar_gw.testing.ports import free_ports

reactor: Any = installed_reactor
LOOPBACK = "127.0.0.1"
QUIET = "import sys; sys.stderr = open('/dev/null', 'w'); from stellar_gw.worker.main import main; main()"


def quiet_command(*options: str) -> WorkerCommand:
    """The real worker, its log thrown away, without real-time scheduling."""
    return WorkerCommand(arguments=(sys.executable, "-c", QUIET, "--priority", "0", *options))


def runtime_folder(test: TestCase) -> str:
    """A folder with a path short enough for a UNIX socket, removed at the end."""
    folder = tempfile.mkdtemp(prefix="sgw-")
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


async def until(condition: Any, seconds: float = 15.0) -> None:
    """Look every 10 ms until the condition holds."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError(f"not within {seconds:g} s: {condition}")


class PoolTestCase(TestCase):
    """A test with a pool of real workers and everything they said."""

    timeout = 60

    def make_pool(self, workers: int = 1, **settings: Any) -> WorkerPool:
        self.events: list[Any] = []
        settings.setdefault("command", quiet_command())
        settings.setdefault("ports", free_ports(20 * workers))
        settings.setdefault("runtime", runtime_folder(self))
        settings.setdefault("bind", (LOOPBACK,))
        self.settings = PoolSettings(workers=workers, **settings)
        return WorkerPool(reactor, self.settings, self.events.append)

    async def start_pool(self, workers: int = 1, **settings: Any) -> WorkerPool:
        pool = self.make_pool(workers, **settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(pool.stop()))
        await pool.start()
        await until(lambda: all(worker.up for worker in pool.describe()))
        return pool

    async def event(self, kind: type[Any], seconds: float = 15.0) -> Any:
        """The first event of a kind, now or soon."""
        await until(lambda: any(isinstance(event, kind) for event in self.events), seconds)
        return next(event for event in self.events if isinstance(event, kind))


class RtpPeer(DatagramProtocol):
    """A phone's media: sends what it is given, 20 ms at a time, and keeps what comes."""

    noisy = False

    def __init__(self, test: TestCase, codec: str = "PCMU") -> None:
        known = codec_named(codec)
        assert known is not None
        self.codec = known
        self.received: list[RtpPacket] = []
        self.rtcp: list[bytes] = []
        self._sender = RtpSender(0x1234, 65530, 0xFFFFFF00, known.payload_type)
        self._encoder = known.encoder()
        self._pcm = b""
        self._destination = (LOOPBACK, 0)
        self._loop = LoopingCall(self._send)
        port = reactor.listenUDP(0, self, LOOPBACK, maxPacketSize=65535)
        test.addCleanup(port.stopListening)
        test.addCleanup(self.hush)
        self.address = (LOOPBACK, port.getHost().port)

    def speak(self, pcm: bytes, destination: tuple[str, int]) -> None:
        """Send this, over and over, until :meth:`hush`; its rate is the codec's."""
        self._pcm, self._destination = pcm, destination
        self._loop.start(0.02)

    def hush(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _send(self) -> None:
        octets = self.codec.pcm_octets(20)
        frame, self._pcm = self._pcm[:octets], self._pcm[octets:] + self._pcm[:octets]
        assert self.transport is not None
        self.transport.write(self._sender.packet(self._encoder.encode(frame), 160), self._destination)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        packet = parse_rtp(datagram)
        if packet is not None:
            self.received.append(packet)

    def heard(self) -> bytes:
        """PCM of all that came, in order of arrival."""
        decoder = self.codec.decoder()
        return b"".join(decoder.decode(packet.payload) for packet in self.received)

    def media(self, call: str, **changes: Any) -> messages.SetMedia:
        codec = messages.Codec(name=self.codec.name, payload_type=self.codec.payload_type)
        fields: dict[str, Any] = {
            "remote": self.address,
            "remote_rtcp": (LOOPBACK, self.address[1] + 1),
            "send": codec,
            "receive": (codec,),
            **changes,
        }
        return messages.SetMedia(request=0, call=call, **fields)


def start_agent(call: str, url: str = "builtin:echo", dialect: str = "builtin", **options: str) -> messages.StartAgent:
    context = messages.CallContext(
        call_id=call,
        tenant="acme",
        connector="echo",
        agent="echo",
        environment="production",
        version="1",
        from_uri="sip:+31612345678@example.net",
    )
    return messages.StartAgent(
        request=0, call=call, dialect=dialect, url=messages.Secret(url), context=context, options=options
    )
