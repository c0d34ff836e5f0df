"""What an agent is told about its call."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.context.context import MOST_OCTETS, bounded, make_context, number_of, user_of
from stellar_gw.control.messages import CallContext
from stellar_gw.directory.records import Connector, Environment, Route, Secret, Tenant, Transfer
from stellar_gw.sip.uri import parse_uri
from tests.messages import flow, invite, parsed

ROUTE = Route(
    connector=Connector(name="front-desk", tenant="acme", type="sip", identifier="600", agent="reception"),
    tenant=Tenant(name="acme"),
    environment=Environment(
        name="production", dialect="twilio", url=Secret(value="ws://127.0.0.1/"), variables={"company": "Acme"}
    ),
    agent="reception",
    version="7",
    languages=("nl", "en"),
    transfers=(
        Transfer(name="support", tenant="acme", to="sip:200@192.0.2.7", about="People, 9-17"),
        Transfer(name="sales", tenant="acme", to="+31207654321"),
    ),
)


class ContextTests(SynchronousTestCase):
    def test_everything_the_agent_is_promised_is_there(self) -> None:
        request = parsed(
            invite(
                "sip:600;npdi@sip.acme.example;user=phone",
                headers=(
                    ("User-Agent", "Asterisk PBX"),
                    ("Accept-Language", "en;q=0.5, nl-NL"),
                    ("P-Asserted-Identity", '"Ann" <sip:+31612345678@192.0.2.7>'),
                    ("P-Asserted-Identity", "<tel:+31612345678>"),
                    ("Remote-Party-ID", "<sip:ann@192.0.2.7>;party=calling"),
                    ("X-Case-Id", "4711"),
                    ("x-note", "as it came"),
                ),
            )
        )
        self.assertEqual(
            make_context(request, flow(transport="tls"), ROUTE, "c-1", codec="G722"),
            CallContext(
                call_id="c-1",
                tenant="acme",
                connector="front-desk",
                agent="reception",
                environment="production",
                version="7",
                from_uri="sip:+31612345678@192.0.2.7",
                from_display="Ann",
                from_number="+31612345678",
                to_uri="sip:600;npdi@sip.acme.example;user=phone",
                to_number="600",
                contact="sip:ann@192.0.2.7:5060",
                user_agent="Asterisk PBX",
                accept_language="en;q=0.5, nl-NL",
                language="nl",
                p_asserted_identity=('"Ann" <sip:+31612345678@192.0.2.7>', "<tel:+31612345678>"),
                remote_party_id=("<sip:ann@192.0.2.7>;party=calling",),
                headers=(("X-Case-Id", "4711"), ("x-note", "as it came")),
                variables={"company": "Acme"},
                transfers={"support": "People, 9-17", "sales": ""},
                codec="G722",
                tls=True,
            ),
        )

    def test_the_33rd_custom_header_is_counted_and_not_given(self) -> None:
        headers = tuple((f"X-N{number}", "v") for number in range(35))
        context = make_context(parsed(invite(headers=headers)), flow(), ROUTE, "c-1", codec="")
        self.assertEqual(context.headers, headers[:32])
        self.assertEqual(context.headers_omitted, 3)

    def test_a_long_value_is_cut_at_a_whole_character(self) -> None:
        """1,024 octets would end within an e with an accent: it is left out whole."""
        context = make_context(parsed(invite(headers=(("X-Long", "x" + "é" * 600),))), flow(), ROUTE, "c-1", codec="")
        self.assertEqual(context.headers, (("X-Long", "x" + "é" * 511),))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.binary(max_size=2000))
    def test_any_octets_become_bounded_sound_text(self, octets: bytes) -> None:
        text = bounded(octets.decode("utf-8", "surrogateescape"))
        self.assertLessEqual(len(text.encode("utf-8")), MOST_OCTETS)


class UserPartTests(SynchronousTestCase):
    def test_parameters_of_the_user_part_are_ignored(self) -> None:
        uris = ("sip:+12025550143;npdi;rn=+12025550000@h", "sip:600@h;user=phone", "tel:+1-202-555-0143", "sip:h")
        self.assertEqual([user_of(parse_uri(uri)) for uri in uris], ["+12025550143", "600", "+12025550143", ""])

    def test_a_number_loses_its_separators_and_a_name_is_none(self) -> None:
        uris = ("tel:+1-202-555-0143", "sip:(020)123.45@h", "sip:ann@h", "sip:600@h", "sip:+31%206@h")
        self.assertEqual([number_of(parse_uri(uri)) for uri in uris], ["+12025550143", "", "", "600", ""])
