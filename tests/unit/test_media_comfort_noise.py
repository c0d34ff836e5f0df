"""Comfort noise (RFC 3389): as loud as the peer says, within reason."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import FLOOR_DBFS, level_dbfs
from stellar_gw.media.comfort_noise import ComfortNoise


def noise(*payloads: bytes, samples: int = 16000) -> bytes:
    made = ComfortNoise()
    for payload in payloads:
        made.received(payload)
    return made.take(samples)


class NoiseTests(SynchronousTestCase):
    def test_levels(self) -> None:
        """The last packet's level counts, its highest bit and its spectrum do not."""
        streams = ((b"\x37",), (b"\x28", b"\x46"), (b"\xb7",), (b"\x32\x40\x80",))
        found = [level_dbfs(noise(*payloads)) for payloads in streams]
        self.assertEqual([round(level) for level in found], [-55, -70, -55, -50])

    def test_never_loud(self) -> None:
        """Whatever a peer says, noise is no louder than -40 dBov; what 16 bits cannot hold is silence."""
        found = [level_dbfs(noise(bytes((level,)))) for level in (0, 20, 39, 90, 127)]
        self.assertEqual([round(level) for level in found], [-40, -40, -40, FLOOR_DBFS, FLOOR_DBFS])

    def test_silence_until_a_packet_came(self) -> None:
        """Without a level there is silence."""
        self.assertEqual((noise(samples=5), noise(b"", samples=5)), (bytes(10), bytes(10)))

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 40000), max_size=6), st.binary(max_size=12))
    def test_pieces(self, lengths: list[int], payload: bytes) -> None:
        """However it is taken, it is as long as asked for, and goes on where it was."""
        made = ComfortNoise()
        made.received(payload)
        pieces = [made.take(length) for length in lengths]
        self.assertEqual([len(piece) // 2 for piece in pieces], lengths)
        self.assertEqual(b"".join(pieces), noise(payload, samples=sum(lengths)))
