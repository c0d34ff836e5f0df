"""What every message of a WebSocket passes on its way in and out: one frame, for each call and 20 ms.

Nothing but that is here, so that it may be compiled (:mod:`stellar_gw.compiled`). The library's objects are handed in,
and what is not a message in one frame is left to the link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from stellar_gw.agent.reading import Ration
from stellar_gw.dialects.contract import Frame

_log = Logger()


class Whole(Protocol):
    """A link, of which these are the messages (:class:`stellar_gw.agent.base_link.BaseLink`)."""

    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def abort(self) -> None: ...

    def baffled(self) -> None:
        """What a message was told to has raised, and the exception is at hand."""

    def unreadable(self) -> None:
        """A text is not UTF-8."""

    def unread(self) -> None:
        """More waits to be sent than may."""


class _Nothing:
    """The link of messages that is over."""

    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def abort(self) -> None: ...

    def baffled(self) -> None:
        _log.failure("the last message of an agent's could not be dealt with")

    def unreadable(self) -> None: ...
    def unread(self) -> None: ...


class Wire:
    """How a library sends, and what its frames say of themselves.

    :ivar send: sends a message in one frame, given one of the next two.
    :ivar text, binary: how it tells these apart, compared by identity.
    :ivar unsent: octets that wait to be sent.
    :ivar other: told of a frame that is not a message, or not all of one, or comes when none is wanted.
    """

    def __init__(
        self,
        send: Callable[..., object],
        text: object,
        binary: object,
        unsent: Callable[[], int],
        other: Callable[[Any], None],
    ) -> None:
        self.send = send
        self.text = text
        self.binary = binary
        self.unsent = unsent
        self.other = other


class Messages:
    """A link to whoever sends and closes (:class:`stellar_gw.agent.link.Link`).

    :param told: whom each message is told.
    :param ration: counts frames.
    :param most: octets that may wait to be sent.
    :ivar sending: the link is open: messages are sent, and told.
    :ivar fragmented: one is under way in fragments, and no other comes before its end.
    """

    def __init__(self, link: Whole, told: Callable[[Frame], None], ration: Ration, most: int) -> None:
        self._link: Whole = link
        self._told = told
        self._ration = ration
        self._most = most
        self._wire: Wire | None = None
        self.sending = False
        self.fragmented = False

    def go_by(self, wire: Wire) -> None:
        """The link has been opened."""
        self._wire = wire

    def over(self) -> None:
        """Nothing more of the link, and nothing more to it: they do not keep each other."""
        self.sending = False
        self._link = _NOTHING
        self._wire = None

    def frame(self, transport: Any, frame: Any) -> None:
        """A frame of the library's has come."""
        wire = self._wire
        if wire is None:  # nobody hears it; it has been read all the same
            self._ration.frames += 1
            return
        if not self.sending or self.fragmented or not frame.fin or frame.rsv1 or frame.rsv2 or frame.rsv3:
            wire.other(frame)
            return
        kind = frame.msg_type
        if kind is wire.text:
            try:
                message = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self._link.unreadable()
                return
        elif kind is wire.binary:
            message = frame.get_payload_as_bytes()
        else:
            wire.other(frame)
            return
        self._ration.frames += 1
        try:
            self._told(message)
        except Exception:
            self._link.baffled()

    # --- Link ------------------------------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        wire = self._wire
        if not self.sending or wire is None:
            return
        if isinstance(frame, str):
            try:
                wire.send(wire.text, frame)
            except UnicodeEncodeError:
                wire.send(wire.text, frame.encode(errors="replace"))
        else:
            wire.send(wire.binary, frame)
        if wire.unsent() > self._most:
            self._link.unread()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._link.close(code, reason)

    def abort(self) -> None:
        self._link.abort()


_NOTHING = _Nothing()
