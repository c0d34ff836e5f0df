"""Whom a TLS peer must be when it has to be connected to again, and what it is shown."""

from __future__ import annotations

from attrs import evolve

from stellar_gw.sip.events import FlowNeeded, RequestReceived
from stellar_gw.sip.flow import Flow, TlsTerms
from stellar_gw.sip.uri import parse_uri
from stellar_gw.sip.values import NameAddr
from tests.unit.sip_case import CoreCase, flow, invite, request

TERMS = TlsTerms("sip.trunk.example", "/etc/ours.pem")
TLS = flow("tls")


class TlsTermsTests(CoreCase):
    def accept(self) -> str:
        """A call over TLS whose caller gives an address in its Contact."""
        self.receive(invite(), TLS)
        [event] = self.events()
        assert isinstance(event, RequestReceived)
        usage = self.core.accept(event.request, TLS, self.now, tls=TERMS)
        assert usage is not None
        self.core.answer(usage, b"v=0\r\n", self.now)
        [_, answer] = self.sent()
        self.receive(request("ACK", to_tag=answer.to.tag or "", branch="z9hG4bK-ack"), TLS)
        self.events()
        return usage

    def needed(self) -> FlowNeeded:
        [event] = [event for event in self.events() if isinstance(event, FlowNeeded)]
        return event

    def test_a_trunks_terms_hold_for_its_dialog(self) -> None:
        """Its connection is gone: the next one must be to the trunk's configured name."""
        usage = self.accept()
        self.core.flow_lost(TLS, self.now)
        self.core.bye(usage, self.now)
        self.assertEqual(self.needed().tls, TERMS)

    def test_and_for_what_was_under_way(self) -> None:
        """A request whose connection breaks asks for the same."""
        usage = self.accept()
        self.core.bye(usage, self.now)
        self.sent()
        self.core.flow_lost(TLS, self.now)
        self.assertEqual(self.needed().tls, TERMS)

    def test_a_connection_of_ours_knows_its_terms(self) -> None:
        """They go with the flow into the dialog of a call of ours, however its Contact reads."""
        ours: Flow = evolve(TLS, tls=TERMS)
        uri = parse_uri("sips:bob@sip.trunk.example")
        me = NameAddr("", parse_uri("sips:gw@gw.example"))
        usage = self.core.invite(uri, ours, self.now, from_=me, to=NameAddr("", uri), body=b"v=0\r\n")
        [sent] = self.sent()
        headers = "".join(f"{name}: {sent.headers.first(name)}\r\n" for name in ("Via", "From", "Call-ID", "CSeq"))
        ok = f"SIP/2.0 200 OK\r\n{headers}To: <{uri}>;tag=t\r\nContact: <sip:203.0.113.66>\r\nContent-Length: 0\r\n\r\n"
        self.receive(ok.encode(), ours)
        self.events()
        self.core.flow_lost(ours, self.now)
        self.core.bye(usage, self.now)
        self.assertEqual([event.tls for event in self.events() if isinstance(event, FlowNeeded)], [TERMS])
