"""Whose turn it is in a Realtime conversation: when to ask the model for a response, and when to stop one.

A conversation has one response at a time; asking for another meanwhile is an error. While the caller speaks nothing
is asked for either: the end of a turn brings a response by itself, which sees whatever was added before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from stellar_gw.dialects.contract import Frame
from stellar_gw.dialects.wire import encode

BUSY: Final = "conversation_already_has_active_response"
"""The error's code where a response was asked for during another."""
MAX_SILENCED: Final = 64

Frames = tuple[Frame, ...]


class Turns:
    """One conversation's.

    :ivar interrupts: whether the model's own speech detection stops a response when the caller speaks.
    :ivar responds: whether it starts one when the caller has spoken.
    """

    def __init__(self) -> None:
        self.interrupts = True
        self.responds = True
        self._active = False
        self._response = ""
        self._asked = ""
        self._requests = 0
        self._wanted = False
        self._speaking = False
        self._silenced: deque[str] = deque(maxlen=MAX_SILENCED)

    def want(self) -> Frames:
        """A response is wanted: now, or as soon as one can be."""
        self._wanted = True
        return self._ask()

    def created(self, response: str) -> Frames:
        """A response has begun."""
        ours = bool(self._asked)
        self._asked = ""
        self._active, self._response = True, response
        if not ours:
            self._wanted = False  # it sees everything that was added so far
        elif self._speaking:
            # The caller began to speak before our request arrived; nothing else will stop this one.
            self._silence((response,))
            return self._cancel()
        return ()

    def done(self, response: str) -> Frames:
        """A response is over, in whatever way."""
        if self._active and (not self._response or response in ("", self._response)):
            self._active, self._response = False, ""
        return self._ask()

    def speech_started(self, items: Iterable[str]) -> None:
        """The caller interrupts.

        :param items: whose audio is queued.
        """
        self._speaking = True
        self._silence(items)
        if self._active:
            self._silence((self._response,))

    def speech_stopped(self) -> Frames:
        self._speaking = False
        return () if self.responds else self._ask()

    def interrupted(self) -> Frames:
        """What was queued is gone: stop the response where the model does not do so itself."""
        return self._cancel() if self._active and self._speaking and not self.interrupts else ()

    def refused(self, request: str, code: str) -> None:
        """An error came.

        :param request: the ``event_id`` that it names; may be empty.
        """
        if code == BUSY and self._asked and request in ("", self._asked):
            # Its own speech detection was quicker. Ask again when that response is done.
            self._asked = ""
            self._wanted = self._active = True
        elif request and request == self._asked:
            self._asked = ""

    def silenced(self, response: str, item: str) -> bool:
        """Whether audio belongs to what was interrupted: some is always under way still."""
        return response in self._silenced or item in self._silenced

    def _ask(self) -> Frames:
        if not self._wanted or self._active or self._asked or self._speaking:
            return ()
        self._wanted = False
        self._requests += 1
        self._asked = f"response-{self._requests}"
        return (encode({"type": "response.create", "event_id": self._asked}),)

    def _cancel(self) -> Frames:
        which = {"response_id": self._response} if self._response else {}
        return (encode({"type": "response.cancel", **which}),)

    def _silence(self, names: Iterable[str]) -> None:
        self._silenced.extend(name for name in names if name and name not in self._silenced)
