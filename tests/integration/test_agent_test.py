"""``stellar-gw-agent-test`` as a process, against the examples and against agents that are not as they should be."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.source import Tone
from stellar_gw.media.wav import read_wav
from stellar_gw.testing.agents import AgentServer, closing, drop, flood, freeze, rubbish, tone
from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.openai_server import RealtimeCall, RealtimeServer
from stellar_gw.testing.raw_agent import BINARY, Peer, RawAgent, Script
from tests.integration.test_audiosocket import Server, echo

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--greeting", "0.5", "--patience", "3", "--longest", "1", "--quiet", "0.4")
"""For agents that have nothing to say, or say it without a pause."""
BRIEF = ("--json", "--no-drop", "--no-interrupt", *SHORT)


class Rehearsed:
    """One run of the command, under way."""

    def __init__(self, url: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stellar_gw.cli.agent_test", url, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def end(self) -> tuple[int, str, str]:
        """Exit status, what it said, what it complained of."""
        try:
            said, complaints = self._process.communicate(timeout=100)
        finally:
            self._process.kill()
        return self._process.returncode, said, complaints

    def checks(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """Exit status, and by its name each check of one that was run with ``--json``."""
        status, said, complaints = self.end()
        if complaints:
            raise AssertionError(complaints)
        return status, {each["check"]: each for each in json.loads(said)["checks"]}


def said_briefly(path: str) -> tuple[str, str]:
    """A word of our prompt for the caller to say."""
    spoken = read_wav(files("stellar_gw.rehearsal").joinpath("prompt.wav").read_bytes())
    word = Path(path).absolute()
    with wave.open(str(word), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(spoken.at(16000)[: 2 * 16000])
    return "--play", str(word)


@contextmanager
def raw(script: Script) -> Iterator[str]:
    """A raw agent in a thread of its own; its URL."""
    loop = asyncio.new_event_loop()
    agent = RawAgent(script)
    port = loop.run_until_complete(agent.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{port}/ws?key=hush"
    finally:
        asyncio.run_coroutine_threadsafe(agent.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class GoodAgentTests(SynchronousTestCase):
    timeout = 120

    def example(self, name: str) -> str:
        path = Path(self.mktemp())
        with path.open("wb") as log:
            command = [sys.executable, str(ROOT / "examples" / name), "--port", "0"]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertTrue(wait_until(lambda: "listening on" in path.read_text(), 15.0), path.read_text())
        return path.read_text().split("listening on ")[1].split()[0]

    def test_good_agents(self) -> None:
        """Both examples: what they say back is what the caller said, and they hang up when told to. For people,
        without --json, there is a line each, no escape sequence where there is no terminal, and a verdict.
        """
        words = ("--json", "--expect-echo", "--expect-hangup", "--dtmf", "#", *SHORT, *said_briefly(self.mktemp()))
        heard = Path(self.mktemp()).absolute()
        tones = ("--expect-tone", "440", "--no-drop", "--no-interrupt", "--dtmf", "", *SHORT, "--record", str(heard))
        with AgentServer(tone) as agent:
            for_people = Rehearsed(agent.url, *tones)
            examples = [
                Rehearsed(self.example("twilio_echo_agent.py"), *words),
                Rehearsed(self.example("native_agent.py"), "--dialect", "native", "--answer", "agent", *words),
            ]
            found = [run.checks() for run in examples]
            status, said, complaints = for_people.end()
        for each, checks in found:
            self.assertEqual(each, 0, checks)
            self.assertEqual(
                {name: checks[name]["state"] for name in ("connect", "greeting", "echo", "hang-up", "drop")},
                dict.fromkeys(("connect", "greeting", "echo", "hang-up", "drop"), "ok"),
            )
        self.assertEqual((status, complaints), (0, ""), said)
        self.assertIn("twilio, mu-law at 8 kHz; the caller speaks G722\n", said)
        self.assertRegex(said, r"\n  ok    connect        in \d+ ms\n")
        self.assertRegex(said, r"\n  ok    tone           440 Hz for [\d.]+ s, at -\d+ dBFS\n")
        self.assertRegex(said, r"\nOK: \d checks")
        self.assertNotIn("\x1b", said)
        self.assertGreater(tone_ms(read_wav(heard.read_bytes()).at(16000), 16000, 440), 1000)


async def gigabyte(peer: Peer) -> None:
    """A frame of that size is announced."""
    await peer.upgrade()
    await peer.write(bytes([0x80 | BINARY, 127]) + (1 << 30).to_bytes(8, "big") + bytes(1 << 20))
    await peer.ended()


async def nonsense(peer: Peer) -> None:
    await peer.read_request()
    await peer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def refusal(peer: Peer) -> None:
    await peer.read_request()
    await peer.write(peer.answer(status="401 Unauthorized"))


async def silence(peer: Peer) -> None:
    """The upgrade is never answered."""
    await peer.ended()


FAILING = {
    "freeze": (freeze, 4, "link", "did not answer a ping within 1 s"),
    "flood": (flood, 4, "link", "s of audio ahead"),
    "drop": (drop, 4, "link", "cut the connection without a close frame"),
    "close": (closing(1011, "the model failed"), 4, "link", "1011 (internal error), saying 'the model failed'"),
    "rubbish": (rubbish, 0, "messages", "follow no dialect"),
}
BREAKING: dict[str, tuple[Script, int, str, str]] = {
    "gigabyte": (gigabyte, 4, "link", "more than 1048576 octets"),
    "nonsense": (nonsense, 3, "connect", "HTTP/1.1"),
    "refusal": (refusal, 3, "connect", "answered 401"),
    "silence": (silence, 3, "connect", "did not finish the WebSocket handshake within 1 s"),
}
"""By name: what the agent does, the exit status, the check that tells of it, and part of what that says."""
PATIENCE = {"freeze": ("--patience", "15", "--ping", "1"), "silence": ("--connect-timeout", "1")}


class BadAgentTests(SynchronousTestCase):
    timeout = 180

    def test_bad_agents(self) -> None:
        """Each ends in the line of its own failure, and the exit status of its kind, with what would mend it; a secret
        in the URL is shown nowhere.
        """
        with ExitStack() as stack:
            urls = {name: stack.enter_context(AgentServer(case[0])).url for name, case in FAILING.items()}
            urls |= {name: stack.enter_context(raw(case[0])) for name, case in BREAKING.items()}
            words = (*BRIEF, *said_briefly(self.mktemp()))
            runs = {name: Rehearsed(url, *words, *PATIENCE.get(name, ())) for name, url in urls.items()}
            ended = {name: run.end() for name, run in runs.items()}
        for name, (_, wanted, check, said) in {**FAILING, **BREAKING}.items():
            status, report, complaints = ended[name]
            self.assertNotIn("hush", report + complaints)
            self.assertEqual((status, complaints), (wanted, ""), (name, report))
            checks = {each["check"]: each for each in json.loads(report)["checks"]}
            self.assertEqual(checks[check]["state"], "warn" if wanted == 0 else "fail", (name, report))
            self.assertIn(said, checks[check]["said"], name)
            self.assertTrue(checks[check]["mend"], name)


async def answers(call: RealtimeCall) -> None:
    """A model: it answers when the caller has been heard for 2.5 s."""
    while len(call.heard.audio) < 48 * 2500 and await call.next() is not None:
        pass
    await call.begin_response()
    await call.say("item", Tone((660,), 24000).take(24000) * 2)
    await call.end_response()
    await call.listen()


class DialectTests(SynchronousTestCase):
    timeout = 120

    def test_every_dialect(self) -> None:
        """AudioSocket, OpenAI's, and a built-in agent; an option of the dialect arrives."""
        server = Server(echo)
        self.addCleanup(server.stop)
        with RealtimeServer(answers) as model:
            runs = {
                "audiosocket": Rehearsed(server.url, "--expect-echo", *BRIEF),
                "openai": Rehearsed(
                    model.url, "--dialect", "openai", "--option", "format=pcm", "--expect-tone", "660",
                    "--codec", "pcmu", *BRIEF,
                ),
                "builtin": Rehearsed("builtin:readback", "--json", "--dtmf", "5#", "--no-drop", *SHORT),
            }  # fmt: skip
            found = {name: run.checks() for name, run in runs.items()}
            session = model.calls[0].session
        self.assertEqual(found["audiosocket"][0], 0, found)
        self.assertEqual(found["audiosocket"][1]["echo"]["state"], "ok")
        self.assertEqual(server.frames[-1], (0x00, b""))
        self.assertEqual(found["openai"][0], 0, found)
        self.assertEqual(session["audio"]["input"]["format"], {"type": "audio/pcm", "rate": 24000})
        # It answers nobody's voice, but presses keys back: the only thing missing is an answer.
        status, checks = found["builtin"]
        self.assertEqual((status, [name for name, each in checks.items() if each["state"] == "fail"]), (1, ["turn"]))
        self.assertIn("it spoke", checks["digits"]["said"])
