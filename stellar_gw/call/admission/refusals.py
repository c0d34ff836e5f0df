"""Refusals: each gets a reference that the caller is told and a record that the operator looks up.

A first challenge is no refusal yet: its record waits until the caller had time to answer it, and is
forgotten when it does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import evolve, frozen

from stellar_gw.call.context.context import bounded
from stellar_gw.call.events import CallEvent, CallRefused
from stellar_gw.call.record import RefusalRecord, make_reference
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request

UNANSWERED_AFTER = 32.0
"""Seconds after which a challenge counts as unanswered: 64 * T1, when a caller's transaction ends."""
MOST_WAITING = 2000
"""Challenges that wait for their answer; beyond, the oldest are forgotten (a flood leaves no records). Also how
many references are remembered, so that a request that is refused statelessly and comes again has one record."""


@frozen(kw_only=True)
class Refusal:
    """What was decided about a request."""

    status: int
    check: str
    reason: str
    fix: str
    username: str = ""


class Refusals:
    """
    :param key: of the references, so that nobody outside can tell them in advance.
    :param agent: the host that Warning headers name (RFC 3261 20.43).
    :param ladder: the SIP messages of a Call-ID so far.
    :param later: calls when what goes out now has gone out, so that the ladder ends with the refusal itself.
    """

    def __init__(
        self,
        *,
        key: bytes,
        agent: str,
        wall: Callable[[], float],
        ladder: Callable[[str], tuple[str, ...]],
        tell: Callable[[CallEvent], None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._later = later
        self._key, self._agent, self._wall, self._ladder, self._tell = key, agent, wall, ladder, tell
        self._waiting: OrderedDict[str, tuple[float, RefusalRecord]] = OrderedDict()
        self._kept: OrderedDict[str, None] = OrderedDict()

    def keep(self, refusal: Refusal, request: Request, flow: Flow) -> list[tuple[str, str]]:
        """Record a refusal, once: a retransmission of its request has the same reference.

        :return: the Warning header that refers to it, and nothing more.
        """
        record = self._record(refusal, request, flow)
        self._waiting.pop(request.call_id, None)
        if record.reference in self._kept:
            return self._warning(record)
        self._kept[record.reference] = None
        while len(self._kept) > MOST_WAITING:
            self._kept.popitem(last=False)
        self._later(lambda: self._tell(CallRefused(evolve(record, ladder=self._ladder(request.call_id)))))
        return self._warning(record)

    def challenge(self, refusal: Refusal, request: Request, flow: Flow, now: float) -> list[tuple[str, str]]:
        """Note a challenge; it becomes a refusal unless :meth:`answered` is told in time."""
        record = self._record(refusal, request, flow)
        if request.call_id not in self._waiting:
            self._waiting[request.call_id] = (now + UNANSWERED_AFTER, record)
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
        return self._warning(record)

    def answered(self, call_id: str) -> None:
        """Credentials came for this Call-ID."""
        self._waiting.pop(call_id, None)

    def advance(self, now: float) -> None:
        """Record the challenges whose time is over."""
        while self._waiting:
            call_id, (due, record) = next(iter(self._waiting.items()))
            if due > now:
                return
            del self._waiting[call_id]
            unanswered = evolve(record, reason=f"unanswered: {record.reason}", ladder=self._ladder(call_id))
            self._tell(CallRefused(unanswered))

    def _record(self, refusal: Refusal, request: Request, flow: Flow) -> RefusalRecord:
        return RefusalRecord(
            reference=make_reference(self._key, request.call_id, request.via.branch or "", str(request.cseq.number)),
            at=self._wall(),
            status=refusal.status,
            check=refusal.check,
            reason=refusal.reason,
            fix=refusal.fix,
            source=flow.remote[0],
            transport=flow.transport,
            method=request.method,
            uri=bounded(str(request.uri)),
            from_uri=bounded(str(request.from_.uri)),
            username=refusal.username,
            sip_call_id=bounded(request.call_id),
            user_agent=bounded(request.headers.first("User-Agent") or ""),
        )

    def _warning(self, record: RefusalRecord) -> list[tuple[str, str]]:
        return [("Warning", f'399 {self._agent} "ref {record.reference}"')]
