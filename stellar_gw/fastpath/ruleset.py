"""The rules of the fast path: one table for any number of bridges, and what a bridge adds to its maps.

    map arriving { ip saddr . udp sport . ip daddr . udp dport . RTP payload type : ip daddr; counter }
    map arriving_port { the same : udp dport }
    map leaving { ip saddr . udp sport . ip daddr . udp dport : ip saddr; counter }
    map leaving_port { the same : udp sport }
    chain prerouting, priority raw:   udp dport FIRST-LAST  set ip daddr and udp dport by the maps  notrack
    chain forward, priority 300:      set ip saddr and udp sport by the maps  set ip dscp

(Two maps with one value each rather than one with two, because ``nft list ruleset`` could not print that.)

A packet is looked at by its source, too, so that strangers' packets stay what they are and go to the leg's socket; so
do those of another payload type: digits, comfort noise, RTCP on the same port. The source is changed only when the
packet is on its way out, because one that comes in with an address of ours is a martian to the kernel; after everybody
else's rules, which see the peers' addresses and decide about them. No connection is tracked.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

from stellar_gw.control.fastpath import OpenBridge
from stellar_gw.fastpath.netlink import (
    CREATE,
    DELETE_ELEMENT,
    EXCLUSIVE,
    NEW_CHAIN,
    NEW_ELEMENT,
    NEW_RULE,
    NEW_SET,
    NEW_TABLE,
    Command,
    attribute,
    attributes,
    nested,
)

TABLE = "stellar_fastpath"
ARRIVING, ARRIVING_PORT = "arriving", "arriving_port"
LEAVING, LEAVING_PORT = "leaving", "leaving_port"
MAPS = (ARRIVING, ARRIVING_PORT, LEAVING, LEAVING_PORT)
PREROUTING, FORWARD = 0, 2
"""Hooks (NF_INET_...)."""
RAW, LAST = -300, 300
ACCEPT = 1
OWNER = 0x2
MAP = 0x8
_NETWORK, _TRANSPORT = 1, 2
_EQUAL = 0
_REGISTERS = 8
"""NFT_REG32_00: the first of 16 registers of four octets."""
_SOURCE, _SOURCE_PORT, _DESTINATION, _DESTINATION_PORT, _TYPE, _NEW, _NEW_PORT, _SPARE = range(_REGISTERS, 16)
_ADDRESS = struct.Struct("!4sHxx")
_PORT = struct.Struct("!H")
_COUNTERS = struct.Struct("!Q")
_TYPES = {"ipv4_addr": 7, "inet_service": 13, "inet_proto": 12}
"""Of nft's, which only its listings go by: it has none for a payload type, and inet_proto is one octet, too."""


# --- expressions ------------------------------------------------------------------------------------


def _expression(name: str, *found: bytes) -> bytes:
    return nested(1, attribute(1, name), nested(2, *found))


def _load(register: int, base: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload", attribute(1, register), attribute(2, base), attribute(3, offset), attribute(4, length)
    )


def _store(register: int, base: int, offset: int, length: int, checksum: int, *, pseudo: bool) -> bytes:
    """Change a packet, and the checksum at ``checksum`` of the same header; ``pseudo``: UDP's covers it, too."""
    return _expression(
        "payload",
        attribute(5, register),
        attribute(2, base),
        attribute(3, offset),
        attribute(4, length),
        attribute(6, 1),
        attribute(7, checksum),
        attribute(8, int(pseudo)),
    )


def _compare(register: int, operator: int, value: bytes) -> bytes:
    return _expression("cmp", attribute(1, register), attribute(2, operator), nested(3, attribute(1, value)))


def _between(register: int, low: bytes, high: bytes) -> bytes:
    return _expression(
        "range", attribute(1, register), attribute(2, 0), nested(3, attribute(1, low)), nested(4, attribute(1, high))
    )


