"""A real gateway that registers at a real registrar, takes its calls, and asks whether it is there."""

from __future__ import annotations

from pathlib import Path

from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.ports import free_port
from tests.integration.fault_support import FaultCase, HurtGateway, Phone
from tests.integration.gateway_support import HOST
from tests.integration.kamailio_support import MISSING
from tests.integration.name_server import MISSING as NO_NAME_SERVER
from tests.integration.name_server import NameServer
from tests.integration.registrar import Registrar

DOMAIN = "pbx.gw.example"
AT, CALLER = "127.0.0.12", "127.0.0.13"
TRUNK = "  trunk: {allowed_ips: [127.0.0.2], tenants: [acme]}\n"


def with_trunk(outbound: str, **sections: str) -> dict[str, str]:
    """A trunk provider whose own addresses are never called from, so that its registration decides alone."""
    pbx = f"  pbx:\n    allowed_ips: [127.0.0.99]\n    tenants: [acme]\n    outbound: {outbound}\n"
    limits = "limits: {requests: 10000, burst: 10000}\n"
    return {TRUNK: TRUNK + pbx, limits: limits + "".join(f"{name}: {value}\n" for name, value in sections.items())}


class TrunkCase(FaultCase):
    skip = MISSING or None

    def folder(self) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        return folder.absolute()

    def registrar(self, folder: Path, transport: str = "udp") -> Registrar:
        port = free_port(host=AT)
        registrar = Registrar(folder, AT, port, transport=transport, domain=DOMAIN)
        self.addCleanup(registrar.stop)
        registrar.start()
        return registrar

    def registered(self, gateway: HurtGateway) -> None:
        self.soon(lambda: "trunk pbx: registered at" in gateway.log, "registered: " + gateway.log[-500:], 20.0)


class RegistrationTests(TrunkCase):
    def test_a_call_on_the_registration(self) -> None:
        """Registered by digest; a call comes through the registrar, from an address that nobody knows, and talks."""
        registrar = self.registrar(self.folder())
        outbound = (
            f'{{to: "sip:{AT}:{registrar.port}", username: "101", password: secret, '
            f'register: {{domain: {DOMAIN}, dials: "600"}}}}'
        )
        gateway = self.start(with_trunk(outbound))
        self.registered(gateway)
        caller = Phone((AT, registrar.port), host=CALLER)
        self.addCleanup(caller.close)
        [call] = caller.call("101")
        self.assertEqual(call.status, 200)
        caller.hang_up()
        self.soon(lambda: gateway.records("cdr"), "the record")
        [record] = gateway.records("cdr")
        self.assertEqual(
            (record["admitted"], record["caller"], record["connector"], record["source"]),
            ("admitted on our registration at provider pbx", "pbx", "echo", f"{AT}:{registrar.port}"),
        )
        stranger = self.phone(gateway, host=CALLER)
        self.assertEqual([each.status for each in stranger.call()], [401])
        self.assertEqual(gateway.stop(), 0)
        self.soon(lambda: "expires=0" in registrar.log, "the registration is taken back")

    def test_mutual_tls_and_a_name_in_contact(self) -> None:
        """Each side verifies the other's name; what is registered is the listener's name; calls come on the flow."""
        folder, authority = self.folder(), Authority.create()
        files = {"registrar.pem": authority.issue(DOMAIN), "ours.pem": authority.issue("gw.acme.example")}
        for file, octets in (*files.items(), ("ca.pem", authority.pem())):
            (folder / file).write_bytes(octets)
        registrar = self.registrar(folder, "tls")
        outbound = (
            f'{{to: "sip:{AT}:{registrar.port};transport=tls", tls_name: {DOMAIN}, probe: 5s, '
            f'client_certificate: "{folder}/ours.pem", username: "101", password: secret, '
            f'register: {{domain: {DOMAIN}, dials: "600"}}}}'
        )
        gateway = self.start(
            {
                **with_trunk(outbound),
                "sip: {t1: 500ms}": f'sip: {{t1: 500ms, trusted_ca: "{folder}/ca.pem"}}',
                f'tls: {{bind: "{HOST}:0",': (
                    f'tls: {{bind: "{HOST}:0", advertise: sbc.acme.example, media_advertise: {HOST},'
                ),
            }
        )
        self.registered(gateway)
        self.assertIn("over TLS", gateway.log)
        contact = f"registers 101 at <sip:101@sbc.acme.example:{gateway.ports['tls']};transport=tls>"
        self.soon(lambda: contact in registrar.log, "the name: " + registrar.log[-500:])
        self.soon(lambda: "asked by OPTIONS from <sip:" in registrar.log, "OPTIONS", 20.0)
        asked = registrar.log.partition("asked by OPTIONS from ")[2].partition("\n")[0]
        self.assertIn(f"@sbc.acme.example:{gateway.ports['tls']};transport=tls", asked)

    def test_the_second_registrar(self) -> None:
        """The first server of the domain's SRV records is down; the second has us, and its calls come in."""
        if NO_NAME_SERVER:
            self.skipTest(NO_NAME_SERVER)
        registrar = self.registrar(self.folder(), "tcp")
        names = NameServer(
            self.folder(),
            f"""\
            _sip._tcp.{DOMAIN}. 60 IN SRV 10 0 {free_port(host="127.0.0.11")} dead.gw.example.
            _sip._tcp.{DOMAIN}. 60 IN SRV 20 0 {registrar.port} alive.gw.example.
            dead.gw.example. 60 IN A 127.0.0.11
            alive.gw.example. 60 IN A {AT}
            """,
        )
        self.addCleanup(names.stop)
        names.start()
        outbound = f'{{to: "sip:{DOMAIN};transport=tcp", username: "101", password: secret, register: {{}}}}'
        gateway = self.start(with_trunk(outbound, dns=f'{{servers: ["{names.address[0]}:{names.port}"]}}'))
        self.registered(gateway)
        self.assertIn(f"trunk pbx: registered at {AT}:{registrar.port} over TCP for 120 s", gateway.log)

    def test_refused(self) -> None:
        """A wrong password is told with what the registrar said, and tried again later; calls go on."""
        registrar = self.registrar(self.folder())
        outbound = (
            f'{{to: "sip:{AT}:{registrar.port}", username: "101", password: wrong, register: {{domain: {DOMAIN}}}}}'
        )
        gateway = self.start(with_trunk(outbound))
        self.soon(lambda: "trunk pbx: not registered: 401 Unauthorized; next try in" in gateway.log, gateway.log[-500:])
        self.assertNotIn("registers 101", registrar.log)
        self.assertNotIn("wrong", gateway.log)
        self.assertEqual([call.status for call in self.phone(gateway).call()], [200])


class ProbeTests(TrunkCase):
    def test_down_and_up(self) -> None:
        """A trunk that goes away is told of after two rounds, and when it is back; metrics say the same."""
        registrar = self.registrar(self.folder())
        gateway = self.start(with_trunk(f'{{to: "sip:{AT}:{registrar.port}", probe: 5s}}'))
        self.soon(lambda: f"trunk pbx: up: {AT}:{registrar.port} over UDP answers OPTIONS" in gateway.log, "up")
        registrar.stop()
        self.soon(lambda: "trunk pbx: down: " in gateway.log, "down", 40.0)
        registrar.start()
        self.soon(lambda: gateway.log.count("trunk pbx: up: ") == 2, "up again", 30.0)
