"""What the tests of transfers share: a gateway whose built-in agents send their callers on, and SIPp as either side."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shutil import which
from types import MappingProxyType

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.ports import take_ports
from tests.integration.gateway_support import DOMAIN, HOST, TRUNK, RealGateway, check_nothing_left

FIRST_NUMBER = 700
_BUSY = re.compile(r"\d{4}-\d\d-\d\d\s\S+\s\S+ Overload warning: .*? trips remaining\.")


def start_with_transfers(
    test: SynchronousTestCase,
    transfers: Sequence[str],
    *,
    outbound: str = "",
    sip: str = "",
    media: str = "",
    agents: Iterable[str] = (),
    more_changes: Mapping[str, str] = MappingProxyType({}),
    authority: Authority | None = None,
) -> RealGateway:
    """A gateway with one connector for each transfer: 700 sends its caller to the first, 701 to the second.

    :param transfers: YAML of each, such as ``to: "sip:a@127.0.0.2:5070", method: invite``.
    :param outbound: YAML of the trunk's ``outbound``; ``sip`` and ``media`` are more of these sections.
    :param agents: the options of each connector's agent, where there are more than ``to``.
    :param more_changes: what else in the configuration is to be replaced, and by what.
    :param authority: issues the gateway's certificate; its own is ``ca.pem`` in the gateway's folder.
    """
    more = dict(enumerate(agents))
    named = "".join(f"      t{number}: {{{text}}}\n" for number, text in enumerate(transfers))
    connectors = "".join(
        f'      to-t{number}: {{identifier: "{FIRST_NUMBER + number}", agent: "builtin:transfer", record: true, '
        f"options: {{to: t{number}{more.get(number, '')}}}}}\n"
        for number in range(len(transfers))
    )
    changes = {
        "  acme:\n": f"  acme:\n    private_targets: true\n    transfers:\n{named}",
        "    connectors:\n": f"    connectors:\n{connectors}",
        "tenants: [acme]}": f"tenants: [acme]{f', outbound: {{{outbound}}}' if outbound else ''}}}",
        "sip: {": f"sip: {{{sip}",
        "media: {": f"media: {{{media}",
        **more_changes,
    }
    block = take_ports()
    test.addCleanup(block.release)
    folder = Path(test.mktemp())
    folder.mkdir(parents=True)
    gateway = RealGateway(folder, block)
    text = gateway.path.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    gateway.path.write_text(text)
    if authority is not None:
        authority.write(gateway.folder, DOMAIN, HOST)
    test.addCleanup(gateway.stop)
    gateway.start()
    test.addCleanup(check_nothing_left, test, gateway)
    return gateway


class SippTarget:
    """SIPp as the target, in the background: it takes calls by a scenario until it is stopped.

    :ivar port: where it listens, at the trunk's address.
    """

    def __init__(self, test: SynchronousTestCase, scenario: str) -> None:
        """:raise SkipTest: SIPp is not installed."""
        program = which("sipp")
        if program is None:
            raise SkipTest("sipp is not installed (Debian: apt install sip-tester)")
        ports = take_ports()
        test.addCleanup(ports.release)
        self.port = ports.first
        folder = Path(test.mktemp())
        folder.mkdir(parents=True)
        (folder / "scenario.xml").write_text(scenario, encoding="utf-8")
        self._errors = folder / "errors.log"
        command = [
            program, "-sf", "scenario.xml", "-i", TRUNK, "-mi", TRUNK, "-p", str(self.port), "-mp",
            str(ports.first + 100), "-nostdin", "-trace_err", "-error_file", "errors.log", "-aa",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        test.addCleanup(self.stop)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def errors(self) -> str:
        """What came and was not in the scenario; that the machine was busy is not among it."""
        if not self._errors.exists():
            return ""
        text = _BUSY.sub("", self._errors.read_text(encoding="utf-8", errors="replace"))
        return text.replace("The following events occurred:", "").strip()


def answer(status: str, *headers: str, body: str = "", tag: bool = True) -> str:
    """A step that answers the request that came last."""
    lines = [
        f"SIP/2.0 {status}",
        "[last_Via:]",
        "[last_Record-Route:]",
        "[last_From:]",
        "[last_To:]" + (";tag=[pid]target[call_number]" if tag else ""),
        "[last_Call-ID:]",
        "[last_CSeq:]",
        "Contact: <sip:target@[local_ip]:[local_port];transport=[transport]>",
        *headers,
        *(["Content-Type: application/sdp"] if body else []),
        "Content-Length: [len]",
    ]
    return "<send><![CDATA[\n" + "\n".join(lines) + "\n\n" + (f"{body}\n" if body else "") + "]]></send>"
