"""A real gateway that has to look for its caller: by a real name server, a silent one, and over TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.ports import free_port
from tests.integration.fault_support import FaultCase, HurtGateway, Stranger, offer, request
from tests.integration.gateway_support import HOST, TRUNK
from tests.integration.name_server import MISSING, NameServer

DEAD, ALIVE = "127.0.0.11", "127.0.0.12"
OLD_LIMITS = "limits: {requests: 10000, burst: 10000}\n"


def changes(**more: str) -> dict[str, str]:
    """Calls last a second, and the duration's warning comes before; more sections follow."""
    text = "limits: {requests: 10000, burst: 10000, call_duration: 1s}\ntimers: {duration_warning: 0s}\n"
    return {OLD_LIMITS: text + "".join(f"{name}: {value}\n" for name, value in more.items())}


class StreamServer:
    """Takes one connection, answers every BYE with 200, and writes down what comes.

    :param tls: for TLS.
    :ivar heard: what came, joined; ``shown`` is the name in the certificate that the peer showed.
    """

    def __init__(self, host: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.heard, self.shown, self.fault = b"", "", ""
        self._tls = tls
        self._server = socket.create_server((host, port))
        self._server.settimeout(30.0)
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.close()
        self._thread.join(5.0)

    def _serve(self) -> None:
        try:
            connection, _ = self._server.accept()
            with connection:
                connection.settimeout(10.0)
                self._talk(connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True))
        except OSError as error:
            self.fault = str(error)

    def _talk(self, connection: socket.socket) -> None:
        if isinstance(connection, ssl.SSLSocket):
            names = (connection.getpeercert() or {}).get("subjectAltName", ())
            self.shown = ",".join(str(name[1]) for name in names)
        while data := connection.recv(65535):
            self.heard += data
            if b"\r\n\r\n" in self.heard:
                connection.sendall(response_to(self.heard))


def response_to(bye: bytes) -> bytes:
    """200 to a request."""
    kept = [line for line in bye.split(b"\r\n") if line.split(b":")[0].lower() in _COPIED]
    return b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""])


_COPIED = (b"via", b"from", b"to", b"call-id", b"cseq")


