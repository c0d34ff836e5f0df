"""The ports of a leg that we dial, at the worker of its call: taken for an IP version, released for their numbers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from stellar_gw.call.ports import MediaPlane
from stellar_gw.control import messages


class LegPorts:
    """
    :param ports: of a leg that is there already, and stays when this is over.
    :param version: the IP version of these.
    :ivar ports: once there are any.
    :ivar version: 0: the worker's usual one.
    :ivar borrowed: they were there already.
    """

    def __init__(
        self, plane: MediaPlane, call_id: str, leg: str, ports: messages.Allocated | None, version: int
    ) -> None:
        self._plane, self._call_id, self._leg = plane, call_id, leg
        self.ports, self.version, self.borrowed = ports, version, ports is not None

    def take(self, version: int) -> Deferred[None]:
        """Take ports of an IP version, in place of any that there are."""

        def came(reply: messages.Reply) -> None:
            assert isinstance(reply, messages.Allocated)
            self.ports, self.version = reply, version

        asked = self._plane.ask(messages.Allocate(request=0, call=self._call_id, leg=self._leg, version=version))
        return asked.addCallback(came)

    def answered(self) -> Deferred[Any]:
        """The leg is up; whoever lent its ports has said so long ago."""
        if self.borrowed:
            return succeed(None)
        return self._plane.ask(messages.Answered(request=0, call=self._call_id, leg=self._leg))

    def release(self, cause: str) -> Deferred[messages.LegStatistics | None]:
        """Give them back; fires with their numbers, None where there are none of them."""
        if self.borrowed:
            return succeed(None)
        asked = self._plane.ask(messages.Release(request=0, call=self._call_id, leg=self._leg, cause=cause))
        return asked.addCallbacks(_numbers, lambda _: None)  # a lost worker's numbers are lost with it


def _numbers(reply: messages.Reply) -> messages.LegStatistics | None:
    return next(iter(reply.legs), None) if isinstance(reply, messages.Released) else None
