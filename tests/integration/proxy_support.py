"""Kamailio in front of a gateway, by the configuration in ``conf/`` with addresses of loopback."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.plan import CallPlan
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.params import Params
from stellar_gw.sip.uri import SipUri
from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.ports import free_port
from tests.integration.call_support import NOISE, CallTestCase
from tests.integration.gateway_support import DOMAIN, HOST, PASSWORD, USER, RealGateway
from tests.integration.kamailio_support import MISSING, Kamailio
from tests.integration.transfer_support import start_with_transfers

CONF = Path(__file__).parents[2] / "conf"
SBC = "sbc.acme.example"
"""The name in the certificate that a proxy shows to the gateway."""
_IN_DIALOG = re.compile(r"in dialog (\S+): (\w+) from (\S+)")


class Proxy:
    """A proxy, its sockets chosen and its process not yet there: the gateway must know it first.

    :param inside: the transport between it and the gateway.
    :param authority: of the certificate that it shows to the gateway, where that is not everybody's.
    :ivar host: its address, outside and inside.
    :ivar process: Kamailio, once it was started.
    """

    def __init__(self, host: str, inside: Transport, authority: Authority | None = None) -> None:
        self.host, self.inside, self._authority = host, inside, authority
        self.ports = {transport: free_port(host) for transport in ("udp", "tcp", "tls")}
        self.inside_port = free_port(host)
        self.process: Kamailio

    @property
    def uri(self) -> str:
        """Where the gateway finds it."""
        return f"sip:{self.host}:{self.inside_port};transport={self.inside}"

    def provider(self, name: str) -> str:
        """YAML of a trunk provider that it is."""
        outbound = f'to: "{self.uri}"'
        if self.inside == "tls":
            outbound += f", tls_name: {SBC}, client_certificate: tls.pem"
        return f"  {name}: {{allowed_ips: [{self.host}], tenants: [acme], outbound: {{{outbound}}}}}\n"

    def start(self, folder: Path, gateway: RealGateway, authority: Authority) -> None:
        folder.mkdir(parents=True)
        inside = f"{self.inside}:{self.host}:{self.inside_port}"
        words = {
            **{f"OUTSIDE_{name.upper()}": f"{name}:{self.host}:{port}" for name, port in self.ports.items()},
            "INSIDE": inside,
            "INNER_PORT": str(self.inside_port),
            "GATEWAY_URI": f"sip:{HOST}:{gateway.ports[self.inside]};transport={self.inside}",
            "GATEWAY_ADDRESS": HOST,
            "GATEWAY_DOMAIN": DOMAIN,
            "TLS_CONFIG": str(folder.absolute() / "kamailio-tls.cfg"),
        }
        text = (CONF / "kamailio.cfg").read_text(encoding="utf-8")
        for word, value in words.items():
            text, count = re.subn(rf'(?m)^(#!substdef "!{word}!).*(!g")$', rf"\g<1>{value}\g<2>", text)
            assert count == 1, word
        tls = (CONF / "kamailio-tls.cfg").read_text(encoding="utf-8").replace("/etc/kamailio", str(folder.absolute()))
        if self.inside == "tls":
            tls = tls.replace("192.0.2.1:5062", f"{self.host}:{self.inside_port}")
        else:  # a section of a socket that is not there is an error
            tls = re.sub(r"(?s)\[server:192\.0\.2\.1:5062\].*?(?=\[client)", "", tls)
        (folder / "kamailio-tls.cfg").write_text(tls)
        for name, octets in {
            "outside.pem": authority.issue("pbx.example", self.host),
            "inside.pem": (self._authority or authority).issue(SBC),
            "ca.pem": authority.pem(),
        }.items():
            (folder / name).write_bytes(octets)
        outside = [f"{transport}:{self.host}:{port}" for transport, port in self.ports.items()]
        self.process = Kamailio(folder, text, [*outside, inside])
        self.process.start()

    def passed(self, call_id: str) -> set[str]:
        """The requests inside a call's dialog that went through, copies aside: ``BYE from 127.0.0.1``."""
        found = _IN_DIALOG.findall(self.process.log)
        return {f"{method} from {source}" for dialog, method, source in found if dialog == call_id}


def start_behind(
    test: SynchronousTestCase,
    providers: Mapping[str, Proxy],
    others: Sequence[Proxy] = (),
    transfers: Sequence[str] = (),
    more_changes: Mapping[str, str] = MappingProxyType({}),
    authority: Authority | None = None,
) -> RealGateway:
    """A gateway with proxies in front of it; their authority, ``ca.pem``, is the gateway's, which demands it by TLS.

    :param providers: those that the gateway knows by their addresses.
    :param transfers: as :func:`start_with_transfers` wants them; ``via`` may name a provider.
    """
    authority = authority or Authority.create()
    changes = {
        "trunk_providers:\n": "trunk_providers:\n" + "".join(map(Proxy.provider, providers.values(), providers)),
        ", certificate: tls.pem}": ", certificate: tls.pem, client_ca: ca.pem}",
        **more_changes,
    }
    gateway = start_with_transfers(
        test, transfers, sip="trusted_ca: ca.pem, ", more_changes=changes, authority=authority
    )
    for proxy in (*providers.values(), *others):
        proxy.start(gateway.folder / f"proxy-{proxy.host}", gateway, authority)
        test.addCleanup(proxy.process.stop)
    return gateway


class ProxyCase(CallTestCase):
    """Phones that call by way of a proxy."""

    skip = MISSING or None

    def through(
        self, proxy: Proxy, number: str, transport: Transport = "udp", *, digest: bool = False, **conduct: Any
    ) -> PhoneCall:
        """Call a number of the gateway's from the trunk's address by way of a proxy."""
        plan: dict[str, Any] = {"play": NOISE, "duration": 2.0, **conduct}
        if digest:
            plan |= {"user": USER, "password": PASSWORD}
        way = SipUri(host=proxy.host, port=proxy.ports[transport], params=Params([("transport", transport)]))
        return self.phone(transport).place(CallPlan(to=SipUri(user=number, host=DOMAIN), proxy=way, **plan))
