"""``make bench``: run every benchmark, one after the other, each in a process of its own.

``python -m tools.bench --quick`` gives a first impression in about two minutes; ``python -m tools.bench relay srtp``
runs these two. Tables and plots go to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stellar_gw.testing.processes import run_to_its_end, unwind_on_sigterm

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 900.0
"""Seconds for one of them."""
TOTAL = 1800.0
"""Seconds for all: those that have not begun by then are left out, and said to be."""


def _source(name: str) -> str:
    return (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")


def benchmarks() -> list[str]:
    """The modules of benchmarks/ that can be run."""
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    return [name for name in names if '__name__ == "__main__"' in _source(name)]


def has_quick(name: str) -> bool:
    """Whether a benchmark takes ``--quick``: by an option of its own, or by the load benchmarks' common main."""
    return '"--quick"' in _source(name) or "sys.exit(bench(" in _source(name)


def main(argv: Sequence[str] | None = None) -> int:
    known = benchmarks()
    parser = argparse.ArgumentParser("make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="one short run of those that have one; nothing is written")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = options.names or [name for name in known if not options.quick or has_quick(name)]
    unwind_on_sigterm()
    failed, began = [], time.monotonic()
    for number, name in enumerate(wanted, 1):
        passed = time.monotonic() - began
        if passed > TOTAL:
            print(f"\nleft out, as {TOTAL / 60:.0f} minutes are over: {', '.join(wanted[number - 1 :])}")
            return 1
        load = os.getloadavg()[0]
        print(f"\n--- {number} of {len(wanted)}: {name} ({passed:.0f} s so far, load {load:.1f}) ---", flush=True)
        if _run(name, options.quick and has_quick(name)):
            failed.append(name)
    print(f"\n{len(wanted) - len(failed)} of {len(wanted)} done in {time.monotonic() - began:.0f} s")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _run(name: str, quick: bool) -> int:
    """The benchmark's exit status; what it started ends with it."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    try:
        return run_to_its_end(command, cwd=ROOT, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        print(f"not done within {LIMIT:g} s")
        return 124


if __name__ == "__main__":
    sys.exit(main())
