"""The kernel's messages of the fast path, octet by octet."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.fastpath import FastLeg, OpenBridge
from stellar_gw.fastpath.netlink import (
    DELETE_ELEMENT,
    NEW_ELEMENT,
    Command,
    attribute,
    attributes,
    message,
    messages,
    nested,
)
from stellar_gw.fastpath.ruleset import (
    ARRIVING,
    ARRIVING_PORT,
    LEAVING,
    LEAVING_PORT,
    closed,
    counters,
    keys,
    opened,
    table,
)

modest = settings(max_examples=300, derandomize=True, deadline=None)
BRIDGE = OpenBridge(
    request=1,
    bridge=7,
    payload_type=9,
    legs=(
        FastLeg(local=("192.0.2.1", 10000), remote=("198.51.100.7", 4000)),
        FastLeg(local=("192.0.2.2", 10002), remote=("198.51.100.8", 6000)),
    ),
)
CALLER, TARGET = "c6336407 0fa00000", "c6336408 17700000"
"""The phones' addresses and ports, in registers of four octets."""
OURS, THEIRS = "c0000201 27100000", "c0000202 27120000"
"""Ours, as the caller and as the target know us."""


def elements(command: Command) -> tuple[str, dict[str, str]]:
    """Of which map, and key to value."""
    found = dict(attributes(command.body))
    listed = {}
    for _, element in attributes(found[3]):
        parts = dict(attributes(element))
        value = dict(attributes(parts.get(2, b""))).get(1, b"")
        listed[dict(attributes(parts[1]))[1].hex()] = value.hex()
    return found[2].rstrip(b"\0").decode(), listed


def octets(*texts: str) -> str:
    return "".join(texts).replace(" ", "")


class BridgeTests(SynchronousTestCase):
    def test_opened(self) -> None:
        """What comes from one phone to its port goes to the other, from the port that this one knows."""
        typed = "09000000"
        commands = opened(BRIDGE)
        self.assertEqual({command.kind for command in commands}, {NEW_ELEMENT})
        self.assertEqual(
            dict(map(elements, commands)),
            {
                ARRIVING: {octets(CALLER, OURS, typed): "c6336408", octets(TARGET, THEIRS, typed): "c6336407"},
                ARRIVING_PORT: {octets(CALLER, OURS, typed): "1770", octets(TARGET, THEIRS, typed): "0fa0"},
                LEAVING: {octets(TARGET, CALLER): "c0000201", octets(CALLER, TARGET): "c0000202"},
                LEAVING_PORT: {octets(TARGET, CALLER): "2710", octets(CALLER, TARGET): "2712"},
            },
        )

    def test_way_out_first(self) -> None:
        """Nothing comes in before it can go out: the map that lets packets in is the last to be filled."""
        self.assertEqual([elements(command)[0] for command in opened(BRIDGE)][-1], ARRIVING)

    def test_closed(self) -> None:
        """What is taken away is named by its keys alone."""
        (arriving, _), _ = keys(BRIDGE)
        commands = closed([arriving], ARRIVING, ARRIVING_PORT)
        self.assertEqual({command.kind for command in commands}, {DELETE_ELEMENT})
        self.assertEqual(
            list(map(elements, commands)), [(ARRIVING, {arriving.hex(): ""}), (ARRIVING_PORT, {arriving.hex(): ""})]
        )

    def test_table(self) -> None:
        """The table is ours alone (its owner's), and the traffic class is the configured one."""
        commands = table((10000, 20000), 2500, 46)
        self.assertEqual(dict(attributes(commands[0].body)), {1: b"stellar_fastpath\0", 2: struct.pack("!I", 2)})
        self.assertIn(bytes((0, 46 << 2)), commands[-1].body)
        self.assertIn(struct.pack("!H", 19999), commands[-2].body)


class ParserTests(SynchronousTestCase):
    def test_counters(self) -> None:
        """Key, packets and octets of an answer's elements."""
        counter = nested(
            7,
            attribute(1, "counter"),
            nested(2, attribute(1, struct.pack("!Q", 800)), attribute(2, struct.pack("!Q", 4))),
        )
        body = attribute(1, "stellar_fastpath") + nested(3, nested(1, nested(1, attribute(1, b"key!")), counter))
        self.assertEqual(list(counters(body)), [(b"key!", 4, 800)])

    def test_messages(self) -> None:
        """Messages are told apart, and what is theirs comes back."""
        both = message(0xA0C, 1, 1, 2, 0, attribute(1, "ab")) + message(2, 0, 1, 0, 0, b"")
        self.assertEqual(list(messages(both)), [(0xA0C, b"\x02\0\0\0" + attribute(1, "ab")), (2, bytes(4))])

    @modest
    @given(st.binary(max_size=200))
    def test_anything(self, octets: bytes) -> None:
        """Whatever the kernel says, reading it ends and raises nothing."""
        for found in (list(attributes(octets)), list(messages(octets)), list(counters(octets))):
            self.assertLessEqual(len(found), len(octets))
