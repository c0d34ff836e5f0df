"""Which bridges there are, whose they are, and whether another may be.

A worker is trusted with its calls and with nothing else: rules are made only for ports of the configured range, on
addresses that are this machine's, towards addresses that are not, and never for what is another connection's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from errno import EEXIST, ENFILE
from ipaddress import IPv4Address
from typing import Protocol

from attrs import frozen

from stellar_gw.control.fastpath import OpenBridge, Tally
from stellar_gw.errors import StellarError
from stellar_gw.fastpath.netlink import GET_ELEMENT, Command, NetlinkError
from stellar_gw.fastpath.ruleset import (
    ARRIVING,
    ARRIVING_PORT,
    LEAVING,
    LEAVING_PORT,
    Key,
    closed,
    counters,
    keys,
    opened,
    wanted,
)

TOGETHER = 200
"""Elements that are taken away by one message."""


class RefusedError(StellarError):
    """A request that is not carried out; nothing has changed."""


class Kernel(Protocol):
    """nf_tables (:class:`stellar_gw.fastpath.netlink.Netlink`)."""

    def change(self, commands: Sequence[Command]) -> None:
        """:raise NetlinkError: nothing has changed."""

    def ask(self, kind: int, body: bytes, *, all_of_it: bool) -> list[bytes]:
        """:raise NetlinkError: it cannot be had."""


class Addresses(Protocol):
    """What this machine is called."""

    def ours(self, host: str) -> bool:
        """Whether a socket could be bound to it."""

    def reachable(self, host: str) -> str:
        """Why packets cannot be sent to it as to another machine; empty where they can."""


@frozen
class _Open:
    request: OpenBridge
    arriving: tuple[Key, Key]
    leaving: tuple[Key, Key]


class Bridges:
    """
    :param ports: the first, and the one after the last.
    """

    def __init__(self, kernel: Kernel, addresses: Addresses, ports: tuple[int, int]) -> None:
        self._kernel = kernel
        self._addresses = addresses
        self._ports = ports
        self._open: dict[tuple[object, int], _Open] = {}
        self._taken: set[int] = set()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, owner: object, request: OpenBridge) -> None:
        """:raise RefusedError: it may not be, or cannot."""
        if (owner, request.bridge) in self._open:
            raise RefusedError("the bridge is open already")
        self._check(request)
        try:
            self._kernel.change(opened(request))
        except NetlinkError as reason:
            raise RefusedError(_words(reason)) from None
        (arriving_0, leaving_0), (arriving_1, leaving_1) = keys(request)
        self._open[owner, request.bridge] = _Open(request, (arriving_0, arriving_1), (leaving_0, leaving_1))
        self._taken |= {leg.local[1] for leg in request.legs}

    def _check(self, request: OpenBridge) -> None:
        first, end = self._ports
        if not 0 <= request.payload_type < 128:
            raise RefusedError("the payload type is none")
        if request.legs[0].local[1] == request.legs[1].local[1]:
            raise RefusedError("both legs have the same port")
        for leg in request.legs:
            host, port = leg.local
            if not first <= port < end or port % 2:
                raise RefusedError(f"{port} is no RTP port of {first} to {end - 1}")
            if port in self._taken:
                raise RefusedError(f"port {port} is another bridge's")
            address = _address(host)
            if address.is_loopback or not self._addresses.ours(str(address)):
                raise RefusedError(f"{address} is no address of this machine's")
            host, port = leg.remote
            address = _address(host)
            if not 0 < port < 65536:
                raise RefusedError("a remote port is none")
            if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved:
                raise RefusedError(f"{address} is no address of another machine's")
            why = self._addresses.reachable(str(address))
            if why:
                raise RefusedError(f"{address}: {why}")

    def close(self, owner: object, bridge: int) -> tuple[Tally, Tally]:
        """What had passed when the last packet had.

        :raise RefusedError: there is no such bridge.
        """
        found = self._open.pop((owner, bridge), None)
        if found is None:
            raise RefusedError("there is no such bridge")
        self._taken -= {leg.local[1] for leg in found.request.legs}
        # Without its port no packet gets as far as the map that counts.
        self._remove(found.arriving, ARRIVING_PORT)
        tallies = self._tallies(found)
        self._remove(found.arriving, ARRIVING)
        self._remove(found.leaving, LEAVING, LEAVING_PORT)
        return tallies

    def forget(self, owner: object) -> None:
        """The connection is gone, and so is all that it had asked for."""
        gone = [key for key in self._open if key[0] is owner]
        found = [self._open.pop(key) for key in gone]
        self._taken -= {leg.local[1] for each in found for leg in each.request.legs}
        for few in _slices(found):
            self._remove([key for each in few for key in each.arriving], ARRIVING, ARRIVING_PORT)
            self._remove([key for each in few for key in each.leaving], LEAVING, LEAVING_PORT)

    def _remove(self, known: Sequence[Key], *names: str) -> None:
        try:
            self._kernel.change(closed(known, *names))
        except NetlinkError:
            # One was gone already, and so none has been taken away: then each by itself.
            for key in known:
                for name in names:
                    try:
                        self._kernel.change(closed((key,), name))
                    except NetlinkError:
                        continue

    def _tallies(self, found: _Open) -> tuple[Tally, Tally]:
        received = self._counted(ARRIVING, found.arriving)
        sent = self._counted(LEAVING, found.leaving)
        return _tally(received, sent, found, 0), _tally(received, sent, found, 1)

    def tallies(self) -> Iterator[tuple[object, int, Tally, Tally]]:
        """Owner, number and counts of all."""
        if not self._open:
            return
        received, sent = self._counted(ARRIVING, ()), self._counted(LEAVING, ())
        for (owner, number), found in self._open.items():
            yield owner, number, _tally(received, sent, found, 0), _tally(received, sent, found, 1)

    def _counted(self, name: str, known: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Of these keys, or of all."""
        try:
            answers = self._kernel.ask(GET_ELEMENT, wanted(name, known), all_of_it=not known)
        except NetlinkError:
            return {}
        return {key: (packets, octets) for answer in answers for key, packets, octets in counters(answer)}


def _tally(received: dict[Key, tuple[int, int]], sent: dict[Key, tuple[int, int]], found: _Open, leg: int) -> Tally:
    return Tally(*received.get(found.arriving[leg], (0, 0)), *sent.get(found.leaving[leg], (0, 0)))


def _address(host: str) -> IPv4Address:
    """:raise RefusedError: if it is none, or an IPv6 address."""
    try:
        return IPv4Address(host)
    except ValueError:
        raise RefusedError(f"{host[:64]!r} is no IPv4 address") from None


def _words(reason: NetlinkError) -> str:
    if reason.number == EEXIST:
        return "another bridge joins the same addresses"
    if reason.number == ENFILE:
        return "there is no room for another bridge"
    return f"the kernel refuses it: {reason}"


def _slices(found: Sequence[_Open]) -> Iterable[Sequence[_Open]]:
    return (found[start : start + TOGETHER] for start in range(0, len(found), TOGETHER))
