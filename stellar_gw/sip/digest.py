"""Digest authentication, both sides (RFC 2617, RFC 7616, RFC 8760; RFC 3261 22).

The digest's ``uri`` goes into the hash as it came; that it is the Request-URI is not asked for, since border
controllers rewrite that (RFC 3261 22.4).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from hashlib import md5, sha256

from attrs import field, frozen

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.grammar import LWS, QUOTED_STRING, TOKEN, is_token, quote, unquote
from stellar_gw.sip.nonce import Nonces, Verdict

ALGORITHMS: tuple[str, ...] = ("MD5", "MD5-sess", "SHA-256", "SHA-256-sess")
"""What is spoken here, in canonical spelling."""

_canonical_algorithm = {name.lower(): name for name in ALGORITHMS}
_MAX_FIELDS = 32


def base_algorithm(algorithm: str) -> str:
    """The algorithm that HA1 is kept for: that of ``MD5-sess`` is that of ``MD5``."""
    return algorithm.removesuffix("-sess")


def _hasher(algorithm: str) -> Callable[[str | bytes], str]:
    """
    :raise LocalProtocolError: an algorithm that is not spoken here.
    """
    if algorithm not in ALGORITHMS:
        raise LocalProtocolError(f"digest algorithm {algorithm!r} is none of {', '.join(ALGORITHMS)}")
    is_md5 = algorithm.startswith("MD5")

    def digest(data: str | bytes) -> str:
        octets = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        return (md5(octets, usedforsecurity=False) if is_md5 else sha256(octets)).hexdigest()

    return digest


def ha1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """H(username:realm:password) in hexadecimal: as good as the password in that realm, so keep it as one."""
    return _hasher(algorithm)(f"{username}:{realm}:{password}")


def response_value(
    ha1: str, method: str, uri: str, nonce: str, *, algorithm: str = "MD5", qop: str | None = None,
    nc: str = "", cnonce: str = "", body: bytes = b"",
) -> str:  # fmt: skip
    """The ``response`` of credentials (RFC 7616 3.4.1; without qop RFC 2617 3.2.2.1).

    :param ha1: of :func:`base_algorithm`.
    :param qop: None, ``auth`` or ``auth-int``.
    :param nc: eight hexadecimal digits.
    """
    digest = _hasher(algorithm)
    if algorithm.endswith("-sess"):
        ha1 = digest(f"{ha1}:{nonce}:{cnonce}")
    a2 = f"{method}:{uri}"
    if qop == "auth-int":
        a2 += ":" + digest(body)
    if qop is None:
        return digest(f"{ha1}:{nonce}:{digest(a2)}")
    return digest(f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{digest(a2)}")


@frozen(kw_only=True)
class DigestChallenge:
    """WWW-Authenticate or Proxy-Authenticate.

    :ivar qop: what is offered, in order; empty: RFC 2069 style.
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ("auth",)
    opaque: str | None = None
    stale: bool = False
    domain: str | None = None

    def __str__(self) -> str:
        """The header's value (RFC 3261 25.1: algorithm and stale unquoted, qop quoted)."""
        parts = [f"realm={quote(self.realm)}", f"nonce={quote(self.nonce)}"]
        if self.domain is not None:
            parts.append(f"domain={quote(self.domain)}")
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.stale:
            parts.append("stale=true")
        parts.append(f"algorithm={_token(self.algorithm)}")
        if self.qop:
            parts.append(f"qop={quote(','.join(self.qop))}")
        return "Digest " + ", ".join(parts)


