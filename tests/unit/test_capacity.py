"""How many calls there may be."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.admission import Admitted
from stellar_gw.call.admission.capacity import Capacity
from stellar_gw.directory.records import Credential, Limits, Tenant, TrunkProvider
from tests.messages import flow
from tests.unit.test_context import ROUTE

PROVIDER = TrunkProvider(name="telnyx", allowed_ips=(), tenants=("acme",), unconfirmed_calls=2)
BY_PROVIDER = Admitted(caller=PROVIDER, route=ROUTE, how="")
BY_DIGEST = Admitted(caller=Credential(username="freepbx-hq", tenant="acme"), route=ROUTE, how="")


class CapacityTests(SynchronousTestCase):
    def full(self, capacity: Capacity, admitted: Admitted, most: int = 0, transport: str = "udp") -> str:
        refusal = capacity.full(admitted, flow(transport="tls" if transport == "tls" else "udp"), most)
        return "" if refusal is None else f"{refusal.status} {refusal.check}"

    def test_the_gateways_own_limit_is_503(self) -> None:
        """Upstream shall try its next route."""
        capacity = Capacity()
        capacity.take("c-1", BY_DIGEST)
        self.assertEqual([self.full(capacity, BY_DIGEST, most) for most in (0, 1, 2)], ["", "503 gateway_calls", ""])
        capacity.release("c-1")
        self.assertEqual((self.full(capacity, BY_DIGEST, 1), len(capacity)), ("", 0))

    def test_a_tenants_limit_is_480_and_its_own(self) -> None:
        """503 would take the whole gateway off a phone system's list."""
        small = evolve(BY_DIGEST, route=evolve(ROUTE, tenant=Tenant(name="acme", limits=Limits(calls=1))))
        other = evolve(BY_DIGEST, route=evolve(ROUTE, tenant=Tenant(name="globex", limits=Limits(calls=1))))
        capacity = Capacity()
        capacity.take("c-1", small)
        self.assertEqual([self.full(capacity, each) for each in (small, other)], ["480 tenant_calls", ""])
        capacity.release("c-1")
        self.assertEqual(self.full(capacity, small), "")

    def test_answered_calls_over_udp_that_are_not_acknowledged_are_few(self) -> None:
        """A forged source never acknowledges (RELIABILITY 3.4); TLS and digest prove where a caller is."""
        capacity = Capacity()
        for call_id in ("c-1", "c-2"):
            capacity.take(call_id, BY_PROVIDER)
            self.assertEqual(self.full(capacity, BY_PROVIDER), "")
            capacity.answered(call_id, BY_PROVIDER, flow())
        self.assertEqual(self.full(capacity, BY_PROVIDER), "480 unconfirmed_calls")
        self.assertEqual(self.full(capacity, BY_PROVIDER, transport="tls"), "")
        self.assertEqual(self.full(capacity, BY_DIGEST), "")
        capacity.confirmed("c-1")
        self.assertEqual(self.full(capacity, BY_PROVIDER), "")

    def test_a_call_that_ends_unacknowledged_gives_its_place_back(self) -> None:
        capacity = Capacity()
        for call_id in ("c-1", "c-2"):
            capacity.take(call_id, BY_PROVIDER)
            capacity.answered(call_id, BY_PROVIDER, flow())
        capacity.release("c-1")
        self.assertEqual((self.full(capacity, BY_PROVIDER), len(capacity)), ("", 1))
