"""``python -m tools.soak --minutes 60 chaos``. Ends with what held and what did not; the exit status says the same."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from stellar_gw.testing.processes import unwind_on_sigterm
from tools.soak import agents, chaos, fuzz, invites, load, steady
from tools.soak.findings import Findings

RUNS: Mapping[str, Callable[[float, Findings], None]] = MappingProxyType(
    {
        "core": fuzz.core,
        "fuzz": fuzz.live,
        "invite": invites.invites,
        "chaos": chaos.chaos,
        "agents": agents.agents,
        "load": load.load,
        "steady": steady.steady,
    }
)
ABOUT = """runs:
  core   mutated messages at the SIP core, one seed after the other
  fuzz   mutated messages at a live gateway, in a network of its own, with honest calls meanwhile
  invite INVITEs whose every element has any length up to 64 KiB, the same way
  chaos  calls, while workers and agents are killed, freeze and flood
  agents 200 calls at a time, to agents that are killed, freeze, flood, and send frames of 1 GiB
  load   SIPp, 20 calls a second with RTP
  steady SIPp, 200 calls at a time, and nothing that grows"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "make soak", description=__doc__, epilog=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="run", choices=[*RUNS, []], help="which; all if none is named")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=15.0, help="for each (default: %(default)g)")
    length.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--seed", type=int, help="of fuzz and invite: play again what a finding names")
    options = parser.parse_args(argv)
    unwind_on_sigterm()
    seconds = options.minutes * 60 if options.seconds is None else options.seconds
    findings = Findings(seed=options.seed)
    for name in options.runs or RUNS:
        print(f"--- {name}, {seconds:g} s ---", flush=True)
        RUNS[name](seconds, findings)
    print("\n" + "\n".join(findings.done))
    print("\n".join(findings.wrong) or "nothing wrong")
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
