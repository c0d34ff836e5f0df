"""Why a connection failed or ended, in words."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import (
    ConnectBindError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.python.failure import Failure


def failed_because(failure: Failure) -> str:
    """Why a connection of ours did not come about, for people."""
    error = failure.value
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, (TimeoutError, TCPTimedOutError)):
        return "no answer to the connection attempt"
    if isinstance(error, NoRouteError):
        return "no route to that address"
    if isinstance(error, ConnectBindError):
        return f"cannot connect from the listener's address: {error.osError or error}"
    if isinstance(error, ConnectingCancelledError):
        return "given up"
    return lost_because(failure)


def lost_because(reason: Failure) -> str:
    """In words, and without OpenSSL's lists."""
    error = reason.value
    if isinstance(error, SSL.Error):
        stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return f"TLS: {stack[-1][-1]}" if stack and stack[-1] else "TLS: closed by the peer"
    return str(error).rstrip(".") or type(error).__name__
