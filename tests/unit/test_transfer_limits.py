"""How often callers may be transferred."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.transfer.limits import HOUR, TransferLimits
from stellar_gw.directory.records import Limits, Tenant

ACME = Tenant(name="acme", limits=Limits(transfers_per_hour=4))
GLOBEX = Tenant(name="globex", limits=Limits(transfers_per_hour=0))


def limits_of(hours: dict[str, list[float]]) -> TransferLimits:
    """Limits that know of no call, and of a tenant when its attempts were."""
    limits = TransferLimits()
    for tenant, times in hours.items():
        for number, time in enumerate(times):
            limits.begin(str(number), Tenant(name=tenant), time)
            limits.forget(str(number))
    return limits


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = TransferLimits()

    def begun(self, call: str, now: float = 0.0, tenant: Tenant = ACME) -> str:
        """What came of an attempt that is over at once, unless it could not begin."""
        refused = self.limits.begin(call, tenant, now)
        if refused is None:
            self.limits.end(call)
            return "begun"
        return refused.code

    def test_one_transfer_of_a_call_at_a_time(self) -> None:
        self.assertIsNone(self.limits.begin("a", ACME, 0.0))
        self.assertEqual(
            self.limits.begin("a", ACME, 1.0),
            TargetRefused("transfer_active", "a transfer of this call is under way; wait for its outcome"),
        )
        self.assertIsNone(self.limits.begin("b", ACME, 1.0))
        self.limits.end("a")
        self.assertIsNone(self.limits.begin("a", ACME, 2.0))

    def test_three_attempts_of_a_call(self) -> None:
        """However they ended; the next call has its own."""
        told = [self.begun("a", tenant=GLOBEX) for _ in range(5)]
        self.assertEqual(told, ["begun", "begun", "begun", "too_many_attempts", "too_many_attempts"])
        self.assertEqual(self.begun("b", tenant=GLOBEX), "begun")

    def test_so_many_an_hour(self) -> None:
        """Of each tenant by itself; what was refused does not count."""
        told = [self.begun(str(number), now=number * 600.0) for number in range(9)]
        self.assertEqual(told, ["begun"] * 4 + ["tenant_limit"] * 2 + ["begun"] * 3)
        self.assertEqual(self.begun("x", now=4800.0), "tenant_limit")
        self.assertEqual([self.begun(f"g{number}", tenant=GLOBEX) for number in range(20)], ["begun"] * 20)
        self.assertEqual(self.begun("z", now=4800.0 + HOUR), "begun")

    def test_a_call_that_is_over_is_forgotten(self) -> None:
        """Its attempt stays the tenant's."""
        for number in range(4):
            self.begun(str(number))
            self.limits.forget(str(number))
        self.assertEqual(self.limits, limits_of({"acme": [0.0] * 4}))
        self.assertEqual(self.begun("0"), "tenant_limit")
        self.assertEqual(self.begun("0", now=HOUR), "begun")