def _bits(register: int, mask: bytes, other: bytes) -> bytes:
    """``register & mask ^ other``."""
    return _expression(
        "bitwise",
        attribute(1, register),
        attribute(2, register),
        attribute(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, other)),
    )


def _look_up(name: str, register: int, result: int) -> bytes:
    """Registers from ``register`` on are the key; the rule ends here where the map has none of it."""
    return _expression("lookup", attribute(1, name), attribute(2, register), attribute(3, result))


_UDP = _expression("meta", attribute(2, 16), attribute(1, _SPARE)) + _compare(_SPARE, _EQUAL, b"\x11")
_KEY = (
    _load(_SOURCE, _NETWORK, 12, 4)
    + _load(_SOURCE_PORT, _TRANSPORT, 0, 2)
    + _load(_DESTINATION, _NETWORK, 16, 4)
    + _load(_DESTINATION_PORT, _TRANSPORT, 2, 2)
)
_PAYLOAD_TYPE = _load(_TYPE, _TRANSPORT, 9, 1) + _bits(_TYPE, b"\x7f", b"\x00")


# --- the table --------------------------------------------------------------------------------------


def table(ports: tuple[int, int], bridges: int, dscp: int) -> list[Command]:
    """All of it, without a bridge.

    :param ports: the first, and the one after the last.
    :param bridges: as many as there can be.
    """
    first, last = (port.to_bytes(2, "big") for port in (ports[0], ports[1] - 1))
    arrive = (
        _UDP
        + _load(_DESTINATION_PORT, _TRANSPORT, 2, 2)
        + _between(_DESTINATION_PORT, first, last)
        + _KEY
        + _PAYLOAD_TYPE
        + _look_up(ARRIVING_PORT, _SOURCE, _NEW_PORT)
        + _look_up(ARRIVING, _SOURCE, _NEW)  # the one that counts comes last
        + _store(_NEW, _NETWORK, 16, 4, 10, pseudo=True)
        + _store(_NEW_PORT, _TRANSPORT, 2, 2, 6, pseudo=False)
        + _expression("notrack")
    )
    leave = (
        _UDP
        + _KEY
        + _look_up(LEAVING_PORT, _SOURCE, _NEW_PORT)
        + _look_up(LEAVING, _SOURCE, _NEW)
        + _store(_NEW, _NETWORK, 12, 4, 10, pseudo=True)
        + _store(_NEW_PORT, _TRANSPORT, 0, 2, 6, pseudo=False)
        + _load(_SPARE, _NETWORK, 0, 2)
        + _bits(_SPARE, b"\xff\x03", bytes((0, dscp << 2)))
        + _store(_SPARE, _NETWORK, 0, 2, 10, pseudo=False)
    )
    pair = ("ipv4_addr", "inet_service", "ipv4_addr", "inet_service")
    typed = (*pair, "inet_proto")
    return [
        Command(NEW_TABLE, attribute(1, TABLE) + attribute(2, OWNER), CREATE),
        _map(1, ARRIVING, typed, "ipv4_addr", 2 * bridges),
        _map(2, ARRIVING_PORT, typed, "inet_service", 2 * bridges),
        _map(3, LEAVING, pair, "ipv4_addr", 2 * bridges),
        _map(4, LEAVING_PORT, pair, "inet_service", 2 * bridges),
        _chain("prerouting", PREROUTING, RAW),
        _chain("forward", FORWARD, LAST),
        _rule("prerouting", arrive),
        _rule("forward", leave),
    ]


def _map(number: int, name: str, key: Sequence[str], data: str, size: int) -> Command:
    address = data == "ipv4_addr"
    counter = nested(17, attribute(1, "counter"), nested(2)) if address else b""
    body = (
        attribute(1, TABLE)
        + attribute(2, name)
        + attribute(3, MAP)
        + attribute(4, _concatenated(key))
        + attribute(5, 4 * len(key))
        + attribute(6, _TYPES[data])
        + attribute(7, 4 if address else 2)
        + nested(9, attribute(1, size))
        + attribute(10, number)
        + counter
    )
    return Command(NEW_SET, body, CREATE)


