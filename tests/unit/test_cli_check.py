"""``stellar-gw-check``: right or wrong in a line each, and what would become of a call, in words."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.admission import Admitted, Attempt, NoCredentials, Refused, Verified, judge
from stellar_gw.cli.check import main
from stellar_gw.config import load_config

FILE = """\
domain: sip.example.com
listeners:
  udp: {bind: "127.0.0.1:5060"}
  tcp: {bind: "127.0.0.1:5060", digest: [SHA-256, MD5]}
sip: {sha256_from: [192.0.2.0/28]}
trunk_providers:
  carrier: {allowed_ips: [203.0.113.0/24], tenants: [acme]}
tenants:
  acme:
    credentials:
      freepbx-hq: {password: letmein99, allowed_ips: [198.51.100.20, 192.0.2.0/24]}
      old-stored: {ha1_md5: 0123456789abcdef0123456789abcdef}
    agents:
      reception:
        versions: {published: 7, draft: beta}
        environments: {production: {dialect: twilio, url: "wss://agents.example/"}}
    connectors:
      front: {identifier: "123456789", agent: reception}
      next: {identifier: "123456780", agent: reception, version: draft}
      echo: {identifier: "600", agent: "builtin:echo"}
"""


class CheckTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = str(Path(self.mktemp()))
        Path(self.path).write_text(FILE)

    def check(self, *arguments: str) -> tuple[int, list[str]]:
        out = StringIO()
        status = main([self.path, *arguments], out, {})
        return status, out.getvalue().replace(self.path, "conf.yaml").splitlines()


class FileTests(CheckTestCase):
    def test_a_good_file(self) -> None:
        """Says ok and what is in it; exit status 0."""
        self.assertEqual(
            self.check(),
            (0, ["ok       conf.yaml: 1 tenant, 2 credentials, 1 provider, 1 agent, 3 connectors"]),
        )

    def test_warnings_do_not_fail(self) -> None:
        """They come first, each on a line."""
        Path(self.path).write_text(FILE.replace("203.0.113.0/24", "203.0.0.0/15").replace("203.0.0", "204.0.0"))
        self.assertEqual(
            self.check(),
            (
                0,
                [
                    "warning  conf.yaml:7: trunk_providers.carrier.allowed_ips: 204.0.0.0/15 is 131072 addresses; "
                    "does your provider have them all?",
                    "ok       conf.yaml: 1 tenant, 2 credentials, 1 provider, 1 agent, 3 connectors",
                ],
            ),
        )

    def test_a_bad_file(self) -> None:
        """Every problem on a line of its own; exit status 1, and no call is looked at."""
        Path(self.path).write_text(FILE.replace("agent: reception}", "agent: receptoin}").replace("wss:", "ftp:"))
        self.assertEqual(
            self.check("--to", "600"),
            (
                1,
                [
                    "error    conf.yaml:16: tenants.acme.agents.reception.environments.production.url: must begin "
                    "with ws://, wss://, http:// or https:// where the dialect is twilio",
                    "error    conf.yaml:18: tenants.acme.connectors.front.agent: agent 'receptoin' not in tenant acme "
                    "(reception)",
                ],
            ),
        )
        Path(self.path).write_text(FILE.replace("agent: reception}", "agent: receptoin}"))
        self.assertEqual(
            self.check(),
            (
                1,
                [
                    "error    conf.yaml:18: tenants.acme.connectors.front.agent: "
                    "agent 'receptoin' not in tenant acme (reception)"
                ],
            ),
        )

    def test_no_file(self) -> None:
        """A file that is not there is a problem like any other."""
        Path(self.path).unlink()
        self.assertEqual(self.check(), (1, ["error    conf.yaml: cannot be read: No such file or directory"]))


class RecordingsTests(CheckTestCase):
    """The folder of recordings, for the user who asks."""

    def warnings(
        self, folder: str, text: str = FILE.replace('identifier: "600",', 'identifier: "600", record: true,')
    ) -> list[str]:
        Path(self.path).write_text(f"{text}records: {{directory: {folder}}}\n")
        return [line for line in self.check()[1] if line.startswith("warning")]

    def test_folder_that_can_be_made(self) -> None:
        """Nothing is said where the folder can be made, or no connector is recorded."""
        there = str(Path(self.mktemp()).absolute())
        self.assertEqual(
            (self.warnings(f"{there}/a/b"), self.warnings("/proc/none", FILE), os.path.exists(there)), ([], [], False)
        )

    def test_folder_that_cannot(self) -> None:
        """A folder below a file is a warning with its place."""
        file = Path(self.mktemp()).absolute()
        file.write_text("")
        line = FILE.count("\n") + 1
        self.assertEqual(
            self.warnings(f"{file}/a"),
            [
                f"warning  conf.yaml:{line}: records.recordings: {file}/a/recordings cannot be written to by this "
                "user, so calls are not recorded; name a folder that the gateway's user may write to"
            ],
        )


class CallTests(CheckTestCase):
    def told(self, *arguments: str) -> tuple[int, str]:
        status, lines = self.check(*arguments)
        return status, "\n".join(lines[1:])

    def test_admitted(self) -> None:
        """By address or by digest: as whom and why, which connector, which agent and version."""
        for arguments, words in (
            (
                "--from 203.0.113.7 --to 123456789",
                "from 203.0.113.7 over UDP to 123456789: admitted as provider carrier (allowed IP 203.0.113.0/24), "
                "connector front, agent reception production v7",
            ),
            (
                "--from ::ffff:203.0.113.7 --transport tcp --to sip:+123456780;npdi@sip.example.com;user=phone",
                "from 203.0.113.7 over TCP to sip:+123456780;npdi@sip.example.com;user=phone: admitted as provider "
                "carrier (allowed IP 203.0.113.0/24), connector next, agent reception production beta",
            ),
            (
                "--from 198.51.100.20 --to 600 --user freepbx-hq",
                "from 198.51.100.20 over UDP to 600: admitted by digest as freepbx-hq, "
                "connector echo, agent builtin:echo",
            ),
            (
                "--from 192.0.2.1 --to tel:600 --user freepbx-hq --algorithm SHA-256",
                "from 192.0.2.1 over UDP to tel:600: admitted by digest as freepbx-hq, "
                "connector echo, agent builtin:echo",
            ),
        ):
            self.assertEqual(self.told(*arguments.split()), (0, words))

    def test_srtp(self) -> None:
        """What is not as usual is said, and in whose name; required SRTP with its keys in clear would be refused."""
        for added, words in (
            ("srtp: off", (0, "connector echo, agent builtin:echo, SRTP off (connector echo (conf.yaml:20))")),
            (
                "srtp: required",
                (
                    1,
                    "refused with 488: SRTP is required, and its keys would come without TLS (srtp: required, "
                    "connector echo (conf.yaml:20))\n  fix: Send calls to port 5061 with transport=tls, or set "
                    "srtp_without_tls: true (credential freepbx-hq (conf.yaml:11))",
                ),
            ),
        ):
            Path(self.path).write_text(FILE.replace('agent: "builtin:echo"', f'agent: "builtin:echo", {added}'))
            status, told = self.told("--from", "198.51.100.20", "--to", "600", "--user", "freepbx-hq")
            self.assertEqual((status, told.endswith(words[1])), (words[0], True), told)

    def test_refused(self) -> None:
        """The status, what failed, and a fix; exit status 1."""
        for arguments, words, fix in (
            (
                "--from 203.0.113.7 --to 601",
                "203.0.113.7 over UDP to 601: refused with 404: "
                "no connector of tenant acme answers to 601 (nearest: 600, connector echo)",
                "Dial one that exists, or add one under connectors of tenant acme",
            ),
            (
                "--from 198.51.100.20 --to 600 --user freepbx-hq --wrong-password",
                "198.51.100.20 over UDP to 600: refused with 401: wrong password for freepbx-hq from 198.51.100.20",
                "Set the same password on both sides. FreePBX: Connectivity > Trunks > pjsip > Secret",
            ),
            (
                "--from 203.0.113.7 --to 600 --user freepbx-hk",
                "203.0.113.7 over UDP to 600: refused with 401: "
                "no credential has the user name freepbx-hk; call came from 203.0.113.7",
                "Correct the user name in the phone system, or add it under credentials of its tenant",
            ),
            (
                "--from 203.0.113.7 --to 600 --user freepbx-hq",
                "203.0.113.7 over UDP to 600: refused with 403: "
                "freepbx-hq may not call from 203.0.113.7; its allowed_ips are 198.51.100.20, 192.0.2.0/24",
                "If 203.0.113.7 is yours, add it to allowed_ips (conf.yaml:11)",
            ),
            (
                "--from 198.51.100.20 --to 600 --user freepbx-hq --algorithm SHA-256",
                "198.51.100.20 over UDP to 600: refused with 401: "
                "198.51.100.20 answered for freepbx-hq with an algorithm that was not offered",
                "Use MD5 in the phone system, or turn on SHA-256 for its listener",
            ),
            (
                "--transport tcp --to 600@elsewhere.example --user old-stored",
                "127.0.0.1 over TCP to 600@elsewhere.example: refused with 404: "
                "call is for host elsewhere.example, which is not ours",
                "Send calls to one of: 127.0.0.1, sip.example.com",
            ),
        ):
            self.assertEqual(self.told(*arguments.split()), (1, f"from {words}\n  fix: {fix}"))

    def test_challenged(self) -> None:
        """Without credentials and from an unknown address: the nearest provider is named."""
        self.assertEqual(
            self.told("--from", "203.0.112.7", "--to", "600"),
            (
                1,
                "from 203.0.112.7 over UDP to 600: challenged with 401: 203.0.112.7 sent no credentials and is in no "
                "allowed_ips (nearest: carrier 203.0.113.0/24)\n"
                "  fix: If it is yours, add it to allowed_ips at conf.yaml:7, or give the phone system a user name "
                "and password",
            ),
        )

    def test_not_heard(self) -> None:
        """A transport that no listener has."""
        self.assertEqual(
            self.told("--to", "600", "--transport", "tls"),
            (
                1,
                "from 127.0.0.1 over TLS to 600: not heard, for there is no tls listener; "
                "listeners: udp (udp), tcp (tcp)",
            ),
        )

    def test_calls_that_make_no_sense(self) -> None:
        """What is no address, no dialled string, or half an option is said so."""
        for arguments, problem in (
            ("--from office --to 600", "--from is 'office', must be an IP address"),
            ("--to http://x", "--to is 'http://x', must be a number, an identifier, or a sip: URI"),
            ("--to 600 --wrong-password", "--wrong-password needs --user"),
        ):
            self.assertEqual(self.told(*arguments.split()), (1, f"error    {problem}"))

    def test_the_gateway_decides_the_same(self) -> None:
        """For every user part and source the words agree with what admission itself decides."""
        config = load_config(self.path, {})
        for source in ("203.0.113.7", "198.51.100.20", "8.8.8.8"):
            for user in ("600", "+600", "123456789", "nobody"):
                for name in ("", "freepbx-hq"):
                    attempt = Attempt(
                        source=(source, 5060),
                        transport="udp",
                        user=user,
                        host=config.domain,
                        digest=Verified(name) if name else NoCredentials(),
                    )
                    expected = judge(attempt, config.directory, config.hosts)
                    status, words = self.told("--from", source, "--to", user, *(("--user", name) if name else ()))
                    if isinstance(expected, Admitted):
                        self.assertEqual((status, expected.how in words), (0, True))
                    else:
                        assert isinstance(expected, Refused)
                        self.assertEqual((status, expected.reason in words), (1, True))


class TransferTests(CheckTestCase):
    def test_what_would_become_of_a_transfer(self) -> None:
        """The method and where it leads, by whom and as whom; exit status 1 where it is refused."""
        Path(self.path).write_text(
            FILE.replace(
                "tenants: [acme]}",
                "tenants: [acme], outbound: {to: 'sip:sip.carrier.example', username: us, password: sesame-7}}",
            ).replace(
                "    credentials:\n",
                "    transfers:\n"
                "      support: {to: 'sip:200@198.51.100.20', via: freepbx-hq}\n"
                "      sales: {to: '+31201234567', via: carrier}\n"
                "    credentials:\n",
                1,
            )
        )
        call = ("--from", "198.51.100.20", "--user", "freepbx-hq", "--to", "600")
        status, lines = self.check(*call, "--transfer", "support", "--transfer", "sales")
        self.assertEqual(
            (status, lines[2:]),
            (
                0,
                [
                    "  transfer support: REFER to <sip:200@198.51.100.20>; if that fails, "
                    "INVITE sip:200@198.51.100.20, From <sip:caller@sip.example.com>, SRTP opportunistic",
                    "  transfer sales: INVITE sip:+31201234567@sip.carrier.example by sip:sip.carrier.example, "
                    "From <sip:caller@sip.example.com>, as us, SRTP opportunistic",
                ],
            ),
        )
        status, lines = self.check(*call, "--transfer", "billing")
        self.assertEqual(
            (status, lines[2:]),
            (
                1,
                [
                    "  transfer billing: refused, unknown_transfer: No transfer named 'billing'; "
                    "there are: support, sales."
                ],
            ),
        )
