"""G.711 and G.722, both ways; G.722 bit by bit against the ITU's and libg722's files."""

from __future__ import annotations

import math
import subprocess
import sys
from array import array
from hashlib import md5, sha256
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.codec import CODECS, G722, PCMA, PCMU, Codec, codec_named

PROJECT = Path(__file__).resolve().parents[2]
VECTORS = PROJECT.parent / "shared" / "vectors"


def vector(name: str) -> bytes:
    path = VECTORS / name
    if not path.exists():
        raise SkipTest(f"{path} is not there")
    return path.read_bytes()


def swapped(pcm: bytes) -> bytes:
    """The same samples in the other byte order."""
    samples = array("h", pcm)
    samples.byteswap()
    return samples.tobytes()


def sine(rate: int, hertz: float, seconds: float, amplitude: float = 10000.0) -> bytes:
    values = (round(amplitude * math.sin(2 * math.pi * hertz * n / rate)) for n in range(round(rate * seconds)))
    return array("h", values).tobytes()


def snr(sent: bytes, heard: bytes, delay: int) -> float:
    """Signal to noise in dB of what was heard ``delay`` samples later, without the first 1000 samples."""
    a, b = array("h", sent), array("h", heard)
    pairs = list(zip(a[1000 : -delay or None], b[1000 + delay :], strict=False))
    noise = sum((x - y) ** 2 for x, y in pairs) or 1
    return 10 * math.log10(sum(x * x for x, _ in pairs) / noise)


class TableTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Codecs are found by their names in any case, the best first in the table."""
        self.assertEqual(
            ([codec_named(name) for name in ("g722", "Pcmu", "PCMA", "opus", "")], list(CODECS)),
            ([G722, PCMU, PCMA, None, None], ["G722", "PCMU", "PCMA"]),
        )

    def test_figures(self) -> None:
        """Static payload types, PCM rates and clocks (RFC 3551 6); G.722's clock is half its rate (4.5.2)."""

        def figures(codec: Codec) -> tuple[int, ...]:
            return codec.payload_type, codec.rate, codec.clock, codec.samples(30), codec.pcm_octets(30)

        self.assertEqual(
            {name: figures(codec) for name, codec in CODECS.items()},
            {"G722": (9, 16000, 8000, 240, 960), "PCMU": (0, 8000, 8000, 240, 480), "PCMA": (8, 8000, 8000, 240, 480)},
        )

    def test_silence(self) -> None:
        """Silence has the right length both ways, decodes to next to nothing, and goes on from any state."""
        for codec in CODECS.values():
            encoder, decoder = codec.encoder(), codec.decoder()
            payload = codec.silence(20)
            lengths = len(payload), len(decoder.silence(20)), len(encoder.silence(20)), encoder.rate, decoder.rate
            self.assertEqual(lengths, (160, codec.pcm_octets(20), 160, codec.rate, codec.rate))
            self.assertEqual(
                (payload, encoder.silence(20)),
                (
                    codec.encoder().encode(bytes(codec.pcm_octets(20))),
                    codec.encoder().encode(bytes(2 * codec.pcm_octets(20)))[160:],
                ),
            )
            self.assertLessEqual(max(map(abs, array("h", decoder.decode(payload)))), 8)

    def test_halves_of_samples(self) -> None:
        """PCM of half a sample, and of half a pair of samples for G.722, is our own mistake."""
        self.assertRaises(LocalProtocolError, PCMU.encoder().encode, bytes(3))
        self.assertRaises(LocalProtocolError, PCMA.encoder().encode, bytes(3))
        self.assertRaises(LocalProtocolError, G722.encoder().encode, bytes(2))

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.sampled_from(list(CODECS.values())), st.binary(max_size=400))
    def test_any_octets_decode(self, codec: Codec, payload: bytes) -> None:
        """Every octet is valid audio of 1/8 ms."""
        self.assertEqual(len(codec.decoder().decode(payload)), len(payload) * codec.rate // 4000)

    def test_import_warns_of_nothing(self) -> None:
        """Importing the codecs with warnings as errors works, and brings neither numpy nor Twisted."""
        code = "import sys, stellar_gw.media.codec; print([m for m in ('numpy', 'twisted') if m in sys.modules])"
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stdout.strip(), done.stderr), ("[]", ""))


