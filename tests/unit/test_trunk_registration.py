"""A registration of ours, its registrar played: up, refreshed, refused, moved to the next server, and taken back."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.timers import Timers
from stellar_gw.call.trunk.registrar import granted, refresh_after, verdict, wait_after
from stellar_gw.call.trunk.registration import Registration
from stellar_gw.call.trunk.trunk import trunk_of
from stellar_gw.call.usages import Usages
from stellar_gw.directory.records import Outbound, Register, Secret, TrunkProvider
from stellar_gw.sip.events import ResponseReceived
from stellar_gw.sip.flow import Listener, Way
from stellar_gw.sip.message import Response
from stellar_gw.sip.uri import SipUri, parse_uri
from tests.messages import invite, parsed
from tests.unit.fake_signalling import Asked, FakeSignalling

HEADER_NAMES = st.sampled_from(["Contact", "Expires", "Min-Expires", "Retry-After"])
PRINTABLE = st.text(st.characters(codec="ascii", exclude_categories=["C"]))
FIRST, SECOND = (Way(transport="udp", host=host, port=5060) for host in ("192.0.2.11", "192.0.2.12"))
LISTENERS = {
    "udp": Listener(
        name="udp", transport="udp", bind=("0.0.0.0", 5060), advertise=("gw.example", 5060), media_advertise="192.0.2.1"
    )
}
CONTACT = SipUri(user="101", host="gw.example", port=5060)


def provider(**changes: Any) -> TrunkProvider:
    to = parse_uri("sip:pbx.example")
    assert isinstance(to, SipUri)
    outbound = Outbound(
        to=to, username="101", password=Secret(value="secret"), register=Register(expires=600.0), keepalive=25.0
    )
    return TrunkProvider(name="pbx", allowed_ips=(), tenants=("acme",), outbound=evolve(outbound, **changes))


def response(status: int, *headers: tuple[str, str], number: int = 1) -> Response:
    return Response(status, "Fine", [("CSeq", f"{number} REGISTER"), *headers])


class RegistrationCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.signalling = FakeSignalling(ways={"pbx.example": (FIRST, SECOND)})
        self.usages = Usages(self.signalling)
        self.told: list[tuple[bool, str]] = []
        self.left: list[bool] = []
        self.registration = self.make(provider())

    def make(self, caller: TrunkProvider) -> Registration:
        trunk = trunk_of(caller)
        assert trunk is not None

        def tell(event: TrunkChanged) -> None:
            self.assertEqual((event.trunk, event.what), ("pbx", "registration"))
            self.told.append((event.up, event.message))

        return Registration(
            trunk,
            listeners=LISTENERS,
            signalling=self.signalling,
            usages=self.usages,
            timers=Timers(self.clock),
            rng=bytes,
            tell=tell,
            left=lambda: self.left.append(True),
        )

    @property
    def last(self) -> Asked:
        return self.signalling.requests[-1]

    def answer(self, status: int, *headers: tuple[str, str]) -> None:
        """The registrar answers the last request."""
        said = response(status, *headers, number=self.last.sequence)
        self.usages.handle(ResponseReceived(self.last.token, said))

    def registered(self) -> None:
        self.registration.start()
        self.answer(200, ("Contact", "<sip:101@gw.example:5060>;expires=600"))
        self.told.clear()


class RegistrationTests(RegistrationCase):
    def test_register(self) -> None:
        """REGISTER says who, from where and for how long; the password is for the registrar's domain alone."""
        self.registration.start()
        asked = self.last
        assert asked.credentials is not None
        self.assertEqual(
            (asked.method, asked.uri, asked.headers["Contact"], asked.flow.remote, str(asked.from_.uri)),
            ("REGISTER", "sip:pbx.example", "<sip:101@gw.example:5060>;expires=600", ("192.0.2.11", 5060),
             "sip:101@pbx.example"),
        )  # fmt: skip
        self.assertEqual((asked.credentials.username, asked.credentials.host), ("101", "pbx.example"))
        self.assertIsNone(self.registration.flow)
        self.answer(200)
        self.assertEqual(self.registration.flow, asked.flow)
        self.assertEqual(self.told, [(True, "registered at 192.0.2.11:5060 over UDP for 600 s")])

    def test_an_account_with_a_name_of_its_own_to_log_in_with(self) -> None:
        """The address is the user's, the credentials are the account's."""
        registration = self.make(provider(register=Register(user="17205550100", domain="sip.example", contact="dev")))
        registration.start()
        self.assertEqual(str(self.last.from_.uri), "sip:17205550100@sip.example")
        credentials = self.last.credentials
        assert credentials is not None
        self.assertEqual((credentials.username, credentials.host), ("101", "sip.example"))
        self.assertEqual(registration.contact_user, "dev")

    def test_refresh(self) -> None:
        """At half of its life the binding is refreshed: the same Call-ID and tag, a higher CSeq, and nothing told."""
        self.registered()
        first = self.last
        self.clock.pump([299.0, 1.0])
        second = self.last
        self.assertGreater(second.sequence, first.sequence)
        self.assertEqual((second.call_id, second.from_, second.flow), (first.call_id, first.from_, first.flow))
        self.answer(200, ("Contact", "<sip:101@gw.example:5060>;expires=60"))
        asked = len(self.signalling.requests)
        self.clock.advance(30.0)
        self.assertEqual((len(self.signalling.requests), self.told), (asked + 1, []))

    def test_keepalive(self) -> None:
        """Every 25 s the flow is kept open; one that turns out to be gone is replaced at once."""
        self.registered()
        self.clock.pump([25.0, 25.0])
        self.assertEqual(self.signalling.kept_alive, [self.last.flow] * 2)
        self.signalling.gone.add(self.last.flow)
        self.clock.advance(25.0)
        self.assertEqual(self.told, [(False, "not registered any more: the connection was lost")])
        self.assertEqual((self.last.flow.remote, self.registration.flow), (("192.0.2.11", 5060), None))

    def test_a_server_that_does_not_answer(self) -> None:
        """After eight seconds the next one has its turn, and the first is tried last by everybody."""
        self.registration.start()
        self.clock.advance(8.0)
        self.assertEqual((self.last.flow.remote[0], self.signalling.failed), ("192.0.2.12", [FIRST]))
        self.answer(200)
        self.assertEqual(self.told, [(True, "registered at 192.0.2.12:5060 over UDP for 600 s")])

    def test_an_answer_too_late(self) -> None:
        """What a server says after its time does not count."""
        self.registration.start()
        late = self.last
        self.clock.advance(8.0)
        self.usages.handle(ResponseReceived(late.token, response(200)))
        self.assertEqual((self.registration.flow, self.told), (None, []))

    def test_a_server_that_cannot(self) -> None:
        """503, or a connection that does not come about: the next one."""
        self.signalling.closed.add(FIRST)
        self.registration.start()
        self.assertEqual(self.last.flow.remote[0], "192.0.2.12")
        self.answer(503)
        self.assertEqual(self.told, [(False, "not registered: 503 Fine; next try in 15 s")])

    def test_backoff(self) -> None:
        """With no server left the wait doubles, up to half an hour; an answer begins anew."""
        self.registration.start()
        waits = []
        for _ in range(8):
            self.clock.pump([8.0, 8.0])
            waits.append(float(self.told[-1][1].split()[-2]))
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0])
        self.answer(200)
        self.assertTrue(self.told[-1][0])

    def test_refused(self) -> None:
        """A registrar that does not want us is not asked by its other servers, and not again soon."""
        self.registration.start()
        asked = len(self.signalling.requests)
        self.answer(403)
        self.assertEqual(self.told, [(False, "not registered: 403 Fine; next try in 15 s")])
        self.assertEqual((len(self.signalling.requests), self.signalling.failed), (asked, []))
        self.clock.advance(15.0)
        self.answer(404, ("Retry-After", "120"))
        self.assertEqual(self.told[-1], (False, "not registered: 404 Fine; next try in 120 s"))

    def test_too_brief(self) -> None:
        """423 is answered with what the registrar wants at least (10.2.8)."""
        self.registration.start()
        self.answer(423, ("Min-Expires", "1800"))
        self.assertEqual(self.last.headers["Contact"], "<sip:101@gw.example:5060>;expires=1800")
        self.answer(423, ("Min-Expires", "1800"))
        self.assertEqual(self.told, [(False, "not registered: 423 Fine; next try in 15 s")])

    def test_a_connection_that_is_lost(self) -> None:
        """It is replaced at once, unless it is lost a moment after it came about."""
        self.registered()
        self.registration.flow_lost(self.last.flow)
        self.assertEqual(self.told, [(False, "not registered any more: the connection was lost"),
                                     (False, "not registered: the connection was lost; next try in 15 s")])  # fmt: skip
        self.clock.advance(15.0)
        self.answer(200)
        self.clock.advance(11.0)
        asked = len(self.signalling.requests)
        self.registration.flow_lost(self.last.flow)
        self.assertEqual(len(self.signalling.requests), asked + 1)

    def test_a_refresh_that_fails(self) -> None:
        """The other server is asked; calls on the old flow are nobody's until it has accepted."""
        self.registered()
        self.clock.advance(300.0)
        self.clock.advance(8.0)
        self.assertEqual(self.told, [(False, "not registered any more: no answer")])
        self.assertEqual((self.last.flow.remote[0], self.registration.flow), ("192.0.2.12", None))

    def test_stop(self) -> None:
        """The binding is taken back, and nothing goes on."""
        self.registered()
        self.registration.stop()
        self.assertEqual(self.last.headers["Contact"], "<sip:101@gw.example:5060>;expires=0")
        self.assertEqual((self.registration.leaving, self.left), (True, []))
        self.answer(200)
        self.assertEqual((self.registration.leaving, self.left), (False, [True]))
        self.assertEqual((self.registration.flow, self.told, self.clock.getDelayedCalls()), (None, [], []))

    def test_stop_at_any_time(self) -> None:
        """While it is looked for, asked or waited for, too; a registrar that is silent is not waited for long."""
        for began in ("idle", "asking", "waiting"):
            registration = self.make(provider())
            if began != "idle":
                registration.start()
            if began == "waiting":
                self.answer(403)
            registration.stop()
            self.assertEqual(registration.leaving, began == "asking")
            self.clock.advance(2.0)
            self.assertEqual((registration.leaving, self.clock.getDelayedCalls()), (False, []), began)

    def test_nowhere(self) -> None:
        """A registrar whose name leads nowhere is looked for again later."""
        self.signalling.ways.clear()
        self.registration.start()
        [(up, message)] = self.told
        self.assertEqual((up, message.rpartition(";")[2]), (False, " next try in 15 s"))


