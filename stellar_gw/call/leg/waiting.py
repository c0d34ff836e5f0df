"""The one thing that a leg waits for: a worker's ports, the way to its next hop, a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Thing = TypeVar("_Thing")


class Waiting:
    """
    :param then: called after whatever has come, or failed to.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._asked: Deferred[Any] | None = None

    def wait(self, asked: Deferred[_Thing], done: Callable[[_Thing], None], failed: Callable[[Failure], None]) -> None:
        """Wait for it, until something else is waited for or nothing any more."""
        self._asked = asked

        def came(result: _Thing) -> None:
            if self._asked is asked:
                self._asked = None
                done(result)
                self._then()

        def missed(failure: Failure) -> None:
            if self._asked is asked:
                self._asked = None
                failed(failure)
                self._then()

        asked.addCallbacks(came, missed)

    def stop(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
