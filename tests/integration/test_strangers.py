"""Who tries users, passwords and numbers on a real gateway: learns nothing, and is banned for it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from twisted.trial.unittest import SkipTest

from stellar_gw.testing.gateway_process import wait_until
from tests.integration.fault_support import Answer, FaultCase, HurtGateway, Stranger, authorization, offer, request
from tests.integration.gateway_support import CLOSED, DOMAIN, ECHO, HOST, PASSWORD, USER

OTHER_TENANT = {
    "connectors:\n      echo:": """\
connectors:
      echo:""",
    "tenants:\n  acme:": """\
tenants:
  umbrella:
    connectors:
      secret: {identifier: "777", agent: "builtin:echo"}
  acme:""",
}
DEFAULTS = {"limits: {requests: 10000, burst: 10000}": "limits: {requests: 10000, burst: 10000, ban: 4s}"}
UNKNOWN_USER = "freepbx-hg"
"""As long as the one that there is."""


def stable(answer: Answer) -> str:
    """A response without what is random in it: our nonce, reference and tag; and without the caller's own words."""
    text = re.sub(r'nonce="[^"]+"', "nonce", answer.text)
    text = re.sub(r'"ref [0-9A-Z]{6}"', "ref", text)
    text = re.sub(r"(?m)^To: [^\r\n]*", lambda to: re.sub(r"tag=\w+", "tag", to[0]), text)
    return re.sub(r"(?mi)^(Via|Call-ID|From|CSeq):[^\r\n]*", r"\1", text)


class EnumerationTests(FaultCase):
    def test_users(self) -> None:
        """An unknown user and a wrong password get the same answer, octet for octet, after the same time."""
        gateway = self.start({"burst: 10000": "burst: 10000, auth_failures: 100000"})
        answers: dict[str, Answer] = {}
        times: dict[str, list[float]] = {USER: [], UNKNOWN_USER: []}
        with Stranger(gateway.sip) as stranger:
            challenge = stranger.ask(request("INVITE", stranger))
            for _ in range(300):
                for user, taken in times.items():
                    guess = request("INVITE", stranger, headers=authorization(challenge, user, "wrong horse"))
                    began = time.perf_counter()
                    answers[user] = stranger.ask(guess)
                    taken.append(time.perf_counter() - began)
        self.assertEqual({answer.status for answer in answers.values()}, {401})
        self.assertEqual(stable(answers[USER]), stable(answers[UNKNOWN_USER]))
        known, unknown = median(times[USER]), median(times[UNKNOWN_USER])
        # The promise is 5 %, measured by make bench; here others want the processor too.
        self.assertLess(abs(known - unknown) / known, 0.25, (known, unknown))

    def test_numbers(self) -> None:
        """Unknown, disabled, another tenant's: one and the same 404; before authentication, the same 401 for all."""
        gateway = self.start(OTHER_TENANT)
        targets = ("600", CLOSED, "777", "778", "+31201230000", "600;x=y")
        with Stranger(gateway.sip) as stranger:
            challenged = {target: stranger.ask(request("INVITE", stranger, to=target)) for target in targets}
            self.assertEqual({answer.status for answer in challenged.values()}, {401})
            texts = {stable(answer).replace(target, "X") for target, answer in challenged.items()}
            self.assertEqual(len(texts), 1, texts)
            refused = {}
            for target in (CLOSED, "777", "778"):
                headers = authorization(challenged[target], USER, PASSWORD, uri=f"sip:{target}@{DOMAIN}")
                refused[target] = stranger.ask(request("INVITE", stranger, to=target, headers=headers))
        self.assertEqual({answer.status for answer in refused.values()}, {404})
        texts = {stable(answer).replace(target, "X") for target, answer in refused.items()}
        self.assertEqual(len(texts), 1, texts)
        # The operator is told what the caller is not.
        checks = {each["check"] for each in gateway.wait_for_records(3, "refusals")}
        self.assertEqual(len(checks), 3, checks)


