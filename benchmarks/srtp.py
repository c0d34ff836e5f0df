"""SRTP to plain RTP against rtpengine: CPU per packet with 200 and 500 bridged calls.

``python -m benchmarks.srtp``. One leg of each call is SRTP by AES_CM_128_HMAC_SHA1_80, the other plain, so half of the
packets are authenticated and decrypted, the other half encrypted and signed. The generator checks every tag.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from benchmarks.load.plot import bars
from benchmarks.load.relays import OURS, PEER, Relays, compare
from benchmarks.load.report import Effort, Report, bench, spread, verdict
from benchmarks.load.rtpengine import Rtpengine
from benchmarks.load.worker_end import WorkerEnd

SIZES = (200, 500)
GOAL = 1.0


async def work(reactor: Any, effort: Effort) -> Report:
    report = Report(
        "Relay of SRTP to plain RTP, AES_CM_128_HMAC_SHA1_80",
        ("CPU per packet, us", OURS, PEER, "ratio", "goal", "verdict"),
    )
    medians: dict[str, list[float]] = {OURS: [], PEER: []}
    async with WorkerEnd(reactor) as end:
        with Rtpengine() as engine:
            relays = Relays(end, engine)
            for calls in SIZES:
                compared = await compare(relays, calls, effort, secure=True)
                ours, peer = compared.costs(OURS), compared.costs(PEER)
                ratio = median(ours) / median(peer)
                name = f"{calls} bridged calls"
                report.row(name, spread(ours), spread(peer), f"{ratio:.2f}", f"{GOAL:g}", verdict(ratio, GOAL))
                lost, forged = compared.lost(OURS), sum(run.forged for run in compared.runs[OURS])
                report.row(
                    f"{name}: packets lost",
                    str(lost),
                    str(compared.lost(PEER)),
                    "",
                    "0",
                    "met" if not lost else "missed",
                )
                if forged:
                    report.notes.append(f"{forged} packets of ours did not authenticate.")
                medians[OURS].append(median(ours))
                medians[PEER].append(median(peer))
    report.plots["srtp.svg"] = bars("SRTP to plain RTP: CPU per packet", "us", [f"{n} calls" for n in SIZES], medians)
    return report


if __name__ == "__main__":
    sys.exit(bench("srtp", work))
