"""Nonces that need no memory to be known as ours, and used once each (RFC 7616 3.3, 5.4, 5.5).

``base64(time || random || tag || HMAC-SHA256(key, time || random || tag || realm))``, where the tag says whom it was
given to: the first octets of ``HMAC-SHA256(key, time || random || source)``. Time is the wall clock, so that several
gateways with the same keys know each other's nonces, and a restart forgets none.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Literal

from attrs import define

from stellar_gw.errors import LocalProtocolError

Verdict = Literal["ok", "stale", "replayed", "forged"]

_TIME, _RANDOM, _TAG, _MAC = 8, 8, 6, 32
_OCTETS = _TIME + _RANDOM + _TAG + _MAC
_TEXT = _OCTETS * 4 // 3  # 54 octets make 72 characters without padding: one spelling only
AHEAD = 5.0
"""Seconds that another gateway's clock may be ahead of ours."""
REPEATS = 5.0
"""Seconds for which a datagram's retransmissions may still arrive (T4, RFC 3261 17.1.2.2)."""
REMEMBERED = 100_000
"""How many nonces in use are remembered."""


@define
class _Use:
    """The last use of a nonce."""

    made: int
    nc: int
    request: tuple[str, object, str]
    first: float


class Nonces:
    """Makes nonces for one realm, and judges those that come back.

    :param keys: the first one makes, all of them verify: two while a key is being changed.
    :param rng: so many random octets.
    :param life: seconds that a nonce may be used after it was made.

    The rules of :meth:`check`:

    - ``nc`` rises strictly for each nonce. Without qop there is no ``nc``, and the digest covers little of
      the request: such a nonce is good for one request.
    - A retransmission is no replay. The core's transactions absorb retransmissions of what they know; but
      while a request is being judged there is no transaction yet, and over UDP it comes again every T1. So
      the very same request (nonce, nc, Call-ID, CSeq, branch) is "ok" again for 5 s over UDP, by when it is
      either refused without state (and shall be refused the same way again) or has a transaction that
      outlives those 5 s: timer I is T4 (RFC 3261 17.2.1), timer L 64*T1 (RFC 6026). Over TCP and TLS
      nothing is retransmitted, and nothing is "ok" twice.
    - Call it when the digest is known to be right, so that strangers cannot fill the memory. It is bounded
      anyway; what it forgets early is "stale" from then on, never "ok" again.
    """

    def __init__(
        self, keys: Sequence[bytes], rng: Callable[[int], bytes], life: float = 60.0, *, realm: str = "",
        remembered: int = REMEMBERED,
    ) -> None:  # fmt: skip
        """
        :raise LocalProtocolError: no key, or one shorter than 16 octets.
        """
        if not keys or min(map(len, keys)) < 16:
            raise LocalProtocolError("nonces need at least one key of 16 octets or more")
        self._keys = list(keys)
        self._rng = rng
        self._life = life
        self._realm = realm.encode("utf-8", "surrogateescape")
        self._remembered = remembered
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._forgotten_until = -1  # milliseconds; the youngest nonce that was forgotten before its time

    def rotate(self, key: bytes) -> None:
        """Make nonces with this key from now on; those of the key before stay good."""
        if len(key) < 16:
            raise LocalProtocolError("a nonce key needs 16 octets or more")
        self._keys = [key, self._keys[0]]

    def make(self, wall_now: float, source: str = "") -> str:
        """A new nonce.

        :param wall_now: seconds since the epoch.
        :param source: whom it is given to, for :meth:`was_given_to`; anybody may use it.
        """
        at = int(wall_now * 1000)
        if at + AHEAD * 1000 < self._forgotten_until:
            self._forgotten_until = -1  # the clock was set back; else nobody could come in until it has caught up
        key, made = self._keys[0], at.to_bytes(_TIME, "big") + self._rng(_RANDOM)
        made += _tag(key, made, source)
        return b64encode(made + self._mac(key, made)).decode("ascii")

    def was_given_to(self, nonce: str, source: str) -> bool:
        """Whether one of us made that nonce, for this source."""
        opened = self._open(nonce)
        if opened is None:
            return False
        key, made = opened
        return hmac.compare_digest(made[-_TAG:], _tag(key, made[:-_TAG], source))

    def age(self, nonce: str, wall_now: float) -> float | None:
        """Seconds since one of us made that nonce, in constant time; None: none of us did."""
        made = self._made(nonce)
        return None if made is None else wall_now - made / 1000

    def check(
        self, nonce: str, nc: int | None, call_id: str, cseq: object, wall_now: float, *,
        branch: str = "", reliable: bool = False,
    ) -> Verdict:  # fmt: skip
        """Judge the use of a nonce, and remember it.

        :param nc: None where the credentials have no qop.
        :param cseq: number and method, in any form that compares.
        :param reliable: whether the request came over TCP or TLS.
        :return: everything but "ok" wants a new challenge: "stale" and "replayed" with ``stale=true``, since
            an honest peer whose requests overtook each other shall try again; "forged" without.
        """
        made = self._made(nonce)
        if made is None:
            return "forged"
        if not -AHEAD <= wall_now - made / 1000 <= self._life:
            return "stale"
        request = (call_id, cseq, branch)
        last = self._uses.get(nonce)
        if last is None:
            if made <= self._forgotten_until:
                return "stale"
            if nc is not None and nc < 1:
                return "replayed"
            self._remember(nonce, _Use(made, nc or 0, request, wall_now), wall_now)
            return "ok"
        if nc is not None and last.nc and nc > last.nc:
            last.nc, last.request, last.first = nc, request, wall_now
            self._uses.move_to_end(nonce)
            return "ok"
        if (nc or 0) == last.nc and request == last.request and not reliable and wall_now - last.first <= REPEATS:
            return "ok"
        return "replayed" if nc is not None or request == last.request else "stale"

    def _remember(self, nonce: str, use: _Use, wall_now: float) -> None:
        self._uses[nonce] = use
        expired = (wall_now - self._life) * 1000
        for _ in range(2):  # one more than comes in, so that the dead never pile up
            oldest = next(iter(self._uses))
            made = self._uses[oldest].made
            if made >= expired:
                if len(self._uses) <= self._remembered:
                    break
                self._forgotten_until = max(self._forgotten_until, made)
            del self._uses[oldest]

    def _made(self, nonce: str) -> int | None:
        """When one of us made that nonce, in milliseconds."""
        opened = self._open(nonce)
        return None if opened is None else int.from_bytes(opened[1][:_TIME], "big")

    def _open(self, nonce: str) -> tuple[bytes, bytes] | None:
        """The key that a nonce was made with, and what stands before its MAC; None: none of us made it."""
        if len(nonce) != _TEXT:
            return None
        try:
            octets = b64decode(nonce, validate=True)
        except (Base64Error, ValueError):
            return None
        if len(octets) != _OCTETS:
            return None
        made, mac = octets[:-_MAC], octets[-_MAC:]
        for key in self._keys:
            if hmac.compare_digest(mac, self._mac(key, made)):
                return key, made
        return None

    def _mac(self, key: bytes, made: bytes) -> bytes:
        return hmac.digest(key, made + self._realm, sha256)


def _tag(key: bytes, made: bytes, source: str) -> bytes:
    return hmac.digest(key, made + source.encode("utf-8", "surrogateescape"), sha256)[:_TAG]
