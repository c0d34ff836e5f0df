"""A call's agent, through however many links: connected, asked something, lost and connected again, and gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from msgspec.structs import replace
from twisted.logger import Logger

from stellar_gw.agent.link import LinkLimits, Target
from stellar_gw.control.messages import (
    AgentAsked,
    AgentFailed,
    AgentHangup,
    AgentLost,
    AgentReady,
    AgentResumed,
    AgentTurned,
    ConversationStatistics,
    StartAgent,
)
from stellar_gw.dialects.contract import Ask, Facts
from stellar_gw.dialects.registry import make_dialect
from stellar_gw.media.dtmf import Digit
from stellar_gw.worker.conversation import Conversation
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.resumption import WITHIN, Resumption
from stellar_gw.worker.surroundings import Surroundings
from stellar_gw.worker.upward import upward
from stellar_gw.worker.wiring import Wiring

MOST_ASKS = 64
"""Of one call that wait for their outcome: the gateway, which is one process for all calls, is told of no more."""
LOGGED = 5
"""Refused digits of one call that get a line each."""
_log = Logger()


class CallAgent:
    """There is one for each call, started or not; a :class:`stellar_gw.worker.conversation.ConversationListener`.

    :param legs: of the call, by name; others put them in and take them out.
    :param up: those whose dialogs are up.
    :ivar leg: the one that it was started for, and ends with; empty before.
    :ivar conversation: what it makes of its present link, or made of the last one; None before the start.
    """

    def __init__(
        self, call: str, surroundings: Surroundings, legs: Mapping[str, Leg], up: Collection[str], wiring: Wiring
    ) -> None:
        self._call = call
        self._around = surroundings
        self._legs = legs
        self._up = up
        self._wiring = wiring
        self._request: StartAgent | None = None
        self._resumption = Resumption(False, surroundings.now)
        self._asks: dict[str, None] = {}
        self._waiting = 0
        self._refused = 0
        self._ended = False
        self._media_failed = False
        self.leg = ""
        self.conversation: Conversation | None = None

    # --- commands -------------------------------------------------------------------------------

    def start(self, request: StartAgent) -> None:
        """Connect it, and have its leg hear it; nothing where that was done.

        :raise StellarError: if there is no such dialect.
        """
        if self.conversation is not None:
            return
        conversation = self.conversation = self._converse(request, request.connect_timeout)
        self.leg = request.leg
        self._resumption = Resumption(request.resumes, self._around.now)
        self._request = request
        self._wiring.start_agent(request.leg, conversation.audio)
        self.hears(request.leg)

    def _converse(self, request: StartAgent, patience: float) -> Conversation:
        """An agent on the way; one that has been here before goes on where it was.

        :raise StellarError: if there is no such dialect.
        """
        dialect = make_dialect(request.dialect, request.context, request.options)
        tones = upward(self._toned) if request.inband else None
        conversation = Conversation(
            self._call, dialect, self, self._around.now, tones, request.barge_in, before=self.conversation
        )
        if request.leg in self._up:
            conversation.answered()
        target = Target(
            url=request.url.value,
            options=dict(request.options),
            headers=tuple((name, value.value) for name, value in request.headers),
        )
        limits = LinkLimits(
            connect_timeout=patience,
            ping_interval=request.ping_interval,
            ping_timeout=request.ping_timeout,
        )
        conversation.connect(self._around.connector, target, limits)
        return conversation

    def _resume(self, code: str, message: str) -> None:
        """Its link broke, and it can take up the call: connect it again; the caller hears something meanwhile."""
        request = self._request
        assert request is not None, "an agent that was there was started"
        self._around.tell(self._call, partial(AgentLost, code=code, message=message))
        self._asks.clear()
        again = replace(request, context=replace(request.context, resumed=True))
        conversation = self.conversation = self._converse(again, WITHIN)
        self._wiring.replace_agent(conversation.audio)
        self._wiring.fill(request.filler)
        self.hears(self._wiring.heard_by_agent)

    def hears(self, name: str) -> None:
        """It hears this leg, which may have other codecs now."""
        leg = self._legs.get(name)
        if self.conversation is not None and leg is not None and leg.media is not None:
            self.conversation.caller.receive(leg.media.receive)
            leg.port.take_the_long_way()

    def answered(self, name: str) -> None:
        """A leg's dialog is up."""
        if self.conversation is not None and name == self.leg:
            self.conversation.answered()

    def outcome(self, ask: str, state: str, final: bool, detail: dict[str, str]) -> None:
        """What became of an ask; nothing where a link asked that is gone."""
        if final:
            self._waiting = max(0, self._waiting - 1)
        if self.conversation is None or (ask and ask not in self._asks):
            return
        if final:
            self._asks.pop(ask, None)
        self.conversation.outcome(ask, state, final, detail)

    def tell(self, kind: str, detail: Facts) -> None:
        """Something of the call that is good to know."""
        if self.conversation is not None:
            self.conversation.told(kind, detail)

    def stop(self, cause: str, by: str, duration_ms: int) -> None:
        """The call is over for it; may be repeated.

        :param duration_ms: since the answer.
        """
        self._ended = True
        if self.conversation is not None:
            self.conversation.stop(cause, by, duration_ms)

    @property
    def statistics(self) -> ConversationStatistics | None:
        """What the caller and the agent made of it; None without an agent."""
        return None if self.conversation is None else self.conversation.statistics

    # --- what it wants (ConversationListener) ---------------------------------------------------

    def agent_ready(self, connect_ms: float) -> None:
        if self._resumption.under_way:
            self._wiring.fill(None)
            self._around.tell(self._call, partial(AgentResumed, gap_ms=round(self._resumption.done(), 1)))
        else:
            self._around.tell(self._call, partial(AgentReady, connect_ms=connect_ms))

    def agent_failed(self, code: str, message: str, *, established: bool) -> None:
        if self._ended:
            return
        resumption = self._resumption
        if established and resumption.begins(message):
            self._resume(code, message)
        else:
            if resumption.under_way:
                established, message = True, f"{resumption.why}; and it could not be connected again: {message}"
            self._fail(code, message, established)

    def media_failed(self, message: str) -> None:
        """The call cannot go on, whether its agent is there, has left or was lost: told once, for good."""
        if not self._media_failed:
            self._media_failed = True
            self._fail("media_failure", message, True)

    def _fail(self, code: str, message: str, established: bool) -> None:
        self._ended = True
        self._around.tell(self._call, partial(AgentFailed, code=code, message=message, established=established))

    def agent_hangup(self) -> None:
        if not self._ended:
            self._ended = True
            self._around.tell(self._call, AgentHangup)

    def agent_asked(self, ask: Ask) -> None:
        if self._waiting >= MOST_ASKS:
            if self.conversation is not None:
                detail = {"code": "busy", "message": f"{MOST_ASKS} requests wait for their outcome"}
                self.conversation.outcome(ask.ask, "failed", True, detail)
            return
        self._waiting += 1
        if ask.ask:
            self._asks[ask.ask] = None
        asked = partial(AgentAsked, ask=ask.ask, verb=ask.verb, parameters=dict(ask.parameters))
        self._around.tell(self._call, asked)

    def agent_turned(self, seconds: float) -> None:
        self._around.tell(self._call, partial(AgentTurned, wait_ms=round(seconds * 1000, 1)))

    def send_digits(self, digits: str, to: str = "") -> str:
        """Key presses for a leg, by default the one that hears the agent; why not, empty where it is done."""
        leg = self._legs.get(to or self._wiring.hears_agent)
        refused = f"no leg {to}" if to else "nobody hears the agent"
        refused = refused if leg is None else leg.send_digits(digits)
        self._refused += bool(refused)
        if refused and self._refused <= LOGGED:
            _log.warn("{call}: the agent's digits are not sent: {refused}", call=self._call, refused=refused)
        return refused

    def _toned(self, digit: Digit) -> None:
        """Its caller pressed a key that was found in the audio."""
        leg = self._legs.get(self._wiring.heard_by_agent)
        if leg is not None:
            leg.port.pressed(digit, "inband")
