"""``stellar-gw-agent-test`` as a process, against the examples and against agents that are not as they should be."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
SHORT = ("--greeting", "1", "--patience", "3", "--longest", "1.5")
"""For agents that have nothing to say."""


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


class ExampleTests(SynchronousTestCase):
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

    def test_the_examples_pass(self) -> None:
        """Both; what they say back is what the caller said, and they hang up when they are told to."""
        words = ("--json", "--expect-echo", "--expect-hangup", "--dtmf", "#", *SHORT)
        runs = [
            Rehearsed(self.example("twilio_echo_agent.py"), *words),
            Rehearsed(self.example("native_agent.py"), "--dialect", "native", "--answer", "agent", *words),
        ]
        for status, checks in [run.checks() for run in runs]:
            self.assertEqual(status, 0, checks)
            self.assertEqual(
                {name: checks[name]["state"] for name in ("connect", "greeting", "echo", "hang-up", "drop")},
                dict.fromkeys(("connect", "greeting", "echo", "hang-up", "drop"), "ok"),
            )

    def test_for_people(self) -> None:
        """Without --json: a line each, no escape sequence where there is no terminal, and a verdict."""
        heard = Path(self.mktemp()).absolute()
        with AgentServer(tone) as agent:
            words = (
                "--expect-tone",
                "440",
                "--no-drop",
                "--no-interrupt",
                "--dtmf",
                "",
                *SHORT,
                "--record",
                str(heard),
            )
            status, said, complaints = Rehearsed(agent.url, *words).end()
        self.assertEqual((status, complaints), (0, ""), said)
        self.assertIn("twilio, mu-law at 8 kHz; the caller speaks G722\n", said)
        self.assertRegex(said, r"\n  ok    connect        in \d+ ms\n")
        self.assertRegex(said, r"\n  ok    tone           440 Hz for [\d.]+ s, at -\d+ dBFS\n")
        self.assertRegex(said, r"\nOK: \d checks")
        self.assertNotIn("\x1b", said)
        self.assertGreater(tone_ms(read_wav(heard.read_bytes()).at(16000), 16000, 440), 1000)


class BadAgentTests(SynchronousTestCase):
    timeout = 180

    def test_agents_that_fail(self) -> None:
        """Each ends in the line of its own failure, and the exit status of its kind."""
        cases = {
            "freeze": (freeze, 4, "link", "did not answer a ping within 5 s"),
            "flood": (flood, 4, "link", "s of audio ahead"),
            "drop": (drop, 4, "link", "cut the connection without a close frame"),
            "close": (closing(1011, "the model failed"), 4, "link", "1011 (internal error), saying 'the model failed'"),
            "rubbish": (rubbish, 0, "messages", "follow no dialect"),
        }
        servers = {name: AgentServer(case[0]) for name, case in cases.items()}
        for server in servers.values():
            server.__enter__()
            self.addCleanup(server.__exit__, None, None, None)
        words = ("--json", "--no-drop", "--no-interrupt", *SHORT)
        runs = {name: Rehearsed(server.url, *words, *self.more(name)) for name, server in servers.items()}
        for name, run in runs.items():
            status, checks = run.checks()
            _, wanted, check, said = cases[name]
            self.assertEqual(status, wanted, (name, checks))
            self.assertIn(said, checks[check]["said"], name)
            self.assertTrue(checks[check]["mend"], name)

    def more(self, name: str) -> tuple[str, ...]:
        # One that is frozen is found out by its pings, 10 s after the link came up.
        return ("--patience", "15") if name == "freeze" else ()

    def test_agents_that_break_the_protocol(self) -> None:
        """A gigabyte announced, nonsense for an upgrade, silence instead of one, nobody at all."""

        async def gigabyte(peer: Peer) -> None:
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
            await peer.ended()

        cases = {gigabyte: (4, "link"), nonsense: (3, "connect"), refusal: (3, "connect"), silence: (3, "connect")}
        found = {}
        with ExitStack() as stack:
            urls = {script: stack.enter_context(raw(script)) for script in cases}
            runs = {script: Rehearsed(url, "--json", "--no-drop", *SHORT) for script, url in urls.items()}
            ended = {script: run.end() for script, run in runs.items()}
        for script, (status, check) in cases.items():
            done = ended[script]
            self.assertNotIn("hush", done[1] + done[2])
            checks = {each["check"]: each for each in json.loads(done[1])["checks"]}
            self.assertEqual((done[0], done[2], checks[check]["state"]), (status, "", "fail"), (script.__name__, done))
            found[script.__name__] = checks[check]["said"]
        self.assertIn("more than 1048576 octets", found["gigabyte"])
        self.assertIn("answered 401", found["refusal"])
        self.assertIn("did not finish the WebSocket handshake within 3 s", found["silence"])


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
                "audiosocket": Rehearsed(server.url, "--json", "--expect-echo", "--no-drop", "--no-interrupt", *SHORT),
                "openai": Rehearsed(
                    model.url, "--dialect", "openai", "--option", "format=pcm", "--expect-tone", "660", "--json",
                    "--no-drop", "--no-interrupt", *SHORT, "--codec", "pcmu",
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
