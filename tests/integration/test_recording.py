"""Recorded calls to a real gateway: what is in the files, by content."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import wave
from pathlib import Path
from shutil import which
from typing import Any

from stellar_gw.media.analysis import dominant_tone, find
from stellar_gw.media.wav import read_wav
from stellar_gw.phone.plan import playable
from tests.integration.call_support import SOUND, CallTestCase, heard, pause, until
from tests.integration.gateway_support import ECHO, RECORDED_ECHO, RECORDED_TONE
from tests.integration.sound import RATE


def channels(path: str) -> tuple[int, bytes, bytes]:
    """Rate, left and right."""
    with wave.open(path) as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    left, right = (b"".join(pcm[at : at + 2] for at in range(side, len(pcm), 4)) for side in (0, 2))
    return rate, left, right


class RecordingTests(CallTestCase):
    def setUp(self) -> None:
        self.start()
        self.folder = Path(self.gateway.records_folder) / "recordings"

    async def recorded(self, number: str, **conduct: Any) -> tuple[Any, dict[str, Any]]:
        """A call, and what its record says of the recording."""
        call = self.place(number, **conduct)
        return call, await self.recording(call)

    async def recording(self, call: Any) -> dict[str, Any]:
        """What the record says of it, which is as long as the call was."""
        record = await self.record(await call.ended)
        self.assertEqual((record["cause"], record["status"]), ("caller_hangup", 200))
        recording = record["recording"]
        assert isinstance(recording, dict)
        if not recording["note"]:
            self.assertTrue(-0.7 < recording["seconds"] - record["duration"] < 0.5, record)
        return recording

    async def test_two_tones(self) -> None:
        """The caller's 700 Hz is left, the agent's 440 Hz is right, in every codec, and of a call with SRTP as it was
        spoken; the record says what there is. A call to a connector that does not ask for it is not recorded.
        """
        plain: dict[str, Any] = {}
        secured = {"transport": "tls", "srtp": "required"}
        wanted = (("G722", 16000, plain), ("PCMU", 8000, plain), ("PCMA", 8000, plain), ("PCMU", 8000, secured))
        unrecorded = self.place(ECHO, duration=0.5)
        calls = [
            self.place(RECORDED_TONE, codecs=(codec,), play=playable("tone:700"), duration=2.0, **more)
            for codec, _, more in wanted
        ]
        for call, (_, rate, _) in zip(calls, wanted, strict=True):
            recording = await self.recording(call)
            path = recording["path"]
            self.assertEqual((recording["note"], os.path.dirname(path)), ("", str(self.folder)))
            status = os.stat(path)
            self.assertEqual((status.st_size, stat.S_IMODE(status.st_mode)), (recording["octets"], 0o640))
            found, left, right = channels(path)
            self.assertEqual((found, round(len(left) / 2 / found, 3)), (rate, recording["seconds"]))
            self.assertGreater(recording["seconds"], 1.5)
            tones = [dominant_tone(pcm[rate:-rate], rate) for pcm in (left, right)]
            # Where the phone was held up there are gaps, and a tone with gaps is a little beside itself.
            off = [abs(tone.hertz - hertz) if tone else hertz for tone, hertz in zip(tones, (700, 440), strict=True)]
            self.assertLess(max(off), 5.0, tones)
            self.assertTrue(all(tone and tone.share > 0.8 for tone in tones), tones)
        self.assertEqual((await self.record(await unrecorded.ended))["recording"], None)
        self.assertEqual(len(os.listdir(self.folder)), len(wanted))

    async def test_aligned(self) -> None:
        """In the file the echo follows what was said as it did at the phone, but for how late the phone was served.

        The phone's process has no priority, and its delay counts on top of the gateway's: here 5 to 20 ms on a busy
        machine. How exact the file is, the unit tests say, whose packets have exact times.
        """
        call, recording = await self.recorded(RECORDED_ECHO, codecs=("PCMU",), duration=2.5)
        rate, left, right = channels(recording["path"])
        in_file = find(left, right, rate)
        at_phone = find(bytes(call.rtp.sent.kept), heard(call), RATE)
        assert in_file.delay_ms is not None and at_phone.delay_ms is not None
        self.assertGreater(in_file.correlation, 0.9)
        self.assertTrue(-2.0 < at_phone.delay_ms - in_file.delay_ms < 60.0, (at_phone, in_file))

    async def test_no_folder_any_more(self) -> None:
        """Where files can no longer be made calls go on as they are, with one line in the log for each."""
        self.folder.rmdir()
        self.folder.write_text("in the way")
        call, recording = await self.recorded(RECORDED_ECHO, duration=2.5)
        self.assertEqual((recording["path"], recording["seconds"], recording["octets"]), ("", 0.0, 0))
        self.assertIn("it cannot be written: ", recording["note"])
        self.assertGreater(find(SOUND, heard(call), RATE).correlation, 0.9)
        self.assertEqual(self.gateway.log.count(recording["note"]), 1)

    async def test_killed_worker(self) -> None:
        """The file of a worker that was killed is readable, by us and by sox, but for its last two seconds."""
        call = self.place(RECORDED_TONE, codecs=("PCMU",), play=playable("tone:700"), duration=20.0)
        await until(lambda: any(path.stat().st_size > 100_000 for path in self.files()))
        [worker] = self.gateway.workers
        os.kill(worker, signal.SIGKILL)
        report = await call.ended
        record = await self.record(report)
        self.assertEqual((record["cause"], record["recording"]["path"]), ("worker_lost", ""))
        [path] = self.files()
        self.assertIn(record["call_id"], path.name)
        self.assertGreater(read_wav(path.read_bytes()).seconds, 2.9)
        if which("sox") is not None:
            sox = subprocess.run(["sox", str(path), "-n", "stat"], capture_output=True, text=True, check=True)
            self.assertIn("Length (seconds):", sox.stderr)
        await until(lambda: self.gateway.workers not in ([], [worker]))
        await pause(0.1)

    def files(self) -> list[Path]:
        return list(self.folder.iterdir())
