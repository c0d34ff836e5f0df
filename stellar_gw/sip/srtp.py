"""SRTP in offer and answer: when it is used, by which suite, and with which keys (RFC 4568, RFC 8643).

Theory of operation. What we want is a :class:`Srtp`: ``off`` never, ``opportunistic`` wherever the peer's
description has a usable ``a=crypto``, whichever profile it stands under, ``required`` always. An answer is made
in the profile that was offered, never in another (RFC 3264 6.1): ``RTP/SAVP`` with our key, ``RTP/AVP`` with our
key where crypto lines came with it (RFC 8643 3.1), ``RTP/AVP`` bare otherwise.

Among the lines that an offer has, our order of suites decides: AES_CM_128_HMAC_SHA1_80, which everybody speaks,
then the AEAD ones, whatever comes first over there; of one suite the peer's order
holds. The suite with a tag of 32 bits is off unless configured.

Keys: a new key always means a new context with a roll-over counter of 0 (RFC 3711 3.3.1), and no context of
ours may ever begin again under an old key, or two packets would be enciphered alike. So :class:`Keys` keeps one
key for each suite for as long as it is in use, makes new ones when the peer brings a new key (the peer may have
become another device, which knows nothing of our counter), and forgets what is no longer in use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import field, frozen

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.crypto import (
    AEAD_AES_128_GCM,
    AEAD_AES_256_GCM,
    AES_CM_128_HMAC_SHA1_80,
    KEY_OCTETS,
    CryptoLine,
    MasterKey,
    crypto_lines,
)
from stellar_gw.sip.sdp import Attribute, MediaDescription

SrtpMode = Literal["off", "opportunistic", "required"]
SrtpOffer = Literal["avp", "savp", "plain"]
"""What an offer of ours is: RTP/AVP with ``a=crypto``, RTP/SAVP, or RTP/AVP without."""

SUITES: tuple[Literal["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"], ...] = (
    AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM, AEAD_AES_256_GCM
)  # fmt: skip
"""What is spoken unless configured otherwise, most wanted first."""

PLAIN_PROFILES = ("RTP/AVP", "RTP/AVPF")
SECURE_PROFILES = ("RTP/SAVP", "RTP/SAVPF")
"""AVPF and SAVPF (RFC 4585, RFC 5124) are answered as offered: their feedback messages are optional."""


class SrtpRefused(RemoteProtocolError):
    """Offer or answer would do, but for its SRTP; status 488.

    :ivar why: ``off``: SRTP was demanded, and is off here. ``plain``: SRTP is required here, and there is none.
        ``unusable``: there is no line that we can use. ``dtls``: keys by DTLS, which is not spoken here.
        ``signalling``: SRTP is required, and the keys came unencrypted.
    """

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason, 488)
        self.why = why


class Keys:
    """Our master keys in one dialog, made when they are first asked for.

    :param rng: returns that many random octets.
    """

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self._rng = rng
        self._keys: dict[str, MasterKey] = {}

    def of(self, suite: str) -> MasterKey:
        if suite not in self._keys:
            self._keys[suite] = MasterKey(suite, self._rng(KEY_OCTETS[suite]))
        return self._keys[suite]

    def renew(self) -> None:
        """Forget all of them."""
        self._keys.clear()

    def keep(self, suite: str) -> None:
        """Forget all but one."""
        self._keys = {suite: self._keys[suite]} if suite in self._keys else {}


def _no_octets(count: int) -> bytes:
    raise LocalProtocolError("SRTP without a source of keys")


@frozen(kw_only=True)
class Srtp:
    """What we want of SRTP on one leg.

    :ivar suites: that may be used, most wanted first.
    :ivar offer: what our first offer is; later ones keep the profile in use.
    """

    mode: SrtpMode = "off"
    suites: tuple[str, ...] = SUITES
    offer: SrtpOffer = "avp"
    keys: Keys = field(factory=lambda: Keys(_no_octets), repr=False, eq=False)


OFF = Srtp()


@frozen(kw_only=True)
class Agreed:
    """What two descriptions came to: both keys are of one suite."""

    send: MasterKey
    receive: MasterKey

    @property
    def suite(self) -> str:
        return self.send.suite


def profile_refusal(media: MediaDescription, srtp: Srtp) -> tuple[str, str] | None:
    """Why an offered m-line cannot be taken for its profile: :attr:`SrtpRefused.why` (empty where it is not about
    SRTP) and a sentence. None if it can."""
    profile = media.protocol.upper()
    shown = f"the audio offered is {media.protocol[:32]}"
    if profile not in PLAIN_PROFILES + SECURE_PROFILES:
        if "TLS" in profile:
            return "dtls", f"{shown}, DTLS-SRTP is not spoken here; needed is RTP/AVP, or RTP/SAVP with a=crypto"
        return "", f"{shown}; needed is RTP/AVP"
    if srtp.mode == "off":
        return ("off", f"{shown}, SRTP is off here; needed is RTP/AVP") if profile in SECURE_PROFILES else None
    if (profile in PLAIN_PROFILES and srtp.mode == "opportunistic") or choose(media, srtp) is not None:
        return None
    if media.first("crypto") is None:
        if profile in PLAIN_PROFILES:
            return "plain", f"{shown} without a=crypto, SRTP is required"
        return "unusable", f"{shown} without a=crypto; needed is {_one_of(srtp.suites)}"
    return "unusable", f"{shown} without a usable a=crypto{_because(media)}; needed is {_one_of(srtp.suites)}"


def choose(media: MediaDescription, srtp: Srtp) -> CryptoLine | None:
    """The line of an offered m-line that we take; None for none."""
    if srtp.mode == "off":
        return None
    lines = [line for line in crypto_lines(media)[0] if line.key.suite in srtp.suites]
    return min(lines, key=lambda line: srtp.suites.index(line.key.suite), default=None)


def agree(line: CryptoLine, srtp: Srtp, before: Agreed | None) -> Agreed:
    """The keys of our answer that takes a line; ours are new where the peer's is."""
    if before is not None and line.key != before.receive:
        srtp.keys.renew()
    return Agreed(send=srtp.keys.of(line.key.suite), receive=line.key)


