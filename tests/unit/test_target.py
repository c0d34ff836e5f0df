"""Where a transfer goes: by name, by what the tenant allows, and by which way."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.admission import Admitted
from stellar_gw.call.target.facts import facts_of
from stellar_gw.call.target.rules import Ours
from stellar_gw.call.target.target import CallFacts, Target, TargetRefused, choose_target
from stellar_gw.config import parse_config
from stellar_gw.directory.records import Route
from stellar_gw.directory.yaml_directory import YamlDirectory
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.flow import Listener
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.sip.values import NameAddr, parse_name_addr
from tests.messages import flow, invite, parsed

FILE = """\
domain: sip.acme.example
listeners: {udp: {bind: "203.0.113.10:5060"}}
trunk_providers:
  telnyx:
    allowed_ips: [192.76.120.10]
    tenants: [acme]
    outbound:
      {to: "sip:sip.telnyx.example;transport=tls", username: acme-out, password: carrier-secret, redirects: true}
    caller_id: "+31201230000"
    latch: strict
  lan: {allowed_ips: [192.0.2.77], tenants: [acme], outbound: {to: "sip:10.0.0.9:5070"}}
  mute: {allowed_ips: [192.0.2.78], tenants: [acme]}
  strangers: {allowed_ips: [192.0.2.79], tenants: [globex], outbound: {to: "sip:192.0.2.79"}}
tenants:
  acme:
    limits: {bridge_duration: 1h}
    transfer_targets: [+3120, +44, +1, +31909, pbx.example, "*.partner.example", 198.51.100.99, 10.0.0.7]
    credentials:
      freepbx-hq: {password: letmein99, srtp: off}
      domain-hq: {password: letmein99, outbound: {domain: pbx.acme.example, x_headers_in_refer_to: true}}
      other-hq: {password: letmein99, outbound: {to: "sip:10.1.1.1"}}
    transfers:
      support: {to: "sip:200@198.51.100.20", via: freepbx-hq, about: "People", ring_timeout: 20s, digits: w12}
      sales: {to: "+31207654321", via: telnyx}
      direct: {to: "sip:desk@partner.example"}
      forced: {to: "sip:desk@partner.example", method: invite}
      asked: {to: "sip:desk@partner.example", method: refer}
      local: {to: "+31207654322", via: lan}
      silent: {to: "+31207654323", via: mute}
      hidden: {to: "sip:9@10.0.0.5", method: invite}
      branch: {to: "sip:9@branch.example", via: other-hq}
      night: {to: "sip:1@partner.example"}
      Night: {to: "sip:2@partner.example"}
      back: {to: "sip:600@sip.acme.example"}
      round: {to: "+31201239999"}
    agents:
      reception:
        environments:
          production: {dialect: twilio, url: "ws://127.0.0.1/"}
          staging:
            dialect: twilio
            url: "ws://127.0.0.1/"
            outbound: {carrier: {host: sip.telnyx.example, username: lab, password: lab-secret, realm: lab}}
    connectors:
      front: {identifier: "100", agent: reception}
      lab: {identifier: "101", agent: reception, environment: staging, x_headers_in_refer_to: true}
      line: {type: phone, number: "+31201239999", provider: telnyx, agent: reception}
  globex:
    credentials: {globex-pbx: {password: letmein99}}
    transfers: {support: {to: "sip:1@globex.example"}}
