"""Run the suite and the checks as CI does, and end with one line: ``N passed, N failed``.

Numbers are trial's own, from the summary that ends each of its runs; each check besides (ruff, mypy) counts as one.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parent.parent
PURE = ("tests.unit", "tests.checks", "tests.story")
"""Need no clock and no socket of the machine's: as many at a time as there are cores."""
REAL = ("tests.integration",)
"""Real sockets, processes and peers. They wait for most of their time (a call lasts as long as it lasts), so one more
at a time than there are cores: here that took 9 minutes where one after the other took 24."""
COMPILED = ("test_dialect_", "test_media_", "test_worker_")
"""So the names of modules begin that test what may be compiled."""
UNAVAILABLE = 2
"""How stellar-gw-compile ends where there is no compiler."""
LIMIT = 40 * 60.0
"""Seconds for everything. A quiet machine needs a fraction of it; a busy one shall not fail for being busy."""

_SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \(([a-zA-Z]+=\d+(?:, [a-zA-Z]+=\d+)*)\))?$")
_RAN = re.compile(r"^Ran (\d+) tests? in ")


@frozen
class Count:
    """How many tests ended how; skipped ones are neither passed nor failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def read_summary(lines: Sequence[str], status: int) -> Count:
    """Count from what one run of trial printed.

    :param status: the run's exit status. One that contradicts the summary, or a missing summary (trial was
        killed, or did not start), counts as one failure more: a run never passes by accident.
    """
    ran: int | None = None
    count: Count | None = None
    for line in lines:
        if match := _RAN.match(line):
            ran, count = int(match[1]), None
        elif ran is not None and (match := _SUMMARY.match(line)):
            pairs = (pair.split("=") for pair in (match[1] or "").split(", ") if pair)
            numbers = {name: int(number) for name, number in pairs}
            count = Count(
                passed=numbers.get("successes", 0) + numbers.get("expectedFailures", 0),
                failed=sum(numbers.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses")),
                skipped=numbers.get("skips", 0),
            )
    if count is None:
        return Count(failed=1)
    if (status != 0 and not count.failed) or ran == 0:
        return count + Count(failed=1)
    return count


def run(command: Sequence[str], deadline: float, show: Callable[[str], None]) -> tuple[list[str], int]:
    """Run one command in a process group of its own, its output shown as it comes; kill the group at the deadline.

    :return: the lines printed and the exit status; 124 when time ran out.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            show(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        status = 124
    # A process that a test left behind may hold the pipe open: the result is there, do not wait for it.
    reader.join(5.0)
    return list(lines), status


def trial(python: str, names: Sequence[str], jobs: int, deadline: float, program: str = "twisted.trial") -> Count:
    command = [python, "-m", program, f"--temp-directory=_trial_temp_{names[0].rpartition('.')[2]}"]
    command += [f"-j{jobs}"] if jobs > 1 else []
    _title(f"trial {_brief(names)}" + (f" ({jobs} at a time)" if jobs > 1 else ""))
    lines, status = run([*command, *names], deadline, _show)
    if status == 124:
        print(f"tools/ci.py: out of time while running {_brief(names)}")
    return read_summary(lines, status)


def _brief(names: Sequence[str]) -> str:
    return " ".join(names) if len(names) < 5 else f"{names[0]} and {len(names) - 1} more modules"


def check(name: str, command: Sequence[str], deadline: float) -> Count:
    _title(name)
    _, status = run(command, deadline, _show)
    print(f"{name}: {'ok' if status == 0 else f'failed (status {status})'}")
    return Count(passed=1) if status == 0 else Count(failed=1)


def _show(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _title(text: str) -> None:
    print(f"\n--- {text} ---", flush=True)


def checks(python: str, deadline: float) -> Count:
    return (
        check("ruff check", [python, "-m", "ruff", "check", "."], deadline)
        + check("ruff format", [python, "-m", "ruff", "format", "--check", "."], deadline)
        + check("mypy --strict", [python, "-m", "mypy"], deadline)
    )


def tests(python: str, deadline: float, jobs: int) -> Count:
    """The real workers run compiled, where they can be: what was compiled is first put to the tests of its sources."""
    count = trial(python, PURE, jobs, deadline) + compiled(python, deadline)
    return count + trial(python, REAL, jobs + 1, deadline)


def compiled(python: str, deadline: float) -> Count:
    _title("what every packet passes, compiled")
    _, status = run([python, "-m", "stellar_gw.cli.compile"], deadline, _show)
    if status == UNAVAILABLE:
        print("the workers of these tests run interpreted")
        return Count(skipped=1)
    if status:
        return Count(failed=1)
    names = sorted(
        f"tests.unit.{path.stem}" for path in (ROOT / "tests/unit").glob("test_*.py") if path.stem.startswith(COMPILED)
    )
    return trial(python, names, 1, deadline, "tools.compiled_trial")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("all", "tests", "checks"), nargs="?", default="all")
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="trial processes side by side; one more for tests.integration",
    )
    options = parser.parse_args(argv)
    started = time.monotonic()
    deadline = started + LIMIT
    count = Count()
    if options.what != "checks":
        count += tests(sys.executable, deadline, options.jobs)
    if options.what != "tests":
        count += checks(sys.executable, deadline)
    print(f"\n{count.skipped} skipped; {time.monotonic() - started:.0f} s")
    print(f"{count.passed} passed, {count.failed} failed", flush=True)
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
