"""The fast path's helper, played by a test at the other end of a worker's connection."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from stellar_gw.control.envelope import Message
from stellar_gw.control.fastpath import (
    VERSION,
    CloseBridge,
    OpenBridge,
    Welcome,
    decode_for_helper,
    encode_frame,
)
from stellar_gw.worker.fastpath import FastPath, HelperChannel


class CutTransport(StringTransport):
    """Its connection is lost when it is cut."""

    def __init__(self, channel: HelperChannel) -> None:
        super().__init__()
        self._channel = channel

    def abortConnection(self) -> None:
        self._channel.connectionLost()


class PlaysHelper:
    """For a test case: what the worker asks the helper, and what the helper says."""

    def attach(self, fast_path: FastPath) -> None:
        """Connect, and say hello."""
        self.channel = HelperChannel(fast_path)
        self.transport = CutTransport(self.channel)
        self.channel.makeConnection(self.transport)
        self.say(Welcome(version=VERSION, ports=(10000, 10100)))

    def say(self, message: Message) -> None:
        self.channel.dataReceived(encode_frame(message))

    def asked(self) -> list[OpenBridge | CloseBridge]:
        """What the helper has been asked since the last look."""
        octets, found = self.transport.value(), []
        self.transport.clear()
        while octets:
            length = 4 + int.from_bytes(octets[:4], "big")
            found.append(decode_for_helper(octets[4:length]))
            octets = octets[length:]
        return found
