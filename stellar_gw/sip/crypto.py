"""``a=crypto`` lines: SDES keys in SDP (RFC 4568; the AEAD suites of RFC 7714 14.2).

Reading never raises: a line is a :class:`CryptoLine`, or a reason in words that never holds any of the key.
What we do not do is passed over for the next line: other suites, master key identifiers (MKI), several keys
in one line, and session parameters that change the packets (``KDR``, ``UNENCRYPTED_SRTP``, ...: RFC 4568
6.3). ``WSH`` is a hint to the receiver, and a parameter that begins with ``-`` may be ignored (6.3.6, 6.3.7).
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.sdp import Attribute, MediaDescription

AES_CM_128_HMAC_SHA1_80: Final = "AES_CM_128_HMAC_SHA1_80"
AES_CM_128_HMAC_SHA1_32: Final = "AES_CM_128_HMAC_SHA1_32"
AEAD_AES_128_GCM: Final = "AEAD_AES_128_GCM"
AEAD_AES_256_GCM: Final = "AEAD_AES_256_GCM"

KEY_OCTETS: Mapping[str, int] = MappingProxyType(
    {AES_CM_128_HMAC_SHA1_80: 30, AES_CM_128_HMAC_SHA1_32: 30, AEAD_AES_128_GCM: 28, AEAD_AES_256_GCM: 44}
)
"""Master key and master salt together: 16 + 14 octets (RFC 4568 6.2), 16 + 12 and 32 + 12 (RFC 7714 12)."""

MOST_LINES = 64
"""Of one m-line; what comes after them is not looked at. Nobody needs more than one for each suite and key length."""
MOST_PACKETS = 2**48
"""The longest life of a master key, in SRTP packets (RFC 3711 9.2, RFC 7714 12)."""

_TAG = re.compile(r"[0-9]{1,9}")
_KEY = re.compile(r"[A-Za-z0-9+/]{1,172}={0,2}")
_POWER = re.compile(r"2\^0?([1-9]|[1-3][0-9]|4[0-8])")
_DECIMAL = re.compile(r"[0-9]{1,15}")
_MKI = re.compile(r"[0-9]{1,40}:[0-9]{1,3}")


@frozen
class MasterKey:
    """A master key followed by its master salt (RFC 3711 3.2.1), for one suite.

    :raise LocalProtocolError: its length is not the suite's.
    """

    suite: str
    octets: bytes = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self.octets) != KEY_OCTETS.get(self.suite, -1):
            raise LocalProtocolError(f"a key of {len(self.octets)} octets for {self.suite}")


@frozen(kw_only=True)
class CryptoLine:
    """A line that we can use.

    :ivar tag: as it was written: an answer repeats it (RFC 4568 5.1.2).
    :ivar lifetime: how many packets its sender may send under the key; None for the suite's own limit. It binds
        the sender alone, and what phone systems write (2**31) is 497 days of audio, so nothing comes of it here.
    """

    tag: str
    key: MasterKey
    lifetime: int | None = None

    @property
    def attribute(self) -> Attribute:
        """The whole line, the key included: for SDP only."""
        inline = b64encode(self.key.octets).decode("ascii")
        lifetime = "" if self.lifetime is None else f"|{self.lifetime}"
        return "crypto", f"{self.tag} {self.key.suite} inline:{inline}{lifetime}"


@frozen
class Unusable:
    """A line that is passed over, and why; safe to log and to send."""

    reason: str


def read_crypto(value: str) -> CryptoLine | Unusable:
    """Read what follows ``a=crypto:`` (RFC 4568 9.1, 9.2)."""
    fields = value.split()
    if len(fields) < 3 or not _TAG.fullmatch(fields[0]):
        return Unusable("a malformed line")
    tag, suite, parameters, *session = fields
    suite = suite.upper()
    if suite not in KEY_OCTETS:
        return Unusable(f"tag {tag}: a suite that is not spoken here")
    method, colon, inline = parameters.partition(":")
    if not colon or method.lower() != "inline":
        return Unusable(f"tag {tag}: no inline key")
    if ";" in inline:
        return Unusable(f"tag {tag}: several keys")
    if any(map(_matters, session)):
        return Unusable(f"tag {tag}: session parameters that are not spoken here")
    return _read_inline(tag, suite, inline)


def _read_inline(tag: str, suite: str, inline: str) -> CryptoLine | Unusable:
    """``key||salt ["|" lifetime] ["|" MKI ":" length]`` (RFC 4568 6.1)."""
    text, *rest = inline.split("|")
    if rest and _MKI.fullmatch(rest[-1]):
        return Unusable(f"tag {tag}: an MKI")
    lifetime = None
    if rest:
        lifetime = _lifetime(rest[0])
        if lifetime is None or len(rest) > 1:
            return Unusable(f"tag {tag}: a malformed lifetime")
    octets = _octets(text)
    if octets is None or len(octets) != KEY_OCTETS[suite]:
        return Unusable(f"tag {tag}: a key that is not of {KEY_OCTETS[suite]} octets")
    return CryptoLine(tag=tag, key=MasterKey(suite, octets), lifetime=lifetime)


def _octets(text: str) -> bytes | None:
    """Base64; its padding may be left out (RFC 4568 6.1)."""
    if not _KEY.fullmatch(text):
        return None
    bare = text.rstrip("=")
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return None


def _lifetime(text: str) -> int | None:
    """Packets; None where it is none, or longer than a key may live: then the line does not count (RFC 4568 6.1)."""
    if power := _POWER.fullmatch(text):
        return 1 << int(power[1])
    packets = int(text) if _DECIMAL.fullmatch(text) else 0
    return packets if 0 < packets <= MOST_PACKETS else None


def _matters(parameter: str) -> bool:
    """Whether a session parameter stands in the way."""
    return not parameter.startswith("-") and parameter.partition("=")[0].upper() != "WSH"


def crypto_lines(media: MediaDescription) -> tuple[tuple[CryptoLine, ...], tuple[str, ...]]:
    """The lines of an m-line that we can use, in its order, and why we cannot use the others.

    A tag that comes twice is refused, every line of it: an answer could not say which one it takes (RFC 4568 4.1).
    """
    usable: list[CryptoLine] = []
    reasons: list[str] = []
    values = list(islice(media.values("crypto"), MOST_LINES))
    tags = Counter(_number(value) for value in values)
    for value in values:
        line = read_crypto(value)
        if isinstance(line, Unusable):
            reasons.append(line.reason)
        elif tags[_number(value)] > 1:
            reasons.append(f"tag {line.tag}: it comes twice")
        else:
            usable.append(line)
    return tuple(usable), tuple(dict.fromkeys(reasons))


def _number(value: str) -> int:
    """The tag as a number, for 01 is 1; -1 where there is none."""
    tag = _TAG.match(value)
    return int(tag[0]) if tag else -1