class WayBackTests(FaultCase):
    def serve(self, host: str, port: int = 0, tls: ssl.SSLContext | None = None) -> StreamServer:
        server = StreamServer(host, port, tls)
        self.addCleanup(server.close)
        return server

    def folder(self) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        return folder

    def call(self, gateway: HurtGateway, contact: str) -> Stranger:
        """A call of the trunk's that has been answered; its requests are wanted at ``contact``."""
        stranger = Stranger(gateway.sip, host=TRUNK)
        self.addCleanup(stranger.__exit__)
        whole = {"to": "600", "call_id": f"way-back-{contact}", "body": offer(TRUNK, 9)}
        invite = request("INVITE", stranger, **whole)  # type: ignore[arg-type]
        own = f"<sip:mallory@{stranger.address[0]}:{stranger.address[1]}>".encode()
        answer = stranger.ask(invite.replace(b"Contact: " + own, f"Contact: <{contact}>".encode()))
        self.assertEqual(answer.status, 200)
        tag = answer.header("To").rpartition("tag=")[2]
        stranger.send(request("ACK", stranger, to="600", call_id=str(whole["call_id"]), to_tag=tag))
        return stranger

    def test_the_second_server_of_a_service(self) -> None:
        """Contact is a domain: its SRV records lead to a first server that is down, and on to the second."""
        if MISSING:
            self.skipTest(MISSING)
        server = self.serve(ALIVE)
        zone = f"""\
            _sip._tcp.edge.gw.example. 60 IN SRV 10 0 {free_port(host=DEAD)} dead.gw.example.
            _sip._tcp.edge.gw.example. 60 IN SRV 20 0 {server.port} alive.gw.example.
            dead.gw.example. 60 IN A {DEAD}
            alive.gw.example. 60 IN A {ALIVE}
        """
        names = NameServer(self.folder(), zone)
        self.addCleanup(names.stop)
        names.start()
        gateway = self.start(changes(dns=f'{{servers: ["{names.address[0]}:{names.port}"]}}'))
        self.call(gateway, "sip:ann@edge.gw.example;transport=tcp")
        self.soon(lambda: server.heard, "the BYE comes to the second server")
        self.assertEqual(server.heard.split(b"\r\n")[0], b"BYE sip:ann@edge.gw.example;transport=tcp SIP/2.0")

    def test_a_name_server_that_swallows_everything(self) -> None:
        """Five seconds later the caller gets its BYE where it called from; others call in meanwhile, at once."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            hole.bind((HOST, 0))
            gateway = self.start(changes(dns=f'{{servers: ["{HOST}:{hole.getsockname()[1]}"]}}'))
            caller = self.call(gateway, "sip:ann@silent.gw.example")
            asked = time.monotonic()
            hole.settimeout(10.0)
            hole.recv(512)  # the call is over, and the gateway looks for its caller
            phone = self.phone(gateway)
            for _ in range(10):  # no more, for ports rest after each
                if time.monotonic() > asked + 4.0:
                    break
                began = time.monotonic()
                self.assertEqual([call.status for call in phone.call()], [200])
                self.assertLess(time.monotonic() - began, 2.0)
            self.soon(lambda: any(each.startswith(b"BYE sip:ann@silent") for each in caller.waiting()), "BYE")

    def tls_trunk(self, name: str) -> tuple[StreamServer, HurtGateway]:
        """A trunk that is called ``name`` by its certificate, and a gateway that knows it as sip.trunk.example."""
        folder, authority = self.folder().absolute(), Authority.create()
        files = {"trunk.pem": authority.issue(name), "ours.pem": authority.issue("gw.acme.example")}
        for file, octets in (*files.items(), ("ca.pem", authority.pem())):
            (folder / file).write_bytes(octets)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "trunk.pem")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        outbound = (
            f'outbound: {{to: "sips:{TRUNK}", tls_name: sip.trunk.example, client_certificate: "{folder}/ours.pem"}}'
        )
        gateway = self.start(
            {
                **changes(),
                "sip: {t1: 500ms}": f'sip: {{t1: 500ms, trusted_ca: "{folder}/ca.pem"}}',
                "trunk: {allowed_ips: [127.0.0.2], tenants: [acme]}": (
                    f"trunk: {{allowed_ips: [127.0.0.2], tenants: [acme], {outbound}}}"
                ),
            }
        )
        return self.serve(TRUNK, 0, context), gateway

    def call_over_tls(self, gateway: HurtGateway, port: int) -> None:
        """The trunk calls over TLS, its Contact a bare address, and its connection ends once the call is up."""
        context = ssl.create_default_context(cafile=str(gateway.ca))
        raw = socket.create_connection((HOST, gateway.ports["tls"]), 5.0, (TRUNK, 0))
        with context.wrap_socket(raw, server_hostname="sip.acme.example") as connection:
            contact = f"<sip:ann@{TRUNK}:{port};transport=tls>"
            with Stranger(gateway.sip, host=TRUNK) as stranger:
                invite = request("INVITE", stranger, call_id="tls", transport="TLS", body=offer(TRUNK, 9))
                own = f"<sip:mallory@{stranger.address[0]}:{stranger.address[1]}>".encode()
                connection.sendall(invite.replace(b"Contact: " + own, f"Contact: {contact}".encode()))
                heard = b""
                while b"SIP/2.0 200" not in heard or not heard.endswith(b"\r\n"):
                    heard += connection.recv(65535)
                to = heard[heard.index(b"SIP/2.0 200") :].split(b"\r\nTo:")[1].partition(b"\r\n")[0]
                tag = to.partition(b"tag=")[2]
                connection.sendall(request("ACK", stranger, call_id="tls", transport="TLS", to_tag=tag.decode()))

    def test_a_trunks_name_is_verified_when_it_is_connected_to(self) -> None:
        """Its connection is gone and its Contact a bare address: the certificate must carry the trunk's name."""
        server, gateway = self.tls_trunk("sip.trunk.example")
        self.call_over_tls(gateway, server.port)
        self.soon(lambda: server.heard, "the BYE comes over a connection of ours")
        self.assertEqual((server.heard[:8], server.shown), (b"BYE sip:", "gw.acme.example"))

    def test_somebody_else_at_the_trunks_address(self) -> None:
        """A certificate that is good, and for another name: nothing is said to it."""
        server, gateway = self.tls_trunk("sip.other.example")
        self.call_over_tls(gateway, server.port)
        self.soon(lambda: server.shown or server.fault, "a connection of ours")
        self.soon(lambda: not server._thread.is_alive(), "and its end")
        self.assertEqual(server.heard, b"")
