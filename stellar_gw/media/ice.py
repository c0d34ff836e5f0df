"""ICE-lite (RFC 8445 2.5): a leg that has one candidate, its own address, and only answers connectivity checks.

Our side never sends a check. The peer, which is the controlling one because we are lite (6.1.1), tries its candidates
until one is answered, and nominates it; that is where media goes then, and from where it is heard.
"""

from __future__ import annotations

import hmac

from attrs import field, frozen

from stellar_gw.media.stun import (
    BINDING,
    ERROR,
    ERROR_CODE,
    ICE_CONTROLLED,
    REQUEST,
    SUCCESS,
    UNKNOWN_ATTRIBUTES,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    Address,
    StunMessage,
    build_stun,
    error_code,
    parse_stun,
    xor_address,
)


@frozen(kw_only=True)
class IceCredentials:
    """One side's user fragment and password (RFC 8839 5.4), of one ICE session."""

    ufrag: str
    password: str = field(repr=False)


@frozen(kw_only=True)
class Checked:
    """What became of a datagram.

    :ivar answer: to be sent back where it came from; None for nothing.
    :ivar valid: it was a check of the peer's, who is there.
    :ivar nominated: its source is where the peer wants to talk from now on.
    """

    answer: bytes | None = None
    valid: bool = False
    nominated: bool = False


NOTHING = Checked()


class IceLite:
    """One leg's, of one ICE session; the same for RTP and RTCP.

    :ivar nominated: where the peer wants RTP to go; None before it has said so.
    :ivar rejected: datagrams that were no check of the peer's.
    """

    def __init__(self, ours: IceCredentials) -> None:
        self.ours = ours
        self._key = ours.password.encode()
        self.nominated: Address | None = None
        self.rejected = 0

    def receive(self, datagram: bytes, source: Address) -> Checked:
        """A STUN datagram that came to the leg (RFC 8445 7.3, RFC 8489 6.3 and 9.1.3)."""
        message = parse_stun(datagram)
        if message is None or message.kind != REQUEST or message.method != BINDING:
            self.rejected += 1  # a response, to nothing of ours; indications only keep NATs open
            return NOTHING
        name = message.first(USERNAME)
        if not message.protected or name is None:
            return self._refuse(message, 400, "Bad Request")
        # Of their own fragment peers are not always sure after a restart; ours is what says whom they mean.
        if not hmac.compare_digest(name.partition(b":")[0], self.ours.ufrag.encode()) or not message.is_from(self._key):
            return self._refuse(message, 401, "Unauthorized")
        if unknown := message.unknown:
            listed = b"".join(kind.to_bytes(2, "big") for kind in unknown[:16])
            return self._refuse(message, 420, "Unknown Attribute", self._key, (UNKNOWN_ATTRIBUTES, listed))
        if message.first(ICE_CONTROLLED) is not None:
            return self._refuse(message, 487, "Role Conflict", self._key)
        mapped = XOR_MAPPED_ADDRESS, xor_address(source, message.transaction)
        answer = build_stun(SUCCESS, message.transaction, (mapped,), self._key)
        return Checked(answer=answer, valid=True, nominated=message.first(USE_CANDIDATE) is not None)

    def _refuse(
        self,
        message: StunMessage,
        status: int,
        reason: str,
        key: bytes | None = None,
        *more: tuple[int, bytes],
    ) -> Checked:
        """An error response; protected where the request was (RFC 8489 9.1.4)."""
        self.rejected += 1
        attributes = ((ERROR_CODE, error_code(status, reason)), *more)
        return Checked(answer=build_stun(ERROR, message.transaction, attributes, key))