class G711Tests(SynchronousTestCase):
    def test_known_values(self) -> None:
        """Zero, the smallest and the largest values of both laws (ITU-T G.711, tables 1 and 2)."""
        pcm = array("h", [0, -4, 32767, -32768, 1000, -1000]).tobytes()
        self.assertEqual(
            (PCMU.encoder().encode(pcm).hex(), PCMA.encoder().encode(pcm).hex()), ("ff7e8000ce4e", "d555aa2afa7a")
        )

    def test_codes_survive(self) -> None:
        """Each code decodes to a value that encodes to the same code; mu-law's two zeros become one."""
        codes = bytes(range(256))
        ulaw = PCMU.encoder().encode(PCMU.decoder().decode(codes))
        alaw = PCMA.encoder().encode(PCMA.decoder().decode(codes))
        self.assertEqual((ulaw, alaw), (codes.replace(b"\x7f", b"\xff"), codes))

    def test_quality(self) -> None:
        """A tone comes back with 35 dB and more of signal to noise."""
        tone = sine(8000, 440, 1.0)
        found = {
            codec.name: snr(tone, codec.decoder().decode(codec.encoder().encode(tone)), 0) for codec in (PCMU, PCMA)
        }
        self.assertEqual({name: db > 35 for name, db in found.items()}, {"PCMU": True, "PCMA": True}, found)


class G722Tests(SynchronousTestCase):
    def test_itu_encoder(self) -> None:
        """The ITU's speech file is encoded bit by bit as by its reference encoder."""
        speech, words = vector("g722-openitu/inpsp.bin"), vector("g722-openitu/codspw.cod")
        expected = bytes(word & 0xFF for word in array("h", words))
        self.assertEqual(sha256(G722.encoder().encode(speech)).digest(), sha256(expected).digest())

    def test_itu_decoder(self) -> None:
        """The reference encoder's output is decoded bit by bit as by the reference decoder in mode 1, in packets."""
        payload = bytes(word & 0xFF for word in array("h", vector("g722-openitu/codspw.cod")))
        decoder = G722.decoder()
        pcm = b"".join(decoder.decode(payload[at : at + 160]) for at in range(0, len(payload), 160))
        self.assertEqual(sha256(pcm).digest(), sha256(vector("g722-openitu/outsp1.bin")).digest())

    def test_itu_byte_order(self) -> None:
        """The same stream as octets in pairs is the same stream."""
        octets = array("h", vector("g722-openitu/codsp.cod"))
        octets.byteswap()
        pcm = G722.decoder().decode(octets.tobytes())
        self.assertEqual(sha256(pcm).digest(), sha256(vector("g722-openitu/outsp1.bin")).digest())

    def test_libg722(self) -> None:
        """libg722's sums at 64 kbit/s: its test stream, full scale, and PCM both ways, in both byte orders."""
        lines = vector("g722-libg722/test.checksum").decode().splitlines()
        sums = {name: digest for digest, name in (line.split(" *") for line in lines)}
        plain = vector("g722-libg722/pcminb.dat")
        encoded = G722.encoder().encode(swapped(plain))
        found = {
            "test.raw.16k.out": G722.decoder().decode(vector("g722-libg722/test.g722")),
            "pcminb.g722.out": encoded,
            "pcminb.raw.16k.out": swapped(G722.decoder().decode(encoded)),
            "fullscale.raw.out": G722.decoder().decode(vector("g722-libg722/fullscale.g722")),
        }
        self.assertEqual(
            {name: sha256(data).hexdigest() for name, data in found.items()}, {name: sums[name] for name in found}
        )
        table = [line.split() for line in vector("g722-libg722/pcminb.checksum").decode().splitlines()]
        encoded = G722.encoder().encode(plain)
        sums = {"encoded": md5(encoded).hexdigest(), "decoded": md5(G722.decoder().decode(encoded)).hexdigest()}
        self.assertIn(["64000_16000", str(len(encoded)), *sums.values()], table)

    def test_quality(self) -> None:
        """Tones below and above 4 kHz come back, 22 samples later, with the quality of their sub-bands."""
        found = {}
        for hertz in (440, 2500, 6000):
            tone = sine(16000, hertz, 1.0)
            found[hertz] = snr(tone, G722.decoder().decode(G722.encoder().encode(tone)), 22)
        self.assertEqual(
            {hertz: db > (30 if hertz < 4000 else 8) for hertz, db in found.items()}, dict.fromkeys(found, True), found
        )

    def test_streams_are_apart(self) -> None:
        """Two encoders and two decoders have nothing in common; one stream in pieces is the same as whole."""
        one, other = sine(16000, 440, 0.2), sine(16000, 3000, 0.2)
        a, b = G722.encoder(), G722.encoder()
        parts = [(a.encode(one[at : at + 640]), b.encode(other[at : at + 640])) for at in range(0, len(one), 640)]
        joined = b"".join(part[0] for part in parts), b"".join(part[1] for part in parts)
        self.assertEqual(joined, (G722.encoder().encode(one), G722.encoder().encode(other)))
