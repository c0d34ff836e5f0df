"""What caller and target hear while a transfer is under way: ringback, music, a question, each other."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.ports import Caller
from stellar_gw.control import messages
from stellar_gw.control.messages import Binding, Direction


class Sounds:
    """
    :param failed: told why, where the worker does not do as it is told.
    :ivar diverted: the caller hears something other than the agent.
    """

    def __init__(self, target: Target, caller: Caller, failed: Callable[[str], None]) -> None:
        self._target, self._caller, self._failed = target, caller, failed
        self.diverted = False

    def divert(self) -> None:
        """The caller hears that it rings, or music, and not the agent."""
        if self._target.while_ringing == "music" and self._target.music:
            self._bind_caller(Binding(leg="caller", source="file", file=self._target.music))
        else:
            self._bind_caller(Binding(leg="caller", source="tone", tone="ringback"))

    def take_early_media(self) -> None:
        """The caller hears what the target's phone system plays while it rings, where it is to hear ringback."""
        if self._target.while_ringing == "ringback":
            self._bind_caller(Binding(leg="caller", source="leg", peer="target"))

    def ask(self, file: str) -> None:
        """Whoever has answered hears this."""
        self._tell_failure(self._rebind(Binding(leg="target", source="file", file=file)))

    def bridge(self, joined: Callable[[], None]) -> None:
        """Caller and target hear each other; ``joined`` is called when they do."""
        self.diverted = True
        asked = self._caller.ask(messages.bridge(self._caller.call_id))
        asked.addCallbacks(lambda _: joined(), lambda failure: self._failed(str(failure.value)))

    def give_back(self) -> None:
        """The caller hears the agent again."""
        if self.diverted:
            back = self._rebind(Binding(leg="caller", source="agent", agent_hears=True))
            back.addErrback(lambda _: None)  # a worker that is lost ends the call by itself
            self.diverted = False

    def _bind_caller(self, binding: Binding) -> None:
        self.diverted = True
        self._tell_failure(self._rebind(binding))

    def _rebind(self, binding: Binding) -> Deferred[messages.Reply]:
        return self._caller.ask(messages.Rebind(request=0, call=self._caller.call_id, bindings=(binding,)))

    def _tell_failure(self, asked: Deferred[messages.Reply]) -> None:
        asked.addErrback(lambda failure: self._failed(str(failure.value)))


_MIRRORED: dict[Direction, Direction] = {"recvonly": "sendonly", "sendonly": "recvonly"}


def passed_on(hold: Direction, direction: Direction) -> Direction:
    """What to offer one leg when the other's direction, as ours, has become this.

    A leg that holds us and plays music (ours: ``recvonly``) has us send that music on and hear nothing there.

    :param hold: how that leg's system is held: one that knows ``inactive`` only gets no music.
    """
    offered = _MIRRORED.get(direction, direction)
    return hold if offered == "sendonly" else offered
