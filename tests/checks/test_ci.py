"""The counting of tools/ci.py: its last line must never flatter."""

from __future__ import annotations

import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from tools.ci import Count, read_summary, run


class SummaryTests(SynchronousTestCase):
    def summary(self, text: str, status: int) -> Count:
        return read_summary(text.splitlines(), status)

    def test_all_passed(self) -> None:
        """Successes and expected failures pass; skips are counted apart."""
        text = "noise\nRan 14 tests in 0.2s\n\nPASSED (skips=3, expectedFailures=1, successes=10)\n"
        self.assertEqual(self.summary(text, 0), Count(passed=11, failed=0, skipped=3))

    def test_failures_errors_and_unexpected_successes_fail(self) -> None:
        """Everything that trial calls unsuccessful is failed."""
        text = "Ran 9 tests in 1.0s\n\nFAILED (failures=1, errors=2, unexpectedSuccesses=1, successes=5)\n"
        self.assertEqual(self.summary(text, 1), Count(passed=5, failed=4))

    def test_a_summary_inside_a_tests_output_does_not_count(self) -> None:
        """Only the summary after the last ``Ran`` line counts: a test may print one of its own."""
        text = (
            "PASSED (successes=9)\nRan 1 test in 0.1s\nPASSED (successes=1)\nRan 2 tests in 0.1s\nFAILED (errors=2)\n"
        )
        self.assertEqual(self.summary(text, 1), Count(failed=2))

    def test_no_summary_is_a_failure(self) -> None:
        """A run that was killed, or never started, has failed."""
        self.assertEqual(self.summary("Ran 3 tests in 0.1s\n", -9), Count(failed=1))
        self.assertEqual(self.summary("", 0), Count(failed=1))

    def test_status_and_summary_must_agree(self) -> None:
        """A non-zero status after PASSED is a failure, and so is a run of no tests at all."""
        self.assertEqual(self.summary("Ran 1 test in 0.1s\nPASSED (successes=1)\n", 1), Count(passed=1, failed=1))
        self.assertEqual(self.summary("Ran 0 tests in 0.1s\nPASSED\n", 0), Count(failed=1))


class RunTests(SynchronousTestCase):
    def test_output_is_shown_as_it_comes_and_kept(self) -> None:
        """Lines of both streams are passed on and returned with the status."""
        shown: list[str] = []
        program = "import sys; print('one', flush=True); print('two', file=sys.stderr, flush=True); sys.exit(3)"
        done = run([sys.executable, "-c", program], time.monotonic() + 30, shown.append)
        self.assertEqual((done, shown), ((["one", "two"], 3), ["one\n", "two\n"]))

    def test_the_deadline_kills(self) -> None:
        """A command that outstays the deadline is killed with everything in its process group."""
        started = time.monotonic()
        _, status = run(["sleep", "60"], time.monotonic() + 0.2, lambda _: None)
        self.assertEqual(status, 124)
        self.assertLess(time.monotonic() - started, 20)
