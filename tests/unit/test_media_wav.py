"""WAV files read and written."""

from __future__ import annotations

import io
import struct
import wave

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.source import tone
from stellar_gw.media.wav import MAX_FILE, Wav, WavError, WavWriter, read_wav


def wav(audio: bytes, form: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b"") -> bytes:
    """A file with these fields; ``extra`` stands between format and data."""
    head = struct.pack("<HHIIHH", form, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + extra + b"data" + struct.pack("<I", len(audio)) + audio
    return b"RIFF" + struct.pack("<I", len(body)) + body


class ReadingTests(SynchronousTestCase):
    def test_formats(self) -> None:
        """16 and 8 bits, mu-law and A-law, one channel and two, become 16-bit mono."""
        extensible = (
            b"WAVEfmt " + struct.pack("<IHHIIHHHHIH", 40, 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4, 1) + bytes(14)
        )
        files = {
            "16 bits": wav(b"\x01\x02\x03\x04"),
            "8 bits": wav(b"\x80\x81\x7f\x00\xff", bits=8),
            "stereo": wav(struct.pack("<4h", 100, 300, -100, 100), channels=2, rate=44100),
            "mu-law": wav(b"\xff\x80", form=7, bits=8),
            "A-law": wav(b"\xd5\xaa", form=6, bits=8),
            "extensible": b"RIFF" + bytes(4) + extensible + b"data\x02\x00\x00\x00\x05\x06",
            "odd chunk between": wav(b"\x01\x02", extra=b"LIST\x03\x00\x00\x00abc\x00"),
            "cut off": wav(b"\x01\x02\x03\x04\x05")[:-1],
            "half a sample": wav(b"\x01\x02\x03"),
        }
        self.assertEqual(
            {name: (read.rate, read.pcm) for name, data in files.items() for read in [read_wav(data)]},
            {
                "16 bits": (8000, b"\x01\x02\x03\x04"),
                "8 bits": (8000, struct.pack("<5h", 0, 256, -256, -32768, 32512)),
                "stereo": (44100, struct.pack("<2h", 200, 0)),
                "mu-law": (8000, struct.pack("<2h", 0, 32124)),
                "A-law": (8000, struct.pack("<2h", 8, 32256)),
                "extensible": (8000, b"\x05\x06"),
                "odd chunk between": (8000, b"\x01\x02"),
                "cut off": (8000, b"\x01\x02\x03\x04"),
                "half a sample": (8000, b"\x01\x02"),
            },
        )

    def test_unknown_length(self) -> None:
        """A recording whose writer was killed is read to its end."""
        file = io.BytesIO()
        WavWriter(file, 16000).write(b"\x01\x02\x03\x04")
        self.assertEqual(read_wav(file.getvalue()), Wav(16000, b"\x01\x02\x03\x04"))

    def test_errors(self) -> None:
        """What cannot be played is named, with what it must be."""
        files = {
            b"": "not a WAV file: it must begin with RIFF and WAVE",
            b"ID3\x04" + bytes(20): "not a WAV file: it must begin with RIFF and WAVE",
            b"RIFF\x00\x00\x00\x00WAVE": "the WAV file has no audio: there is no data chunk",
            b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00": "the WAV file's audio comes before its format",
            b"RIFF\x00\x00\x00\x00WAVEfmt \x02\x00\x00\x00\x01\x00": "the WAV file's format chunk is cut off",
            wav(b"", bits=24): "the WAV file has format 1 with 24 bits; it must be PCM of 8 or 16 bits, or G.711",
            wav(b"", form=85): "the WAV file has format 85 with 16 bits; it must be PCM of 8 or 16 bits, or G.711",
            wav(b"", channels=6): "the WAV file has 6 channels; it must have 1 or 2",
            wav(b"", channels=0): "the WAV file has 0 channels; it must have 1 or 2",
            wav(b"", rate=0): "the WAV file has 0 samples a second; it must have 1000 to 384000",
            bytes(MAX_FILE + 1): f"the file has {MAX_FILE + 1} octets, at most {MAX_FILE} can be played",
        }
        self.assertEqual([str(self.assertRaises(WavError, read_wav, data)) for data in files], list(files.values()))

    def test_other_rate(self) -> None:
        """At another rate a recording has the same length and the same beginning."""
        source = Wav(44100, tone((440,), 44100, 500))
        lengths = {rate: len(source.at(rate)) for rate in (8000, 16000, 44100)}
        self.assertEqual(source.seconds, 0.5)
        self.assertEqual(lengths, {8000: 8000, 16000: 16000, 44100: 44100})
        expected, heard = (memoryview(pcm).cast("h") for pcm in (tone((440,), 16000, 500), source.at(16000)))
        self.assertLess(max(abs(a - b) for a, b in zip(expected[200:7800], heard[200:7800], strict=True)), 40)

    def test_rate_without_a_way(self) -> None:
        """A rate that cannot be converted is an error for people."""
        error = self.assertRaises(WavError, Wav(44101, b"").at, 48000)
        self.assertEqual(
            str(error), "cannot convert 44101 Hz to 48000 Hz: their ratio is too uneven; convert the file to 48000 Hz"
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.binary(max_size=80), st.integers(0, 60))
    def test_any_octets(self, data: bytes, place: int) -> None:
        """Nothing but the named error is raised, whatever is in the file."""
        good = wav(bytes(20))
        for octets in (b"RIFF\x00\x00\x00\x00WAVE" + data, good[:place] + data + good[place + len(data) :]):
            try:
                self.assertEqual(len(read_wav(octets).pcm) % 2, 0)
            except WavError as error:
                self.assertTrue(str(error))


class WritingTests(SynchronousTestCase):
    def test_read_by_the_standard_library(self) -> None:
        """A closed file has the right lengths, for one channel and two."""
        for channels in (1, 2):
            file = io.BytesIO()
            writer = WavWriter(file, 16000, channels)
            writer.write(bytes(640))
            writer.write(b"\x01\x02\x03\x04")
            writer.close()
            data = file.getvalue()
            with wave.open(io.BytesIO(data)) as read:
                self.assertEqual(
                    (
                        read.getnchannels(),
                        read.getframerate(),
                        read.readframes(1000),
                        int.from_bytes(data[4:8], "little"),
                    ),
                    (channels, 16000, bytes(640) + b"\x01\x02\x03\x04", len(data) - 8),
                )
            self.assertEqual(struct.unpack("<IH", data[28:34]), (32000 * channels, 2 * channels))

    def test_limit(self) -> None:
        """What exceeds the limit is dropped; the file stays whole."""
        file = io.BytesIO()
        writer = WavWriter(file, 8000, limit=5)
        for _ in range(3):
            writer.write(b"\x01\x02")
        writer.close()
        self.assertEqual((read_wav(file.getvalue()), writer.octets), (Wav(8000, b"\x01\x02\x01\x02"), 4))

    def test_full(self) -> None:
        """A writer says when it has reached its limit."""
        writer = WavWriter(io.BytesIO(), 8000, limit=4)
        found = [writer.full]
        writer.write(bytes(8))
        self.assertEqual([*found, writer.full], [False, True])
