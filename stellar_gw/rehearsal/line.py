"""A caller's end of one call: 20 ms of audio each way every 20 ms, through the classes that a media worker uses.

There is no SIP, no RTP and no second process between; from the codec on, what the agent meets is what it meets in a
call: the same conversation, queue, dialect and link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from attrs import define
from twisted.internet.defer import Deferred

from stellar_gw.agent.link import Connector, Link, LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.control.messages import Codec as Negotiated
from stellar_gw.control.messages import ConversationStatistics
from stellar_gw.dialects.contract import Ask, Frame
from stellar_gw.dialects.registry import make_dialect
from stellar_gw.dialects.template import fill_header, fill_url
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.codec import CLOCK, codec_named
from stellar_gw.media.dtmf import Digit, are_digits
from stellar_gw.media.jitter import Gap
from stellar_gw.media.resample import Resampler
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.source import Silence, Source
from stellar_gw.phone.plan import Playable
from stellar_gw.rehearsal.notes import Notes, WatchedDialect
from stellar_gw.rehearsal.plan import RATE, Plan
from stellar_gw.worker.conversation import Conversation

FRAME_MS: Final = 20
MOST_KEPT: Final = 600 * RATE * 2
"""Octets of what was said and heard that are kept: ten minutes each."""
NEVER: Final = float("-inf")
STUTTER: Final = 0.2
"""Seconds; whoever sends nothing for longer makes a pause."""


@define
class Failed:
    """Why the link is over; ``established``: it had been up."""

    code: str
    message: str
    established: bool


@define
class _Waiter:
    condition: Callable[[], bool]
    until: float
    after_the_end: bool
    told: Deferred[bool]


class _WatchedLink:
    """Opens one link of another connector's, and passes on what it tells.

    :ivar link: once it was asked for.
    :ivar gone: it is over.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._events: LinkEvents | None = None
        self.link: Link | None = None
        self.gone = False

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        self._events = events
        self.link = self._connector.connect(target, self, limits)
        return self.link

    def link_opened(self, connect_ms: float) -> None:
        if self._events is not None:
            self._events.link_opened(connect_ms)

    def link_received(self, frame: Frame) -> None:
        if self._events is not None:
            self._events.link_received(frame)

    def link_closed(self, closed: LinkClosed) -> None:
        self.gone = True
        if self._events is not None:
            self._events.link_closed(closed)


