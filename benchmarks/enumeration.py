"""What a stranger learns from the time that answers take: users and numbers that are there, and that are not."""

from __future__ import annotations

import random
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports
from stellar_gw.testing.processes import unwind_on_sigterm
from tests.integration.fault_support import Answer, Stranger, authorization, request
from tests.integration.gateway_support import DOMAIN

TRIES = 1000
GOAL = 0.05
"""The difference that a stranger may measure at most (the promise, of medians on a quiet machine). It is judged by
the first decile: what else a machine does only ever adds."""
CONFIGURATION = """\
domain: sip.acme.example
listeners: {{udp: {{bind: "127.0.0.1:0"}}}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1}}
limits: {{requests: 100000, burst: 100000, auth_failures: 1000000}}
records: {{directory: "{{records}}"}}
tenants:
  acme:
    credentials: {{freepbx-hq: {{password: "correct horse"}}}}
    connectors:
      closed: {{identifier: "604", agent: "builtin:echo", enabled: false}}
"""
OTHER = """\
  umbrella:
    connectors: {{secret: {{identifier: "777", agent: "builtin:echo"}}}}
"""


def configuration(ports: str) -> str:
    """A thousand users and as many connectors."""
    head, _, tail = CONFIGURATION.partition("    connectors:\n")
    users = "".join(f"      user-{number:05}: {{{{password: 'pass word {number}'}}}}\n" for number in range(1000))
    head = head.replace(
        '{{freepbx-hq: {{password: "correct horse"}}}}',
        f'\n      freepbx-hq: {{{{password: "correct horse"}}}}\n{users}',
    )
    more = "".join(
        f'      c{number}: {{{{identifier: "{number}", agent: "builtin:echo"}}}}\n' for number in range(1000, 2000)
    )
    return f"{head}    connectors:\n{more}{tail}{OTHER}".format(ports=ports)


def interleaved(stranger: Stranger, messages: dict[str, Callable[[], bytes]]) -> dict[str, tuple[float, float]]:
    """The seconds that each kind of message is answered after, one of each in turn: first decile and median."""
    times: dict[str, list[float]] = {name: [] for name in messages}
    for _ in range(TRIES):
        # In any order: what came before shall not tell.
        for name in random.sample(list(messages), len(messages)):
            message = messages[name]()
            began = time.perf_counter()
            answer = stranger.ask(message)
            times[name].append(time.perf_counter() - began)
            stranger.send(acknowledgement(message, answer))
    return {name: (quantiles(taken, n=10)[0], median(taken)) for name, taken in times.items()}


def acknowledgement(invite: bytes, answer: Answer) -> bytes:
    """The ACK of a refusal (RFC 3261 17.1.1.3), without which it would be sent again and again."""
    head = invite.partition(b"\r\n\r\n")[0].decode().replace("INVITE", "ACK")
    return re.sub(r"(?m)^To: [^\r]*", lambda _: f"To: {answer.header('To')}", head).encode() + b"\r\n\r\n"


def users(stranger: Stranger, challenge: Answer) -> dict[str, tuple[float, float]]:
    def guess(user: str) -> bytes:
        return request("INVITE", stranger, headers=authorization(challenge, user, secrets.token_hex(6)))

    return interleaved(
        stranger,
        {"wrong password": lambda: guess("freepbx-hq"), "no such user": lambda: guess(f"fr{secrets.token_hex(4)}")},
    )


def numbers(stranger: Stranger, challenge: Answer) -> dict[str, tuple[float, float]]:
    counts = {"nc": 0}

    def dial(target: str) -> bytes:
        counts["nc"] += 1
        uri = f"sip:{target}@{DOMAIN}"
        shown = authorization(challenge, "freepbx-hq", "correct horse", uri=uri, nc=counts["nc"])
        return request("INVITE", stranger, to=target, headers=shown)

    return interleaved(
        stranger,
        {
            "no such number": lambda: dial(f"8{secrets.randbelow(90) + 10}"),
            "disabled": lambda: dial("604"),
            "another tenant's": lambda: dial("777"),
        },
    )


def main() -> int:
    unwind_on_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="stellar-gw-bench-"))
    block = take_ports()
    held = True
    try:
        with GatewayProcess(configuration(block.range), folder) as gateway:
            for what in (users, numbers):
                with Stranger(("127.0.0.1", gateway.ports["udp"])) as stranger:
                    times = what(stranger, stranger.ask(request("INVITE", stranger)))
                spreads = [(max(values) - min(values)) / min(values) for values in zip(*times.values(), strict=True)]
                held &= spreads[0] < GOAL
                for name, (decile, middle) in times.items():
                    print(f"{name:<20} {decile * 1e6:7.0f} us  {middle * 1e6:7.0f} us")
                print(f"{'difference':<20} {spreads[0]:10.1%}  {spreads[1]:10.1%}  (goal: below {GOAL:.0%})\n")
    finally:
        block.release()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
