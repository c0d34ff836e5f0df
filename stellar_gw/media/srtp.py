"""SRTP and SRTCP of one leg (RFC 3711, RFC 7714), by libsrtp; keys come from SDES (RFC 4568).

Theory of operation. A context is one master key with all that hangs on it: session keys, and for each SSRC the
roll-over counter and the replay window. A new key is a new context; a key that stays keeps its context, counters
included, through any number of offers and answers, and so does one that comes back (after music from elsewhere, say):
begun anew it would take old packets again, and none of a stream whose numbers have wrapped. What the peer sends under
its old key is still on the way when the new one is agreed on, so both are held until the first packet under the new
one (the same when SRTP is given up for plain RTP: the first packet that the old key does not open).

Nothing here raises on what a peer sends, and what cannot be authenticated leaves no trace but a count: libsrtp
makes a stream for an SSRC only after a packet of it was authenticated.

Packets that are only passed on are deciphered and enciphered where they are, in the worker's one buffer
(:mod:`stellar_gw.media.srtp_in_place`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from attrs import field, frozen
from pylibsrtp import Error, Policy, Session
from pylibsrtp._binding import ffi

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.srtp_in_place import InPlace, deciphered, enciphered
from stellar_gw.media.workspace import Workspace

REPLAY_WINDOW = 128
"""Packets (RFC 3711 3.3.2 asks for 64 at least)."""
LONGEST = 1500
"""Octets of a datagram that libsrtp's binding takes, in or out."""
MOST_KEYS = 4
"""Of each side's last keys whose contexts are kept: there is one for each suite in an offer, and each may be taken."""
MOST_SSRCS = 256
"""Of one context and direction: each costs memory, and even a peer that has the key must not cost us all of it."""
_LONGEST_TRAILER = 148
"""Octets that the binding wants free behind what is protected."""

_PROFILES = MappingProxyType(
    {
        "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30, 10),
        "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30, 4),
        "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28, 16),
        "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44, 16),
    }
)
"""libsrtp's profile of a suite, the octets of master key and master salt together, and those of its tag."""


@frozen
class SrtpKey:
    """A suite with its master key and master salt.

    :raise LocalProtocolError: there is no such suite, or the key is not as long as it must be.
    """

    suite: str
    octets: bytes = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if self.suite not in _PROFILES:
            raise LocalProtocolError(f"no SRTP suite {self.suite[:64]}")
        if len(self.octets) != _PROFILES[self.suite][1]:
            raise LocalProtocolError(f"a key of {len(self.octets)} octets for {self.suite}")


_addresses: WeakKeyDictionary[Workspace, Any] = WeakKeyDictionary()


def _address(workspace: Workspace) -> Any:
    """Where a workspace is, for libsrtp; one for all as well."""
    found = _addresses.get(workspace)
    if found is None:
        found = _addresses[workspace] = ffi.from_buffer(workspace.buffer)
    return found


class _Context:
    """One key in one direction."""

    def __init__(self, key: SrtpKey, ssrc_type: int) -> None:
        self.key = key
        policy = Policy(key=key.octets, ssrc_type=ssrc_type, srtp_profile=_PROFILES[key.suite][0])
        policy.window_size = REPLAY_WINDOW
        policy.allow_repeat_tx = False
        session = self._session = Session(policy)
        self.tag = _PROFILES[key.suite][2]
        self._ssrcs: set[bytes] = set()
        self.protect = self._bounded(session.protect, 8)
        self.protect_rtcp = self._bounded(session.protect_rtcp, 4)
        self.unprotect = self._bounded(session.unprotect, 8)
        self.unprotect_rtcp = self._bounded(session.unprotect_rtcp, 4)

    def _bounded(self, transform: Callable[[bytes], bytes], at: int) -> Callable[[bytes], bytes | None]:
        """``transform`` that returns None where it cannot, for at most :data:`MOST_SSRCS`.

        :param at: where the SSRC begins.
        """
        ssrcs = self._ssrcs

        def bounded(datagram: bytes) -> bytes | None:
            ssrc = datagram[at : at + 4]
            if ssrc not in ssrcs and len(ssrcs) >= MOST_SSRCS:
                return None
            try:
                transformed = transform(datagram)
            except (Error, ValueError):
                return None
            ssrcs.add(ssrc)
            return transformed

        return bounded

    @property
    def handle(self) -> Any:
        """Of libsrtp; good for as long as this context is."""
        return self._session._srtp[0]


class _Contexts:
    """One side's, by key: one that comes back is taken up where it was. Begun anew ours would encipher two packets
    alike, and the peer's take old ones again."""

    def __init__(self, ssrc_type: int) -> None:
        self._ssrc_type = ssrc_type
        self._kept: dict[SrtpKey, _Context] = {}

    def __contains__(self, key: SrtpKey) -> bool:
        return key in self._kept

    def of(self, key: SrtpKey) -> _Context:
        found = self._kept.pop(key, None) or _Context(key, self._ssrc_type)
        self._kept[key] = found  # the last one
        if len(self._kept) > MOST_KEYS:
            del self._kept[next(iter(self._kept))]
        return found


