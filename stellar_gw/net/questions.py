"""Questions to name servers: each asked once at a time, again if need be, and its answer kept while it is good."""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from stellar_gw.errors import StellarError
from stellar_gw.net.answers import Answer, Kind
from stellar_gw.net.lookup import Lookup

TRIES = (3.0, 2.0)
"""Seconds for each try; together they bound a question."""
REMEMBERED = 4096
"""Answers kept; the oldest is forgotten first."""
SHORTEST, LONGEST = 1.0, 300.0
"""Seconds that an answer is kept, whatever its TTL says."""

_Question = tuple[str, Kind]


class Unanswered(StellarError):
    """No name server had an answer, not even that there is nothing."""


class Questions:
    """
    :param lookup: how names are asked for.
    :param tries: seconds for each try.
    """

    def __init__(self, clock: IReactorTime, lookup: Lookup, tries: tuple[float, ...] = TRIES) -> None:
        self._clock, self._lookup, self._tries = clock, lookup, tries
        self._kept: OrderedDict[_Question, tuple[float, Answer]] = OrderedDict()
        self._asked: dict[_Question, list[Deferred[Answer]]] = {}

    def ask(self, name: str, kind: Kind) -> Deferred[Answer]:
        """The records of one kind; those who ask for the same at the same time share one question.

        :param name: lower case, without a dot at its end.
        :return: fails with :class:`Unanswered`. Cancelling it gives up only this caller's wish.
        """
        question = name, kind
        kept = self._kept.get(question)
        if kept is not None and kept[0] > self._clock.seconds():
            return succeed(kept[1])
        waiter: Deferred[Answer] = Deferred(lambda waiter: self._leave(question, waiter))
        waiting = self._asked.get(question)
        if waiting is not None:
            waiting.append(waiter)
        else:
            self._asked[question] = [waiter]
            self._try(question, 0)
        return waiter

    def _leave(self, question: _Question, waiter: Deferred[Answer]) -> None:
        waiting = self._asked.get(question, [])
        if waiter in waiting:
            waiting.remove(waiter)

    def _try(self, question: _Question, number: int) -> None:
        asking = self._lookup(*question)
        # A try that takes too long is cancelled before the next begins: Twisted's resolver would join the two.
        asking.addTimeout(self._tries[number], self._clock)
        asking.addCallbacks(
            lambda answer: self._answered(question, answer), lambda failure: self._failed(question, number, failure)
        )

    def _answered(self, question: _Question, answer: Answer) -> None:
        ttl = min(LONGEST, max(SHORTEST, answer.ttl))
        self._kept[question] = (self._clock.seconds() + ttl, answer)
        self._kept.move_to_end(question)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        for waiter in self._asked.pop(question, []):
            waiter.callback(answer)

    def _failed(self, question: _Question, number: int, failure: Failure) -> None:
        if number + 1 < len(self._tries) and self._asked[question]:
            self._try(question, number + 1)
            return
        kind = failure.type
        why = "no answer" if kind is None or issubclass(kind, TimeoutError) else kind.__name__
        for waiter in self._asked.pop(question):
            waiter.errback(Unanswered(f"{question[0]} {question[1]}: {why}"))
