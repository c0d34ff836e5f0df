"""Trunks that are asked by OPTIONS, and what is made of their silence."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.timers import Timers
from stellar_gw.call.trunk.probe import Probe
from stellar_gw.call.trunk.trunk import trunk_of
from stellar_gw.call.trunk.trunks import Trunks
from stellar_gw.call.usages import Usages
from stellar_gw.directory.records import Credential, Outbound, Register, Snapshot, TrunkProvider
from stellar_gw.sip.events import ResponseReceived
from stellar_gw.testing.directory import MemoryDirectory
from tests.messages import invite, parsed
from tests.unit.fake_signalling import FakeSignalling
from tests.unit.test_trunk_registration import FIRST, LISTENERS, SECOND, provider, response

CALL = parsed(invite("sip:101@gw.example"))


class ProbeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.signalling = FakeSignalling(ways={"pbx.example": (FIRST, SECOND)})
        self.usages = Usages(self.signalling)
        self.told: list[tuple[str, bool, str]] = []

    def tell(self, event: TrunkChanged) -> None:
        self.told.append((event.what, event.up, event.message))

    def answer(self, status: int) -> None:
        said = response(status)
        self.usages.handle(ResponseReceived(self.signalling.requests[-1].token, said))

    def asked(self) -> list[tuple[str, str, str]]:
        """Method, URI and address of every request, taken out."""
        asked = [(each.method, each.uri, each.flow.remote[0]) for each in self.signalling.requests]
        self.signalling.requests.clear()
        return asked


class ProbeTests(ProbeCase):
    def setUp(self) -> None:
        super().setUp()
        trunk = trunk_of(provider(register=None, probe=30.0))
        assert trunk is not None
        self.probe = Probe(
            trunk,
            listeners=LISTENERS,
            signalling=self.signalling,
            usages=self.usages,
            timers=Timers(self.clock),
            rng=lambda octets: b"\x80" + bytes(octets - 1),
            tell=self.tell,
        )
        self.probe.start()

    def test_up(self) -> None:
        """Any answer will do, and is told once."""
        self.clock.advance(0.5)
        self.answer(404)
        self.clock.advance(30.0)
        self.answer(200)
        self.assertEqual(self.told, [("probe", True, "up: 192.0.2.11:5060 over UDP answers OPTIONS")])
        self.assertEqual(self.asked(), [("OPTIONS", "sip:pbx.example", "192.0.2.11")] * 2)

    def test_the_first_server_is_down(self) -> None:
        """The next is asked in the same round, calls avoid the first, and the trunk is up."""
        self.clock.advance(0.5)
        self.clock.advance(4.0)
        self.answer(200)
        self.assertEqual([each[2] for each in self.asked()], ["192.0.2.11", "192.0.2.12"])
        self.assertEqual(self.signalling.failed, [FIRST])
        self.assertEqual(self.told, [("probe", True, "up: 192.0.2.12:5060 over UDP answers OPTIONS")])

    def test_down(self) -> None:
        """Two rounds without an answer, 503 being none; told once, and when it is back."""
        for _ in range(3):
            self.clock.advance(0.5 if not self.told and not self.signalling.requests else 22.0)
            self.answer(503)
            self.clock.advance(4.0)
            self.clock.advance(4.0)
        self.assertEqual(self.told, [("probe", False, "down: 192.0.2.12:5060 over UDP: no answer to OPTIONS")])
        self.clock.advance(22.0)
        self.answer(200)
        self.assertEqual([up for _, up, _ in self.told], [False, True])

    def test_nowhere(self) -> None:
        """A trunk whose name leads nowhere is down, too."""
        self.signalling.ways.clear()
        self.clock.pump([0.5, 30.0])
        self.assertEqual([(what, up) for what, up, _ in self.told], [("probe", False)])

    def test_stop(self) -> None:
        """In the middle of a round, and nothing goes on."""
        self.clock.advance(0.5)
        self.probe.stop()
        self.answer(200)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))


class TrunksTests(ProbeCase):
    def setUp(self) -> None:
        super().setUp()
        self.trunks = Trunks(
            listeners=LISTENERS,
            signalling=self.signalling,
            usages=self.usages,
            clock=self.clock,
            rng=bytes,
            tell=self.tell,
        )

    def keep(self, *providers: TrunkProvider, credentials: tuple[Credential, ...] = ()) -> None:
        snapshot = Snapshot(domain="sip.acme.example", providers=providers, credentials=credentials)
        self.trunks.keep(MemoryDirectory(snapshot))

    def test_only_what_is_wanted(self) -> None:
        """A trunk that wants nothing is left in peace."""
        self.keep(provider(register=None), evolve(provider(), outbound=Outbound()))
        self.assertEqual((self.asked(), self.clock.getDelayedCalls()), ([], []))

    def test_a_credentials_phone_system(self) -> None:
        """A phone system that calls by digest may want to be registered at as well."""
        credential = Credential(username="pbx", tenant="acme", outbound=provider().outbound)
        self.keep(credentials=(credential,))
        flow = self.signalling.requests[-1].flow
        self.answer(200)
        registration = self.trunks.registered_on(flow, CALL)
        assert registration is not None
        self.assertEqual(registration.trunk.caller, credential)

    def test_reload(self) -> None:
        """What has not changed goes on; what has, is taken back and begun anew; what is gone is taken back."""
        self.keep(provider())
        flow = self.signalling.requests[-1].flow
        self.answer(200)
        self.asked()
        self.keep(evolve(provider(), unconfirmed_calls=7))
        registration = self.trunks.registered_on(flow, CALL)
        assert registration is not None and isinstance(registration.trunk.caller, TrunkProvider)
        self.assertEqual((self.asked(), registration.trunk.caller.unconfirmed_calls), ([], 7))
        self.keep(provider(register=Register(expires=300.0)))
        contacts = [each.headers["Contact"].rpartition("=")[2] for each in self.signalling.requests]
        self.assertEqual((contacts, self.trunks.registered_on(flow, CALL)), (["0", "300"], None))
        self.answer(200)
        self.keep()
        self.assertEqual(self.signalling.requests[-1].headers["Contact"].rpartition("=")[2], "0")
        self.assertTrue(self.trunks.leaving)
        self.clock.advance(2.0)
        self.assertFalse(self.trunks.leaving)
        self.assertEqual((self.trunks.registered_on(flow, CALL), self.clock.getDelayedCalls()), (None, []))

    def test_two_registrations_on_one_flow(self) -> None:
        """Of two tenants at one registrar: a call that names neither is nobody's, one that names one is that one's."""
        first = provider()
        same = evolve(provider(register=Register(domain="other.example")), name="same")
        third = evolve(provider(username="303"), name="third")
        self.keep(first, same, third)
        for asked in self.signalling.requests:
            self.usages.handle(ResponseReceived(asked.token, response(200, number=asked.sequence)))
        flow = self.signalling.requests[0].flow
        self.assertEqual({asked.flow for asked in self.signalling.requests}, {flow})
        owners = {}
        for user, to in (
            ("303", "sip:600@pbx.example"),
            ("101", "sip:101@pbx.example"),
            ("101", "sip:101@other.example"),
            ("101", "sip:600@pbx.example"),
            ("600", "sip:600@pbx.example"),
            ("600", "sip:101@other.example"),
        ):
            call = parsed(
                invite(f"sip:{user}@gw.example").replace(
                    f"To: <sip:{user}@gw.example>".encode(), f"To: <{to}>".encode()
                )
            )
            registration = self.trunks.registered_on(flow, call)
            owners[user, to] = None if registration is None else registration.trunk.name
        self.assertEqual(list(owners.values()), ["third", "pbx", "same", None, None, "same"])
