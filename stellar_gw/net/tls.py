"""TLS for SIP: who we are, whom we believe, and certificates that change on disk (RFC 5246, 8446, 5922).

TLS 1.2 or newer, ECDHE with an AEAD cipher, neither compression nor renegotiation. Files are read in the
PEM form, as certificate authorities and ``systemd`` credentials hand them out. No callback is ever set: see
``_private_key``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, cast

import service_identity
from attrs import define, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import PKey
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from stellar_gw.errors import StellarError

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
"""For TLS 1.2; every suite of TLS 1.3 is ECDHE or PSK, with AEAD."""
OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET
LARGEST = 1 << 20
"""Octets read of a file."""
CERTIFICATES = 256
"""Client certificates of trunks that are kept loaded; beyond, all are read anew."""
CHECK_EVERY = 5.0
"""Seconds between looks at the files; a look is made when a connection comes in."""

log = Logger()


class TlsError(StellarError):
    """TLS material that cannot be used, or a peer that is not who it should be; one line, for people."""


@frozen(kw_only=True)
class Identity:
    """Where our certificate lies.

    :ivar certificate: a PEM file, the leaf first and the intermediates after it.
    :ivar key: a PEM file with the private key; empty: it is in ``certificate`` too.
    """

    certificate: str
    key: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.certificate, self.key) if self.key else (self.certificate,)

    def load_into(self, context: SSL.Context) -> None:
        """:raise TlsError: a file cannot be read, is not what it should be, or certificate and key do not match."""
        _read(self.certificate)
        try:
            context.use_certificate_chain_file(self.certificate)
        except SSL.Error as error:
            raise TlsError(f"{self.certificate}: no PEM certificate chain in it ({_reason(error)})") from None
        path = self.key or self.certificate
        try:
            context.use_privatekey(_private_key(path))
            context.check_privatekey()
        except SSL.Error as error:
            raise TlsError(f"{path}: its private key does not fit {self.certificate} ({_reason(error)})") from None


_key_block = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----.+?-----END \1?PRIVATE KEY-----", re.DOTALL)


def _private_key(path: str) -> PKey:
    """The first key of a PEM file.

    Not read by OpenSSL itself: for an encrypted key that asks on the terminal, unless a callback answers, and a
    callback of cffi's needs memory that is writeable and executable, which the systemd unit denies.
    """
    block = _key_block.search(_read(path))
    if block is None:
        raise TlsError(f"{path}: no PEM private key in it")
    try:
        key = load_pem_private_key(block[0], password=None)
        return PKey.from_cryptography_key(cast(EllipticCurvePrivateKey, key))
    except TypeError:
        raise TlsError(f"{path}: its private key is encrypted; write it without a pass phrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError(f"{path}: its private key cannot be read ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror or error}") from None


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, the last of its stack, or something if it has none."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(stack[-1][-1]) if stack and stack[-1] and stack[-1][-1] else "OpenSSL gives no reason"


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


@define(eq=False)
class _Followed:
    """A context that follows the files it was made of.

    A file that changed is loaded at the next use. A new version that cannot be used leaves the old one at work,
    and one line in the log for each such version.

    :ivar seconds: the monotonic clock.
    :raise TlsError: the files cannot be used at the start.
    """

    load: Callable[[], SSL.Context]
    files: tuple[str, ...]
    seconds: Callable[[], float]
    _context: SSL.Context = field(init=False)
    _seen: tuple[object, ...] = field(init=False)
    _next_look: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = tuple(map(_stat, self.files))
        self._context = self.load()
        self._next_look = self.seconds() + CHECK_EVERY

    def current(self) -> SSL.Context:
        now = self.seconds()
        if now >= self._next_look:
            self._next_look = now + CHECK_EVERY
            self._look()
        return self._context

    def _look(self) -> None:
        seen = tuple(map(_stat, self.files))
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._context = self.load()
        except TlsError as error:
            log.error("TLS files not reloaded, those loaded before stay: {error}", error=str(error))
        else:
            log.info("TLS files reloaded: {files}", files=", ".join(self.files))


def _stat(path: str) -> object:
    """What changes with a file's content: also when it is replaced, or a link to it is."""
    try:
        stat = os.stat(path)
    except OSError as error:
        return error.errno
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev


