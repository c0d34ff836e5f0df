"""Why an agent could not be reached, as a code and one line that says what to do about it."""

from __future__ import annotations

import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from stellar_gw.agent.request import Endpoint

CLOSE_NAMES: Final = {
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no status",
    1007: "invalid text",
    1008: "policy violation",
    1009: "message too big",
    1010: "extension missing",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}
"""RFC 6455 7.4.1 and the IANA registry beyond it."""

_STATUS_HINTS: Final = {
    400: "the agent does not take this request for a WebSocket one",
    401: "check the header Authorization of this agent and the secret it comes from",
    403: "check the header Authorization of this agent, and whether the agent allows our address",
    404: "check the URL's path",
    426: "the path is there but does not speak WebSocket",
    429: "the agent limits its calls",
    502: "a proxy is there, the agent behind it is not",
    503: "the agent is overloaded or not ready",
    504: "a proxy is there, the agent behind it does not answer",
}


@frozen
class Failure:
    """A code of :class:`stellar_gw.agent.link.LinkClosed` and its message.

    :ivar close_code: what the agent is told of it, where it still can be (RFC 6455 7.1.7); 0: nothing.
    """

    code: str
    message: str
    close_code: int = 0


def http_failure(endpoint: Endpoint, status: int, location: str = "") -> Failure:
    """Any answer to the upgrade request but 101."""
    if 300 <= status < 400:
        hint = f"redirects are not followed{_shown_location(location)}; configure the agent's final URL"
    else:
        hint = _STATUS_HINTS.get(status, "it must answer 101 (RFC 6455 4.2.2)")
    return Failure(f"http_{status}", f"{endpoint.origin} answered {status}: {hint}")


def connect_failure(endpoint: Endpoint, error: Exception) -> Failure:
    """An error of look-up, TCP or TLS."""
    origin = endpoint.origin
    if isinstance(error, socket.gaierror):
        return Failure("dns", f"{origin}: the host name does not resolve ({error.strerror})")
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return Failure("tls", f"{origin}: the certificate is not accepted: {reason}")
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "handshake failed").replace("_", " ").lower()
        return Failure("tls", f"{origin}: TLS failed ({reason}); does the port speak TLS?")
    if isinstance(error, ConnectionRefusedError):
        return Failure("refused", f"{origin} refused the connection; is the agent running there?")
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)):
        return Failure("lost", f"{origin} cut the connection before it answered the upgrade request")
    if isinstance(error, OSError):
        return Failure("refused", f"{origin} cannot be reached ({error.strerror or 'no route'})")
    return Failure("internal", f"{origin}: unexpected {type(error).__name__} while connecting")


def timeout_failure(endpoint: Endpoint, seconds: float, *, connected: bool) -> Failure:
    """The one timer over look-up, TCP, TLS and upgrade ran out."""
    what = "took the connection but did not finish the WebSocket handshake" if connected else "could not be connected"
    return Failure("timeout", f"{endpoint.origin} {what} within {seconds:g} s")


def closed_failure(endpoint: Endpoint, code: int, reason: str) -> Failure:
    """The agent's own close frame."""
    name = CLOSE_NAMES.get(code, "a code of its own")
    said = f", saying {printable(reason)!r}" if reason else ""
    return Failure(f"closed_{code}", f"{endpoint.origin} closed the link with {code} ({name}){said}")


def lost_failure(endpoint: Endpoint) -> Failure:
    return Failure("lost", f"{endpoint.origin} cut the connection without a close frame")


def silent_failure(endpoint: Endpoint, seconds: float) -> Failure:
    return Failure("unresponsive", f"{endpoint.origin} did not answer a ping within {seconds:g} s")


def unread_failure(endpoint: Endpoint, octets: int) -> Failure:
    return Failure("unresponsive", f"{endpoint.origin} does not read: over {octets} octets wait to be sent")


def oversize_failure(endpoint: Endpoint, octets: int) -> Failure:
    return Failure("oversize", f"{endpoint.origin} sent a message of more than {octets} octets", 1009)


def protocol_failure(endpoint: Endpoint, rule: str, close_code: int = 1002) -> Failure:
    return Failure("protocol", f"{endpoint.origin} broke the WebSocket protocol: {printable(rule)}", close_code)


def printable(text: str) -> str:
    """Remote text for one line of a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _shown_location(location: str) -> str:
    """Where a redirect leads, without path and query."""
    try:
        parts = urlsplit(location)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        return ""
    return f" (it leads to {printable(f'{parts.scheme}://{host}')})" if parts.scheme and host else ""