"""

CONFIG = parse_config(FILE, "conf.yaml", {})
DIRECTORY = CONFIG.directory
LISTENERS = [
    Listener(
        name="udp",
        transport="udp",
        bind=("0.0.0.0", 5060),
        advertise=("203.0.113.10", 5060),
        media_advertise="203.0.113.10",
    )
]
OURS = Ours.of(["sip.acme.example", "203.0.113.10"], LISTENERS)


def facts(
    username: str = "freepbx-hq", dialled: str = "100", from_: str = '"Ann" <sip:+31612345678@pbx.lan>', **changed: Any
) -> CallFacts:
    credential = DIRECTORY.credential(username)
    assert credential is not None and isinstance(DIRECTORY, YamlDirectory)
    route = DIRECTORY.route_for_credential(dialled, credential)
    assert isinstance(route, Route)
    held = CallFacts(
        tenant=route.tenant,
        caller=credential,
        connector=route.connector,
        environment=route.environment,
        from_=parse_name_addr(from_),
        source=("198.51.100.20", 5080),
        ours=OURS,
    )
    return evolve(held, **changed)


class TargetCase(SynchronousTestCase):
    def chosen(self, wanted: str, method: str | None = None, known: CallFacts | None = None) -> Target:
        target = choose_target(wanted, method, known or facts(), DIRECTORY)
        assert isinstance(target, Target), target
        return target

    def way(self, wanted: str, method: str | None = None, known: CallFacts | None = None) -> str:
        """The method, what it names, and where an INVITE would be sent."""
        target = self.chosen(wanted, method, known)
        uri = target.refer_to if target.method == "refer" else target.uri
        back = " or invite" if target.fallback else ""
        return f"{target.method} {uri}{back} by {target.next_hop or 'itself'}"

    def refused(self, wanted: str, method: str | None = None, known: CallFacts | None = None) -> str:
        refusal = choose_target(wanted, method, known or facts(), DIRECTORY)
        assert isinstance(refusal, TargetRefused), refusal
        return refusal.code


class FactTests(SynchronousTestCase):
    def facts(self, *headers: tuple[str, str]) -> CallFacts:
        credential = DIRECTORY.credential("freepbx-hq")
        assert credential is not None
        route = DIRECTORY.route_for_credential("100", credential)
        assert isinstance(route, Route)
        admitted = Admitted(caller=credential, route=route, how="by digest")
        return facts_of(parsed(invite(headers=headers)), flow("198.51.100.20", 5080), admitted, CONFIG, LISTENERS)

    def test_facts_of_an_invite(self) -> None:
        """The caller without its tag, and what the phone system says of itself."""
        plain = facts(from_='"Ann" <sip:+31612345678@192.0.2.7>')
        self.assertEqual(self.facts(), plain)
        told = self.facts(("Allow", "INVITE, Bye"), ("Allow", "REFER"), ("Privacy", "critical;id"))
        self.assertEqual(told, evolve(plain, allow=("INVITE", "BYE", "REFER"), private=True))
        self.assertEqual(self.facts(("Privacy", "none")), plain)


class MethodTests(TargetCase):
    def test_refer_unless_the_way_is_another_systems(self) -> None:
        """A carrier cannot dial somebody else's private extension, nor a phone system by a carrier of ours."""
        cases = {
            ("support", None): "refer sip:200@198.51.100.20 or invite by itself",
            ("support", "auto"): "refer sip:200@198.51.100.20 or invite by itself",
            ("support", "invite"): "invite sip:200@198.51.100.20 by itself",
            ("sales", None): "invite sip:+31207654321@sip.telnyx.example by sip:sip.telnyx.example;transport=tls",
            ("sales", "refer"): "refer sip:+31207654321@pbx.lan or invite by sip:sip.telnyx.example;transport=tls",
            ("direct", None): "refer sip:desk@partner.example or invite by itself",
            ("forced", "refer"): "invite sip:desk@partner.example by itself",
            ("asked", "invite"): "refer sip:desk@partner.example by itself",
            ("local", None): "invite sip:+31207654322@10.0.0.9:5070 by sip:10.0.0.9:5070",
        }
        for (name, method), told in cases.items():
            self.assertEqual(self.way(name, method), told, (name, method))

    def test_a_peer_whose_allow_lacks_refer_gets_none(self) -> None:
        lacking, having = facts(allow=("INVITE", "BYE")), facts(allow=("INVITE", "REFER"))
        self.assertEqual(self.way("support", None, having), "refer sip:200@198.51.100.20 or invite by itself")
        self.assertEqual(self.way("support", None, lacking), "invite sip:200@198.51.100.20 by itself")
        self.assertEqual(self.way("support", "refer", lacking), "invite sip:200@198.51.100.20 by itself")
        self.assertEqual(self.refused("asked", None, lacking), "refer_unsupported")

    def test_the_calling_provider_is_asked_by_refer(self) -> None:
        """What goes by the very trunk that the call came from is that carrier's to transfer."""
        telnyx = next(each for each in DIRECTORY.providers() if each.name == "telnyx")
        known = facts(caller=telnyx, source=("192.76.120.10", 5060), from_="<sip:+316@192.76.120.10>")
        self.assertEqual(
            self.way("sales", None, known),
            "refer sip:+31207654321@192.76.120.10 or invite by sip:sip.telnyx.example;transport=tls",
        )


