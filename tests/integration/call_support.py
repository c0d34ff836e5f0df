"""What tests with the test phone share: calls to a real gateway, and what is in their audio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from stellar_gw.media.source import Recording
from stellar_gw.net.tls import ClientTls
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import CallPlan, Playable
from stellar_gw.phone.report import CallReport
from stellar_gw.phone.runner import RunReactor
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.uri import SipUri, parse_uri
from tests.integration.gateway_support import HOST, PASSWORD, TRUNK, USER, RealGateway, start_gateway, uri_host
from tests.integration.sound import RATE, noise

reactor = cast(RunReactor, _reactor)
SOUND = noise(3.0)
NOISE = Playable(lambda: Recording(SOUND, RATE, repeat=True))


class CallTestCase(TestCase):
    """A test with a gateway and phones."""

    timeout = 90
    host = HOST
    gateway: RealGateway

    def start(self, **settings: str) -> None:
        self.gateway = start_gateway(self, host=self.host, **settings)

    def phone(self, transport: Transport = "udp", host: str = TRUNK) -> Phone:
        """An open phone at the trunk's address; closed after the test."""
        tls = ClientTls(reactor.seconds, ca_file=str(self.gateway.ca)) if transport == "tls" else None
        made = Phone(reactor, transport, host, client_tls=tls)
        made.open()
        self.addCleanup(made.stop)
        return made

    def plan(self, number: str, transport: Transport = "udp", **conduct: Any) -> CallPlan:
        """A call to a number of the gateway's: noise for 2 s, where nothing else is asked for."""
        params = "" if transport == "udp" else f";transport={transport}"
        uri = parse_uri(f"sip:{number}@{uri_host(self.host)}:{self.gateway.places[self.host, transport]}{params}")
        assert isinstance(uri, SipUri)
        return evolve(CallPlan(to=uri, play=NOISE, duration=2.0), **conduct)

    def place(self, number: str, transport: Transport = "udp", **conduct: Any) -> PhoneCall:
        """Call from the trunk's address."""
        return self.phone(transport).place(self.plan(number, transport, **conduct))

    def place_by_digest(self, number: str, transport: Transport = "udp", **conduct: Any) -> PhoneCall:
        """Call from an address that nobody knows, with a password."""
        plan = self.plan(number, transport, user=USER, password=PASSWORD, **conduct)
        return self.phone(transport, self.host).place(plan)

    async def record(self, report: CallReport, name: str = "cdr") -> dict[str, Any]:
        """The gateway's one record of the call; the phones go on while it is waited for."""
        await until(lambda: any(each["sip_call_id"] == report.call_id for each in self.gateway.records(name)))
        return self.gateway.record(report.call_id, name)

    async def ending(self, report: CallReport) -> tuple[Any, ...]:
        """How the call ended, for the phone and in the record."""
        record = await self.record(report)
        return report.status, report.ended_by, record["cause"], record["ended_by"]


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


async def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Look every 50 ms until it is true.

    :raise AssertionError: it does not come true.
    """
    began = reactor.seconds()
    while not true():
        if reactor.seconds() - began > seconds:
            raise AssertionError(f"not within {seconds:g} s: {true}")
        await pause(0.05)


def heard(call: PhoneCall) -> bytes:
    """PCM at the phone's rate, from the moment that the codec was agreed on."""
    return bytes(call.rtp.heard.kept)
