"""What every WebSocket link does alike: its life, its one timer, its pings, its bounds, and who is told what.

One task per link connects and then waits for the connection's end, so every end comes out in one place. What
happens is put to :mod:`stellar_gw.agent.life`, whose effects are carried out here by way of the methods that a
library's own link fills in. Nothing is told from inside ``connect``, ``send``, ``close`` or ``abort``:
``link_opened`` and ``link_received`` come out of the library's reading, ``link_closed`` out of the loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic

from twisted.logger import Logger

from stellar_gw.agent import failure as failures
from stellar_gw.agent.failure import Failure
from stellar_gw.agent.life import Cut, Effect, Part, SayClose, TellClosed, TellOpened, new_life
from stellar_gw.agent.link import LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.agent.message import CONTINUATION, TEXT, Assembly, BrokenMessage, close_frame
from stellar_gw.agent.messages import Messages
from stellar_gw.agent.reading import Ration, Rota
from stellar_gw.agent.request import Endpoint, InvalidTargetError, endpoint, headers
from stellar_gw.dialects.contract import Frame
from stellar_gw.patience import HELD_UP, STRETCHES

BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
"""Opcodes (RFC 6455 5.2)."""
POLICY_VIOLATION = 1008
"""Close code for an agent that breaks the rules (RFC 6455 7.4.1); it is not read any further."""


class BaseLink(ABC):
    """One connection to one agent; a library's link fills in the abstract methods.

    :param loop: the asyncio loop that the link lives on; every method is called on its thread.
    :param rota: shared by all links of the loop.
    :ivar messages: those in one frame each.
    """

    log = Logger()

    def __init__(self, loop: asyncio.AbstractEventLoop, events: LinkEvents, limits: LinkLimits, rota: Rota) -> None:
        self._loop = loop
        self._events = events
        self._limits = limits
        self._endpoint = Endpoint(False, "", 0, "")
        self._effects: list[Effect] = []
        self._performing = False
        self._life = new_life(self._effects)
        self._assembly = Assembly(limits.max_message)
        self._rota = rota
        self._ration = Ration()
        self.messages = Messages(self, events.link_received, self._ration, limits.max_buffered)
        self._deaf = False
        self._started = monotonic()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cutter: asyncio.TimerHandle | None = None
        self._pings = 0
        self._awaited_pong: bytes | None = None
        self._stretch = 0.0
        self._stretches = 0
        self._over = False
        self._gone = False

    # --- what a library fills in ------------------------------------------------------------------

    @abstractmethod
    async def _converse(self, url: str, fields: list[tuple[str, str]], subprotocol: str) -> Failure:
        """Connect, call ``_opened`` and ``_received``, and return why the connection has ended.

        Cancelling it while it connects leaves no connection behind.
        """

    @abstractmethod
    def _diagnosis(self, error: Exception) -> Failure:
        """What ``_converse`` has raised, as a failure."""

    @abstractmethod
    def _write(self, frame: Frame) -> None:
        """Send one message; the link is open."""

    @abstractmethod
    def _write_control(self, opcode: int, payload: bytes) -> None:
        """Send PING or PONG; the link is open."""

    @abstractmethod
    def _write_close(self, code: int, reason: str) -> None:
        """Send a close frame, ``reason`` being at most 123 octets long, unless there is no open connection."""

    @abstractmethod
    def _unsent(self) -> int:
        """Octets that wait for the agent to read."""

    @abstractmethod
    def _reads(self, more: bool) -> None:
        """Stop reading, or go on; there is a connection, or there was."""

    @abstractmethod
    def _tcp_connected(self) -> bool: ...

    @abstractmethod
    def _disconnect(self) -> None:
        """End the connection once everything is written, if there is one."""

    @abstractmethod
    def _disconnect_now(self) -> None:
        """End the connection, if there is one, whatever waits to be written."""

    # --- what the call does -----------------------------------------------------------------------

    def connect(self, target: Target) -> None:
        """Begin; to be called once."""
        try:
            self._endpoint = endpoint(target)
            fields = headers(target)
        except InvalidTargetError as error:
            self._fail(Failure(error.code, error.message))
            return
        self._give(self._limits.connect_timeout, self._expired)
        self._task = self._loop.create_task(self._run(target.url, fields, target.subprotocol))

    def send(self, frame: Frame) -> None:
        if self.messages.sending:
            self._write(frame)
            self._bound()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.messages.sending = False
        self._life.close(code, reason)
        self._perform()

    def abort(self) -> None:
        self.messages.sending = False
        self._life.abort()
        self._perform()

    # --- what happens -----------------------------------------------------------------------------

    async def _run(self, url: str, fields: list[tuple[str, str]], subprotocol: str) -> None:
        try:
            failure = await self._converse(url, fields, subprotocol)
        except asyncio.CancelledError:
            self._fail(Failure("cancelled", "the gateway's loop is stopping"))
            raise
        except Exception as error:
            failure = self._diagnosis(error)
            if failure.code == "internal":
                self.log.failure("unexpected error on the link to {origin}", origin=self._endpoint.origin)
        finally:
            self._gone = True
            for timer in (self._timer, self._cutter):
                if timer is not None:
                    timer.cancel()
        self._fail(failure)

    def _opened(self) -> None:
        if self._over:
            return
        self.messages.sending = True
        self._life.opened()
        self._perform()

    def _received(self, opcode: int, fin: bool, payload: bytes) -> None:
        """A frame without RSV bits; never raises."""
        self._ration.frames += 1
        if self._over:
            return
        try:
            self._take(opcode, fin, payload)
        except BrokenMessage as error:
            self._break(str(error), error.close_code)
        except Exception:
            self.baffled()

    def baffled(self) -> None:
        """What a message was told to has raised."""
        self.log.failure("a message of the agent's could not be dealt with")
        self._fail(Failure("internal", "the gateway failed on a message of the agent's; see its log", 1011))

    def _take(self, opcode: int, fin: bool, payload: bytes) -> None:
        if opcode in (CONTINUATION, TEXT, BINARY):
            if self.messages.sending:
                message = self._assembly.add(opcode, fin, payload)
                self.messages.fragmented = self._assembly.under_way
                if message is not None:
                    self._events.link_received(message)
        elif opcode == PING:
            if self.messages.sending:
                self._write_control(PONG, payload)
                self._bound()
        elif opcode == PONG:
            if payload == self._awaited_pong:
                self._awaited_pong = None
        else:
            code, reason = close_frame(payload)
            self._life.closed(code, failures.closed_failure(self._endpoint, code, reason))
            self._perform()

    def _break(self, rule: str, close_code: int = 1002) -> None:
        """The agent broke a rule of the protocol."""
        if close_code == 1009:
            self._fail(failures.oversize_failure(self._endpoint, self._limits.max_message))
        else:
            self._fail(failures.protocol_failure(self._endpoint, rule, close_code))

    def unreadable(self) -> None:
        """A text is not UTF-8."""
        self._break("text that is not UTF-8 (RFC 6455 8.1)", 1007)

    def _fail(self, failure: Failure) -> None:
        self._life.failed(failure)
        self._perform()

    # --- how much is read at a time ---------------------------------------------------------------

    def _was_read(self, octets: int, asked: int) -> None:
        """So many octets of those asked for have been read, and all frames in them received."""
        if self._ration.spent(octets, asked) and not self._deaf:
            self._reads(False)
            self._rota.wait(self._read_on)

    def _read_on(self) -> None:
        if not self._deaf and not self._gone:
            self._reads(True)

    def _read_no_more(self) -> None:
        """Nothing that the agent says counts any more: leave it where it is until the connection is cut."""
        if not self._deaf:
            self._deaf = True
            self._reads(False)

    # --- limits -----------------------------------------------------------------------------------

    def _expired(self) -> None:
        seconds = self._limits.connect_timeout
        self._fail(failures.timeout_failure(self._endpoint, seconds, connected=self._tcp_connected()))

    def _bound(self) -> None:
        if self._unsent() > self._limits.max_buffered:
            self.unread()

    def unread(self) -> None:
        """More waits to be sent than may."""
        self._fail(failures.unread_failure(self._endpoint, self._limits.max_buffered))

    def _ping(self) -> None:
        """Ping, and look for the answer ``ping_timeout`` later."""
        if not self.messages.sending:
            return
        self._pings += 1
        self._awaited_pong = self._pings.to_bytes(8, "big")
        self._write_control(PING, self._awaited_pong)
        self._give(self._limits.ping_timeout, self._pong_due)
        self._bound()

    def _pong_due(self) -> None:
        if self._awaited_pong is not None:
            self._fail(failures.silent_failure(self._endpoint, self._limits.ping_timeout))
        else:
            self._rearm(max(0.0, self._limits.ping_interval - self._limits.ping_timeout), self._ping)

    def _give(self, seconds: float, over: Callable[[], None]) -> None:
        """Rearm the timer with the agent's time, counted as :class:`stellar_gw.patience.Patience` does."""
        self._stretch, self._stretches = seconds / STRETCHES, STRETCHES
        self._next_stretch(over)

    def _next_stretch(self, over: Callable[[], None]) -> None:
        ends = self._loop.time() + self._stretch
        self._rearm(self._stretch, lambda: self._stretch_over(ends, over))

    def _stretch_over(self, ends: float, over: Callable[[], None]) -> None:
        """It counts, unless this process was held up in it: then the answer may be here, unread."""
        if self._loop.time() - ends <= HELD_UP:
            self._stretches -= 1
        if self._stretches:
            self._next_stretch(over)
        else:
            over()

    def _rearm(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, call)

    # --- effects ----------------------------------------------------------------------------------

    def _perform(self) -> None:
        """Carry out what the life asks for; an effect that leads back here is carried out after it."""
        if self._performing:
            return
        self._performing = True
        try:
            while self._effects:
                self._carry_out(self._effects.pop(0))
        finally:
            self._performing = False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case TellOpened():
                self._rearm(self._limits.ping_interval, self._ping)
                self._tell_opened()
            case SayClose(code, reason):
                self._say_close(code, reason)
                if code == POLICY_VIOLATION:
                    self._read_no_more()
                self._cut_later()
            case Part(code):
                self._end()
                if code:
                    self._say_close(code)
                self._cut_later()
                self._disconnect()
            case Cut():
                self._end()
                self._cut()
            case TellClosed(failure, established, clean):
                self._end()
                closed = LinkClosed(failure.code, failure.message, established, clean)
                self._loop.call_soon(self._events.link_closed, closed)

    def _tell_opened(self) -> None:
        try:
            self._events.link_opened((monotonic() - self._started) * 1000)
        except Exception:
            self.log.failure("the opening of an agent's link could not be dealt with")
            self._life.failed(Failure("internal", "the gateway failed as the link opened; see its log", 1011))

    def _end(self) -> None:
        self._over = True
        self.messages.over()
        if self._timer is not None:
            self._timer.cancel()

    def _say_close(self, code: int, reason: str = "") -> None:
        # A control frame has at most 125 octets, two of them the code (RFC 6455 5.5).
        self._write_close(code, reason.encode(errors="replace")[:123].decode(errors="ignore"))

    def _cut_later(self) -> None:
        if self._cutter is None and not self._gone:
            self._cutter = self._loop.call_later(self._limits.close_timeout, self._cut_unanswered)

    def _cut_unanswered(self) -> None:
        self.abort()
        self._cut()

    def _cut(self) -> None:
        self._disconnect_now()
        if self._task is not None and self._task is not asyncio.current_task(self._loop):
            self._task.cancel()
