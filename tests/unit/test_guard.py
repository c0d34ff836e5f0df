"""What one source may do before it is known."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.guard import Guard, GuardLimits

HOST = "203.0.113.9"


def make_guard(**limits: Any) -> Guard:
    return Guard(GuardLimits(**limits))


class RateTests(SynchronousTestCase):
    def test_a_burst_passes_then_the_rate_holds(self) -> None:
        """Four requests at once pass, the fifth does not; half a second later one more passes at 2 a second."""
        guard = make_guard(requests_per_second=2.0, burst=4.0)
        self.assertEqual([guard.admits(HOST, False, 10.0) for _ in range(5)], [True] * 4 + [False])
        self.assertEqual([guard.admits(HOST, False, 10.5) for _ in range(2)], [True, False])

    def test_a_trusted_source_has_a_rate_of_its_own(self) -> None:
        guard = make_guard(requests_per_second=1.0, burst=1.0, trusted_requests_per_second=1.0, trusted_burst=3.0)
        self.assertEqual([guard.admits(HOST, True, 0.0) for _ in range(4)], [True, True, True, False])

    def test_sources_do_not_share_a_rate(self) -> None:
        guard = make_guard(requests_per_second=1.0, burst=1.0)
        self.assertEqual([guard.admits(host, False, 0.0) for host in ("a", "b", "a", "b")], [True, True, False, False])

    def test_an_ipv6_source_is_its_64(self) -> None:
        """Who has one address of a /64 has them all: they share a rate, a ban, and what was proven."""
        guard = make_guard(requests_per_second=1.0, burst=1.0, failures=1)
        here, there, elsewhere = "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"
        self.assertEqual([guard.admits(host, False, 0.0) for host in (here, there, elsewhere)], [True, False, True])
        self.assertEqual(guard.failed(there, "n", "guess", False, 0.0), (1, True))
        self.assertEqual([guard.banned(host, 1.0) for host in (here, there, elsewhere)], [True, True, False])
        guard.authenticated(elsewhere, 1.0)
        self.assertEqual([guard.known(host, 2.0) for host in ("2001:db8:0:2::9", here)], [True, False])

    def test_memory_is_bounded(self) -> None:
        """The oldest source is forgotten, and begins anew with a full burst."""
        guard = make_guard(requests_per_second=1.0, burst=1.0, sources=2)
        self.assertEqual([guard.admits(host, False, 0.0) for host in ("a", "b", "c", "a")], [True] * 4)
        self.assertEqual(guard.admits("c", False, 0.0), False)


class BanTests(SynchronousTestCase):
    def test_the_tenth_failure_within_a_minute_bans_for_five(self) -> None:
        guard = make_guard()
        counted = [guard.failed(HOST, "n", f"guess {second}", False, float(second)) for second in range(10)]
        self.assertEqual(counted, [(count, count == 10) for count in range(1, 11)])
        self.assertEqual([guard.banned(HOST, at) for at in (9.0, 308.9, 309.0)], [True, True, False])

    def test_a_retransmission_is_not_another_guess(self) -> None:
        """The same answer to the same challenge, its 401 lost on the way, counts once."""
        guard = make_guard(failures=2)
        counted = [guard.failed(HOST, "n", guess, False, 0.0) for guess in ("ann:1", "ann:1", "ann:1", "ann:2")]
        self.assertEqual(counted, [(1, False), (0, False), (0, False), (2, True)])

    def test_failures_older_than_the_window_do_not_count(self) -> None:
        guard = make_guard(failures=2, failure_window=60.0)
        self.assertEqual(guard.failed(HOST, "n", "guess 0", False, 0.0), (1, False))
        self.assertEqual(guard.failed(HOST, "n", "guess 1", False, 60.0), (1, False))
        self.assertEqual(guard.failed(HOST, "n", "guess 2", False, 61.0), (2, True))

    def test_a_trusted_source_is_counted_and_never_banned(self) -> None:
        guard = make_guard(failures=1)
        self.assertEqual(guard.failed(HOST, "n", "guess 4", True, 0.0), (1, False))
        self.assertEqual(guard.banned(HOST, 0.0), False)

    def test_who_authenticated_within_the_hour_is_not_banned(self) -> None:
        guard = make_guard(failures=1, trust=3600.0)
        guard.authenticated(HOST, 0.0)
        self.assertEqual(guard.failed(HOST, "n", "guess 5", False, 3599.0), (1, False))
        self.assertEqual(guard.failed(HOST, "n", "guess 6", False, 3600.0), (1, True))
