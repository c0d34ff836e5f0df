"""From a SIP URI to the places that serve it (RFC 3263), without ever blocking the reactor.

Theory of operation. What the URI says need not be asked for::

    numeric host, or a port      -> A and AAAA
    transport=, or sips          -> SRV -> A and AAAA of its targets
    neither                      -> NAPTR -> SRV of what it offers -> A and AAAA of the targets
                                         \\-> (none) SRV of every transport we speak
    (no SRV at all)              -> A and AAAA, default port

One time limit holds over it all. A NAPTR question that nobody answers is passed over after its first try, since
some name servers swallow what they do not know; an SRV question that nobody answers is not, for an address record
may well belong to another server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.ports import NoWay
from stellar_gw.net.answers import SERVICES, SRV_PREFIX, Answer, Kind, Naptr, in_order, offered, without_descent
from stellar_gw.net.lookup import Lookup
from stellar_gw.net.questions import TRIES, Questions, Unanswered
from stellar_gw.sip.flow import Transport, Way
from stellar_gw.sip.hosts import is_name, numeric
from stellar_gw.sip.uri import SipUri, Uri

DEFAULT_PORT: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}
LIMIT = sum(TRIES)
"""Seconds over all that one URI has asked for."""
SECOND_FAMILY = 0.05
"""Seconds that AAAA has once A has addresses, and the other way round (RFC 8305 3)."""
SECOND_TARGET = 0.5
"""Seconds that further targets of SRV records have once one has addresses."""
TARGETS, ADDRESSES, WAYS = 10, 8, 20
"""How many targets of a URI are asked for, addresses of each used, and ways given."""

Result = TypeVar("Result")
Speaks = Callable[[Transport, int], bool]
"""Whether there is a listener for a transport and an IP version."""


class Unresolvable(NoWay):
    """A URI that leads nowhere; one line that says why, for people."""


@frozen
class _Place:
    """A server by its name: what SRV records, or a URI alone, lead to."""

    transport: Transport
    host: str
    port: int


@frozen
class _Wish:
    """What a URI asks for.

    :ivar transport: None: whatever its domain prefers.
    :ivar free: whether the domain is asked for what it prefers (of TLS there may be several kinds).
    """

    host: str
    port: int | None
    transport: Transport | None
    free: bool
    speaks: Speaks


class _Limit:
    """The time that is left of a whole look-up."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock, self._end = clock, clock.seconds() + seconds

    def over(self, asking: Deferred[Result], most: float = LIMIT) -> Deferred[Result]:
        """Bound a question by what is left, and by ``most``."""
        return asking.addTimeout(max(0.0, min(most, self._end - self._clock.seconds())), self._clock)