@frozen
class Transform:
    """How packets of one context are deciphered or enciphered where they are.

    ``apply(handle, address, octets)`` does it, one function for all: with a function for each context a packet would
    have to fetch that from memory first.

    :ivar tag: octets by which they are then shorter or longer.
    :ivar failed: to be told of those that cannot be.
    :ivar context: to be kept for as long as the handle is used.
    """

    apply: InPlace
    handle: Any
    address: Any
    tag: int
    failed: Callable[[], None]
    context: object


def _transform(apply: InPlace, context: _Context, workspace: Workspace, failed: Callable[[], None]) -> Transform:
    return Transform(apply, context.handle, _address(workspace), context.tag, failed, context)


class Srtp:
    """One leg's SRTP, both ways; until :meth:`set_keys` everything passes as it is.

    :ivar rejected: datagrams of the peer's address or of anybody that were not authentic, or came twice.
    :ivar unsent: datagrams of ours that could not be protected.
    """

    def __init__(self) -> None:
        self._ours = _Contexts(Policy.SSRC_ANY_OUTBOUND)
        self._theirs = _Contexts(Policy.SSRC_ANY_INBOUND)
        self._out: _Context | None = None
        self._in: _Context | None = None
        self._old: _Context | None = None
        self.rejected = 0
        self.unsent = 0

    @property
    def active(self) -> bool:
        """What comes in must be authentic."""
        return self._in is not None

    @property
    def suite(self) -> str:
        """Of what we send; empty where it is plain."""
        return self._out.key.suite if self._out is not None else ""

    @property
    def settled(self) -> bool:
        """What comes in is under one key, or plain."""
        return self._old is None

    def opener(self, workspace: Workspace) -> Transform | None:
        """For packets of a stream that was heard, while :attr:`settled` and until new keys; None: they are plain."""
        current = self._in
        return None if current is None else _transform(deciphered, current, workspace, self._reject)

    def sealer(self, workspace: Workspace) -> Transform | None:
        """For packets of a stream of ours that has begun, until new keys; None: they are plain."""
        current = self._out
        return None if current is None else _transform(enciphered, current, workspace, self._fail)

    def _reject(self) -> None:
        self.rejected += 1

    def _fail(self) -> None:
        self.unsent += 1

    def set_keys(self, send: SrtpKey | None, receive: SrtpKey | None) -> bool:
        """What offer and answer agreed on; None in both for plain RTP. What stays the same goes on as it was.

        :return: whether a context of ours begins, of which the peer has heard nothing yet.
        """
        begins = send is not None and send not in self._ours
        self._out = None if send is None else self._ours.of(send)
        current = self._in
        if receive != (None if current is None else current.key):
            self._in = None if receive is None else self._theirs.of(receive)
            self._old = current
        return begins

    def unprotect(self, datagram: bytes) -> bytes | None:
        """The RTP packet in an SRTP packet; None where it is not authentic, or was there before. Never raises."""
        current = self._in
        if current is not None:
            packet = current.unprotect(datagram)
            if packet is not None:
                self._old = None
                return packet
            if self._old is not None:
                packet = self._old.unprotect(datagram)
                if packet is not None:
                    return packet
            self.rejected += 1
            return None
        if self._old is not None:
            return self._was_protected(datagram, self._old.unprotect)
        return datagram

    def unprotect_rtcp(self, datagram: bytes) -> bytes | None:
        """The same of SRTCP."""
        current = self._in
        if current is not None:
            packet = current.unprotect_rtcp(datagram)
            if packet is None and self._old is not None:
                packet = self._old.unprotect_rtcp(datagram)
            if packet is None:
                self.rejected += 1
            return packet
        packet = None if self._old is None else self._old.unprotect_rtcp(datagram)
        return datagram if packet is None else packet

    def _was_protected(self, datagram: bytes, unprotect: Callable[[bytes], bytes | None]) -> bytes:
        """Plain RTP is agreed on; the peer's last encrypted packets may still come."""
        packet = unprotect(datagram)
        if packet is not None:
            return packet
        self._old = None
        return datagram

    def protect(self, datagram: bytes) -> bytes | None:
        """An RTP packet of ours as it goes out; None where it cannot be protected: then it must not go out."""
        if self._out is None:
            return datagram
        protected = self._out.protect(datagram)
        self.unsent += protected is None
        return protected

    def protect_rtcp(self, datagram: bytes) -> bytes | None:
        """The same of a compound RTCP packet."""
        if self._out is None:
            return datagram
        protected = self._out.protect_rtcp(datagram)
        self.unsent += protected is None
        return protected
