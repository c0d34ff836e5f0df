"""The calls of the demonstration: four real ones by the test phone, shown while they go on."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from stellar_gw.errors import StellarError
from stellar_gw.net.tls import ClientTls
from stellar_gw.phone.ladder import Rung
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import AnswerPlan, CallPlan, playable
from stellar_gw.phone.report import CallReport
from stellar_gw.phone.runner import RunReactor
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.sip.values import parse_name_addr
from tools.demo_screen import Screen
from tools.demo_stage import DOMAIN, HOST, ROOT, SIGNALS, Stage

SPEECH = ROOT / "stellar_gw" / "agent" / "greeting.wav"
TONE = 440
PERSON = 660
"""Hz: what the person says to whom the caller is transferred."""
_RINGS = 1.0
_LOOK = 0.1
_PLAIN_EVERY = 10
"""Looks between two lines of levels where they cannot be rewritten."""


@frozen(kw_only=True)
class Scene:
    """One call, and what must become of it.

    :ivar name: of its WAV files.
    :ivar host: the address that the phone calls from.
    :ivar play: as ``stellar-gw-call --play`` takes it.
    :ivar seconds: the phone hangs up then.
    :ivar digits: pressed at ``digits_after``; ``#`` makes the example agent hang up.
    :ivar admitted: how, as the call's record says it.
    :ivar status: the final one.
    :ivar ended_by: ``caller`` or ``agent``.
    :ivar transfer: the name of the person that the caller is put through to; empty for none.
    """

    name: str
    head: str
    title: str
    number: str
    transport: Transport
    host: str = HOST
    from_: str = ""
    user: str = ""
    password: str = ""
    play: str = "silence"
    codecs: tuple[str, ...] = ("G722", "PCMU", "PCMA")
    seconds: float = 6.0
    digits: str = ""
    digits_after: float = 0.0
    admitted: str = ""
    status: int = 200
    ended_by: str = "caller"
    transfer: str = ""

    @property
    def uri(self) -> str:
        return f"sip:{self.number}@{DOMAIN}" + ("" if self.transport == "udp" else f";transport={self.transport}")


SCENES = (
    Scene(
        name="1-tls",
        head="digest over TLS",
        title="1  A PBX logs in with a password over TLS and speaks to your agent at 999",
        number="999",
        transport="tls",
        user="demo-secure",
        password="demo-password",
        play=str(SPEECH),
        seconds=4.5,
        admitted="admitted by digest as demo-secure",
    ),
    Scene(
        name="2-trunk",
        head="source address, UDP",
        title="2  A SIP trunk, known by its address 127.0.0.2, calls a phone number; the agent hangs up at #",
        number="+31201230000",
        transport="udp",
        host="127.0.0.2",
        from_="<sip:+31612345678@127.0.0.2>",
        play=f"tone:{TONE}",
        codecs=("PCMU", "PCMA"),
        seconds=15.0,
        digits="12#",
        digits_after=3.0,
        admitted="admitted as provider demo-trunk (allowed IP 127.0.0.2)",
        ended_by="agent",
    ),
    Scene(
        name="3-transfer",
        head="put through, UDP",
        title="3  The agent at 605 puts its caller through to a person: the gateway calls there and joins the two",
        number="605",
        transport="udp",
        user="demo-phone",
        password="demo-password",
        play=str(SPEECH),
        codecs=("PCMU", "PCMA"),
        seconds=6.0,
        admitted="admitted by digest as demo-phone",
        transfer="desk",
    ),
    Scene(
        name="4-refused",
        head="wrong password, TCP",
        title="4  A PBX with a wrong password over TCP: refused, and you are told why",
        number="600",
        transport="tcp",
        user="demo-phone",
        password="not-the-password",
        status=401,
    ),
)


@frozen(kw_only=True)
class Recordings:
    """The WAV files of one call, in the demonstration's folder; the agent's is brought there after the call.

    :ivar agent: what the other end heard: the agent, or the person that the caller was put through to.
    """

    sent: Path
    heard: Path
    agent: Path

    @classmethod
    def of(cls, scene: Scene, folder: Path) -> Recordings:
        return cls(
            sent=folder / f"{scene.name}-phone-sent.wav",
            heard=folder / f"{scene.name}-phone-heard.wav",
            agent=folder / f"{scene.name}-{'person' if scene.transfer else 'agent'}-heard.wav",
        )

    def remove(self) -> None:
        """Those of an earlier demonstration are no evidence of this one."""
        for path in (self.sent, self.heard, self.agent):
            path.unlink(missing_ok=True)


class Player:
    """Places calls one after another.

    :ivar interrupted: somebody pressed Ctrl-C: what goes on is hung up, and nothing new begins.
    """

    def __init__(self, reactor: RunReactor, stage: Stage, screen: Screen) -> None:
        self._reactor, self._stage, self._screen = reactor, stage, screen
        self._phone: Phone | None = None
        self._person: Phone | None = None
        self._person_left = False
        self._agent_said = 0
        self._looks = 0
        self.interrupted = False

    def interrupt(self) -> None:
        self.interrupted = True
        for call in self._phone.calls if self._phone is not None else ():
            call.hang_up()

    async def place(self, scene: Scene) -> CallReport:
        """One call with its ladder and levels; whatever fails is in its report."""
        self._screen.title(scene.title)
        port = self._stage.port(scene.transport)
        self._screen.heads(f"{HOST}:{port}")
        recordings = Recordings.of(scene, self._stage.folder)
        recordings.remove()
        try:
            plan = self._plan(scene, port, recordings)
            if scene.transfer:
                self._person = self._make_person(scene, recordings)
                self._person.open(self._stage.person_port)
            self._phone = phone = self._make_phone(scene)
            phone.open()
        except (StellarError, OSError) as error:
            return CallReport(to=scene.uri, transport=scene.transport, problem=str(error))
        looking = LoopingCall(self._look)
        looking.clock = self._reactor
        looking.start(_LOOK, now=False)
        try:
            return await phone.place(plan).ended
        except StellarError as error:
            return CallReport(to=scene.uri, transport=scene.transport, problem=str(error))
        finally:
            looking.stop()
            self._screen.status("")
            await phone.stop()
            if self._person is not None:
                await self._person.stop()
            self._phone = self._person = None

    def _make_person(self, scene: Scene, recordings: Recordings) -> Phone:
        """Rings, picks up, and says a tone; what happens there is told in a word each."""
        answer = AnswerPlan(
            play=playable(f"tone:{PERSON}"), codecs=scene.codecs, ring_for=_RINGS, record=str(recordings.agent)
        )
        return Phone(self._reactor, "udp", HOST, answer=answer, on_rung=self._rung_of_person)

    def _rung_of_person(self, rung: Rung) -> None:
        said = {
            "INVITE": "is called by the gateway",
            "SIP/2.0 180": "rings",
            "SIP/2.0 200": "has picked up",
            "BYE": "was left",
        }
        for begins, what in said.items():
            picked_up_before = begins == "SIP/2.0 200" and self._person_left
            if rung.start_line.startswith(begins) and not picked_up_before:
                self._screen.beyond(f"person: {what}")
        self._person_left = rung.start_line.startswith("BYE")

    def _plan(self, scene: Scene, port: int, recordings: Recordings) -> CallPlan:
        talks = scene.status == 200
        return CallPlan(
            to=_sip_uri(scene.uri),
            proxy=_sip_uri(f"sip:{HOST}:{port};transport={scene.transport}"),
            from_=parse_name_addr(scene.from_) if scene.from_ else None,
            user=scene.user,
            password=scene.password,
            play=playable(scene.play),
            codecs=scene.codecs,
            duration=scene.seconds,
            digits=scene.digits,
            digits_after=scene.digits_after,
            ring_timeout=10.0,
            record=str(recordings.heard) if talks else "",
            record_sent=str(recordings.sent) if talks else "",
        )

    def _make_phone(self, scene: Scene) -> Phone:
        tls = None
        if scene.transport == "tls":
            tls = ClientTls(self._reactor.seconds, ca_file=str(self._stage.authority))
        return Phone(
            self._reactor,
            scene.transport,
            scene.host,
            client_tls=tls,
            server_name=DOMAIN if tls is not None else "",
            on_rung=self._screen.rung,
        )

    def _look(self) -> None:
        """Levels, and what the agent has printed since the last look."""
        self.tell_agent()
        self._looks += 1
        for call in self._phone.calls if self._phone is not None else ():
            rtp = call.rtp
            if rtp.negotiated is not None and (self._screen.live or self._looks % _PLAIN_EVERY == 0):
                self._screen.levels(rtp.sent.seconds, rtp.sent.tail, rtp.heard.tail)

    def tell_agent(self) -> None:
        """Show the agent's new whole lines; what callers put there is made printable."""
        if self._stage.agent is None:
            return
        said = self._stage.agent.log
        for line in said[self._agent_said :].splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            self._agent_said += len(line)
            text = "".join(each if each.isprintable() else "?" for each in line.rstrip("\n"))[:80]
            if not text.startswith(("listening on", "recorded ")):
                self._screen.beyond(f"agent: {text}")


def _sip_uri(text: str) -> SipUri:
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    return uri


def run(reactor: RunReactor, player: Player, play: Callable[[], Awaitable[None]]) -> None:
    """Run the reactor until ``play`` is over; what it raises is raised here.

    Ctrl-C hangs up first, a second time it leaves at once; so do SIGTERM and a closed terminal.
    """
    failures: list[Failure] = []

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    def interrupted(*_: object) -> None:
        reactor.callFromThread(stop if player.interrupted else player.interrupt)

    async def played() -> None:
        await play()

    def begin() -> None:
        for number in SIGNALS:
            signal.signal(number, interrupted)
        Deferred.fromCoroutine(played()).addErrback(failures.append).addBoth(end)

    def end(_: object) -> None:
        reactor.callLater(0, stop)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    reactor.callWhenRunning(begin)
    try:
        reactor.run()
    finally:
        for number, act in before.items():
            signal.signal(number, act)
    if failures:
        failures[0].raiseException()
