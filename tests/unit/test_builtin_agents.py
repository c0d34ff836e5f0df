from __future__ import annotations

import struct
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.builtin import BuiltinConnector, ConnectorByScheme
from stellar_gw.agent.link import Connector, Link, LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.dialects.builtin import BUILTIN_AGENTS, BuiltinDialect
from stellar_gw.dialects.contract import AgentEvent, Ask, Audio, Frame, Hangup, Mark
from stellar_gw.media.source import Tone, dtmf_tones, tone
from tests.unit.call_contexts import CONTEXT

SECOND = 32000
"""Octets of a second of 16 kHz PCM."""


class Call:
    """A call's end of a link: turns frames into events by the dialect, and answers marks when told to."""

    def __init__(self, connector: Connector, clock: Clock, url: str, **options: str) -> None:
        self.clock = clock
        self.dialect = BuiltinDialect(CONTEXT)
        self.events: list[AgentEvent | str | LinkClosed] = []
        self.link = connector.connect(Target(url=url, options=options), self, LinkLimits())

    def link_opened(self, connect_ms: float) -> None:
        self.events.append("opened")
        self.say(*self.dialect.opened())

    def link_received(self, frame: Frame) -> None:
        self.events.extend(self.dialect.received(frame))

    def link_closed(self, closed: LinkClosed) -> None:
        self.events.append(closed)

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self.link.send(frame)

    def turn(self) -> list[AgentEvent | str | LinkClosed]:
        """What has happened after the reactor's next turns."""
        for _ in range(3):
            self.clock.advance(0)
        events, self.events = self.events, []
        return events

    def played(self, name: str) -> list[AgentEvent | str | LinkClosed]:
        """What happens when the audio before a mark has been heard."""
        self.say(*self.dialect.mark_reached(name, cleared=False, played_ms=0))
        return self.turn()


def wav(seconds: float) -> bytes:
    """A WAV file of 8 kHz PCM, every sample 1000."""
    data = struct.pack("<h", 1000) * int(8000 * seconds)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


class BuiltinAgentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connector = BuiltinConnector(self.clock)

    def call(self, url: str, **options: str) -> Call:
        return Call(self.connector, self.clock, url, **options)

    def test_echo(self) -> None:
        """Echo gives back each piece of audio, and nothing from inside a call."""
        call = self.call("builtin:echo")
        self.assertEqual(call.events, [])
        self.assertEqual(call.turn(), ["opened"])
        call.say(b"\x01\x02", b"\x03\x04", *call.dialect.digit("1", 100))
        self.assertEqual(call.events, [])
        self.assertEqual(call.turn(), [Audio(b"\x01\x02"), Audio(b"\x03\x04")])

    def test_tone(self) -> None:
        """440 Hz without a seam, two seconds ahead and no more, until the end of the call."""
        call = self.call("builtin:tone")
        second = [Audio(Tone((440,), 16000).take(16000)), Mark("piece")]
        self.assertEqual(call.turn(), ["opened", *second, *second])
        call.say(b"\0" * 640)
        self.assertEqual(call.turn(), [])
        for _ in range(5):
            self.assertEqual(call.played("piece"), second)
        self.assertEqual(call.played("another"), [])

    def test_greeting_then_echo(self) -> None:
        """The shipped greeting is spoken in pieces; when the last was heard, the caller is echoed."""
        call = self.call("builtin:greeting")
        events = call.turn()
        call.say(b"\x07\x07")
        self.assertEqual(call.turn(), [])
        for _ in range(4):
            events.extend(call.played("piece"))
        call.say(b"\x07\x07")
        self.assertEqual(call.turn(), [])
        self.assertEqual(call.played("piece"), [])
        pieces = [event.payload for event in events if isinstance(event, Audio)]
        self.assertEqual([type(event) for event in events[1:]], [Audio, Mark] * 5)
        self.assertEqual({len(piece) for piece in pieces[:-1]}, {SECOND})
        samples = struct.unpack(f"<{SECOND // 2}h", pieces[1])
        self.assertGreater(max(samples), 3000)
        call.say(b"\x07\x07")
        self.assertEqual(call.turn(), [Audio(b"\x07\x07")])

    def test_greeting_from_a_file_then_hangup(self) -> None:
        """A file of its own, converted to 16 kHz; then the call ends once it was heard."""
        path = Path(self.mktemp())
        path.write_bytes(wav(1.5))
        call = self.call("builtin:greeting", file=str(path), then="hangup")
        events = call.turn()
        self.assertEqual([type(event) for event in events], [str, Audio, Mark, Audio, Mark])
        self.assertEqual([len(event.payload) for event in events if isinstance(event, Audio)], [SECOND, SECOND // 2])
        self.assertEqual(call.played("piece"), [])
        self.assertEqual(call.played("piece"), [Hangup(after_playout=True)])

    def test_a_changed_file_is_read_again(self) -> None:
        """The greeting is kept from call to call until its file changes."""
        path = Path(self.mktemp())
        lengths = []
        for seconds in (0.5, 0.25):
            path.write_bytes(wav(seconds))
            call = self.call("builtin:greeting", file=str(path))
            lengths.append([len(event.payload) for event in call.turn() if isinstance(event, Audio)])
        self.assertEqual(lengths, [[SECOND // 2], [SECOND // 4]])

    def test_empty_greeting(self) -> None:
        """A file without audio goes straight on to what comes then."""
        path = Path(self.mktemp())
        path.write_bytes(wav(0))
        call = self.call("builtin:greeting", file=str(path), then="hangup")
        self.assertEqual(call.turn(), ["opened", Hangup(after_playout=True)])

    def test_readback(self) -> None:
        """Digits come back as their own tones, # ends the call, a flash hook is ignored."""
        call = self.call("builtin:readback")
        self.assertEqual(call.turn(), ["opened", Audio(tone((1000,), 16000, 200))])
        for digit in "159*D":
            call.say(*call.dialect.digit(digit, 100))
            self.assertEqual(call.turn(), [Audio(dtmf_tones(digit, 16000))])
        call.say(*call.dialect.digit("!", 100), b"\0\0")
        self.assertEqual(call.turn(), [])
        call.say(*call.dialect.digit("#", 100))
        self.assertEqual(call.turn(), [Hangup(after_playout=True)])

    def test_transfer(self) -> None:
        """A tone, and once the caller was heard for a second it is sent on; without a target it is no agent."""
        call = self.call("builtin:transfer", to="support", method="invite")
        self.assertEqual([type(said) for said in call.turn()[1:]], [Audio, Mark, Audio, Mark])
        call.say(bytes(30000))
        self.assertEqual(call.turn(), [])
        call.say(bytes(4000), bytes(64000))
        self.assertEqual(call.turn(), [Ask("transfer", "transfer", (("to", "support"), ("method", "invite")))])
        (closed,) = self.call("builtin:transfer").turn()
        assert isinstance(closed, LinkClosed)
        self.assertIn("needs option to", closed.message)

    def test_every_agent_sits_through_a_call(self) -> None:
        """Each agent takes every message of the dialect, and its link ends once, whatever is called after."""
        for name in BUILTIN_AGENTS:
            call = self.call(f"builtin:{name}", **({"to": "support"} if name == "transfer" else {}))
            call.turn()
            call.say(*call.dialect.told("limit", {"seconds": "60"}), *call.dialect.cleared(1, 2))
            call.say(*call.dialect.mark_reached("x", cleared=True, played_ms=1), *call.dialect.stopped("a", "b"))
            self.assertEqual(call.turn(), [])
            call.link.close()
            self.assertEqual(call.events, [])
            call.say(b"\0\0")
            call.link.abort()
            closed = LinkClosed("cancelled", "the gateway closed the link", established=True)
            self.assertEqual(call.turn(), [closed])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_up_at_once(self) -> None:
        """A link given up before it opened only says so."""
        call = self.call("builtin:echo")
        call.link.close()
        closed = LinkClosed("cancelled", "the gateway closed the link", established=False)
        self.assertEqual(call.turn(), [closed])

    def test_closing_inside_an_event(self) -> None:
        """What an agent says after its link was closed is dropped."""
        call = self.call("builtin:tone")
        call.link_received = lambda frame: call.link.close()  # type: ignore[method-assign]  # the call's own choice
        closed = LinkClosed("cancelled", "the gateway closed the link", established=True)
        self.assertEqual(call.turn(), ["opened", closed])

    def test_mistakes(self) -> None:
        """A wrong name, option or file is an invalid target whose message says what is right."""
        path = Path(self.mktemp())
        path.write_bytes(b"not audio")
        long = Path(self.mktemp())
        long.write_bytes(wav(121))
        mistakes: dict[str, tuple[str, dict[str, str]]] = {
            "no built-in agent 'ecko'; there are echo, tone, greeting, readback, transfer": ("builtin:ecko", {}),
            "builtin:echo has no option 'file'; it has none": ("builtin:echo", {"file": "x"}),
            "builtin:greeting has no option 'x'; there are file, then": ("builtin:greeting", {"x": "y"}),
            "builtin:greeting: then is 'sing', must be echo or hangup": ("builtin:greeting", {"then": "sing"}),
            "builtin:greeting: /nowhere.wav cannot be read: No such file or directory": (
                "builtin:greeting",
                {"file": "/nowhere.wav"},
            ),
            f"builtin:greeting: {path}: not a WAV file: it must begin with RIFF and WAVE": (
                "builtin:greeting",
                {"file": str(path)},
            ),
            f"builtin:greeting: {long} lasts 121 s, at most 120 s": ("builtin:greeting", {"file": str(long)}),
        }
        for message, (url, options) in mistakes.items():
            call = self.call(url, **options)
            self.assertEqual(call.events, [])
            self.assertEqual(call.turn(), [LinkClosed("invalid_url", message, established=False)])

    def test_a_bug_in_the_call(self) -> None:
        """An exception out of an event ends that link as internal, and is logged once."""
        call = self.call("builtin:echo")

        def bug(frame: Frame) -> None:
            raise ArithmeticError("a bug of the call's")

        call.turn()
        call.link_received = bug  # type: ignore[method-assign]  # the call's own choice
        call.say(b"\0\0", b"\0\0")
        closed = LinkClosed("internal", "the gateway failed on its built-in agent; see its log", established=True)
        self.assertEqual(call.turn(), [closed])
        self.assertEqual(len(self.flushLoggedErrors(ArithmeticError)), 1)


class SchemeTests(SynchronousTestCase):
    def test_by_scheme(self) -> None:
        """builtin: goes to the built-in agents, everything else to WebSocket."""
        asked: list[str] = []

        class Noting:
            def __init__(self, name: str) -> None:
                self.name = name

            def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
                asked.append(self.name)
                return BuiltinConnector(Clock()).connect(target, events, limits)

        connector = ConnectorByScheme(Noting("builtin"), Noting("websocket"))
        for url in ("builtin:echo", "ws://h/", "wss://h/", "http://h/"):
            Call(connector, Clock(), url)
        self.assertEqual(asked, ["builtin", "websocket", "websocket", "websocket"])