class NameTests(TargetCase):
    def test_a_name_that_is_none_is_answered_with_those_that_are(self) -> None:
        """Another tenant's transfers are not among them."""
        globex = DIRECTORY.tenant("globex")
        assert globex is not None
        known = facts(tenant=globex)
        self.assertEqual(
            choose_target("billing", None, known, DIRECTORY),
            TargetRefused("unknown_transfer", "No transfer named 'billing'; there are: support."),
        )
        self.assertEqual(self.refused("sales", None, known), "unknown_transfer")
        self.assertEqual(self.refused("globex-pbx"), "unknown_transfer")

    def test_case_does_not_matter_where_it_tells_nothing_apart(self) -> None:
        self.assertEqual(self.chosen(" Support ").name, "support")
        self.assertEqual([self.chosen("night").name, self.chosen("Night").name], ["night", "Night"])
        self.assertEqual(self.refused("NIGHT"), "unknown_transfer")

    def test_numbers_and_uris_are_denied_unless_allowed(self) -> None:
        """A prefix opens what it names, and no expensive range inside it; a domain opens names and extensions."""
        cases = {
            "+31201234567": "refer sip:+31201234567@pbx.lan or invite by sip:198.51.100.20:5080",
            "+31 (20) 123-45.67": "refer sip:+31201234567@pbx.lan or invite by sip:198.51.100.20:5080",
            "tel:+31201234567": "refer sip:+31201234567@pbx.lan or invite by sip:198.51.100.20:5080",
            "+31301234567": "not_allowed",
            "+447911123456": "refer sip:+447911123456@pbx.lan or invite by sip:198.51.100.20:5080",
            "+447011123456": "not_allowed",
            "+449011234567": "not_allowed",
            "+12125550100": "refer sip:+12125550100@pbx.lan or invite by sip:198.51.100.20:5080",
            "+18765550100": "not_allowed",
            "+31909123456": "refer sip:+31909123456@pbx.lan or invite by sip:198.51.100.20:5080",
            "sip:bob@pbx.example": "refer sip:bob@pbx.example or invite by itself",
            "sip:bob@PBX.example;transport=tcp": "refer sip:bob@pbx.example;transport=tcp or invite by itself",
            "sips:bob@a.b.partner.example": "refer sips:bob@a.b.partner.example or invite by itself",
            "sip:bob@partner.example": "not_allowed",
            "sip:bob@evilpartner.example": "not_allowed",
            "sip:bob@198.51.100.99:5080": "refer sip:bob@198.51.100.99:5080 or invite by itself",
            "sip:bob@198.51.100.98": "not_allowed",
            "sip:200@pbx.example": "refer sip:200@pbx.example or invite by itself",
            "sip:+31201234567@pbx.example": "refer sip:+31201234567@pbx.example or invite by itself",
            "sip:+31900123456@pbx.example": "not_allowed",
            "sip:0900123456@pbx.example": "not_allowed",
            "sip:*21*0900123456#@pbx.example": "not_allowed",
            "sip:%2B31900123456@pbx.example": "not_allowed",
            "sip:1%30123456789@pbx.example": "not_allowed",
            "sip:bob;x=y@pbx.example": "bad_target",
            "sip:bob:secret@pbx.example": "bad_target",
            "sip:bob@pbx.example?Replaces=x": "bad_target",
            "sip:bob@pbx.example;maddr=10.0.0.1": "bad_target",
            "sip:bob@pbx.example;method=BYE": "bad_target",
            "mailto:bob@pbx.example": "bad_target",
            "sip:bob@pbx.example\r\nX-Evil: 1": "bad_target",
            "tel:201234567": "bad_target",
            "sip:": "bad_target",
            "200": "unknown_transfer",
            "": "unknown_transfer",
            "x" * 300: "bad_target",
        }
        for wanted, told in cases.items():
            target = choose_target(wanted, None, facts(), DIRECTORY)
            found = target.code if isinstance(target, TargetRefused) else self.way(wanted)
            self.assertEqual(found, told, wanted)

    @given(
        st.one_of(
            st.text(max_size=60),
            st.builds(
                "{}{}{}{}{}".format,
                st.sampled_from(["sip:", "sips:", "tel:", "SIP:", "sip:sip:", ""]),
                st.sampled_from(["", "bob@", "200@", "+31201234567", "+31900123456@", "0@", "bob:x@", "b%00@", "a@b@"]),
                st.sampled_from(
                    ["pbx.example", "a.partner.example", "evil.example", "10.0.0.7", "[::1]", "sip.acme.example"]
                ),
                st.sampled_from(["", ":5060", ":0", ";transport=tls", ";lr", "?X=1", "\r\nX: 1", ";user=phone"]),
                st.text(max_size=4),
            ),
        ),
        st.sampled_from([None, "auto", "refer", "invite"]),
    )
    def test_whatever_an_agent_says_leads_only_where_it_may(self, wanted: str, method: str | None) -> None:
        """To a place that is allowed, written so that it reads the same, or nowhere."""
        target = choose_target(wanted, method, facts(), DIRECTORY)
        if isinstance(target, TargetRefused):
            self.assertTrue(target.message.isprintable())
            return
        for uri in (target.uri, target.refer_to):
            self.assertEqual(parse_uri(str(uri)), uri)
            self.assertEqual(parse_name_addr(str(NameAddr("", uri))), NameAddr("", uri))
            assert isinstance(uri, SipUri)
            self.assertIn(uri.host, ("pbx.example", "a.partner.example", "10.0.0.7", "pbx.lan"))
            self.assertEqual((uri.headers, uri.password), ((), None))
            self.assertNotIn("+31900", str(uri))

    def test_methods_are_three(self) -> None:
        self.assertEqual(self.refused("support", "bye"), "bad_method")