def _trust(context: SSL.Context, ca_file: str) -> None:
    _read(ca_file)
    try:
        context.load_verify_locations(ca_file)
    except SSL.Error as error:
        raise TlsError(f"{ca_file}: no PEM certificates in it ({_reason(error)})") from None


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """What a TLS listener shows and demands.

    :param seconds: the monotonic clock.
    :param client_ca: a PEM file; peers must then show a certificate that it signed. Empty: none is asked for.
    :raise TlsError: the files cannot be used.
    """

    def __init__(self, identity: Identity, seconds: Callable[[], float], client_ca: str = "") -> None:
        self._identity = identity
        self._client_ca = client_ca
        files = (*identity.files, client_ca) if client_ca else identity.files
        self._followed = _Followed(self._load, files, seconds)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._followed.current(), None)

    def _load(self) -> SSL.Context:
        context = _context()
        self._identity.load_into(context)
        if self._client_ca:
            _trust(context, self._client_ca)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            context.load_client_ca(os.fsencode(self._client_ca))
            context.set_session_id(b"stellar-gw")
        return context


class ClientTls:
    """Whom we believe when we connect, and what we show if the peer asks for a certificate.

    :param seconds: the monotonic clock.
    :param ca_file: a PEM file with the only authorities to believe; empty: the system's.
    :param identity: shown to peers that ask (mutual TLS between trunks).
    :param insecure: believe everybody; for the test phone alone, never for the gateway.
    :raise TlsError: the files cannot be used.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        *,
        ca_file: str = "",
        identity: Identity | None = None,
        insecure: bool = False,
    ) -> None:
        self._seconds = seconds
        self._ca_file = ca_file
        self._insecure = insecure
        self._followed = self._follow(identity)
        self._showing: dict[str, _Followed] = {}

    def connection_to(self, server_name: str, certificate: str = "") -> ServerName:
        """
        :param server_name: the name or address that the peer's certificate must carry.
        :param certificate: a PEM file with chain and key, shown to this peer in place of ``identity``.
        :raise TlsError: that file cannot be used.
        """
        followed = self._followed if not certificate else self._showing.get(certificate)
        if followed is None:
            followed = self._follow(Identity(certificate=certificate))
            if len(self._showing) >= CERTIFICATES:
                self._showing.clear()
            self._showing[certificate] = followed
        return ServerName(followed.current(), server_name, self._insecure)

    def _follow(self, identity: Identity | None) -> _Followed:
        files = (*(identity.files if identity else ()), *([self._ca_file] if self._ca_file else ()))
        return _Followed(lambda: self._load(identity), files, self._seconds)

    def _load(self, identity: Identity | None) -> SSL.Context:
        context = _context()
        if identity is not None:
            identity.load_into(context)
        if self._insecure:
            context.set_verify(SSL.VERIFY_NONE)
            return context
        if self._ca_file:
            _trust(context, self._ca_file)
        else:
            context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER)
        return context


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class ServerName:
    """One TLS connection of ours: says whom it wants (SNI, RFC 6066 3), and checks who answered."""

    context: SSL.Context
    name: str
    insecure: bool = False

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self.context, None)
        if not _is_address(self.name):
            connection.set_tlsext_host_name(_ascii(self.name))
        return connection

    def verify(self, connection: SSL.Connection) -> None:
        """Compare the names once the handshake is over, before anything is sent (RFC 5922 7.3, RFC 9525).

        The chain has been verified by OpenSSL already.

        :raise TlsError: the certificate is for somebody else.
        """
        if self.insecure:
            return
        try:
            if _is_address(self.name):
                verify_ip_address(connection, self.name)
            else:
                verify_hostname(connection, _ascii(self.name).decode())
        except (service_identity.VerificationError, service_identity.CertificateError) as error:
            raise TlsError(f"its certificate is not for {self.name} ({_certificate_says(error)})") from None


def _certificate_says(error: Exception) -> str:
    if isinstance(error, service_identity.CertificateError):
        return str(error)
    return "no such subject alternative name"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _ascii(name: str) -> bytes:
    try:
        return name.rstrip(".").encode("idna") if not name.isascii() else name.rstrip(".").encode("ascii")
    except UnicodeError:
        raise TlsError(f"{name!r} is no host name that a certificate could carry") from None
