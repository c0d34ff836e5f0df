"""One buffer in which packets are received, changed, deciphered and enciphered, and from which they are sent.

A packet that is copied from object to object costs more than its changes do, and each stream's own buffer has left the
processor's cache by the time its next packet comes; one buffer for all of them never does.
"""

from __future__ import annotations

LARGEST_DATAGRAM = 65535
TRAILER = 256
"""Octets behind the largest datagram, for what SRTP adds to it."""
HEADER = 12
"""Octets of an RTP header without CSRC list (RFC 3550 5.1)."""
USUAL = 512
"""Octets; a view of a shorter packet is there already, and costs nothing."""


class Workspace:
    """
    :ivar whole: what a datagram is received into, always at its beginning.
    """

    def __init__(self) -> None:
        self._octets = bytearray(LARGEST_DATAGRAM + TRAILER)
        self._view = memoryview(self._octets)
        self.whole = self._view[:LARGEST_DATAGRAM]
        self._pieces = [self._view[:octets] for octets in range(USUAL)]
        self._payloads: dict[int, memoryview] = {}

    @property
    def buffer(self) -> bytearray:
        """All of it, the room for a trailer too."""
        return self._octets

    @property
    def pieces(self) -> list[memoryview]:
        """The first octets, by their number; of numbers below :data:`USUAL`."""
        return self._pieces

    def piece(self, octets: int) -> memoryview:
        """The packet of so many octets that is in it."""
        return self._pieces[octets] if octets < USUAL else self._view[:octets]

    def payload(self, octets: int) -> memoryview:
        """Of the RTP packet that is in it, so many octets behind a header without CSRC list."""
        found = self._payloads.get(octets)
        if found is None:
            found = self._payloads[octets] = self._view[HEADER : HEADER + octets]
        return found

    def put(self, packet: bytes) -> memoryview:
        """Lay a packet into it, as if it had been received."""
        piece = self.piece(len(packet))
        piece[:] = packet
        return piece
