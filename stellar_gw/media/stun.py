"""STUN messages (RFC 8489), as far as ICE's connectivity checks need them (RFC 8445 7).

Requests come from whoever likes to send them, so that reading never raises, and what is not protected by our password
is not believed. Credentials are short-term ones (RFC 8489 9.1): the key is the password itself.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from zlib import crc32

from attrs import field, frozen

COOKIE = 0x2112A442
BINDING = 1
REQUEST, INDICATION, SUCCESS, ERROR = range(4)
"""Classes (RFC 8489 5)."""
USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES = 0x0006, 0x0008, 0x0009, 0x000A
XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE = 0x0020, 0x0024, 0x0025
SOFTWARE, FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING = 0x8022, 0x8028, 0x8029, 0x802A
OPTIONAL = 0x8000
"""From here on attributes may be passed over by those who do not know them (RFC 8489 14)."""
LONGEST = 1280
"""Octets; a connectivity check has about 100."""
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_FINGERPRINT = 0x5354554E
_INTEGRITY_OCTETS = 20

Address = tuple[str, int]


@frozen(kw_only=True)
class StunMessage:
    """A message that is well-formed; nothing says yet that it is true.

    :ivar kind: its class, one of :data:`REQUEST` to :data:`ERROR`.
    :ivar attributes: type and value, in their order, up to the one that protects what is before it.
    :ivar octets: the datagram.
    """

    kind: int
    method: int
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...]
    octets: bytes = field(repr=False)
    _integrity: tuple[int, bytes] | None = None

    def first(self, kind: int) -> bytes | None:
        """The value of the first attribute of this type."""
        return next((value for known, value in self.attributes if known == kind), None)

    @property
    def protected(self) -> bool:
        return self._integrity is not None

    def is_from(self, password: bytes) -> bool:
        """Whether whoever wrote it knew the password (RFC 8489 14.5)."""
        if self._integrity is None:
            return False
        place, given = self._integrity
        return hmac.compare_digest(given, _integrity(self.octets[:place], password))

    @property
    def unknown(self) -> tuple[int, ...]:
        """Attributes that must be understood and are not."""
        known = (USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES, XOR_MAPPED_ADDRESS, PRIORITY)
        return tuple(kind for kind, _ in self.attributes if kind < OPTIONAL and kind not in (*known, USE_CANDIDATE))


def parse_stun(datagram: bytes) -> StunMessage | None:
    """None where it is no message of RFC 8489, or its fingerprint is wrong; one without a fingerprint will do."""
    if not _HEADER.size <= len(datagram) <= LONGEST or len(datagram) % 4:
        return None
    first, length, cookie, transaction = _HEADER.unpack_from(datagram)
    if first & 0xC000 or cookie != COOKIE or length != len(datagram) - _HEADER.size:
        return None
    attributes: list[tuple[int, bytes]] = []
    integrity: tuple[int, bytes] | None = None
    place = _HEADER.size
    while place < len(datagram):
        kind, size = _ATTRIBUTE.unpack_from(datagram, place)
        value = datagram[place + 4 : place + 4 + size]
        if len(value) < size:
            return None
        if kind == FINGERPRINT:
            # The last one (14.7); what follows it is not looked at.
            right = crc32(_with_length(datagram[:place], place + 8)) ^ _FINGERPRINT
            if size != 4 or value != right.to_bytes(4, "big"):
                return None
            break
        if kind == MESSAGE_INTEGRITY and integrity is None:
            if size != _INTEGRITY_OCTETS:
                return None
            integrity = place, value
        elif integrity is None:  # what comes after it is not protected by it (14.5)
            attributes.append((kind, value))
        place += 4 + (size + 3 & ~3)
    return StunMessage(
        kind=(first >> 7 & 2) | (first >> 4 & 1),
        method=(first >> 2 & 0xF80) | (first >> 1 & 0x70) | (first & 0xF),
        transaction=transaction,
        attributes=tuple(attributes),
        octets=datagram,
        integrity=integrity,
    )


def build_stun(
    kind: int,
    transaction: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    password: bytes | None = None,
    method: int = BINDING,
) -> bytes:
    """A message with FINGERPRINT, and with MESSAGE-INTEGRITY where there is a password."""
    body = b"".join(_attribute(name, value) for name, value in attributes)
    first = (method & 0xF80) << 2 | (method & 0x70) << 1 | method & 0xF | (kind & 2) << 7 | (kind & 1) << 4
    message = _HEADER.pack(first, len(body), COOKIE, transaction) + body
    if password is not None:
        message += _attribute(MESSAGE_INTEGRITY, _integrity(message, password))
    message = _with_length(message, len(message) + 8)
    return message + _attribute(FINGERPRINT, (crc32(message) ^ _FINGERPRINT).to_bytes(4, "big"))


def xor_address(address: Address, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489 14.2)."""
    host, port = ip_address(address[0]), address[1]
    mask = COOKIE.to_bytes(4, "big") + transaction
    family = 1 if isinstance(host, IPv4Address) else 2
    hidden = bytes(left ^ right for left, right in zip(host.packed, mask, strict=False))
    return struct.pack("!xBH", family, port ^ COOKIE >> 16) + hidden


def read_xor_address(value: bytes, transaction: bytes) -> Address | None:
    """The address in XOR-MAPPED-ADDRESS."""
    size = {1: 8, 2: 20}.get(value[1] if len(value) > 1 else 0)
    if size != len(value):
        return None
    mask = COOKIE.to_bytes(4, "big") + transaction
    packed = bytes(left ^ right for left, right in zip(value[4:], mask, strict=False))
    host = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    return str(host), int.from_bytes(value[2:4], "big") ^ COOKIE >> 16


def error_code(status: int, reason: str) -> bytes:
    """The value of ERROR-CODE (RFC 8489 14.8)."""
    return struct.pack("!xxBB", status // 100, status % 100) + reason.encode("utf-8")


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _integrity(before: bytes, password: bytes) -> bytes:
    """HMAC-SHA1 of what comes before the attribute, as if the message ended with that."""
    return hmac.digest(password, _with_length(before, len(before) + 4 + _INTEGRITY_OCTETS), "sha1")


def _with_length(message: bytes, length: int) -> bytes:
    return message[:2] + (length - _HEADER.size).to_bytes(2, "big") + message[4:]
