"""Whether the kernel fast path that the configuration asks for is there, before the first call."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from stellar_gw.control.fastpath import MAX_FRAME, VERSION, FastPathFrameError, Welcome, decode_from_helper
from stellar_gw.errors import StellarError
from stellar_gw.patience import give

PATIENCE = 3.0
"""Seconds for the helper's first word."""


class _Listens(Int32StringReceiver):
    """Waits for the first frame."""

    MAX_LENGTH = MAX_FRAME
    noisy = False

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    def stringReceived(self, string: bytes) -> None:
        if not self.heard.called:
            self.heard.callback(string)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.heard.called:
            self.heard.errback(StellarError("it closes the connection: its log says why"))


async def check_helper(reactor: Any, path: str, ports: tuple[int, int]) -> None:
    """Ask the helper who it is.

    :param ports: the first, and the one after the last, that it must touch.
    :raise StellarError: what is wrong, and what to do.
    """
    try:
        why = await _first_word(reactor, path, ports)
    except Exception as reason:
        why = str(reason) or type(reason).__name__
    if why:
        raise StellarError(
            f"media.fast_path is nftables, and its helper cannot be used at {path}: {why}. Start "
            "stellar-gw-fastpath.service, whose log says what it lacks, or set media.fast_path: off"
        )


async def _first_word(reactor: Any, path: str, ports: tuple[int, int]) -> str:
    """What is wrong with it; empty where nothing is."""
    factory = Factory.forProtocol(_Listens)
    factory.noisy = False
    listens = await UNIXClientEndpoint(reactor, path, timeout=int(PATIENCE)).connect(factory)
    try:
        welcome = decode_from_helper(await give(reactor, PATIENCE, listens.heard))
    except CancelledError:
        return f"it says nothing within {PATIENCE:g} s"
    except FastPathFrameError:
        return "what listens there is something else"
    finally:
        listens.transport.abortConnection()
    if not isinstance(welcome, Welcome) or welcome.version != VERSION:
        return "it is of another version of stellar-gw"
    first, end = welcome.ports
    if not first <= ports[0] < ports[1] <= end:
        return f"it was started for ports {first} to {end - 1}, and media.ports are {ports[0]} to {ports[1] - 1}"
    return ""
