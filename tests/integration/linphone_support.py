"""linphonec, linphone's telephone for consoles: driven by its standard input, its sound card replaced by files."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from shutil import which
from types import TracebackType

from twisted.trial.unittest import SkipTest

from stellar_gw.media.wav import WavWriter, read_wav
from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.ports import free_port
from tests.integration.gateway_support import DOMAIN, HOST, PASSWORD, USER, RealGateway
from tests.integration.sound import RATE

# It verifies who has signed a certificate; but a name that is an address it finds in none.
CONFIGURATION = """\
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
root_ca={ca}
verify_server_cn=0
use_ipv6=0
ipv6_migration_done=1
contact=<sip:{user}@{domain}>
media_encryption={encryption}
media_encryption_mandatory={mandatory}
use_rfc2833=1
use_info=0
keepalive_period=0
[rtp]
audio_rtp_port={rtp}
[video]
enabled=0
[auth_info_0]
username={user}
passwd={password}
realm={domain}
domain={domain}
"""


class Linphone:
    """A linphonec process as a context manager, with a home of its own; one call at a time.

    :param play: PCM at :data:`RATE`; longer than the call.
    :param encryption: ``srtp`` insists on it; empty: none.
    """

    def __init__(self, gateway: RealGateway, name: str, *, transport: str, play: bytes, encryption: str = "") -> None:
        """:raise SkipTest: it is not installed."""
        program = which("linphonec")
        if program is None:
            raise SkipTest("linphonec is not installed (Debian: apt install linphone-cli): tools/peers.sh installs it")
        self._program = program
        self._where = f"{HOST}:{gateway.ports[transport]};transport={transport}"
        self._home = gateway.folder / f"linphone-{name}"
        # It makes a folder for its database neither here nor elsewhere, and without one it opens no socket.
        (self._home / ".local" / "share" / "linphone").mkdir(parents=True)
        with (self._home / "said.wav").open("wb") as file:
            writer = WavWriter(file, RATE)
            writer.write(play)
            writer.close()
        port = free_port()
        text = CONFIGURATION.format(
            **{each: port if each == transport else 0 for each in ("udp", "tcp", "tls")},
            ca=gateway.ca.absolute(), rtp=free_port(), user=USER, password=PASSWORD, domain=DOMAIN,
            encryption=encryption or "none", mandatory=int(bool(encryption)),
        )  # fmt: skip
        (self._home / "linphonerc").write_text(text, encoding="utf-8")
        self.output = ""

    def __enter__(self) -> Linphone:
        home = str(self._home)
        self._process = subprocess.Popen(
            [self._program, "-c", "linphonerc", "-d", "1", "-l", "linphone.log"],
            cwd=self._home,
            env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": f"{home}/.local/share"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("linphonec>")
        self.command("soundcard use files", "Using wav files")
        self.command("play said.wav", "linphonec>")
        self.command("record heard.wav", "linphonec>")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"quit\n")  # it hangs up and finishes its files
            self._process.stdin.close()
            self._process.wait(5.0)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._reader.join(5.0)

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 4096):
            self.output += data.decode("utf-8", "replace")

    def call(self, number: str) -> None:
        """Call a number of the gateway's, until it is up."""
        self.command(f"call sip:{number}@{self._where}", r"Media streams established|connected")

    def command(self, text: str, answer: str = "") -> None:
        """Type a line, and wait for an answer to it.

        :raise AssertionError: it does not come.
        """
        assert self._process.stdin is not None
        start = len(self.output)
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()
        if answer:
            self.wait_for(answer, start)

    def wait_for(self, pattern: str, start: int = 0, timeout: float = 15.0) -> None:
        """Wait until it has said something.

        :raise AssertionError: it does not.
        """
        if not wait_until(lambda: re.search(pattern, self.output[start:]), timeout):
            raise AssertionError(f"linphonec did not say {pattern!r} within {timeout:g} s:\n{self.output[-2000:]}")

    @property
    def heard(self) -> bytes:
        """What it heard, at :data:`RATE`, once it has ended."""
        return read_wav((self._home / "heard.wav").read_bytes()).at(RATE)
