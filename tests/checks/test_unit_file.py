"""The systemd unit, its drop-ins and the fail2ban filter, by the tools that will read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.call.events import AuthenticationFailed
from stellar_gw.config.records import MediaConfig
from stellar_gw.gateway.log import LogWriter, security_line

CONF = Path(__file__).resolve().parent.parent.parent / "conf"
UNIT = "stellar-gw.service"
DROP_INS = ("stellar-gw-credentials.conf", "stellar-gw-realtime.conf", "stellar-gw-fastpath.conf")
HELPER = "stellar-gw-fastpath.service"


def need(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise SkipTest(f"{tool} is not installed")
    return path


class UnitTests(SynchronousTestCase):
    def installed(self, *drop_ins: str) -> Path:
        """The unit as if the gateway were installed where this Python is, with drop-ins; returns its file."""
        folder = Path(self.mktemp()).absolute()
        (folder / f"{UNIT}.d").mkdir(parents=True)
        unit = folder / UNIT
        bin_folder = f"{Path(sys.executable).parent}/"
        unit.write_text((CONF / UNIT).read_text().replace("/opt/stellar-gw/bin/", bin_folder))
        for name in drop_ins:
            shutil.copy(CONF / name, folder / f"{UNIT}.d")
        return unit

    def run_tool(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def test_verify(self) -> None:
        """``systemd-analyze verify`` has nothing to say, with every drop-in too."""
        tool = need("systemd-analyze")
        for drop_ins in ((), DROP_INS):
            unit = self.installed(*drop_ins)
            done = self.run_tool(tool, "verify", str(unit))
            about_us = [line for line in done.stderr.splitlines() if "stellar-gw" in line]
            self.assertEqual((about_us, done.returncode), ([], 0), done.stderr)

    def test_exposure(self) -> None:
        """The base unit's exposure is 2.0 or less."""
        tool = need("systemd-analyze")
        done = self.run_tool(tool, "security", "--offline=true", "--no-pager", "--threshold=20", str(self.installed()))
        match = re.search(r"exposure level for stellar-gw\.service: (\d+\.\d)", done.stdout)
        assert match is not None, done.stdout + done.stderr
        self.assertLessEqual(float(match[1]), 2.0)
        self.assertEqual(done.returncode, 0)

    def test_helper(self) -> None:
        """The fast path's helper has one capability, an exposure of 2.0 or less, and the ports of the example."""
        tool = need("systemd-analyze")
        unit = Path(self.mktemp()).absolute() / HELPER
        unit.parent.mkdir(parents=True)
        text = (CONF / HELPER).read_text()
        unit.write_text(text.replace("/opt/stellar-gw/bin/", f"{Path(sys.executable).parent}/"))
        done = self.run_tool(tool, "verify", str(unit))
        about_us = [line for line in done.stderr.splitlines() if "stellar-gw" in line]
        self.assertEqual((about_us, done.returncode), ([], 0), done.stderr)
        done = self.run_tool(tool, "security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
        self.assertEqual(done.returncode, 0, done.stdout)
        lines = text.splitlines()
        self.assertEqual(
            [line for line in lines if "CAP_" in line and not line.startswith("#")],
            ["CapabilityBoundingSet=CAP_NET_ADMIN", "AmbientCapabilities=CAP_NET_ADMIN"],
        )
        ports = re.search(r"^media: {ports: ([0-9-]+),", (CONF / "stellar-gw.example.yaml").read_text(), re.MULTILINE)
        assert ports is not None
        self.assertIn(f"--ports {ports[1]} ", text)
        self.assertIn(f"--socket {MediaConfig().fast_path_socket} ", text)

    def test_promises(self) -> None:
        """What the design promises of the unit is in it."""
        lines = (CONF / UNIT).read_text().splitlines()
        promised = {
            "Type=notify", "WatchdogSec=10", "KillMode=mixed", "TimeoutStopSec=330", "OOMPolicy=continue",
            "LimitNOFILE=65536", "MemoryDenyWriteExecute=yes", "ProtectSystem=strict", "CapabilityBoundingSet=",
            "Restart=on-failure", "User=stellar-gw", "RuntimeDirectory=stellar-gw", "StateDirectory=stellar-gw",
        }  # fmt: skip
        self.assertEqual(promised - set(lines), set())
        reloads = [line for line in lines if line.startswith("ExecReload=")]
        self.assertIn("stellar-gw-check /etc/stellar-gw/conf.yaml", reloads[0])
        self.assertEqual(reloads[1:], ["ExecReload=/bin/kill -HUP $MAINPID"])

    def test_credentials(self) -> None:
        """The credentials drop-in names exactly the secrets that the example configuration uses."""
        used = set(re.findall(r"\$\{cred:([^}]+)\}", (CONF / "stellar-gw.example.yaml").read_text()))
        named = re.findall(
            r"^LoadCredential=([^:]+):", (CONF / "stellar-gw-credentials.conf").read_text(), re.MULTILINE
        )
        self.assertEqual((set(named), len(named)), (used, len(used)))


class Fail2banTests(SynchronousTestCase):
    """fail2ban-regex over lines as the gateway writes them."""

    def failure(self, source: str, username: str) -> str:
        return security_line(
            AuthenticationFailed(
                source=source,
                port=5060,
                transport="udp",
                reason="bad_password",
                sip_call_id="a@b",
                username=username,
                failures=1,
                banned=False,
            )
        )

    def written(self, form: str, *messages: str) -> list[str]:
        """The messages as the log has them in a form: ``text``, ``json``, or ``journal`` as fail2ban reads that."""
        from twisted.logger import Logger, LogPublisher

        lines: list[str] = []
        writer = LogWriter(lines.append, "json" if form == "json" else "text", journal=form == "journal")
        log = Logger(namespace="stellar_gw.gateway.report", observer=LogPublisher(writer))
        for message in messages:
            log.warn("{line}", line=message)
        if form == "journal":
            # What systemd's journal makes of it: the prefix goes, host and program come.
            return [f"Nov 23 14:31:28 gw twistd[4711]: {line[3:]}" for line in lines]
        return lines

    def banned(self, lines: list[str]) -> list[str]:
        """The addresses that fail2ban finds."""
        tool = need("fail2ban-regex")
        # Beside its neighbours, for the filter includes common.conf.
        folder = Path(self.mktemp()).absolute()
        shutil.copytree("/etc/fail2ban/filter.d", folder)
        shutil.copy(CONF / "fail2ban" / "filter.d" / "stellar-gw.conf", folder)
        log = folder / "log"
        log.write_text("".join(lines))
        done = subprocess.run(
            [tool, "--out", "ip", str(log), str(folder / "stellar-gw.conf")], capture_output=True, text=True, timeout=60
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.split()

    def test_every_form(self) -> None:
        """A failure is found in text, in the journal and in JSON, IPv4 and IPv6; other lines are not."""
        messages = (
            self.failure("203.0.113.9", "freepbx-hq"),
            "call c-1 ended: caller_hangup by caller",
            self.failure("2001:db8::9", "ünïcode"),
        )
        for form in ("text", "journal", "json"):
            self.assertEqual(self.banned(self.written(form, *messages)), ["203.0.113.9", "2001:db8::9"], form)

    def test_hostile_names(self) -> None:
        """No user name, and no other text a peer can get into the log, bans another address."""
        forged = 'stellar-gw security: event=auth_failed ip=192.0.2.66 port=1 transport=udp reason=x callid="" user=""'
        names = (
            '" ip=192.0.2.66 "',
            forged,
            f'"}}\n{{"time":"","level":"warn","logger":"","message":"{forged}',
            "\n" + forged,
        )
        messages = [
            *(self.failure("203.0.113.9", name) for name in names),
            *(f"refused: User-Agent {name}" for name in names),
        ]
        for form in ("text", "journal", "json"):
            self.assertEqual(self.banned(self.written(form, *messages)), ["203.0.113.9"] * len(names), form)

    def test_json_lines_are_json(self) -> None:
        """The line that fail2ban reads in JSON is still JSON, with the time and level first as the filter expects."""
        (line,) = self.written("json", self.failure("203.0.113.9", '"x'))
        self.assertEqual(list(json.loads(line))[:4], ["time", "level", "logger", "message"])