class Resolver:
    """Finds ways.

    :param lookup: how names are asked for.
    :param rng: returns that many random octets.
    """

    def __init__(
        self,
        clock: IReactorTime,
        lookup: Lookup,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock, self._rng = clock, rng
        self._questions = Questions(clock, lookup)

    def ways(
        self, uri: Uri, held: Transport | None = None, tls_name: str = "", speaks: Speaks = lambda *_: True
    ) -> Deferred[tuple[Way, ...]]:
        """Where to send a request for a URI, best first (RFC 3263 4).

        :param held: the transport to keep to where the URI names none: inside a dialog the one it lives on, so that
            a peer on TLS that leaves it out is not answered in the clear.
        :param tls_name: what certificates must carry; empty: the URI's host.
        :param speaks: whether there is a listener for a transport and an IP version.
        :return: at least one; fails with :class:`Unresolvable`. May be cancelled.
        """
        if not isinstance(uri, SipUri):
            return fail(Unresolvable(f"{type(uri).__name__} has no host to send to"))
        try:
            named = _transport(uri)
        except Unresolvable as error:
            return fail(error)
        host = (uri.params.get("maddr") or uri.host).strip("[]")
        name = tls_name or host.rstrip(".")
        address = numeric(host)
        if address is not None:
            place = _place(named or held or "udp", address, uri.port)
            return succeed(_usable([_way(place, address, name)], speaks))
        wish = _Wish(_name(host), uri.port, named or held, "transport" not in uri.params and held is None, speaks)
        return Deferred.fromCoroutine(self._ways_of_name(wish, name))

    def addresses(self, host: str) -> Deferred[tuple[str, ...]]:
        """The addresses of a host, IPv4 first: it is what phone systems speak to each other.

        :return: at least one; fails with :class:`Unresolvable`.
        """
        address = numeric(host)
        if address is not None:
            return succeed((address,))
        return Deferred.fromCoroutine(self._addresses_within(host))

    # --- the steps ------------------------------------------------------------------------------

    async def _ways_of_name(self, wish: _Wish, tls_name: str) -> tuple[Way, ...]:
        _check_name(wish.host)
        limit = _Limit(self._clock, LIMIT)
        if wish.port is not None:
            places = [_place(wish.transport or "udp", wish.host, wish.port)]
        else:
            places = await self._places(wish, limit)
        return _usable(await self._ways_to(places, tls_name, limit), wish.speaks)

    async def _places(self, wish: _Wish, limit: _Limit) -> list[_Place]:
        """RFC 3263 4.1 and 4.2, for a name without a port."""
        host, wanted = wish.host, [each for each in SRV_PREFIX if wish.speaks(each, 4) or wish.speaks(each, 6)]
        if wish.transport is not None:
            wanted = [wish.transport]
        services = self._offered(host, await self._naptr(host, limit), wanted) if wish.free else []
        transport = services[0][0] if services else wish.transport or "udp"
        servers = await self._srv(host, services or [(each, SRV_PREFIX[each] + host) for each in wanted], limit)
        return servers or [_place(transport, host, None)]

    @staticmethod
    def _offered(host: str, pointers: Sequence[Naptr], wanted: Sequence[Transport]) -> list[tuple[Transport, str]]:
        services = offered(pointers, wanted)
        named = [each.service for each in pointers if each.service in SERVICES]
        if named and not services and list(wanted) != ["tls"]:
            raise Unresolvable(f"{host} takes SIP by {', '.join(named)} alone, which no listener here speaks")
        return services

    async def _naptr(self, host: str, limit: _Limit) -> tuple[Naptr, ...]:
        try:
            return (await limit.over(self._questions.ask(host, "NAPTR"), TRIES[0])).naptr
        except (TimeoutError, Unanswered):
            return ()

    async def _srv(self, host: str, services: Sequence[tuple[Transport, str]], limit: _Limit) -> list[_Place]:
        """The servers of each service in turn; none where there are no such records."""
        asked = [limit.over(self._questions.ask(name, "SRV")) for _, name in services]
        found: list[_Place] = []
        closed = unanswered = False
        with _left_alone(asked):
            for (transport, _), asking in zip(services, asked, strict=True):
                try:
                    records = (await asking).srv
                except (TimeoutError, Unanswered):
                    unanswered = True
                    continue
                closed = closed or any(not each.target for each in records)
                open_ = [each for each in records if each.target]
                found += [_Place(transport, each.target, each.port) for each in in_order(open_, self._rng)]
        if not found and unanswered:
            raise _unanswered(host)
        if not found and closed:
            raise Unresolvable(f"{host} says in DNS that it takes no SIP")
        return without_descent(found, lambda place: place.transport)

    async def _ways_to(self, places: Sequence[_Place], tls_name: str, limit: _Limit) -> list[Way]:
        """The addresses of every place: all are asked for at once, and none of the later ones is waited for long."""
        places = places[:TARGETS]
        asked = [self._of(place.host, limit) for place in places]
        with _left_alone(asked):
            return await self._gathered(list(zip(places, asked, strict=True)), tls_name, limit)

    async def _gathered(
        self, asked: list[tuple[_Place, Deferred[tuple[str, ...]]]], tls_name: str, limit: _Limit
    ) -> list[Way]:
        ways: list[Way] = []
        failures: list[str] = []
        patience = LIMIT
        for place, asking in asked:
            try:
                addresses = await limit.over(asking, patience)
            except Unresolvable as error:
                failures.append(str(error))
                continue
            except TimeoutError:
                failures.append(str(_unanswered(place.host)))
                continue
            ways += [_way(place, address, tls_name) for address in addresses[:ADDRESSES]]
            patience = SECOND_TARGET
        if not ways:
            raise Unresolvable("; ".join(dict.fromkeys(failures)))
        return ways

    # --- addresses ------------------------------------------------------------------------------

    def _of(self, host: str, limit: _Limit) -> Deferred[tuple[str, ...]]:
        address = numeric(host)
        return succeed((address,)) if address is not None else Deferred.fromCoroutine(self._addresses(host, limit))

    async def _addresses_within(self, host: str) -> tuple[str, ...]:
        name = _name(host)
        _check_name(name)
        return await self._addresses(name, _Limit(self._clock, LIMIT))

    async def _addresses(self, name: str, limit: _Limit) -> tuple[str, ...]:
        """Both families. Servers that answer for A and swallow AAAA are about, so the second is not waited for long."""
        kinds: tuple[Kind, ...] = ("A", "AAAA")
        both = _Both(self._clock, [limit.over(self._questions.ask(name, kind)) for kind in kinds])
        answers = await both.done
        addresses = tuple(address for answer in answers if answer is not None for address in answer.addresses)
        if addresses:
            return addresses
        if None in answers:
            raise _unanswered(name)
        raise Unresolvable(f"{name} has no address in DNS")


class _Both:
    """Waits for two answers; after one with addresses, not much longer.

    :ivar done: fires with both, None for the one that failed or is late. May be cancelled.
    """

    def __init__(self, clock: IReactorTime, asked: Sequence[Deferred[Answer]]) -> None:
        self.done: Deferred[list[Answer | None]] = Deferred(lambda _: self._cancel())
        self._clock, self._asked, self._open = clock, asked, len(asked)
        self._given_up = False
        self._answers: list[Answer | None] = [None] * len(asked)
        for number, asking in enumerate(asked):
            asking.addCallbacks(self._answered, lambda _: None, callbackArgs=(number,))
            asking.addBoth(self._closed)

    def _answered(self, answer: Answer, number: int) -> None:
        self._answers[number] = answer

    def _closed(self, _: object) -> None:
        self._open -= 1
        if self._given_up:
            return
        if not self._open:
            self.done.callback(self._answers)
        elif any(answer is not None and answer.addresses for answer in self._answers):
            for asking in self._asked:
                if not asking.called:
                    asking.addTimeout(SECOND_FAMILY, self._clock)

    def _cancel(self) -> None:
        self._given_up = True
        for asking in self._asked:
            asking.cancel()


def _transport(uri: SipUri) -> Transport | None:
    """What the URI itself says (RFC 3263 4.1)."""
    asked = (uri.params.get("transport") or "").lower()
    if uri.secure:
        if asked in ("", "tcp", "tls"):
            return "tls"
        raise Unresolvable(f"a sips URI over {asked[:20]} cannot be")
    if asked == "":
        return None
    if asked in DEFAULT_PORT:
        return asked
    raise Unresolvable(f"transport {asked[:20]!r} is not spoken here")


def _place(transport: Transport, host: str, port: int | None) -> _Place:
    return _Place(transport, host, DEFAULT_PORT[transport] if port is None else port)


def _way(place: _Place, address: str, tls_name: str) -> Way:
    name = tls_name if place.transport == "tls" else ""
    return Way(transport=place.transport, host=address, port=place.port, server_name=name)


def _usable(ways: Sequence[Way], speaks: Speaks) -> tuple[Way, ...]:
    """Those that a listener reaches; if there is none, all, so that opening one says what is missing."""
    known = list(dict.fromkeys(ways))
    reached = [way for way in known if speaks(way.transport, 6 if ":" in way.host else 4)]
    return tuple((reached or known)[:WAYS])


def _name(host: str) -> str:
    return host.rstrip(".").lower()


def _check_name(name: str) -> None:
    if not is_name(name):
        raise Unresolvable(f"{name[:255]!r} is no host name")


def _unanswered(name: str) -> Unresolvable:
    return Unresolvable(f"{name} was not answered for within {LIMIT:g} s in DNS")


@contextmanager
def _left_alone(asked: Sequence[Deferred[Result]]) -> Iterator[None]:
    """Whatever ends the waiting, questions that are still open are given up without a word."""
    try:
        yield
    finally:
        for asking in asked:
            asking.addErrback(lambda _: None)
            asking.cancel()
