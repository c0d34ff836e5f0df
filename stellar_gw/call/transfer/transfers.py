"""The transfers of one call: each request is judged, carried out, and told of until its one outcome; and hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.headers import asked_headers
from stellar_gw.call.transfer.outcome import Failure, Outcome
from stellar_gw.call.transfer.ports import Headers
from stellar_gw.call.transfer.referral_terms import NOT_FOLLOWED, ReferralTerms
from stellar_gw.call.transfer.transfer import Surroundings, TellProgress, Transfer
from stellar_gw.control import messages
from stellar_gw.control.messages import Binding, Direction
from stellar_gw.sip.message import Request as SipRequest
from stellar_gw.sip.refer import read_notify

SHORTEST_RING, LONGEST_RING = 5.0, 180.0
"""Seconds: an agent that wishes for less or more gets these."""

MOST_TOLD = 10
"""Refused requests of one call that the operator is told of: an agent may ask for ever."""
MOST_QUOTED = 80
"""Characters of what an agent asked for."""

Choose = Callable[[str, str | None], Target | TargetRefused]
"""What a name, number or URI and a method come to, for this call."""


@frozen(kw_only=True)
class TransferRequest:
    """
    :ivar to: a transfer's name; a number or a URI where the tenant permits them.
    :ivar method: ``auto``, ``refer``, ``invite``; None for ``auto``.
    :ivar ring_timeout: seconds until a call of ours is given up; None: as configured.
    :ivar headers: X-* for the target.
    """

    to: str
    method: str | None = None
    ring_timeout: float | None = None
    headers: Headers = ()

    @classmethod
    def of(cls, parameters: dict[str, str]) -> TransferRequest | TargetRefused:
        """An agent's ask, read."""
        headers = asked_headers(parameters)
        if isinstance(headers, TargetRefused):
            return headers
        wish = _seconds(parameters.get("timeout_s", ""))
        method = parameters.get("method") or None
        return cls(to=parameters.get("to", ""), method=method, ring_timeout=wish, headers=headers)


def not_tried(asked: str, refused: TargetRefused, now: float) -> dict[str, Any]:
    """The record's entry of a transfer that nobody was asked or called for; as those of the others."""
    return {
        "target": asked, "via": "", "uri": "", "method": "", "fallback": False, "sip_call_id": "", "asked": now,
        "answered": None, "ended": now, "result": "failed", "code": refused.code, "reason": refused.message,
        "bridged_seconds": None, "attempts": [],
    }  # fmt: skip


