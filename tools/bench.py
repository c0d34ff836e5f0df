"""``make bench``: run every benchmark, one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 900.0
"""Seconds for one of them."""


def benchmarks() -> list[str]:
    """The modules of benchmarks/ that can be run."""
    paths = sorted((ROOT / "benchmarks").glob("*.py"))
    return [path.stem for path in paths if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]


def main(argv: Sequence[str] | None = None) -> int:
    wanted = list(sys.argv[1:] if argv is None else argv) or benchmarks()
    failed = []
    for name in wanted:
        print(f"\n--- benchmarks/{name}.py ---", flush=True)
        try:
            status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, timeout=LIMIT).returncode
        except subprocess.TimeoutExpired:
            print(f"not done within {LIMIT:g} s")
            status = 124
        if status:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