class DialledTests(RegistrationCase):
    def test_dialled(self) -> None:
        """Our own user part in the Request-URI names nothing: To does, or the configuration."""
        call = parsed(invite("sip:101@gw.example")), parsed(invite("sip:600@gw.example"))
        fixed = self.make(provider(register=Register(dials="602")))
        self.assertEqual(
            ([self.registration.dialled(each) for each in call], [fixed.dialled(each) for each in call]),
            (["101", "600"], ["602", "600"]),
        )


class RegistrarTests(SynchronousTestCase):
    def test_granted(self) -> None:
        """Our own Contact counts, then Expires, then what was asked for; within a day."""
        others = ("Contact", "<sip:202@gw.example>;expires=30, <sip:101@gw.example:5060;ob>;expires=120")
        self.assertEqual(
            [
                granted(response(200, *headers), CONTACT, 600)
                for headers in ((others, ("Expires", "90")), (("Expires", "90"),), (), (("Expires", "9999999"),))
            ],
            [120, 90, 600, 86400],
        )

    def test_refresh_after(self) -> None:
        """Half of a short life, ten minutes before the end of a long one."""
        self.assertEqual([refresh_after(seconds) for seconds in (60, 1200, 3600)], [30.0, 600.0, 3000.0])

    @given(st.integers(1, 100), st.binary(min_size=4, max_size=4), st.integers(0, 1 << 30))
    def test_waits_are_bounded(self, failures: int, chance: bytes, least: int) -> None:
        """Between a quarter and half an hour at the longest, whatever the registrar asks for."""
        wait = wait_after(failures, lambda octets: chance, least)
        self.assertTrue(15.0 <= wait <= 1800.0)

    @given(st.integers(200, 699), st.lists(st.tuples(HEADER_NAMES, PRINTABLE)))
    def test_anything(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Every answer means something, whatever it holds."""
        said = verdict(response(status, *headers), CONTACT, 600)
        self.assertIn(said.what, ("accepted", "too_brief", "refused", "unanswered"))
        if said.what == "accepted":
            self.assertTrue(20 <= said.seconds <= 86400)
