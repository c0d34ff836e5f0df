"""Requests too large for a datagram (RFC 3261 18.1.1), for the peers that want it so."""

from __future__ import annotations

from stellar_gw.sip.events import FlowNeeded, RequestReceived
from stellar_gw.sip.uri import SipUri
from tests.unit.sip_case import PEER, TCP, UDP, CoreCase, invite, lines, request

BIG = b"x" * 1400


class LargeRequestTests(CoreCase):
    def call(self, tcp_above: int) -> str:
        """A call over UDP that is up."""
        self.core.receive(invite(contact=f"<sip:ann@{PEER}>"), UDP, self.now)
        [event] = self.events()
        assert isinstance(event, RequestReceived)
        usage = self.core.accept(event.request, event.flow, self.now, tcp_above=tcp_above)
        assert usage is not None
        self.sent()
        [response] = self.do(self.core.answer, usage, b"", self.now)
        self.receive(request("ACK", to_tag=response.to.tag or "", branch="z9hG4bK-ack"))
        self.events()
        return usage

    def test_it_goes_over_udp_where_nobody_asked_for_tcp(self) -> None:
        usage = self.call(0)
        sent = self.do(self.core.request_in, usage, "INFO", self.now, body=BIG)
        self.assertEqual((lines(sent), self.flows), (["INFO"], [UDP]))

    def test_it_goes_over_tcp_where_the_peer_wants_that(self) -> None:
        """The way is asked for; Via then says TCP, and the dialog stays on its flow."""
        usage = self.call(1300)
        self.core.request_in(usage, "INFO", self.now, body=BIG)
        self.assertEqual(self.sent(), [])
        needed = self.needed()
        assert isinstance(needed.uri, SipUri)
        self.assertEqual((needed.uri.params.get("transport"), needed.fallback), ("tcp", UDP))
        sent = self.do(self.core.flow_ready, needed.token, TCP, self.now)
        self.assertEqual((lines(sent), self.flows, sent[0].via.transport), (["INFO"], [TCP], "TCP"))
        small = self.do(self.core.request_in, usage, "INFO", self.now, body=b"x")
        self.assertEqual((lines(small), self.flows), (["INFO"], [UDP]))

    def test_it_goes_over_udp_after_all_where_there_is_no_tcp(self) -> None:
        usage = self.call(1300)
        self.core.request_in(usage, "INFO", self.now, body=BIG)
        sent = self.do(self.core.flow_failed, self.needed().token, "connection refused", self.now)
        self.assertEqual((lines(sent), self.flows), (["INFO"], [UDP]))

    def test_a_call_that_has_ended_meanwhile_sends_nothing_but_its_bye(self) -> None:
        usage = self.call(1300)
        self.core.request_in(usage, "INFO", self.now, body=BIG)
        [needed] = [event for event in self.events() if isinstance(event, FlowNeeded)]
        bye = self.do(self.core.bye, usage, self.now)
        self.assertEqual(lines(bye), ["BYE"])
        self.assertEqual(self.do(self.core.flow_ready, needed.token, TCP, self.now), [])