class Line:
    """One call, as the agent meets it; ticked by a pacer.

    :param now: seconds that never run backwards.
    :param asked: told what the agent wants of the gateway.
    :ivar notes: what the agent has said, in numbers.
    :ivar connect_ms: until the link was up; None before.
    :ivar failed: why the link ended; ``hung_up``: the agent has ended the call as it should.
    :ivar turns: how many seconds the caller waited for each answer.
    :ivar answered_at: the moment of the answer; ``first_sound_at`` of the agent's first sound, ``sounded_at`` of its
        last, ``began_at`` of the first after its last pause. ``spoken_ms`` of sound in all.
    :ivar said, heard: 16-bit PCM at :data:`RATE` from the answer on, as far as it is kept.
    :ivar most_ahead_ms: of the agent's audio that waited at a time.
    :ivar gaps: how often it ran out of audio for less than :data:`STUTTER`.
    """

    def __init__(
        self,
        plan: Plan,
        call_id: str,
        connector: Connector,
        now: Callable[[], float],
        asked: Callable[[Line, Ask], None],
    ) -> None:
        """:raise StellarError: where the URL, a header or an option cannot be filled in from this call."""
        codec = codec_named(plan.codec)
        if codec is None:
            raise LocalProtocolError(f"no codec {plan.codec}")
        self._plan, self._now, self._asked = plan, now, asked
        context = msgspec.structs.replace(plan.context, call_id=call_id, codec=codec.name)
        self._target = Target(
            url=fill_url(plan.url, context),
            headers=tuple((name, fill_header(value, context)) for name, value in plan.headers),
            options=dict(plan.options),
        )
        self._watched = _WatchedLink(connector)
        self.notes = Notes()
        dialect = WatchedDialect(make_dialect(plan.dialect, context, plan.options), self.notes, now)
        self._conversation = Conversation(call_id, dialect, self, now, barge_in=plan.barge_in)
        self._codec, self._encoder, self._decoder = codec, codec.encoder(), codec.decoder()
        self._to_codec, self._from_codec = Resampler(RATE, codec.rate), Resampler(codec.rate, RATE)
        negotiated = Negotiated(name=codec.name, payload_type=codec.payload_type)
        self._conversation.caller.receive([negotiated])
        self._conversation.audio.send_as(negotiated)
        self._source: Source = Silence(RATE)
        self._left = 0
        self._frames = 0
        self._supplied_at = NEVER
        self._waiting: list[_Waiter] = []
        self.answered = False
        self.connect_ms: float | None = None
        self.failed: Failed | None = None
        self.hung_up = False
        self.ended = False
        self.turns: list[float] = []
        self.sounded_at = NEVER
        self.first_sound_at = self.began_at = self.answered_at = NEVER
        self.spoken_ms = 0
        self.said, self.heard = bytearray(), bytearray()
        self.most_ahead_ms = 0
        self.gaps = 0

    # --- what the caller does -------------------------------------------------------------------

    def connect(self) -> None:
        self._conversation.connect(self._watched, self._target, self._plan.limits)

    def answer(self) -> None:
        self.answered, self.answered_at = True, self._now()
        self._conversation.answered()

    def say(self, prompt: Playable, seconds: float) -> None:
        """From now on; silence after it."""
        self._source, self._left = prompt.make(), round(seconds * 1000 / FRAME_MS)

    @property
    def saying(self) -> bool:
        return self._left > 0

    def press(self, digit: str) -> None:
        self._conversation.pressed(Digit(digit, 160, 0))

    def outcome(self, ask: Ask, state: str, final: bool = True, **detail: str) -> None:
        self._conversation.outcome(ask.ask, state, final, detail)

    def hang_up(self, cause: str = "caller_hangup", by: str = "caller") -> None:
        """The agent is told, and the link closed; once. What it has done before decides why."""
        if self.ended:
            return
        self.ended = True
        if self.hung_up:
            cause, by = "agent_hangup", "agent"
        self._conversation.stop(cause, by, len(self.said) * 1000 // (2 * RATE))

    def drop(self) -> None:
        """Cut the connection without a word, as where the gateway's machine dies."""
        self.ended = True
        if self._watched.link is not None:
            self._watched.link.abort()

    @property
    def over(self) -> bool:
        return self.ended or self.hung_up or self.failed is not None

    @property
    def gone(self) -> bool:
        """The link is over, too."""
        return self._watched.gone

    @property
    def statistics(self) -> ConversationStatistics:
        return self._conversation.statistics

    @property
    def queued_ms(self) -> int:
        """Of the agent's audio that nobody has heard yet."""
        return self._conversation.audio.playout.queued_ms

    def until(self, condition: Callable[[], bool], seconds: float) -> Deferred[bool]:
        """Wait for something to be so, looking every 20 ms; False after so long, or when the call ends."""
        waiter = _Waiter(condition, self._now() + seconds, self.over, Deferred())
        self._waiting.append(waiter)
        return waiter.told

    # --- every 20 ms (Paced) --------------------------------------------------------------------

    def tick(self, missed: int) -> None:
        if self.answered and not self.over:
            self._hear(missed)
            self._play(missed)
        self._look()

    def tick_failed(self) -> None:
        self.agent_failed("internal", "the gateway's own audio failed; see its log", established=True)
        self._look()

    def _hear(self, missed: int) -> None:
        """20 ms of the caller's, to the agent."""
        if missed:
            self._conversation.hear([Gap(missed * FRAME_MS * CLOCK // 1000, lost=False)])
            self._frames += missed
        pcm = bytes(2 * RATE * FRAME_MS // 1000)
        if self._left > 0:
            pcm = self._source.take(RATE * FRAME_MS // 1000)
            self._left -= 1
        self._keep(self.said, pcm)
        payload = self._encoder.encode(self._to_codec.resample(pcm))
        number, timestamp = self._frames & 0xFFFF, self._frames * FRAME_MS * CLOCK // 1000 & 0xFFFFFFFF
        self._frames += 1
        self._conversation.hear([RtpPacket(self._codec.payload_type, False, number, timestamp, 1, payload)])

    def _play(self, missed: int) -> None:
        """20 ms of the agent's, to the caller."""
        conversation, audio = self._conversation, self._conversation.audio
        now = self._now()
        if not audio.playout.empty:
            self.most_ahead_ms = max(self.most_ahead_ms, self.queued_ms)
            self.gaps += FRAME_MS * 1.5 < (now - self._supplied_at) * 1000 < STUTTER * 1000
            self._supplied_at = now
        payload = audio.payload(FRAME_MS)
        if audio.sounded_ms:
            if self.first_sound_at == NEVER:
                self.first_sound_at = now
            if now - self.sounded_at > STUTTER:
                self.began_at = now
            self.sounded_at = now
            self.spoken_ms += audio.sounded_ms
        self._keep(self.heard, self._from_codec.resample(self._decoder.decode(payload)))
        conversation.played()

    def _keep(self, kept: bytearray, pcm: bytes) -> None:
        if len(kept) < MOST_KEPT:
            kept += pcm

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        now, over = self._now(), self.over
        for waiter in waiting:
            if waiter.condition():
                waiter.told.callback(True)
            elif (over and not waiter.after_the_end) or now >= waiter.until:
                waiter.told.callback(False)
            else:
                self._waiting.append(waiter)

    # --- what the agent does (ConversationListener) ---------------------------------------------

    def agent_ready(self, connect_ms: float) -> None:
        self.connect_ms = connect_ms

    def agent_failed(self, code: str, message: str, *, established: bool) -> None:
        self.failed = self.failed or Failed(code, message, established)

    def agent_hangup(self) -> None:
        self.hung_up = True

    def agent_asked(self, ask: Ask) -> None:
        self._asked(self, ask)

    def agent_turned(self, seconds: float) -> None:
        self.turns.append(seconds)

    def send_digits(self, digits: str) -> str:
        return "" if are_digits(digits) and len(digits) <= 64 else "digits are 0-9, *, #, A-D, at most 64"
