"""The worker's end of the kernel fast path: what it asks the privileged helper for, and what it is told.

Without the helper calls go on in user space; it is dialled again until it is there.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.application.internet import ClientService
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from stellar_gw.control.fastpath import (
    MAX_FRAME,
    CloseBridge,
    Closed,
    Counts,
    FastLeg,
    FastPathFrameError,
    OpenBridge,
    Opened,
    Refused,
    Tally,
    Welcome,
    decode_from_helper,
    encode_frame,
)
from stellar_gw.patience import Patience

DIAL_AGAIN = (0.5, 5.0)
"""Seconds: the first and the longest delay before the helper is dialled again."""
PATIENCE = 0.5
"""Seconds that a bridge's end may take."""
_log = Logger()


class BridgeListener(Protocol):
    """Whom the fast path of one bridge tells what becomes of it."""

    def opened(self) -> None:
        """From now on, and perhaps for a moment already, the kernel passes packets on."""

    def refused(self, reason: str) -> None:
        """It never does."""

    def counted(self, legs: tuple[Tally, Tally]) -> None:
        """What has passed so far, every second."""

    def closed(self, legs: tuple[Tally, Tally] | None) -> None:
        """It does no longer: the last word, None where there is none because the helper is gone."""


class HelperChannel(Int32StringReceiver):
    """One connection to the helper."""

    MAX_LENGTH = MAX_FRAME
    noisy = False

    def __init__(self, owner: FastPath) -> None:
        self._owner = owner

    def stringReceived(self, string: bytes) -> None:
        try:
            message = decode_from_helper(string)
        except FastPathFrameError as reason:
            _log.error("the helper of the fast path sent what cannot be read: {reason}", reason=str(reason))
            self.abort()
            return
        self._owner.told(self, message)

    def send(self, message: OpenBridge | CloseBridge) -> None:
        cast(ITCPTransport, self.transport).write(encode_frame(message))

    def abort(self) -> None:
        cast(ITCPTransport, self.transport).abortConnection()

    def lengthLimitExceeded(self, length: int) -> None:
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._owner.lost(self)


class FastPath:
    """
    :ivar available: the helper is there.
    """

    def __init__(self) -> None:
        self._channel: HelperChannel | None = None
        self._dialler: ClientService | None = None
        self._reactor: Any = None
        self._bridges: dict[int, BridgeListener] = {}
        self._next = 0

    @property
    def available(self) -> bool:
        return self._channel is not None

    def start(self, reactor: Any, path: str) -> None:
        """Dial the helper, again and again."""
        if self._dialler is None:
            self._reactor = reactor
            factory = Factory.forProtocol(lambda: HelperChannel(self))
            factory.noisy = False
            endpoint = UNIXClientEndpoint(reactor, path, timeout=5)
            self._dialler = ClientService(endpoint, factory, retryPolicy=_retry)
            self._dialler.startService()

    def stop(self) -> None:
        if self._dialler is not None:
            self._dialler.stopService()

    # --- for bridges ----------------------------------------------------------------------------

    def open(self, payload_type: int, legs: tuple[FastLeg, FastLeg], listener: BridgeListener) -> int:
        """Ask for a bridge; its number.

        Only while :attr:`available`.
        """
        assert self._channel is not None
        self._next += 1
        self._bridges[self._next] = listener
        self._channel.send(OpenBridge(request=self._next, bridge=self._next, payload_type=payload_type, legs=legs))
        return self._next

    def close(self, bridge: int) -> None:
        """No packets by the kernel any more; ``closed`` follows, or ``refused`` where it was on its way."""
        if self._channel is not None and bridge in self._bridges:
            self._channel.send(CloseBridge(request=bridge, bridge=bridge))
            Patience(self._reactor, PATIENCE, self._overdue, bridge)

    def _overdue(self, bridge: int) -> None:
        if bridge in self._bridges and self._channel is not None:
            _log.error("the helper of the kernel fast path does not answer: its connection is cut")
            self._channel.abort()

    # --- what the channel tells -----------------------------------------------------------------

    def told(self, channel: HelperChannel, message: Welcome | Opened | Closed | Refused | Counts) -> None:
        match message:
            case Welcome():
                self._channel = channel
                _log.info("the helper of the kernel fast path is there")
            case Opened(bridge=bridge) if bridge in self._bridges:
                self._bridges[bridge].opened()
            case Refused(bridge=bridge, reason=reason) if bridge in self._bridges:
                self._bridges.pop(bridge).refused(reason)
            case Closed(bridge=bridge, legs=legs) if bridge in self._bridges:
                self._bridges.pop(bridge).closed(legs)
            case Counts(bridges=bridges):
                for bridge, one, two in bridges:
                    listener = self._bridges.get(bridge)
                    if listener is not None:
                        listener.counted((one, two))
            case _:
                pass

    def lost(self, channel: HelperChannel) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        bridges, self._bridges = self._bridges, {}
        _log.warn("the helper of the kernel fast path is gone: {count} bridges go on in user space", count=len(bridges))
        for listener in bridges.values():
            listener.closed(None)


def _retry(attempts: int) -> float:
    first, longest = DIAL_AGAIN
    return min(first * 2.0 ** min(attempts, 10), longest)
