"""Links to the built-in agents: no socket, the agent lives in the worker.

What either side says is passed on in the reactor's next turn, so nothing is told from inside a call, as over a
socket. The agents themselves are in :mod:`stellar_gw.agent.builtin_agents`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from stellar_gw.agent.builtin_agents import BuiltinAgent, InvalidOptionError, make_agent
from stellar_gw.agent.link import Connector, Link, LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.dialects.builtin import to_agent
from stellar_gw.dialects.contract import Frame

SCHEME = "builtin:"


class BuiltinConnector:
    """Opens links to ``builtin:<name>``.

    :param clock: the worker's reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        try:
            agent = make_agent(target.url.removeprefix(SCHEME), target.options)
        except InvalidOptionError as error:
            link = _BuiltinLink(self._clock, None, events)
            link.refuse(LinkClosed("invalid_url", str(error), established=False))
            return link
        link = _BuiltinLink(self._clock, agent, events)
        link.open()
        return link


class _Step(Protocol):
    def __call__(self) -> None: ...


class _BuiltinLink:
    """One conversation with one built-in agent."""

    log = Logger()

    def __init__(self, clock: IReactorTime, agent: BuiltinAgent | None, events: LinkEvents) -> None:
        self._clock = clock
        self._agent = agent
        self._events = events
        self._steps: deque[_Step] = deque()
        self._scheduled = False
        self._opened = False
        self._over = False

    def open(self) -> None:
        self._later(self._open)

    def refuse(self, closed: LinkClosed) -> None:
        self._end(closed)

    def send(self, frame: Frame) -> None:
        if self._opened and not self._over:
            self._later(lambda: self._hear(frame))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._end(LinkClosed("cancelled", "the gateway closed the link", self._opened))

    def abort(self) -> None:
        self.close()

    def _open(self) -> None:
        self._opened = True
        self._events.link_opened(0.0)
        if self._agent is not None:
            self._say(self._agent.begin())

    def _hear(self, frame: Frame) -> None:
        if self._agent is None:
            return
        self._say(self._agent.hear(frame) if isinstance(frame, bytes) else self._agent.learn(to_agent(frame)))

    def _say(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self._over:
                return
            self._events.link_received(frame)

    def _end(self, closed: LinkClosed) -> None:
        """What has not been passed on yet is dropped, as over a socket."""
        if self._over:
            return
        self._over = True
        self._steps.clear()
        self._later(lambda: self._events.link_closed(closed))

    def _later(self, step: _Step) -> None:
        self._steps.append(step)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        """What was scheduled before this turn; an exception ends this link and no other."""
        self._scheduled = False
        steps, self._steps = self._steps, deque()
        while steps:
            step = steps.popleft()
            try:
                step()
            except Exception:
                self.log.failure("a built-in agent, or what it said, could not be dealt with")
                self._end(LinkClosed("internal", "the gateway failed on its built-in agent; see its log", self._opened))
            if self._over:
                return


@frozen
class ConnectorByScheme:
    """The worker's one connector: by the URL's scheme, everything unknown over WebSocket.

    :ivar others: scheme to connector, such as ``audiosocket``.
    """

    builtin: Connector
    websocket: Connector
    others: Mapping[str, Connector] = field(factory=dict)

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        if target.url.startswith(SCHEME):
            return self.builtin.connect(target, events, limits)
        connector = self.others.get(target.url.partition(":")[0], self.websocket)
        return connector.connect(target, events, limits)