@define(kw_only=True)
class Transfers:
    """
    :ivar choose: finds the target.
    :ivar begin: counts an attempt, or says why there may be none; ``end`` is called with its outcome.
    :ivar record: of the call: one entry for each transfer that was tried, and for the first few that were not.
    :ivar referrals: what the caller's phone system may send us to itself.
    :ivar hold_direction: by which the caller is held: ``sendonly``, or ``inactive`` for systems that know nothing else.
    """

    around: Surroundings
    choose: Choose
    begin: Callable[[], TargetRefused | None]
    end: Callable[[], None]
    record: list[dict[str, Any]]
    referrals: ReferralTerms = NOT_FOLLOWED
    music: str = ""
    hold_direction: Direction = "sendonly"
    _current: Transfer | None = field(default=None, init=False)
    _held: bool = field(default=False, init=False)
    _times_refused: int = field(default=0, init=False)

    @property
    def active(self) -> bool:
        """A transfer is under way, or a bridge stands: the call does not end with its agent."""
        return self._current is not None and not self._current.over

    @property
    def bridging(self) -> bool:
        return self._current is not None and self._current.bridging

    def transfer(self, request: TransferRequest, tell: TellProgress) -> Deferred[Outcome]:
        """Send the caller somewhere; fires once, at once where it cannot even be tried.

        :param tell: told every step on the way, until the outcome.
        """
        target = self.choose(request.to, request.method)
        if isinstance(target, TargetRefused):
            return succeed(self._refused(request, target))
        refused = self.begin()
        if refused is not None:
            return succeed(self._refused(request, refused))
        if request.ring_timeout is not None:
            ring = min(max(request.ring_timeout, SHORTEST_RING), LONGEST_RING)
            target = evolve(target, ring_timeout=ring)
        transfer = self._current = Transfer(target, request.headers, self.around, tell)
        self.record.append(transfer.record)
        transfer.joining = self._let_go
        outcome = transfer.outcome

        def ended(result: Outcome) -> Outcome:
            self.end()
            if not result.moved and self._held and self.around.caller.agent_listens:
                self.around.clock.callLater(0.0, self._play_music)  # once the caller has been given back
            return result

        outcome.addCallback(ended)
        transfer.start()
        return outcome

    def _refused(self, request: TransferRequest, refused: TargetRefused) -> Outcome:
        """It was not even tried: nobody was asked or called, and its entry in the record says why."""
        outcome = Outcome(result="failed", failure=Failure(code=refused.code, reason=refused.message))
        self._times_refused += 1
        if self._times_refused <= MOST_TOLD:
            asked = "".join(each if each.isprintable() else "?" for each in request.to[:MOST_QUOTED])
            self.around.note("transfer_failed", outcome.line(asked))
            self.record.append(not_tried(asked, refused, round(self.around.wall(), 3)))
        return outcome

    # --- what happens to the call ---------------------------------------------------------------

    def notified(self, request: SipRequest, respond: Callable[[int], None]) -> None:
        """A NOTIFY came in the caller's dialog.

        :param respond: answers it, before anything comes of it: our BYE may.
        """
        progress = read_notify(request)
        if self._current is None or progress is None:
            respond(481)  # no such subscription (RFC 6665 4.1.3)
        else:
            respond(200)
            self._current.notified(progress)

    def caller_gone(self) -> None:
        if self._current is not None:
            self._current.caller_gone()

    def caller_direction(self, direction: Direction) -> None:
        if self._current is not None:
            self._current.caller_direction(direction)

    def abandon(self) -> None:
        """The call ends from our side."""
        if self._current is not None:
            self._current.abandon()

    def agent_gone(self) -> bool:
        """The agent has left, or failed.

        :return: whether the call goes on without it.
        """
        if self._current is None or self._current.over:
            return False
        self._current.agent_gone()
        return self.active

    def heard(self, event: messages.Event) -> None:
        """Something that the worker says of the target's leg."""
        if self._current is not None:
            self._current.heard(event)

    # --- hold -----------------------------------------------------------------------------------

    def hold(self) -> Deferred[bool]:
        """Hold the caller, with music; fires with whether its phone system took it."""
        self._held = True
        self._play_music()
        return self.around.caller.offer(self.hold_direction).addCallback(self._offered, held=True)

    def resume(self) -> Deferred[bool]:
        """Take the caller back; fires with whether its phone system took that."""
        return self.around.caller.offer("sendrecv").addCallback(self._offered, held=False)

    def _offered(self, taken: bool, *, held: bool) -> bool:
        """A hold that was refused is none, and a resumption that was taken ends it: the agent has the caller."""
        if taken != held and self._held:
            self._held = False
            if not self.active and self.around.caller.agent_listens:
                self._bind(Binding(leg="caller", source="agent", agent_hears=True))
        return taken

    def _let_go(self) -> None:
        """The caller is joined to a target: its phone system is to hear and be heard again."""
        if self._held:
            self._held = False
            self.around.caller.offer("sendrecv")

    def _play_music(self) -> None:
        if self._held and not self.active:
            self._bind(Binding(leg="caller", source="file", file=self.music) if self.music else _WAITING)

    def _bind(self, binding: Binding) -> None:
        asked = messages.Rebind(request=0, call=self.around.caller.call_id, bindings=(binding,))
        self.around.caller.ask(asked).addErrback(lambda _: None)  # a worker that is lost ends the call by itself


_WAITING = Binding(leg="caller", source="tone", tone="425/150,0/9850")
"""Where there is no music: a short tone every ten seconds says that the caller is not forgotten."""


def _seconds(text: str) -> float | None:
    """A wish in seconds; None where there is none that can be read."""
    try:
        wish = float(text) if len(text) <= 10 else 0.0
    except ValueError:
        return None
    return wish if 0.0 < wish < 1e6 else None
