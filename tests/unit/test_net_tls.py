"""TLS material: what is believed, what is said about files that cannot be used, and reloading."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.net.tls import ClientTls, Identity, ServerName, ServerTls, TlsError
from stellar_gw.testing.certificates import Authority


def handshake(client: SSL.Connection, server: SSL.Connection) -> None:
    """Shake hands in memory.

    :raise SSL.Error: one side refuses.
    """
    client.set_connect_state()
    server.set_accept_state()
    done: set[SSL.Connection] = set()
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
                done.add(one)
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(one.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
        if len(done) == 2:
            return
    raise AssertionError("no handshake in ten turns")


class TlsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.clock = Clock()
        self.authority = Authority.create()
        self.certificate, self.ca = self.authority.write(self.folder, "gw.example", "127.0.0.1", "::1")
        self.identity = Identity(certificate=str(self.certificate))

    def server(self, client_ca: str = "") -> ServerTls:
        return ServerTls(self.identity, self.clock.seconds, client_ca)

    def client(self, **material: object) -> ClientTls:
        return ClientTls(self.clock.seconds, **material)  # type: ignore[arg-type]

    def meet(self, client: ServerName, server: ServerTls) -> SSL.Connection:
        """Let a client and a server shake hands, names verified; return the client's side."""
        ours = client.clientConnectionForTLS(None)  # type: ignore[arg-type]
        handshake(ours, server.serverConnectionForTLS(None))  # type: ignore[arg-type]
        client.verify(ours)
        return ours

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def why(self, identity: Identity) -> str:
        error = self.assertRaises(TlsError, ServerTls, identity, self.clock.seconds)
        return str(error).replace(str(self.folder) + os.sep, "")


class HandshakeTests(TlsCase):
    def test_name_and_address(self) -> None:
        """A certificate is good for the names and addresses in it, and TLS 1.2 is the least."""
        client, server = self.client(ca_file=str(self.ca)), self.server()
        for name in ("gw.example", "GW.example.", "127.0.0.1", "::1"):
            connection = self.meet(client.connection_to(name), server)
            self.assertIn(connection.get_protocol_version_name(), ("TLSv1.2", "TLSv1.3"))

    def test_other_names(self) -> None:
        """A certificate for somebody else is refused, in words."""
        client, server = self.client(ca_file=str(self.ca)), self.server()
        for name in ("other.example", "127.0.0.2", "sub.gw.example"):
            error = self.assertRaises(TlsError, self.meet, client.connection_to(name), server)
            self.assertEqual(str(error), f"its certificate is not for {name} (no such subject alternative name)")

    def test_unknown_authority(self) -> None:
        """A certificate of an authority we do not believe ends the handshake, unless everybody is believed."""
        stranger = self.file("stranger.pem", Authority.create("stranger").pem())
        self.assertRaises(
            SSL.Error, self.meet, self.client(ca_file=stranger).connection_to("gw.example"), self.server()
        )
        self.meet(self.client(ca_file=stranger, insecure=True).connection_to("whoever.example"), self.server())

    def test_expired(self) -> None:
        """A certificate that expired is not believed."""
        self.certificate.write_bytes(self.authority.issue("gw.example", days=-1))
        client = self.client(ca_file=str(self.ca))
        self.assertRaises(SSL.Error, self.meet, client.connection_to("gw.example"), self.server())

    def test_server_name_is_sent(self) -> None:
        """The name wanted is in the handshake (SNI), an address is not (RFC 6066 3)."""
        client, server = self.client(ca_file=str(self.ca)), self.server()
        names = [self.meet(client.connection_to(name), server).get_servername() for name in ("gw.example", "127.0.0.1")]
        self.assertEqual(names, [b"gw.example", None])

    def test_old_versions_and_weak_ciphers(self) -> None:
        """TLS 1.1, and suites without forward secrecy or AEAD, are refused."""
        server = self.server()
        for version, ciphers in (
            (SSL.TLS1_1_VERSION, b"ALL:@SECLEVEL=0"),
            (SSL.TLS1_2_VERSION, b"ECDHE-ECDSA-AES128-SHA"),
        ):
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
            context.set_cipher_list(ciphers)
            client = SSL.Connection(context, None)
            self.assertRaises(SSL.Error, handshake, client, server.serverConnectionForTLS(None))  # type: ignore[arg-type]

    def test_client_certificates(self) -> None:
        """Where a client CA is set, a peer without a certificate it signed is refused; one that has it gets in."""
        partners = Authority.create("partners")
        server = self.server(self.file("partners.pem", partners.pem()))
        known = Identity(certificate=self.file("known.pem", partners.issue("pbx.example")))
        for identity in (None, self.identity):
            client = self.client(ca_file=str(self.ca), identity=identity)
            self.assertRaises(SSL.Error, self.meet, client.connection_to("gw.example"), server)
        self.meet(self.client(ca_file=str(self.ca), identity=known).connection_to("gw.example"), server)

    def test_names_that_are_none(self) -> None:
        """A name that no certificate can carry is refused before anything is sent."""
        client = self.client(ca_file=str(self.ca))
        self.assertRaises(TlsError, self.meet, client.connection_to("ü" * 80), self.server())