def answered_line(line: CryptoLine, agreed: Agreed) -> Attribute:
    """``a=crypto`` of our answer: their tag, our key (RFC 4568 5.1.2)."""
    return CryptoLine(tag=line.tag, key=agreed.send).attribute


def offered_lines(srtp: Srtp, profile: str) -> tuple[str, tuple[Attribute, ...]]:
    """Profile and crypto lines of an offer of ours.

    :param profile: of our description in force; empty before the first.
    """
    if profile.upper() not in (PLAIN_PROFILES if srtp.mode == "off" else PLAIN_PROFILES + SECURE_PROFILES):
        profile = SECURE_PROFILES[0] if srtp.mode != "off" and srtp.offer == "savp" else PLAIN_PROFILES[0]
    bare = profile.upper() not in SECURE_PROFILES and srtp.offer == "plain"
    if srtp.mode == "off" or bare:
        return profile, ()
    lines = (CryptoLine(tag=str(tag), key=srtp.keys.of(suite)) for tag, suite in enumerate(srtp.suites, 1))
    return profile, tuple(line.attribute for line in lines)


def read_answered(ours: MediaDescription, theirs: MediaDescription, required: bool) -> Agreed | None:
    """What an answer says to the crypto lines of our offer (RFC 4568 5.1.3).

    :return: None for plain RTP.
    :raise SrtpRefused: it names none of our lines, or there must be one and is none.
    """
    offers = {line.tag: line.key for line in crypto_lines(ours)[0]}
    secure = theirs.protocol.upper() in SECURE_PROFILES
    if theirs.first("crypto") is None:
        if secure or required:
            raise SrtpRefused("plain", "the answer has no a=crypto, SRTP is required")
        return None
    if not offers:
        if secure:
            raise SrtpRefused("unusable", "the answer has a=crypto, which we did not offer")
        return None
    for line in crypto_lines(theirs)[0]:
        mine = offers.get(line.tag.lstrip("0") or "0")
        if mine is not None and mine.suite == line.key.suite:
            return Agreed(send=mine, receive=line.key)
    raise SrtpRefused("unusable", f"the answer's a=crypto is none of those we offered{_because(theirs)}")


def settle(keys: Keys, before: Agreed | None, after: Agreed | None) -> None:
    """An exchange has ended: forget the keys that no context of ours may begin with again."""
    if after is None:
        if before is not None:
            keys.renew()
    elif before is None or before.suite != after.suite:
        keys.keep(after.suite)


def _because(media: MediaDescription) -> str:
    reasons = crypto_lines(media)[1]
    return f" ({', '.join(reasons[:4])})" if reasons else ""


def _one_of(suites: tuple[str, ...]) -> str:
    return ("one of " if len(suites) > 1 else "") + ", ".join(suites)
