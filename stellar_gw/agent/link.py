"""What a link to an agent is, whatever carries it.

A :class:`Connector` opens a :class:`Link` and returns at once. What happens afterwards is told to the
:class:`LinkEvents` handed in: ``link_opened`` at most once, then any number of ``link_received``, and
``link_closed`` exactly once and last. No event is delivered from inside ``connect``, ``send``, ``close`` or
``abort``: the caller of those never meets itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import field, frozen

from stellar_gw.dialects.contract import Frame


@frozen(kw_only=True)
class LinkLimits:
    """What a link may cost; times in seconds, sizes in octets.

    :ivar connect_timeout: over DNS, connect, TLS and upgrade together.
    :ivar ping_interval: how often the agent is pinged.
    :ivar ping_timeout: how long an agent may take to answer a ping before it is taken for dead.
    :ivar close_timeout: how long an agent may take to answer our close before the connection is cut.
    :ivar max_message: the longest message accepted from the agent, its fragments together.
    :ivar max_buffered: how much may wait to be sent to an agent that does not read.
    """

    connect_timeout: float = 3.0
    ping_interval: float = 5.0
    ping_timeout: float = 5.0
    close_timeout: float = 1.0
    max_message: int = 1 << 20
    max_buffered: int = 1 << 20


@frozen
class LinkClosed:
    """Why a link is over, or why it never came to be.

    :ivar code: ``timeout``, ``refused``, ``dns``, ``tls``, ``http_<status>``, ``closed_<WebSocket close code>``,
        ``lost``, ``unresponsive``, ``oversize``, ``protocol``, ``invalid_url``, ``invalid_header``,
        ``cancelled`` (we closed or aborted it) or ``internal`` (a bug of ours).
    :ivar message: one line for the operator, with what to do about it; no secret, no query string.
    :ivar established: whether ``link_opened`` had been told.
    :ivar clean: the agent ended the conversation as it should (close code 1000 or none at all, RFC 6455 7.4.1).
    """

    code: str
    message: str
    established: bool
    clean: bool = False


class LinkEvents(Protocol):
    """Whom a link tells what happens."""

    def link_opened(self, connect_ms: float) -> None:
        """The agent is there; ``connect_ms`` after ``connect`` was called."""

    def link_received(self, frame: Frame) -> None:
        """A whole message of the agent's: text as ``str``, binary as ``bytes``."""

    def link_closed(self, closed: LinkClosed) -> None:
        """Nothing comes after this."""


class Link(Protocol):
    """One conversation with one agent."""

    def send(self, frame: Frame) -> None:
        """Send one message; ignored before the link is open and after it was closed."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye (RFC 6455 7.1.2) and cut the connection after ``close_timeout``.

        While connecting: give up, and leave no connection behind. What the agent still sends is dropped; after 1008,
        by which it is told that it broke the rules, it is not even read.
        Repeating it, or closing what is over, does nothing.
        """

    def abort(self) -> None:
        """Cut the connection now."""


@frozen(kw_only=True)
class Target:
    """Where an agent is and what the request to it carries; no part of it is ever shown.

    :ivar url: ``ws://``, ``wss://`` or ``builtin:``.
    :ivar headers: sent with the upgrade request, in order.
    :ivar subprotocol: offered in Sec-WebSocket-Protocol, and then required of the answer; empty: none.
    :ivar options: of a built-in agent (``file``, ``then``).
    """

    url: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    subprotocol: str = ""
    options: dict[str, str] = field(factory=dict)


class Connector(Protocol):
    """Opens links."""

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        """Start connecting; whatever is wrong with the target, too, is told by ``link_closed``."""