@frozen(kw_only=True)
class DigestAuthorization:
    """Credentials as they came in an Authorization or Proxy-Authorization header; not yet believed.

    :ivar algorithm: canonical if it is spoken here, else as it came.
    :ivar nc: None without qop.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = field(repr=False)
    algorithm: str = "MD5"
    qop: str | None = None
    nc: int | None = None
    cnonce: str = ""
    opaque: str | None = None
    nc_text: str = field(default="", repr=False)

    def matches(self, ha1: str, method: str) -> bool:
        """Whether they were made with this HA1 (of :func:`base_algorithm`); compared in constant time.

        Only MD5 and SHA-256, and their sessions, with qop auth or none, can match.
        """
        if self.algorithm not in ALGORITHMS or self.qop not in (None, "auth"):
            return False
        expected = response_value(
            ha1, method, self.uri, self.nonce,
            algorithm=self.algorithm, qop=self.qop, nc=self.nc_text, cnonce=self.cnonce,
        )  # fmt: skip
        return hmac.compare_digest(expected.encode(), self.response.encode("utf-8", "replace"))

    def __str__(self) -> str:
        """The header's value."""
        parts = [f"{name}={quote(getattr(self, name))}" for name in ("username", "realm", "nonce", "uri", "response")]
        parts.append(f"algorithm={_token(self.algorithm)}")
        if self.cnonce:
            parts.append(f"cnonce={quote(self.cnonce)}")
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.qop is not None:
            parts += [f"qop={_token(self.qop)}", f"nc={_token(self.nc_text)}"]
        return "Digest " + ", ".join(parts)


_field_at = re.compile(rf'{LWS}({TOKEN}){LWS}={LWS}({QUOTED_STRING}|[^\x00-\x20\x7f,"]++){LWS}(?:,|$)', re.DOTALL).match
_scheme = re.compile(rf"({TOKEN})(?:[ \t]++|$)").match
_is_nc = re.compile(r"[0-9A-Fa-f]{8}").fullmatch
_is_response = re.compile(r"[0-9A-Fa-f]{32}(?:[0-9A-Fa-f]{32})?").fullmatch


def is_digest(text: str) -> bool:
    """Whether the value of an authentication header is of the Digest scheme."""
    match = _scheme(text)
    return match is not None and match[1].lower() == "digest"


def parse_challenge(text: str) -> DigestChallenge:
    """
    :raise RemoteProtocolError: no Digest challenge, or a field missing, unsound or there twice.
    """
    fields = _fields(text)
    algorithm = fields.get("algorithm", "MD5")
    return DigestChallenge(
        realm=_required(fields, "realm"),
        nonce=_required(fields, "nonce"),
        algorithm=_canonical_algorithm.get(algorithm.lower(), algorithm),
        qop=tuple([each.strip(" \t").lower() for each in fields.get("qop", "").split(",") if each.strip(" \t")]),
        opaque=fields.get("opaque"),
        stale=fields.get("stale", "").lower() == "true",
        domain=fields.get("domain"),
    )


def choose_challenge(values: Iterable[str]) -> DigestChallenge | None:
    """The first challenge, in header order, that can be answered (RFC 8760 2.4); None: there is none."""
    for value in values:
        try:
            challenge = parse_challenge(value)
        except RemoteProtocolError:
            continue
        if challenge.algorithm in ALGORITHMS and (not challenge.qop or _chosen_qop(challenge) is not None):
            return challenge
    return None


def parse_authorization(text: str) -> DigestAuthorization:
    """
    :raise RemoteProtocolError: no Digest credentials, or a field missing, unsound or there twice.
    """
    fields = _fields(text)
    algorithm = fields.get("algorithm", "MD5")
    qop = fields.get("qop")
    nc_text, cnonce = "", fields.get("cnonce", "")
    if qop is not None:
        qop = qop.lower()
        nc_text = _required(fields, "nc")
        _required(fields, "cnonce")
        if not _is_nc(nc_text):
            raise RemoteProtocolError("digest credentials: nc must be eight hexadecimal digits")
    response = _required(fields, "response")
    if not _is_response(response):
        raise RemoteProtocolError("digest credentials: response must be 32 or 64 hexadecimal digits")
    return DigestAuthorization(
        username=_required(fields, "username"),
        realm=_required(fields, "realm"),
        nonce=_required(fields, "nonce"),
        uri=_required(fields, "uri"),
        response=response.lower(),
        algorithm=_canonical_algorithm.get(algorithm.lower(), algorithm),
        qop=qop,
        nc=int(nc_text, 16) if nc_text else None,
        cnonce=cnonce,
        opaque=fields.get("opaque"),
        nc_text=nc_text,
    )


