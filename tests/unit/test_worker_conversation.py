"""The agent's side of a call, by a dialect and a link that only write things down."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import LinkLimits, Target
from stellar_gw.control.messages import BargeIn
from stellar_gw.dialects.contract import (
    AgentEvent,
    Ask,
    AudioFormat,
    Clear,
    Frame,
    Hangup,
    Malformed,
    Mark,
    Reply,
    SendDigits,
)
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Gap
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.worker.conversation import COMPLAINTS, Conversation
from tests.unit.worker_world import PCMU, Connector, FakeDialect, FakeLink, audio

MULAW = AudioFormat("mulaw", 8000)


class Scripted(FakeDialect):
    """The next message from the agent means these events."""

    events: Sequence[AgentEvent] = ()

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        return self.events


class Told:
    """Writes down what the conversation tells the call."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def agent_ready(self, connect_ms: float) -> None:
        self.told.append(f"ready {connect_ms}")

    def agent_failed(self, code: str, message: str, *, established: bool) -> None:
        self.told.append(f"failed {code} {established}: {message}")

    def agent_hangup(self) -> None:
        self.told.append("hangup")

    def agent_turned(self, seconds: float) -> None:
        self.told.append(f"turned {seconds:.2f}")

    def agent_asked(self, ask: Ask) -> None:
        self.told.append(f"asked {ask.verb}")

    def send_digits(self, digits: str) -> str:
        self.told.append(f"digits {digits}")
        return "" if digits.isdigit() else "no digits"


def packet(number: int, octet: int = 0x11) -> RtpPacket:
    return RtpPacket(0, False, number, 160 * number, 1, bytes([octet]) * 160)


class ConversationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.dialect = Scripted(MULAW)
        self.call = Told()
        self.conversation = Conversation("c-1", self.dialect, self.call, self.clock.seconds)
        connector = Connector()
        self.conversation.connect(connector, Target(url="ws://a.example"), LinkLimits())
        self.link: FakeLink = connector.links[0]
        self.conversation.caller.receive([PCMU])
        self.conversation.audio.send_as(PCMU)

    def up(self) -> None:
        """The link is open and the call answered."""
        self.link.events.link_opened(3.5)
        self.conversation.answered()
        self.link.take()
        self.call.told.clear()

    def says(self, *events: AgentEvent) -> None:
        self.dialect.events = events
        self.link.events.link_received("...")

    def plays(self, frames: int = 1) -> bytes:
        """So many packets of 20 ms are sent."""
        sent = b""
        for _ in range(frames):
            sent += self.conversation.audio.payload(20)
            self.conversation.played()
        return sent

    def test_opened(self) -> None:
        """Once the link is up the dialect's opening is sent and the call told."""
        self.link.events.link_opened(3.5)
        self.assertEqual((self.link.take(), self.call.told), (["opened"], ["ready 3.5"]))

    def test_caller_audio(self) -> None:
        """From the answer on the caller is heard in 20 ms frames, numbered by time; nothing before."""
        self.link.events.link_opened(1.0)
        self.conversation.hear([packet(1)])
        self.conversation.answered()
        self.link.take()
        self.conversation.hear([packet(2), Gap(160, True), packet(4, 0x22)])
        self.assertEqual(self.link.take(), ["audio 160 at 0", "audio 160 at 20", "audio 160 at 40"])
        first, guess, last = self.dialect.heard
        self.assertEqual((first, guess[:80], last[32:]), (b"\x11" * 160, b"\x11" * 80, b"\x22" * 128))

    def test_replies(self) -> None:
        """What a dialect answers goes back in its place among the other effects, and nowhere once the call is over."""
        self.up()
        self.says(Clear(), Reply(("one", "two")), Mark("m"))
        self.assertEqual(self.link.take(), ["cleared 0 0", "one", "two", "mark m played 0"])
        self.conversation.stop("caller_hangup", "caller")
        self.link.take()
        self.says(Reply(("three",)))
        self.assertEqual(self.link.take(), [])

    def test_nothing_before_open(self) -> None:
        """While the link is not up nothing is sent to it."""
        self.conversation.answered()
        self.conversation.hear([packet(1)])
        self.conversation.pressed(Digit("5", 100, 0))
        self.conversation.told("limit", {})
        self.assertEqual(self.link.take(), [])

    def test_digits_and_news(self) -> None:
        """Digits and what the gateway wants to tell go to the agent."""
        self.up()
        self.conversation.pressed(Digit("5", 100, 0))
        self.conversation.told("limit", {"seconds": "60"})
        self.assertEqual(self.link.take(), ["digit 5 100", "told limit {'seconds': '60'}"])

    def test_marks(self) -> None:
        """A mark returns when the audio before it has been sent, in order, and at once where there is none."""
        self.up()
        self.says(Mark("start"))
        self.says(audio(40), Mark("a"), Mark("b"), audio(20), Mark("c"))
        at = [self.link.take()]
        for _ in range(3):
            self.plays()
            at.append(self.link.take())
        self.assertEqual(
            at, [["mark start played 0"], [], ["mark a played 40", "mark b played 40"], ["mark c played 60"]]
        )

    def test_queued_before_answer(self) -> None:
        """What the agent says before the answer waits, and so do its marks."""
        self.link.events.link_opened(1.0)
        self.link.take()
        self.says(Mark("first"), audio(20), Mark("second"))
        self.assertEqual(self.link.take(), [])
        self.conversation.answered()
        self.assertEqual(self.plays(), b"\x55" * 160)
        self.assertEqual(self.link.take(), ["mark first played 20", "mark second played 20"])

    def test_clear(self) -> None:
        """Clear throws away what was not sent; its marks return as cleared, then the clear itself."""
        self.up()
        self.says(audio(60), Mark("a"), audio(20), Mark("b"))
        self.plays(3)
        self.says(audio(40), Mark("c"), Clear())
        self.assertEqual(
            self.link.take(), ["mark a played 60", "mark b cleared 60", "mark c cleared 60", "cleared 60 60"]
        )
        self.assertEqual(self.plays(), b"\xff" * 160)

    def listens(self, barge_in: BargeIn) -> None:
        """The gateway looks for the caller's speech itself."""
        self.conversation = Conversation("c-1", self.dialect, self.call, self.clock.seconds, None, barge_in)
        connector = Connector()
        self.conversation.connect(connector, Target(url="ws://a.example"), LinkLimits())
        self.link = connector.links[0]
        self.conversation.caller.receive([PCMU])
        self.conversation.audio.send_as(PCMU)
        self.up()

    def passes(self, frames: int, octet: int) -> list[str]:
        """So many packets come, and as many leave; what the agent is told, without the audio."""
        for number in range(frames):
            self.clock.advance(0.02)
            self.conversation.hear([packet(number, octet)])
            self.plays()
        return [frame for frame in self.link.take() if not frame.startswith("audio")]

    def test_speech_is_told(self) -> None:
        """With ``tell`` the agent hears of the caller's speech at once, with the place in its audio, and goes on."""
        self.listens("tell")
        self.says(audio(2000), Mark("m"))
        self.assertEqual(self.passes(10, 0xFF), [])
        started = {"state": "started", "at_ms": 200, "played_ms": 240, "cleared": False}
        self.assertEqual(self.passes(3, 0x90), [f"told speech {started}"])
        ended = {"state": "ended", "at_ms": 260, "played_ms": 640, "cleared": False}
        self.assertEqual(self.passes(20, 0xFF), [f"told speech {ended}"])

    def test_speech_interrupts(self) -> None:
        """With ``clear`` what the agent has yet to say is gone within the frame, and its marks return; once."""
        self.listens("clear")
        self.says(audio(2000), Mark("m"))
        self.passes(10, 0xFF)
        started = {"state": "started", "at_ms": 200, "played_ms": 240, "cleared": True}
        self.assertEqual(self.passes(13, 0x90), [f"told speech {started}", "mark m cleared 240", "cleared 240 1760"])
        self.passes(20, 0xFF)
        started = {"state": "started", "at_ms": 860, "played_ms": 240, "cleared": False}
        self.assertEqual(self.passes(3, 0x90), [f"told speech {started}"])

    def test_speech_is_nobodys_business(self) -> None:
        """Without either it is only measured."""
        self.listens("off")
        self.says(audio(2000))
        self.assertEqual(self.passes(10, 0xFF) + self.passes(10, 0x90) + self.passes(30, 0xFF), [])
        numbers = self.conversation.statistics
        self.assertEqual((numbers.barge_ins, numbers.caller_ms, numbers.heard_ms), (1, 200, 1000))

    def test_hangup_now(self) -> None:
        """Hanging up at once drops the queue; nothing the agent says afterwards counts."""
        self.up()
        self.says(audio(1000), Hangup(), SendDigits("1"), Ask("transfer"))
        self.says(SendDigits("2"))
        self.assertEqual(self.call.told, ["hangup"])

    def test_hangup_after_playout(self) -> None:
        """Hanging up after playout waits for the last sample, and is told once."""
        self.up()
        self.says(audio(40), Hangup(after_playout=True))
        told = []
        for _ in range(4):
            self.plays()
            told.append(list(self.call.told))
        self.assertEqual(told, [[], ["hangup"], ["hangup"], ["hangup"]])

    def test_hangup_then_clear(self) -> None:
        """A clear while the farewell plays ends it, and with it the call."""
        self.up()
        self.says(audio(4000), Hangup(after_playout=True))
        self.plays()
        self.says(Clear())
        self.assertEqual(self.call.told, ["hangup"])

    def test_closed_1000(self) -> None:
        """An agent that closes with 1000 has hung up: what it said is played first."""
        self.up()
        self.says(audio(40))
        self.link.ends("closed_1000", clean=True)
        self.assertEqual(self.call.told, [])
        self.assertEqual(self.plays(2), b"\x55" * 320)
        self.assertEqual(self.call.told, ["hangup"])

    def test_closed_1000_before_answer(self) -> None:
        """What an agent said before the answer is heard before its closing with 1000 ends the call."""
        self.link.events.link_opened(1.0)
        self.says(audio(40))
        self.link.ends("closed_1000", clean=True)
        self.assertEqual(self.call.told, ["ready 1.0"])
        self.conversation.answered()
        self.assertEqual((self.plays(2), self.call.told), (b"\x55" * 320, ["ready 1.0", "hangup"]))

    def test_closed_1000_without_a_word(self) -> None:
        """An agent that closes with 1000 before the answer and says nothing ends the call at once."""
        self.link.events.link_opened(1.0)
        self.link.ends("closed_1000", clean=True)
        self.assertEqual(self.call.told, ["ready 1.0", "hangup"])

    def test_link_fails(self) -> None:
        """Any other end of the link is a failure, told once; what was queued is gone, and nothing more is sent."""
        self.up()
        self.says(audio(20))
        self.link.ends("closed_1011")
        self.conversation.hear([packet(1)])
        self.assertEqual(self.plays(), b"\xff" * 160)
        self.conversation.stop("agent_failure", "gateway")
        self.assertEqual((self.call.told, self.link.take()), (["failed closed_1011 True: it was closed_1011"], []))

    def test_never_there(self) -> None:
        """A link that never opened fails as not established."""
        self.link.ends("refused", established=False)
        self.assertEqual(self.call.told, ["failed refused False: it was refused"])

    def test_flood(self) -> None:
        """More than five minutes ahead is a flood: the link is closed, the call told, the rest ignored."""
        self.up()
        self.says(audio(299_000))
        self.says(audio(2_000), SendDigits("1"))
        self.link.ends("cancelled")
        self.assertEqual(
            self.call.told,
            ["failed flood True: the agent is more than 300 s of audio ahead: send no faster than it is played"],
        )
        self.assertEqual(self.link.take(), ["close 1008 flood"])

    def test_malformed(self) -> None:
        """A malformed message is counted, answered by a complaint (the first hundred), and changes nothing."""
        self.up()
        for _ in range(COMPLAINTS + 20):
            self.says(Malformed("no event", "unknown_action", "x1"))
        self.assertEqual((self.conversation.malformed, self.call.told), (COMPLAINTS + 20, []))
        self.assertEqual(self.link.take(), ["complaint unknown_action x1"] * COMPLAINTS)

    def test_outcomes(self) -> None:
        """Each ask that has an id ends in one outcome: of the digits, of the hang-up, of what the gateway did."""
        self.up()
        self.says(SendDigits("12", "d1"), SendDigits("x", "d2"), SendDigits("3"), Ask("transfer", "t1"))
        self.conversation.outcome("t1", "failed", True, {"code": "unavailable"})
        self.says(Hangup(ask="h1"))
        self.assertEqual(
            self.link.take(),
            ["outcome d1 done True -", "outcome d2 failed True bad_digits", "outcome t1 failed True unavailable",
             "outcome h1 done True -"],
        )  # fmt: skip
        self.assertEqual(self.call.told[-1], "hangup")

    def test_verbs(self) -> None:
        """Digits for the caller and verbs for the gateway are passed on."""
        self.up()
        self.says(SendDigits("12#"), Ask("transfer", "t1"))
        self.assertEqual(self.call.told, ["digits 12#", "asked transfer"])

    def test_stop(self) -> None:
        """At the end of the call the agent is told why and by whom, and the link closed; then nothing is told."""
        self.up()
        self.conversation.stop("caller_hangup", "caller")
        self.assertEqual(self.link.take(), ["stopped caller_hangup caller", "close 1000"])
        self.says(Hangup())
        self.link.ends("cancelled")
        self.conversation.stop("caller_hangup", "caller")
        self.assertEqual((self.call.told, self.link.take()), ([], []))

    def test_stop_while_connecting(self) -> None:
        """Stopping before the link is up only closes it, and an opening that was under way is nobody's."""
        self.conversation.stop("caller_hangup", "caller")
        self.link.events.link_opened(1.0)
        self.assertEqual((self.link.take(), self.call.told), (["close 1000"], []))