class DomainTests(TargetCase):
    def test_a_number_gets_the_transferees_domain(self) -> None:
        """The configured one, else the host of From, else the signalling address; never ours, nor an invalid one."""
        cases = (
            (facts("domain-hq"), "sip:+31201234567@pbx.acme.example"),
            (facts(), "sip:+31201234567@pbx.lan"),
            (facts(from_="<sip:+316@sip.acme.example>"), "sip:+31201234567@198.51.100.20:5080"),
            (facts(from_="<sip:+316@203.0.113.10>"), "sip:+31201234567@198.51.100.20:5080"),
            (facts(from_="<sip:anonymous@anonymous.invalid>"), "sip:+31201234567@198.51.100.20:5080"),
            (facts(from_="<tel:+316>", transport="tls"), "sip:+31201234567@198.51.100.20"),
            (facts(from_="<tel:+316>", source=("2001:db8::1", 5060)), "sip:+31201234567@[2001:db8::1]"),
        )
        for known, uri in cases:
            self.assertEqual(str(self.chosen("+31201234567", None, known).refer_to), uri)

    def test_headers_in_refer_to(self) -> None:
        """As the phone system's outbound says, or else the connector."""
        cases = {("freepbx-hq", "100"): False, ("freepbx-hq", "101"): True, ("domain-hq", "100"): True}
        for (username, dialled), embeds in cases.items():
            self.assertEqual(self.chosen("support", "refer", facts(username, dialled)).embed_headers, embeds)


