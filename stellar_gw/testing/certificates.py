"""A certificate authority of one's own, for tests and the demo: nobody else believes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@frozen
class Authority:
    """Signs certificates.

    :ivar certificate: its own; peers that shall believe it get :meth:`pem`.
    """

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, name: str = "stellar-gw test authority") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        builder = _builder(subject, subject, key, timedelta(days=30)).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, days: float = 7.0) -> bytes:
        """A leaf certificate and its key.

        :param names: host names and addresses, as subject alternative names.
        :param days: how long it is good for; negative: it expired that long ago.
        :return: PEM: the leaf, this authority, the leaf's key; as ``certificate:`` of a listener wants it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = _builder(_subject(names[0]), self.certificate.subject, key, timedelta(days=days))
        leaf = builder.add_extension(alternatives, critical=False).sign(self.key, hashes.SHA256())
        return (
            leaf.public_bytes(serialization.Encoding.PEM)
            + self.pem()
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def write(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Write ``tls.pem`` (only its owner may read it) and ``ca.pem``; return the two paths."""
        certificate, authority = folder / "tls.pem", folder / "ca.pem"
        certificate.touch(mode=0o600)
        certificate.write_bytes(self.issue(*names))
        authority.write_bytes(self.pem())
        return certificate, authority


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    start, end = now - timedelta(hours=1), now + life
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(start, end - timedelta(hours=1)))
        .not_valid_after(end)
    )