class BruteForceTests(FaultCase):
    def guess(self, stranger: Stranger, challenge: Answer, count: int) -> Counter[int]:
        """Guess passwords; the statuses that came, 0 for silence."""
        statuses: Counter[int] = Counter()
        for number in range(count):
            stranger.send(request("INVITE", stranger, headers=authorization(challenge, USER, f"guess {number}")))
            answer = stranger.answer(0.5 if statuses[0] < 2 else 0.001)
            statuses[answer.status if answer is not None else 0] += 1
        return statuses

    def test_one_address(self) -> None:
        """1,000 guesses from one address: ten are answered, then it is banned, and so is what it sends otherwise; each
        of the ten is a line for fail2ban. After the ban it may try again."""
        gateway = self.start(DEFAULTS)
        with Stranger(gateway.sip, host="127.0.0.9") as mallory:
            statuses = self.guess(mallory, mallory.ask(request("INVITE", mallory)), 1000)
            self.assertEqual(statuses, {401: 10, 0: 990})
            mallory.send(request("OPTIONS", mallory))
            self.assertIsNone(mallory.answer(0.3))
            with Stranger(gateway.sip) as honest:
                self.assertEqual(honest.ask(request("OPTIONS", honest)).status, 200)
            self.assertTrue(wait_until(lambda: self.answers(mallory), 8.0))
        self.check_lines(gateway, "127.0.0.9", 10)

    def answers(self, stranger: Stranger) -> bool:
        stranger.send(request("OPTIONS", stranger))
        return stranger.answer(0.2) is not None

    def check_lines(self, gateway: HurtGateway, address: str, count: int) -> None:
        """The log has a line for each failure, and fail2ban finds the address in it."""
        line = re.compile(
            rf"stellar-gw security: event=auth_failed ip={address} port=\d+ transport=udp reason=wrong_password "
            rf"callid=\S+ user=\S*{USER}"
        )
        self.assertEqual(sum(1 for each in gateway.log.splitlines() if line.search(each)), count)
        tool, filters = shutil.which("fail2ban-regex"), Path("/etc/fail2ban/filter.d")
        if tool is None or not filters.is_dir():
            raise SkipTest("fail2ban is not installed (Debian: apt install fail2ban)")
        folder = gateway.folder / "filter.d"
        shutil.copytree(filters, folder)
        ours = Path(__file__).parents[2] / "conf/fail2ban/filter.d/stellar-gw.conf"
        shutil.copy(ours, folder)
        found = subprocess.run(
            [tool, "--out", "ip", str(gateway.log_path), str(folder / ours.name)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(found.stdout.split(), [address] * count, found.stderr)

    def test_100_addresses(self) -> None:
        """100 addresses that guess one user's password nine times each: all are answered, none is banned, and the user
        logs in meanwhile."""
        gateway = self.start(DEFAULTS)
        statuses: Counter[int] = Counter()
        with ExitStack() as sockets:
            for number in range(100):
                stranger = sockets.enter_context(Stranger(gateway.sip, host=f"127.0.1.{number + 1}"))
                statuses += self.guess(stranger, stranger.ask(request("INVITE", stranger)), 9)
            phone = self.phone(gateway, host=HOST, user=USER, password=PASSWORD)
            self.assertEqual((phone.call()[0].status, statuses), (200, {401: 900}))
            phone.hang_up()

    def test_forged_source(self) -> None:
        """Failures that carry no nonce of ours, or another address's, ban nobody: a victim's address can be forged."""
        gateway = self.start(DEFAULTS)
        with Stranger(gateway.sip, host="127.0.0.9") as mallory, Stranger(gateway.sip, host="127.0.0.8") as victim:
            challenge = mallory.ask(request("INVITE", mallory))
            for forged in (challenge, Answer(challenge.data.replace(b'nonce="', b'nonce="AAAA'))):
                for number in range(20):
                    headers = authorization(forged, USER, f"guess {number}")
                    self.assertEqual(victim.ask(request("INVITE", victim, headers=headers)).status, 401)
            self.assertEqual(victim.ask(request("OPTIONS", victim)).status, 200)

    def test_trunks_are_never_banned(self) -> None:
        """A trunk's address that answers challenges wrongly, many times, goes on calling."""
        gateway = self.start(DEFAULTS)
        with Stranger(gateway.sip, host="127.0.0.2") as trunk:
            # A trunk is not challenged unless it shows credentials.
            wrong = f'Authorization: Digest username="x", realm="{DOMAIN}", nonce="a", uri="sip:a", response="0"\r\n'
            for _ in range(20):
                challenge = trunk.ask(request("INVITE", trunk, headers=wrong))
                self.assertEqual(challenge.status, 401)
                self.assertEqual(
                    trunk.ask(request("INVITE", trunk, headers=authorization(challenge, USER, "wrong"))).status, 401
                )
            self.assertEqual(trunk.ask(request("INVITE", trunk, to=ECHO, body=offer("127.0.0.2", 9))).status, 200)