class SafetyTests(TargetCase):
    def test_no_private_addresses(self) -> None:
        """But the calling system's, a trunk provider's, and where the tenant allows them; REFER asks somebody else."""
        private = facts(tenant=evolve(facts().tenant, private_targets=True))
        own = facts(source=("10.0.0.5", 5060))
        cases = (
            ("hidden", None, facts(), "private_target"),
            ("hidden", None, private, "invite sip:9@10.0.0.5 by itself"),
            ("hidden", None, own, "invite sip:9@10.0.0.5 by itself"),
            ("sip:9@10.0.0.7", None, facts(), "refer sip:9@10.0.0.7 by itself"),
            ("sip:9@10.0.0.7", "invite", facts(), "private_target"),
            ("branch", None, facts(), "private_target"),
            ("branch", None, private, "invite sip:9@branch.example by sip:10.1.1.1"),
            ("local", None, facts(), "invite sip:+31207654322@10.0.0.9:5070 by sip:10.0.0.9:5070"),
        )
        for wanted, method, known, told in cases:
            target = choose_target(wanted, method, known, DIRECTORY)
            found = target.code if isinstance(target, TargetRefused) else self.way(wanted, method, known)
            self.assertEqual(found, told, wanted)

    def test_what_a_name_becomes_is_judged_again(self) -> None:
        """DNS may lead a public name to a private address, or to us."""
        target = self.chosen("direct", "invite")
        cases = {
            ("192.0.2.200", 5060): True,
            ("10.0.0.5", 5060): False,
            ("127.0.0.1", 5061): False,
            ("::ffff:10.0.0.5", 5060): False,
            ("198.51.100.20", 5060): True,
            ("203.0.113.10", 5060): False,
            ("203.0.113.10", 5070): True,
        }
        self.assertEqual({place: target.may_reach(*place) for place in cases}, cases)
        beside = self.chosen("direct", "invite", facts(source=("127.0.0.1", 5080)))
        self.assertEqual([beside.may_reach("127.0.0.1", port) for port in (5060, 5080)], [False, True])

    def test_no_loops_to_ourselves(self) -> None:
        """Our names, our addresses and ports, our own numbers: by REFER as little as by INVITE."""
        known = facts(tenant=evolve(facts().tenant, transfer_targets=("+31", "203.0.113.10", "127.0.0.1")))
        for wanted in ("back", "round", "+31201239999", "sip:600@203.0.113.10", "sip:600@127.0.0.1:5060"):
            for method in ("refer", "invite"):
                self.assertEqual(self.refused(wanted, method, known), "loop", wanted)
        self.assertEqual(
            self.way("sip:600@203.0.113.10:5080", None, known), "refer sip:600@203.0.113.10:5080 or invite by itself"
        )

    def test_max_forwards_goes_down(self) -> None:
        self.assertEqual(self.chosen("support", None, facts(max_forwards=2)).max_forwards, 1)
        self.assertEqual(self.refused("support", None, facts(max_forwards=1)), "too_many_hops")

    def test_a_way_that_leads_nowhere(self) -> None:
        """A number needs an outbound.to; a way that a reload took away is no way any more."""
        self.assertEqual(self.refused("silent"), "no_route")
        gone = next(each for each in DIRECTORY.transfers("acme") if each.name == "sales")

        class Changed(YamlDirectory):
            def providers(self) -> Any:
                return ()

        assert isinstance(DIRECTORY, YamlDirectory)
        refusal = choose_target(gone.name, None, facts(), Changed(DIRECTORY.snapshot))
        self.assertEqual(
            refusal, TargetRefused("no_route", "transfer sales goes by telnyx, which is not there any more")
        )


