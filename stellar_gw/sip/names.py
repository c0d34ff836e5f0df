"""Everything a core has to invent: tags, branches, Call-IDs, and its own addresses in Via and Contact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from hmac import compare_digest

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.flow import Flow, Listener
from stellar_gw.sip.message import Request
from stellar_gw.sip.params import NO_PARAMS, Params
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import MAGIC_COOKIE, Via

_RPORT = Params([("rport", None)])


class Names:
    """Unguessable names from a source of randomness; those that must come back unchanged carry a keyed hash.

    :param rng: returns so many random octets.
    """

    def __init__(self, listeners: Mapping[str, Listener], rng: Callable[[int], bytes]) -> None:
        self._listeners = listeners
        self._rng = rng
        self._key = rng(32)

    def tag(self) -> str:
        """A 64-bit tag, so that its echo proves the path (RFC 3261 19.3 asks for 32)."""
        return self._rng(8).hex()

    def call_id(self) -> str:
        return self._rng(16).hex()

    def branch(self) -> str:
        """A branch that :meth:`is_own_branch` knows again."""
        nonce = self._rng(8).hex()
        return f"{MAGIC_COOKIE}{nonce}{self._hash(nonce)}"

    def is_own_branch(self, branch: str | None) -> bool:
        """Whether this core made it: a request that brings it back has gone round in a loop (8.2.2.2)."""
        if branch is None or len(branch) != len(MAGIC_COOKIE) + 32:
            return False
        nonce, seal = branch[7:23], branch[23:]
        return seal.isascii() and compare_digest(self._hash(nonce), seal)

    def stateless_tag(self, request: Request) -> str:
        """The To tag of an answer that leaves no state behind: the same for the same request (8.2.7)."""
        names = (request.call_id, request.from_.tag or "", str(request.cseq.number), request.via.branch or "")
        return self._hash("\n".join(names))

    def below(self, bound: int) -> int:
        """A random number from 0 to bound - 1, ``bound`` well below 2**32."""
        return int.from_bytes(self._rng(4), "big") % bound

    def listener(self, flow: Flow) -> Listener:
        """
        :raise LocalProtocolError: the flow belongs to no listener of ours.
        """
        listener = self._listeners.get(flow.listener)
        if listener is None:
            raise LocalProtocolError(f"flow {flow.id} belongs to no listener: {flow.listener!r}")
        return listener

    def via(self, flow: Flow, branch: str) -> Via:
        """Our Via on that flow; rport is always asked for (RFC 3581)."""
        host, port = self.listener(flow).advertise
        return Via(flow.transport.upper(), host, port, _RPORT.with_("branch", branch))

    def contact(self, flow: Flow, user: str, *, sips: bool = False) -> SipUri:
        """Where requests of a dialog reach us: at the flow's listener, by its transport.

        :param sips: only for a request that was sips itself; TLS alone is written as a transport (RFC 5630 3.3).
        """
        host, port = self.listener(flow).advertise
        if sips:
            return SipUri(scheme="sips", user=user, host=host, port=port)
        params = NO_PARAMS if flow.transport == "udp" else Params([("transport", flow.transport)])
        return SipUri(user=user, host=host, port=port, params=params)

    def _hash(self, text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogateescape"), key=self._key, digest_size=8).hexdigest()
