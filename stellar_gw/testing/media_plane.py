"""A media plane without media: answers as the workers do, so that whole calls can be told as stories."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from stellar_gw.call.ports import MediaListener, WorkerFailed, WorkerLost
from stellar_gw.control import messages


@define
class FakeCall:
    """What the fake worker knows of one call.

    :ivar legs: those that there are, and their RTP ports.
    :ivar media: of all legs, in order.
    :ivar answered: whether the caller's dialog is up; ``up`` has all legs that are.
    """

    legs: dict[str, int] = field(factory=dict)
    media: list[messages.SetMedia] = field(factory=list)
    agent: messages.StartAgent | None = None
    up: set[str] = field(factory=set)
    early: list[messages.Early] = field(factory=list)
    recorded: bool = False
    told: list[messages.Tell] = field(factory=list)
    bound: list[messages.Rebind] = field(factory=list)
    agent_stopped: messages.StopAgent | None = None
    outcomes: list[messages.Outcome] = field(factory=list)
    digits: list[str] = field(factory=list)
    pressed: list[messages.Pressed] = field(factory=list)

    @property
    def answered(self) -> bool:
        return "caller" in self.up


def prompt_agent(_: messages.StartAgent) -> float | None:
    """An agent that is there after 50 ms."""
    return 0.05


@define
class FakeMediaPlane:
    """Implements :class:`~stellar_gw.call.ports.MediaPlane` in memory.

    :ivar agent: seconds until the agent is ready, or None for an agent that refuses.
    :ivar ports: how many ports there are.
    :ivar overloaded: every worker carries all that it can.
    :ivar sessions: every agent session ever started, in order.
    :ivar released: every call ever released, in order, with how; ``released_legs`` has single legs.
    :ivar versions: the IP version that each leg of each call was asked for last.
    :ivar conversation: what calls that have an agent come to.
    """

    clock: IReactorTime
    agent: Callable[[messages.StartAgent], float | None] = prompt_agent
    ports: int = 5000
    overloaded: bool = False
    latency: float = 0.001
    calls: dict[str, FakeCall] = field(factory=dict)
    sessions: list[messages.StartAgent] = field(factory=list)
    released: list[messages.Release] = field(factory=list)
    released_legs: list[messages.Release] = field(factory=list)
    listener: MediaListener | None = None
    versions: dict[str, dict[str, int]] = field(factory=dict)
    conversation: messages.ConversationStatistics = field(factory=messages.ConversationStatistics)
    _next_port: int = field(default=10000, init=False)
    _waiting: dict[Deferred[messages.Reply], IDelayedCall] = field(factory=dict, init=False)

    def ask(self, request: messages.Request) -> Deferred[messages.Reply]:
        """Answer after ``latency`` seconds; 0 answers at once."""
        if self.latency <= 0.0:
            return self._answer(request)
        done: Deferred[messages.Reply] = Deferred()

        def answer() -> None:
            del self._waiting[done]
            if not done.called:
                self._answer(request).chainDeferred(done)

        self._waiting[done] = self.clock.callLater(self.latency, answer)
        return done

    def say(self, event: messages.Event | WorkerLost) -> None:
        """Tell the gateway something unasked."""
        assert self.listener is not None
        self.listener(event)

    def lose(self) -> None:
        """The worker dies with everything it carries: first what was asked of it fails, as in the real pool."""
        waiting, self._waiting = self._waiting, {}
        for done, answer in waiting.items():
            answer.cancel()
            if not done.called:
                done.errback(WorkerFailed("lost", "it closed the control channel"))
        lost = tuple(self.calls)
        self.calls.clear()
        self.say(WorkerLost(lost, "media worker 0 died (killed by signal 9)"))

    def _answer(self, request: messages.Request) -> Deferred[messages.Reply]:
        call_id = getattr(request, "call", "")
        if isinstance(request, messages.Allocate):
            return self._allocate(request)
        call = self.calls.get(call_id)
        if call is None:
            if isinstance(request, messages.Release):  # idempotent
                return succeed(messages.Released(request=0))
            return fail(WorkerFailed("unknown_call", f"no call {call_id}"))
        leg = getattr(request, "leg", "")
        if leg and leg not in call.legs and not isinstance(request, messages.Release):
            return fail(WorkerFailed("bad_request", f"call {call_id} has no leg {leg}"))
        match request:
            case messages.SetMedia():
                call.media.append(request)
            case messages.StartAgent():
                self._start(call, request)
            case messages.Answered():
                call.up.add(request.leg)
            case messages.Early():
                call.early.append(request)
            case messages.Record():
                call.recorded = True
            case messages.Tell():
                call.told.append(request)
            case messages.Rebind():
                call.bound.append(request)
            case messages.StopAgent():
                call.agent_stopped = request
            case messages.SendDigits():
                call.digits.append(request.digits)
            case messages.Outcome():
                call.outcomes.append(request)
            case messages.Pressed():
                call.pressed.append(request)
            case messages.Release():
                return self._release_leg(call, request) if request.leg else self._release(request)
            case _:
                return fail(WorkerFailed("bad_request", type(request).__name__))
        return succeed(messages.Done(request=0))

    def _allocate(self, request: messages.Allocate) -> Deferred[messages.Reply]:
        legs = self.calls[request.call].legs if request.call in self.calls else {}
        versions = self.versions.setdefault(request.call, {})
        if request.leg not in legs or request.version not in (0, versions[request.leg]):
            if self.overloaded and not legs:
                return fail(WorkerFailed("overloaded", "media worker 0 has all that it can carry"))
            if sum(len(call.legs) for call in self.calls.values()) >= self.ports:
                return fail(WorkerFailed("no_ports", "all RTP ports are in use"))
            legs = self.calls.setdefault(request.call, FakeCall()).legs
            legs[request.leg] = self._next_port
            versions[request.leg] = request.version or 4
            self._next_port += 2
        port = legs[request.leg]
        return succeed(messages.Allocated(request=0, rtp_port=port, rtcp_port=port + 1, cname="fake", ssrc=port))

    def _start(self, call: FakeCall, request: messages.StartAgent) -> None:
        if call.agent is not None:
            return
        call.agent = request
        self.sessions.append(request)
        delay = self.agent(request)
        if delay is None:
            self.clock.callLater(0.01, self._say_of, request.call, messages.AgentFailed(
                generation=1, call=request.call, code="refused", message="connection refused"))  # fmt: skip
        else:
            ready = messages.AgentReady(generation=1, call=request.call, connect_ms=delay * 1000)
            self.clock.callLater(delay, self._say_of, request.call, ready)

    def _say_of(self, call_id: str, event: messages.Event) -> None:
        if call_id in self.calls:
            self.say(event)

    def _release_leg(self, call: FakeCall, request: messages.Release) -> Deferred[messages.Reply]:
        self.released_legs.append(request)
        there = call.legs.pop(request.leg, None) is not None
        call.up.discard(request.leg)
        legs = (messages.LegStatistics(leg=request.leg, codec="G722"),) if there else ()
        return succeed(messages.Released(request=0, legs=legs))

    def _release(self, request: messages.Release) -> Deferred[messages.Reply]:
        call = self.calls.pop(request.call)
        self.released.append(request)
        recording = call.recorded and call.answered
        if recording:
            self.clock.callLater(2 * self.latency, self.say, messages.RecordingEnded(
                generation=1, call=request.call, leg="caller", path=f"/recordings/{request.call}.wav", seconds=1.0,
                octets=32044))  # fmt: skip
        legs = tuple(messages.LegStatistics(leg=leg, codec="G722") for leg in call.legs)
        said = None if call.agent is None else self.conversation
        return succeed(messages.Released(request=0, legs=legs, conversation=said, recording=recording))
