"""A stage for rehearsals: a clock that the test turns, and agents in memory, Twilio's dialect for the most part."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from stellar_gw.agent.link import LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.control.messages import CallContext
from stellar_gw.dialects.contract import Frame
from stellar_gw.media.pcm import pcm_from_ulaw, rms, ulaw_from_pcm
from stellar_gw.media.source import Tone
from stellar_gw.rehearsal.conduct import Rehearsal
from stellar_gw.rehearsal.findings import Finding
from stellar_gw.rehearsal.plan import Plan
from stellar_gw.worker.pacer import SLOTS, Pacer

CONTEXT = CallContext(
    call_id="c-0", tenant="t", connector="c", agent="a", environment="development", version="1", from_uri="sip:a@b.c"
)
SECOND = ulaw_from_pcm(Tone((660,), 8000).take(8000))


class Agent:
    """One conversation of an agent's; by itself it says nothing, and closes when the call is over.

    :ivar closed: by the gateway, or cut off (``aborted``).
    """

    def __init__(self) -> None:
        self.link: MemoryLink
        self.stream = ""
        self.told: list[dict[str, Any]] = []
        self.closed = self.aborted = False

    def hears(self, frame: Frame) -> None:
        assert isinstance(frame, str)
        message = json.loads(frame)
        if message["event"] == "media":
            self.audio(pcm_from_ulaw(base64.b64decode(message["media"]["payload"])))
            return
        self.told.append(message)
        if message["event"] == "start":
            self.stream = message["streamSid"]
            self.started()

    def started(self) -> None:
        """The call has begun."""

    def audio(self, pcm: bytes) -> None:
        """20 ms of the caller."""

    def say(self, event: str, **body: object) -> None:
        self.link.deliver(json.dumps({"event": event, "streamSid": self.stream, **body}))

    def speak(self, seconds: float) -> None:
        self.say("media", media={"payload": base64.b64encode(SECOND[: round(8000 * seconds)]).decode()})


class Polite(Agent):
    """It greets, answers 300 ms after the caller has spoken, falls silent when it is interrupted."""

    clears = True

    def __init__(self) -> None:
        super().__init__()
        self.loud = self.quiet = 0

    def started(self) -> None:
        self.speak(0.5)
        self.say("mark", mark={"name": "greeted"})

    def audio(self, pcm: bytes) -> None:
        if rms(pcm) > 300:
            self.loud += 1
            if self.loud == 5 and self.clears:
                self.say("clear")
            self.quiet = 0
        else:
            self.quiet += 1
            if self.quiet == 15 and self.loud > 20:
                self.speak(1.0)
                self.loud = 0


@define
class MemoryLink:
    """Carries frames in the clock's next turn, as a socket would not in the same."""

    clock: Clock
    agent: Agent
    events: LinkEvents
    polite: bool = True
    over: bool = field(default=False, init=False)

    def send(self, frame: Frame) -> None:
        if not self.over:
            self.agent.hears(frame)

    def deliver(self, frame: Frame) -> None:
        self.clock.callLater(0, lambda: None if self.over else self.events.link_received(frame))

    def ends(self, code: str = "lost", *, clean: bool = False, established: bool = True) -> None:
        """The agent's doing."""
        self._end(LinkClosed(code, f"it was {code}", established, clean))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.agent.closed = True
        if self.polite:
            self._end(LinkClosed("cancelled", "closed", True))

    def abort(self) -> None:
        self.agent.aborted = True
        self._end(LinkClosed("cancelled", "closed", True))

    def _end(self, closed: LinkClosed) -> None:
        if not self.over:
            self.over = True
            self.clock.callLater(0, lambda: self.events.link_closed(closed))


class Stage:
    """
    :param make: the agent of each call, by its number from 0; an exception's text is why the call is not taken.
    :ivar found: what was found; ``agents`` who played.
    """

    def __init__(self, make: Callable[[int], Agent], *, polite: bool = True) -> None:
        self.clock = Clock()
        self.pacer = Pacer()
        self.agents: list[Agent] = []
        self.targets: list[Target] = []
        self.found: list[Finding] = []
        self.rehearsal: Rehearsal
        self._make, self._polite = make, polite

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> MemoryLink:
        self.targets.append(target)
        try:
            agent = self._make(len(self.agents))
        except ConnectionError as refused:
            link = MemoryLink(self.clock, Agent(), events)
            link.ends(str(refused), established=False)
            return link
        self.agents.append(agent)
        agent.link = MemoryLink(self.clock, agent, events, self._polite)
        self.clock.callLater(0, events.link_opened, 2.0)
        return agent.link

    def play(self, *, seconds: float = 300.0, **plan: Any) -> list[tuple[str, str]]:
        """The whole of it; each check with its state."""
        wanted = Plan(**{"url": "ws://a.example/x?key=hush", "dialect": "twilio", "context": CONTEXT, **plan})
        self.rehearsal = Rehearsal(wanted, self.pacer, self, self.clock.seconds, self.found.append)
        over: list[object] = []
        Deferred.fromCoroutine(self.rehearsal.carry_out()).addBoth(over.append)
        for _ in range(round(seconds * 50)):
            if over:
                break
            self.clock.advance(0.02)
            self.pacer.expired(SLOTS)
            self.clock.advance(0)
        if over != [None]:
            raise AssertionError(f"it ended with {over}")
        return [(each.check, each.state) for each in self.found]

    def said(self, check: str) -> str:
        (finding,) = [each for each in self.found if each.check == check]
        return finding.said