class FileTests(TlsCase):
    def test_what_is_wrong_is_said(self) -> None:
        """Missing files, files of something else, encrypted and foreign keys are told apart."""
        pem = self.certificate.read_bytes()
        chain, begin, key = pem.partition(b"-----BEGIN PRIVATE KEY")
        other = self.authority.issue("x.example").partition(b"-----BEGIN PRIVATE KEY")
        secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass phrase"),
        )
        missing = self.why(Identity(certificate=str(self.folder / "none.pem")))
        self.assertEqual(missing, "none.pem: No such file or directory")
        begins = {
            "no chain": self.why(Identity(certificate=self.file("a.pem", b"hello"))),
            "no key": self.why(Identity(certificate=self.file("b.pem", chain))),
            "encrypted": self.why(Identity(certificate=self.file("c.pem", chain), key=self.file("c.key", secret))),
            "broken key": self.why(
                Identity(certificate=self.file("c2.pem", chain), key=self.file("c2.key", begin + key[:20] + key[40:]))
            ),
            "foreign key": self.why(
                Identity(certificate=self.file("d.pem", chain), key=self.file("d.key", other[1] + other[2]))
            ),
        }
        self.assertEqual(
            {which: text.partition(" (")[0] for which, text in begins.items()},
            {
                "no chain": "a.pem: no PEM certificate chain in it",
                "no key": "b.pem: no PEM private key in it",
                "encrypted": "c.key: its private key is encrypted; write it without a pass phrase",
                "broken key": "c2.key: its private key cannot be read",
                "foreign key": "d.key: its private key does not fit d.pem",
            },
        )
        ServerTls(
            Identity(
                certificate=self.file("e.pem", chain),
                key=self.file("e.key", begin + key),
            ),
            self.clock.seconds,
        )

    def test_authority_that_is_none(self) -> None:
        """A CA file without certificates is refused when the client is made, not at the first call."""
        self.assertRaises(TlsError, self.client, ca_file=self.file("ca2.pem", b"nothing"))


class HardenedTests(TlsCase):
    def test_without_writable_executable_memory(self) -> None:
        """TLS works where memory is never writeable and executable, as the systemd unit has it."""
        done = subprocess.run(
            [sys.executable, "-c", HARDENED, str(self.certificate), str(self.ca)],
            cwd=Path(__file__).resolve().parent.parent.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.stdout.startswith("no MDWE"):
            raise SkipTest("this kernel has no PR_SET_MDWE (Linux 6.3)")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "TLSv1.3\n", ""))


HARDENED = """
import ctypes, sys, time
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    print("no MDWE")
    sys.exit()
from stellar_gw.net.tls import ClientTls, Identity, ServerTls
from tests.unit.test_net_tls import handshake
identity = Identity(certificate=sys.argv[1])
server = ServerTls(identity, time.monotonic, sys.argv[2])
client = ClientTls(time.monotonic, ca_file=sys.argv[2], identity=identity).connection_to("gw.example")
ours = client.clientConnectionForTLS(None)
handshake(ours, server.serverConnectionForTLS(None))
client.verify(ours)
print(ours.get_protocol_version_name())
"""


class ReloadTests(TlsCase):
    def serial(self, server: ServerTls) -> int:
        connection = self.meet(self.client(ca_file=str(self.ca)).connection_to("gw.example"), server)
        shown = connection.get_peer_certificate()
        assert shown is not None
        return shown.get_serial_number()

    def test_new_certificate(self) -> None:
        """A file that changed is shown to the connections that come five seconds later or more."""
        server = self.server()
        first = self.serial(server)
        with capturedLogs() as events:
            self.certificate.write_bytes(self.authority.issue("gw.example"))
            self.assertEqual(self.serial(server), first)
            self.clock.advance(5)
            self.assertNotEqual(self.serial(server), first)
        self.assertEqual([formatEvent(event) for event in events], [f"TLS files reloaded: {self.certificate}"])

    def test_bad_certificate(self) -> None:
        """A new file that cannot be used leaves the old certificate at work, and says so once; a good one counts."""
        server = self.server()
        first = self.serial(server)
        self.certificate.write_bytes(b"half a file")
        with capturedLogs() as events:
            for _ in range(5):
                self.clock.advance(5)
                self.assertEqual(self.serial(server), first)
        kept = "TLS files not reloaded, those loaded before stay: "
        self.assertEqual([str(formatEvent(event)).partition(kept)[1] for event in events], [kept])
        self.certificate.write_bytes(self.authority.issue("gw.example"))
        self.clock.advance(5)
        self.assertNotEqual(self.serial(server), first)

    def test_replaced_by_rename(self) -> None:
        """A file replaced by another of the same size and time, as certificate tools do, is seen."""
        server = self.server()
        first = self.serial(server)
        stat = self.certificate.stat()
        fresh = self.folder / "fresh.pem"
        fresh.write_bytes(self.authority.issue("gw.example"))
        os.utime(fresh, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        fresh.rename(self.certificate)
        self.clock.advance(5)
        self.assertNotEqual(self.serial(server), first)
