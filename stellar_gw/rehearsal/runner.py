"""Runs a rehearsal on the loop that media workers have, shows what it finds, and has it end in time."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from stellar_gw.agent.builtin import BuiltinConnector, ConnectorByScheme
from stellar_gw.agent.link import Connector
from stellar_gw.agent.tcp_link import TcpConnector
from stellar_gw.agent.ws_link import WsConnector
from stellar_gw.dialects.registry import make_dialect
from stellar_gw.errors import StellarError
from stellar_gw.media.wav import WavWriter
from stellar_gw.rehearsal import report
from stellar_gw.rehearsal.conduct import Rehearsal
from stellar_gw.rehearsal.findings import Finding, exit_status
from stellar_gw.rehearsal.plan import RATE, Plan
from stellar_gw.terminal import Palette
from stellar_gw.worker.pacer import SLOT, Pacer
from stellar_gw.worker.timer import SlotTimer


class Runner:
    """
    :param reactor: Twisted's, on ``loop``.
    :param timeout: seconds for everything together.
    """

    def __init__(
        self, reactor: Any, loop: asyncio.AbstractEventLoop, plan: Plan, stream: TextIO, timeout: float, *, json: bool
    ) -> None:
        self._reactor, self._plan, self._stream, self._timeout, self._json = reactor, plan, stream, timeout, json
        self._palette = Palette(coloured=False) if json else Palette.of(stream)
        self._pacer = Pacer()
        self._timer = SlotTimer(reactor, SLOT, self._pacer.expired)
        self._pacer.run_by(self._timer)
        connector: Connector = ConnectorByScheme(
            builtin=BuiltinConnector(reactor),
            websocket=WsConnector(loop),
            others={"audiosocket": TcpConnector(reactor)},
        )
        self._rehearsal = Rehearsal(plan, self._pacer, connector, time.monotonic, self._found)
        self._findings: list[Finding] = []

    async def carry_out(self) -> int:
        """:return: the exit status.
        :raise StellarError: the call cannot be begun.
        """
        plan = self._plan
        self._show(
            *report.head(plan, make_dialect(plan.dialect, plan.context, plan.options).audio_format, self._palette)
        )
        late = self._reactor.callLater(self._timeout, self._late)
        try:
            await self._rehearsal.carry_out()
        finally:
            if late.active():
                late.cancel()
            self._timer.close()
        self._save()
        self._show(*report.end(plan, self._findings, self._palette))
        if self._json:
            self._stream.write(report.as_json(plan, self._findings, self._rehearsal.line) + "\n")
        return exit_status(self._findings, strict=plan.expect.strict)

    def interrupt(self) -> None:
        self._found(Finding(check="time", state="fail", said="interrupted"))
        self._rehearsal.stop()

    def _late(self) -> None:
        said = f"the rehearsal took longer than {self._timeout:g} s"
        self._found(Finding(check="time", state="fail", said=said, mend="give it more by --timeout, or fewer prompts"))
        self._rehearsal.stop()

    def _found(self, finding: Finding) -> None:
        self._findings.append(finding)
        self._show(*report.finding_lines(finding, self._palette))

    def _show(self, *lines: str) -> None:
        if not self._json:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()

    def _save(self) -> None:
        """What the caller heard, as a WAV file."""
        line = self._rehearsal.line
        if not self._plan.record or line is None:
            return
        try:
            with Path(self._plan.record).open("wb") as file:
                writer = WavWriter(file, RATE)
                writer.write(bytes(line.heard))
                writer.close()
        except OSError as error:
            said = f"{self._plan.record} cannot be written: {error.strerror or error}"
            self._found(Finding(check="record", state="fail", said=said))


def execute(plan: Plan, stream: TextIO, timeout: float, *, json: bool) -> int:
    """Run until it is over; installs the reactor.

    :return: the exit status.
    :raise StellarError: the call cannot be begun.
    """
    from stellar_gw.worker.uvloop_reactor import install

    loop = install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = time.monotonic
    ended: list[int | Failure] = []

    def start() -> None:
        runner = Runner(reactor, loop, plan, stream, timeout, json=json)
        loop.add_signal_handler(signal.SIGINT, runner.interrupt)
        Deferred.fromCoroutine(runner.carry_out()).addBoth(end)

    def end(result: int | Failure) -> None:
        ended.append(result)
        reactor.callLater(0, reactor.stop)

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    for result in ended:
        if isinstance(result, Failure):
            result.raiseException()
        else:
            return result
    raise StellarError("the reactor stopped before the rehearsal was over")
