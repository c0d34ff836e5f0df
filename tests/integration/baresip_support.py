"""baresip, a telephone that is not ours, without a sound card: it plays a WAV file and records both directions."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Any

from twisted.trial.unittest import SkipTest

from stellar_gw.media.wav import WavWriter, read_wav
from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.ports import free_port
from tests.integration.gateway_support import DOMAIN, HOST, PASSWORD, USER, RealGateway, uri_host
from tests.integration.sound import RATE

MODULES = (
    "module g711.so", "module g722.so", "module srtp.so", "module aufile.so", "module aubridge.so", "module sndfile.so",
    "module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so",
)  # fmt: skip
FOLDERS = ("/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules", "/usr/lib64/baresip/modules")
CODECS = {"G722": "G722/16000/1", "PCMU": "PCMU/8000/1", "PCMA": "PCMA/8000/1"}
_NETSTRING = re.compile(rb"(\d{1,7}):")


class Baresip:
    """A baresip process as a context manager; one account, one call at a time.

    :param play: PCM at :data:`RATE`; longer than the call.
    :param encryption: ``srtp`` offers RTP/AVP with keys, ``srtp-mand`` insists on RTP/SAVP; empty: neither.
    :param listen: its port; calls that come in there are answered.
    :param host: where it is, and without ``at`` the gateway with it.
    :param direct: what it calls is not sent by way of the gateway, but straight to where it is.
    :param at: ``host:port`` of a proxy, where calls do not go to the gateway itself.
    :ivar events: what it told of its calls, in order: ``CALL_ESTABLISHED``, ``CALL_CLOSED``, ...
    """

    def __init__(
        self,
        gateway: RealGateway,
        name: str,
        *,
        transport: str,
        codec: str,
        play: bytes,
        encryption: str = "",
        listen: int = 0,
        direct: bool = False,
        host: str = HOST,
        at: str = "",
    ) -> None:
        """:raise SkipTest: it is not installed."""
        program = which("baresip")
        modules = next((each for each in FOLDERS if Path(each).is_dir()), None)
        if program is None or modules is None:
            raise SkipTest("baresip is not installed (Debian: apt install baresip-core)")
        self._program = program
        self.folder = gateway.folder / f"baresip-{name}"
        self.folder.mkdir()
        self._sound = self.folder / "sound.wav"
        with self._sound.open("wb") as file:
            writer = WavWriter(file, RATE)
            writer.write(play)
            writer.close()
        self._control = free_port()
        params = "" if transport == "udp" else f";transport={transport}"
        self._host = host
        self._where = (at or f"{uri_host(host)}:{gateway.places[host, transport]}") + params
        self._encryption, self._listen, self._direct = encryption, listen, direct
        self._write_configuration(modules, gateway.ca, CODECS[codec], transport)
        self._log = self.folder / "baresip.log"
        self._received = b""
        self.events: list[dict[str, Any]] = []

    def _write_configuration(self, modules: str, authority: Path, codec: str, transport: str) -> None:
        device = f"{self.folder.name}-sink"  # aubridge joins what has the same name
        lines = [
            f"module_path {modules}", *MODULES, f"sip_listen {uri_host(self._host)}:{self._listen}",
            f"net_interface {self._host}",
            f"sip_cafile {authority.absolute()}", f"ctrl_tcp_listen {HOST}:{self._control}",
            f"audio_source aufile,{self._sound.name}",
            f"audio_player aubridge,{device}", f"audio_alert aubridge,{device}",
            f"ausrc_srate {RATE}", f"auplay_srate {RATE}", "ausrc_channels 1", "auplay_channels 1",
            "snd_path .", "rtp_ports 32100-32760",
        ]  # fmt: skip
        account = f'<sip:{USER}@{DOMAIN}>;auth_user={USER};auth_pass="{PASSWORD}";regint=0;audio_codecs={codec}'
        account += "" if self._direct else f';outbound="sip:{self._where}"'
        account += f";mediaenc={self._encryption}" if self._encryption else ""
        account += ";answermode=auto" if self._listen else ""
        (self.folder / "config").write_text("\n".join(lines) + "\n")
        (self.folder / "accounts").write_text(account + "\n")
        (self.folder / "contacts").touch()

    def __enter__(self) -> Baresip:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-f", ".", "-s", "-v", "-6" if ":" in self._host else "-4"],
                cwd=self.folder,  # it cuts the paths of recordings at 128 characters
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if not wait_until(self._connect, 10.0):
            self.__exit__(None, None, None)
            raise AssertionError(f"baresip did not start:\n{self.log[-2000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()  # it hangs up and finishes its files
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if hasattr(self, "_socket"):
            self._socket.close()

    def _connect(self) -> bool:
        try:
            self._socket = socket.create_connection((HOST, self._control), timeout=5.0)
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    # --- what can be done -----------------------------------------------------------------------

    def dial(self, number: str) -> None:
        self.command("dial", f"sip:{number}@{self._where}")

    def command(self, name: str, parameters: str = "") -> None:
        """One of its long commands: ``dial``, ``hangup``, ``sndcode``, ``hold``, ``resume``."""
        text = json.dumps({"command": name, "params": parameters, "token": "t"}).encode()
        self._socket.sendall(b"%d:%b," % (len(text), text))

    def wait_for(self, kind: str, timeout: float = 10.0) -> dict[str, Any]:
        """The event of this kind.

        :raise AssertionError: it does not come.
        """
        if not wait_until(lambda: any(event["type"] == kind for event in self._read()), timeout):
            kinds = [event["type"] for event in self.events]
            raise AssertionError(f"no {kind} within {timeout:g} s, but {kinds}:\n{self.log[-3000:]}")
        return next(event for event in self.events if event["type"] == kind)

    def wait_to_hear(self, seconds: float, timeout: float = 10.0) -> None:
        """Until it has heard, and written down, so much.

        :raise AssertionError: it does not.
        """

        def written() -> float:
            files = [path.read_bytes() for path in self.folder.glob("dump-*-dec.wav")]
            rates = [int.from_bytes(file[24:28], "little") for file in files]  # the length is right in the end only
            return sum(len(file) / (2 * rate) for file, rate in zip(files, rates, strict=True) if rate)

        if not wait_until(lambda: written() >= seconds, timeout):
            raise AssertionError(f"{written():.2f} s were heard within {timeout:g} s:\n{self.log[-3000:]}")

    def _read(self) -> list[dict[str, Any]]:
        self._socket.settimeout(0.05)
        try:
            self._received += self._socket.recv(65536)
        except TimeoutError:
            pass
        while match := _NETSTRING.match(self._received):
            end = match.end() + int(match[1])
            if len(self._received) <= end:
                break
            message = json.loads(self._received[match.end() : end])
            self._received = self._received[end + 1 :]
            if message.get("event"):
                self.events.append(message)
        return self.events

    # --- what it heard and said, once it has ended ------------------------------------------------

    @property
    def heard(self) -> bytes:
        """PCM at :data:`RATE`, from the first packet that came."""
        return self._recording("dec")

    @property
    def said(self) -> bytes:
        """PCM at :data:`RATE`, from the moment that the call was up."""
        return self._recording("enc")

    def _recording(self, which_way: str) -> bytes:
        (path,) = self.folder.glob(f"dump-*-{which_way}.wav")
        return read_wav(path.read_bytes()).at(RATE)