def _concatenated(names: Sequence[str]) -> int:
    kind = 0
    for name in names:
        kind = kind << 6 | _TYPES[name]
    return kind


def _chain(name: str, hook: int, priority: int) -> Command:
    hooked = nested(4, attribute(1, hook), attribute(2, priority & 0xFFFFFFFF))
    body = attribute(1, TABLE) + attribute(3, name) + hooked + attribute(5, ACCEPT) + attribute(7, "filter")
    return Command(NEW_CHAIN, body, CREATE)


def _rule(chain: str, expressions: bytes) -> Command:
    return Command(NEW_RULE, attribute(1, TABLE) + attribute(2, chain) + nested(4, expressions), CREATE)


# --- bridges ----------------------------------------------------------------------------------------

Key = bytes


def keys(bridge: OpenBridge) -> tuple[tuple[Key, Key], tuple[Key, Key]]:
    """For each leg: by what its packets are known when they arrive, and when those leave that it is sent."""
    found = []
    for leg, other in (bridge.legs, bridge.legs[::-1]):
        arriving = _packed(leg.remote) + _packed(leg.local) + bytes((bridge.payload_type, 0, 0, 0))
        found.append((arriving, _packed(other.remote) + _packed(leg.remote)))
    return found[0], found[1]


def opened(bridge: OpenBridge) -> list[Command]:
    """Fails with EEXIST where another bridge has one of its keys."""
    legs, ways = bridge.legs, keys(bridge)
    values: dict[str, list[tuple[Key, bytes | None]]] = {name: [] for name in MAPS}
    for (arriving, leaving), ours, other in zip(ways, legs, legs[::-1], strict=True):
        values[ARRIVING].append((arriving, socket.inet_aton(other.remote[0])))
        values[ARRIVING_PORT].append((arriving, _PORT.pack(other.remote[1])))
        values[LEAVING].append((leaving, socket.inet_aton(ours.local[0])))
        values[LEAVING_PORT].append((leaving, _PORT.pack(ours.local[1])))
    # What leaves first, or a packet could pass half changed.
    return [
        Command(NEW_ELEMENT, _elements(name, values[name]), CREATE | EXCLUSIVE)
        for name in (LEAVING, LEAVING_PORT, ARRIVING_PORT, ARRIVING)
    ]


def closed(known: Sequence[Key], *names: str) -> list[Command]:
    """Take elements of maps away."""
    return [Command(DELETE_ELEMENT, _elements(name, [(key, None) for key in known])) for name in names]


def wanted(name: str, known: Sequence[Key] = ()) -> bytes:
    """What asks for these elements, or for all."""
    return _elements(name, [(key, None) for key in known])


def _elements(name: str, found: Sequence[tuple[Key, bytes | None]]) -> bytes:
    elements = []
    for number, (key, value) in enumerate(found, 1):
        parts = [nested(1, attribute(1, key))]
        if value is not None:
            parts.append(nested(2, attribute(1, value)))
        elements.append(nested(number, *parts))
    return attribute(1, TABLE) + attribute(2, name) + (nested(3, *elements) if elements else b"")


def counters(body: bytes) -> Iterator[tuple[Key, int, int]]:
    """Key, packets and octets of each element in an answer."""
    for kind, value in attributes(body):
        if kind == 3:
            for _, element in attributes(value):
                found = dict(attributes(element))
                counter = dict(attributes(dict(attributes(found.get(7, b""))).get(2, b"")))
                key = dict(attributes(found.get(1, b""))).get(1, b"")
                if len(counter.get(1, b"")) == len(counter.get(2, b"")) == _COUNTERS.size:
                    yield key, _COUNTERS.unpack(counter[2])[0], _COUNTERS.unpack(counter[1])[0]


def _packed(address: tuple[str, int]) -> bytes:
    host, port = address
    return _ADDRESS.pack(socket.inet_aton(host), port)