def authorization_for(values: Iterable[str], realm: str) -> DigestAuthorization | None:
    """The credentials for our realm among all that a request carries (RFC 3261 22.3).

    Those of other realms and of unknown schemes are not for us, and count as none.

    :param values: all lines of Authorization (or Proxy-Authorization).
    :raise RemoteProtocolError: Digest credentials that cannot be read, or two for our realm: whoever shows
        credentials is judged by them, and never by anything less.
    """
    found = None
    for value in values:
        if not is_digest(value):
            continue
        credentials = parse_authorization(value)
        if credentials.realm == realm:
            if found is not None:
                raise RemoteProtocolError("two digest credentials for one realm")
            found = credentials
    return found


def answer_challenge(
    challenge: DigestChallenge, username: str, password: str, method: str, uri: str, body: bytes, cnonce: str, nc: int
) -> str:
    """The value of the Authorization (401) or Proxy-Authorization (407) header that answers a challenge.

    :param uri: the Request-URI as it goes out.
    :param cnonce: fresh and random.
    :param nc: how many requests this nonce was used for, with this one.
    :raise LocalProtocolError: an algorithm or qop not spoken here; ``choose_challenge`` returns none of those.
    """
    qop = _chosen_qop(challenge)
    if challenge.qop and qop is None:
        raise LocalProtocolError("a challenge with no qop that is spoken here")
    if not 0 < nc < 1 << 32:
        raise LocalProtocolError("nc must be 1 or more, and have eight digits")
    key = ha1(username, challenge.realm, password, challenge.algorithm)
    # RFC 2617 3.2.2 forbids cnonce without qop; but sessions are computed from it.
    cnonce = cnonce if qop is not None or challenge.algorithm.endswith("-sess") else ""
    nc_text = f"{nc:08x}" if qop is not None else ""
    response = response_value(
        key, method, uri, challenge.nonce,
        algorithm=challenge.algorithm, qop=qop, nc=nc_text, cnonce=cnonce, body=body,
    )  # fmt: skip
    credentials = DigestAuthorization(
        username=username, realm=challenge.realm, nonce=challenge.nonce, uri=uri, response=response,
        algorithm=challenge.algorithm, qop=qop, nc=nc if qop is not None else None, cnonce=cnonce,
        opaque=challenge.opaque, nc_text=nc_text,
    )  # fmt: skip
    return str(credentials)


def _chosen_qop(challenge: DigestChallenge) -> str | None:
    return next((qop for qop in ("auth", "auth-int") if qop in challenge.qop), None)


def _fields(text: str) -> dict[str, str]:
    """The fields of a Digest header's value, by lower-case name, unquoted.

    :raise RemoteProtocolError: another scheme, something that is no field, or one field twice.
    """
    match = _scheme(text)
    if match is None or match[1].lower() != "digest":
        raise RemoteProtocolError("not of the Digest scheme")
    fields: dict[str, str] = {}
    position, end = match.end(), len(text)
    while position < end:
        match = _field_at(text, position)
        if match is None:
            raise RemoteProtocolError("malformed digest field")
        name = match[1].lower()
        if name in fields or len(fields) >= _MAX_FIELDS:
            raise RemoteProtocolError("a digest field comes twice, or there are too many")
        fields[name] = unquote(match[2])
        position = match.end()
    return fields


def _required(fields: dict[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise RemoteProtocolError(f"digest {name} is missing")
    return value


def _token(text: str) -> str:
    if not is_token(text):
        raise LocalProtocolError(f"a token was to be written, not {text!r}")
    return text


__all__ = [
    "ALGORITHMS",
    "DigestAuthorization",
    "DigestChallenge",
    "Nonces",
    "Verdict",
    "answer_challenge",
    "authorization_for",
    "base_algorithm",
    "choose_challenge",
    "ha1",
    "is_digest",
    "parse_authorization",
    "parse_challenge",
    "response_value",
]
