"""Who a caller is, by SIP digest: challenges given, credentials judged (RFC 2617, RFC 8760, RELIABILITY 3.1-3.2).

An unknown user costs the same time as a wrong password: it is checked against an HA1 that nobody has.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from attrs import frozen

from stellar_gw.call.admission.admission import DigestResult, NoCredentials, Unverified, Verified
from stellar_gw.directory.records import Credential, Directory
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.digest import (
    ALGORITHMS,
    DigestAuthorization,
    DigestChallenge,
    authorization_for,
    base_algorithm,
)
from stellar_gw.sip.hosts import source_of
from stellar_gw.sip.message import Request
from stellar_gw.sip.nonce import Nonces

Challenge = tuple[tuple[str, str], ...]

_NOBODY = {"MD5": secrets.token_hex(16), "SHA-256": secrets.token_hex(32)}


@frozen
class Presented:
    """What a request showed.

    :ivar nonce: of the challenge it answers, empty where it was not given to this source: a forged source, or nothing
        that can be read.
    :ivar guess: the rest of what decides: who it says to be, and its digest.
    """

    result: DigestResult
    nonce: str = ""
    guess: str = ""


class Authentication:
    """
    :param realm: ours; credentials for another one count as none.
    :param life: seconds that a nonce is good for.
    """

    def __init__(self, realm: str, rng: Callable[[int], bytes], *, life: float) -> None:
        self._realm = realm
        self._nonces = Nonces([rng(32)], rng, life, realm=realm)

    def challenge(self, algorithms: Sequence[str], source: str, wall_now: float, *, stale: bool) -> Challenge:
        """The headers of a 401: one WWW-Authenticate for each algorithm, in order, all with one nonce.

        :param source: the address that it goes to; nothing of it is kept here.
        """
        nonce = self._nonces.make(wall_now, source_of(source))
        return tuple(
            ("WWW-Authenticate", str(DigestChallenge(realm=self._realm, nonce=nonce, algorithm=name, stale=stale)))
            for name in algorithms
        )

    def check(
        self, request: Request, directory: Directory, source: str, wall_now: float, *, reliable: bool
    ) -> Presented:
        """Judge the credentials of a request; the nonce is used up only where the password was right."""
        try:
            shown = authorization_for(request.headers.all("Authorization"), self._realm)
        except RemoteProtocolError:
            return Presented(Unverified("", "malformed"))
        if shown is None:
            return Presented(NoCredentials())
        guess = f"{shown.username}\0{shown.response}"
        nonce = shown.nonce if self._nonces.was_given_to(shown.nonce, source_of(source)) else ""
        if shown.algorithm not in ALGORITHMS or shown.qop not in (None, "auth"):
            return Presented(Unverified(shown.username, "algorithm"), nonce, guess)
        return Presented(self._judge(shown, request, directory, wall_now, reliable), nonce, guess)

    def _judge(
        self, shown: DigestAuthorization, request: Request, directory: Directory, wall_now: float, reliable: bool
    ) -> DigestResult:
        credential = directory.credential(shown.username)
        kind = base_algorithm(shown.algorithm)
        stored = _stored(credential, kind)
        right = shown.matches(stored or _NOBODY[kind], request.method)
        if self._nonces.age(shown.nonce, wall_now) is None:
            return Unverified(shown.username, "forged_nonce")
        if credential is None:
            return Unverified(shown.username, "unknown_user")
        if not stored:
            return Unverified(shown.username, "algorithm")
        if not right:
            return Unverified(shown.username, "wrong_password")
        verdict = self._nonces.check(
            shown.nonce,
            shown.nc,
            request.call_id,
            (request.cseq.number, request.cseq.method),
            wall_now,
            branch=request.via.branch or "",
            reliable=reliable,
        )
        if verdict == "ok":
            return Verified(shown.username, kind)
        return Unverified(shown.username, "forged_nonce" if verdict == "forged" else verdict)


def _stored(credential: Credential | None, algorithm: str) -> str:
    if credential is None:
        return ""
    return credential.ha1_md5 if algorithm == "MD5" else credential.ha1_sha256