class IdentityTests(TargetCase):
    def shown(self, wanted: str, known: CallFacts) -> tuple[str, ...]:
        target = self.chosen(wanted, "invite", known)
        return (str(target.from_), *(f"{name}: {value}" for name, value in target.identity))

    def test_who_calls(self) -> None:
        """Ours in From and the caller asserted, or the reverse; the caller alone where there is no caller_id."""
        ours, theirs = "<sip:+31201230000@sip.acme.example>", '"Ann" <sip:+31612345678@sip.acme.example>'
        hidden = facts(private=True)
        nobody = facts(from_="<sip:anonymous@anonymous.invalid>")
        self.assertEqual(self.shown("sales", facts()), (ours, f"P-Asserted-Identity: {theirs}"))
        self.assertEqual(self.shown("sales", hidden), (ours, f"P-Asserted-Identity: {theirs}", "Privacy: id"))
        self.assertEqual(self.shown("sales", nobody), (ours,))
        self.assertEqual(self.shown("support", facts()), (theirs,))
        anonymous = '"Anonymous" <sip:anonymous@anonymous.invalid>'
        self.assertEqual(self.shown("support", hidden), (anonymous, f"P-Asserted-Identity: {theirs}", "Privacy: id"))
        self.assertEqual(self.shown("support", nobody), (anonymous,))

    def test_the_reverse(self) -> None:
        caller = facts().caller
        reverse = evolve(caller, outbound=evolve(caller.outbound, caller_id="sip:desk@acme.example", identity="caller"))
        self.assertEqual(
            self.shown("support", facts(caller=reverse)),
            ('"Ann" <sip:+31612345678@sip.acme.example>', "P-Asserted-Identity: <sip:desk@acme.example>"),
        )
        self.assertEqual(
            self.shown("support", facts(caller=reverse, private=True)),
            (
                '"Anonymous" <sip:anonymous@anonymous.invalid>',
                "P-Asserted-Identity: <sip:desk@acme.example>",
                "Privacy: id",
            ),
        )


class TermsTests(TargetCase):
    def test_credentials_belong_to_the_way(self) -> None:
        """The environment's account for the same host goes first; nobody else's host gets to see any."""
        theirs = ClientCredentials(username="acme-out", password="carrier-secret", host="sip.telnyx.example")
        labs = ClientCredentials(username="lab", password="lab-secret", realm="lab", host="sip.telnyx.example")
        self.assertEqual(self.chosen("sales").credentials, theirs)
        self.assertEqual(self.chosen("sales", None, facts(dialled="101")).credentials, labs)
        self.assertIsNone(self.chosen("direct", "invite", facts(dialled="101")).credentials)
        caller = next(each for each in DIRECTORY.providers() if each.name == "telnyx")
        elsewhere = self.chosen("direct", "invite", facts(caller=caller))
        self.assertEqual((elsewhere.credentials, elsewhere.next_hop), (None, None))

    def test_what_the_transfer_and_its_way_say(self) -> None:
        support, sales = self.chosen("support"), self.chosen("sales")
        self.assertEqual(
            (support.name, support.told, support.via, support.ring_timeout, support.digits, support.bridge_duration),
            ("support", "support", "freepbx-hq", 20.0, "w12", 3600.0),
        )
        self.assertEqual((support.srtp.mode, sales.srtp.mode), ("off", "opportunistic"))
        self.assertEqual((support.redirects, sales.redirects), (False, True))
        self.assertEqual((support.strict_latch, sales.strict_latch), (False, True))
        self.assertNotIn("carrier-secret", repr(sales))
