"""Carry out what the command line asks for: one call with its ladder and levels live, or many."""

from __future__ import annotations

import signal
from typing import Any, TextIO

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorCore, IReactorFromThreads
from twisted.internet.task import deferLater

from stellar_gw.errors import StellarError
from stellar_gw.media.analysis import level_dbfs
from stellar_gw.net.lookup import DnsLookup
from stellar_gw.net.resolver import Resolver
from stellar_gw.net.tls import ClientTls
from stellar_gw.phone.endpoint import EndpointReactor, local_address
from stellar_gw.phone.ladder import Rung
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import CallPlan
from stellar_gw.phone.report import (
    EXIT_OK,
    EXIT_UNREACHABLE,
    CallReport,
    audio_problem,
    exit_status,
    json_text,
    lines,
    summary,
    summary_lines,
    to_json,
)

LEVEL_EVERY = 0.25
_BAR = 20
_GREEN, _RED, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[0m"


class RunReactor(EndpointReactor, IReactorCore, IReactorFromThreads):
    """What a reactor must be able to do for the command."""


@frozen(kw_only=True)
class Load:
    """:ivar rate: calls started a second."""

    count: int = 1
    rate: float = 1.0
    concurrent: int = 100


@frozen(kw_only=True)
class Run:
    """One run of the command; see its options."""

    plan: CallPlan
    bind: str = ""
    tls_ca: str = ""
    insecure: bool = False
    tls_name: str = ""
    load: Load = Load()
    expect: int = 200
    expect_tone: float | None = None
    expect_echo: bool = False
    json: bool = False
    quiet: bool = False
    colour: bool = False

    @property
    def live(self) -> bool:
        return not self.json and not self.quiet

    def status_of(self, report: CallReport) -> int:
        return exit_status(report, self.expect, self.expect_tone, self.expect_echo)


@define
class Display:
    """Lines as they come, with one line below them that is written anew (levels, progress).

    :ivar rewrite: the stream is a terminal; else that line is left out, except once a second.
    """

    stream: TextIO
    rewrite: bool
    _status: str = ""
    _skipped: int = 0

    def line(self, text: str) -> None:
        if self._status:
            self.stream.write("\r\x1b[K")
        self.stream.write(f"{text}\n{self._status}")
        self.stream.flush()

    def status(self, text: str) -> None:
        if not self.rewrite:
            if self._skipped % 4 == 0:
                self.line(text)
            self._skipped += 1
            return
        self._status = text
        self.stream.write(f"\r\x1b[K{text}")
        self.stream.flush()

    def end_status(self) -> None:
        if self._status:
            self.stream.write("\r\x1b[K")
            self._status = ""


@define
class Runner:
    """One run: its phone, its calls, what is shown meanwhile."""

    reactor: RunReactor
    run: Run
    display: Display
    reports: list[CallReport] = field(factory=list)
    phone: Phone | None = None
    stopped: bool = False
    _started: int = 0
    _watching: IDelayedCall | None = None

    async def carry_out(self) -> int:
        """:return: the exit status."""
        run = self.run
        try:
            self.phone = await self._phone()
        except StellarError as error:
            self.reports.append(CallReport(to=str(run.plan.to), transport=run.plan.transport, problem=str(error)))
            return self._finish()
        if run.live:
            self._watch()
        try:
            await self._calls(self.phone)
        except StellarError as error:
            self.reports.append(CallReport(to=str(run.plan.to), transport=run.plan.transport, problem=str(error)))
        if self._watching is not None:
            self._watching.cancel()
        await self.phone.stop()
        return self._finish()

    def interrupt(self) -> None:
        """Hang up all calls and start no more; a second time leave at once."""
        if self.stopped:
            self.reactor.stop()
            return
        self.stopped = True
        for call in self.phone.calls if self.phone is not None else ():
            call.hang_up()

    async def _phone(self) -> Phone:
        run, plan = self.run, self.run.plan
        lookup = DnsLookup(self.reactor)
        try:
            toward = await Resolver(self.reactor, lookup).addresses((plan.proxy or plan.to).host)
        finally:
            lookup.stop()
        tls = None
        if plan.transport == "tls":
            tls = ClientTls(self.reactor.seconds, ca_file=run.tls_ca, insecure=run.insecure)
        phone = Phone(
            self.reactor,
            plan.transport,
            run.bind or local_address(toward[0]),
            client_tls=tls,
            server_name=run.tls_name or (plan.to.host if plan.proxy else ""),
            on_rung=self._rung if run.live and run.load.count == 1 else lambda _: None,
        )
        phone.open()
        return phone

    async def _calls(self, phone: Phone) -> None:
        """Start them at their times, none above the limit; wait for all."""
        load, began = self.run.load, self.reactor.seconds()
        places, ended = DeferredSemaphore(load.concurrent), []
        for number in range(load.count):
            await deferLater(self.reactor, max(0.0, began + number / load.rate - self.reactor.seconds()))
            await places.acquire()
            if self.stopped:
                break
            call = phone.place(self.run.plan)
            self._started += 1
            ended.append(call.ended.addCallback(self._over, places))
        await DeferredList(ended)

    def _over(self, report: CallReport, places: DeferredSemaphore) -> None:
        self.reports.append(report)
        places.release()

    # --- while it goes on -----------------------------------------------------------------------

    def _rung(self, rung: Rung) -> None:
        self.display.line(rung.text(self.run.colour))

    def _watch(self) -> None:
        self._watching = self.reactor.callLater(LEVEL_EVERY, self._watch)
        calls = self.phone.calls if self.phone is not None else ()
        if self.run.load.count > 1:
            answered = sum(1 for report in self.reports if report.answered)
            self.display.status(
                f"started {self._started} of {self.run.load.count}, up {len(calls)}, "
                f"ended {answered}, failed {len(self.reports) - answered}"
            )
        elif calls and calls[0].rtp.negotiated is not None:
            rtp = calls[0].rtp
            self.display.status(f"   audio: sent {_bar(rtp.sent.tail)}   heard {_bar(rtp.heard.tail)}")

    # --- the end --------------------------------------------------------------------------------

    def _finish(self) -> int:
        self.display.end_status()
        status = max((self.run.status_of(report) for report in self.reports), default=EXIT_UNREACHABLE)
        if self.run.json:
            self.display.line(json_text(self._json(status)))
            return status
        if self.run.load.count > 1:
            for line in summary_lines(summary(self.reports)):
                self.display.line(line)
        else:
            for report in self.reports:
                for line in lines(report):
                    self.display.line(line)
        self.display.line(self._verdict(status))
        return status

    def _json(self, status: int) -> dict[str, Any]:
        verdict = {"exit": status, "verdict": self._verdict(status, plain=True)}
        if self.run.load.count == 1 and self.reports:
            return {**verdict, **to_json(self.reports[0])}
        calls = [{**to_json(report), "ladder": None} for report in self.reports]
        return {**verdict, "summary": summary(self.reports), "calls": calls}

    def _verdict(self, status: int, plain: bool = False) -> str:
        run = self.run
        good = sum(1 for report in self.reports if run.status_of(report) == EXIT_OK)
        if status == EXIT_OK:
            text, colour = "OK" if good == 1 else f"OK: {good} calls", _GREEN
        else:
            worst = next((each for each in self.reports if run.status_of(each) == status), None)
            text, colour = f"FAILED: {_why(run, worst)}", _RED
            if run.load.count > 1:
                text += f" ({good} of {run.load.count} calls were good)"
        return f"{colour}{text}{_RESET}" if run.colour and not plain else text


def _why(run: Run, report: CallReport | None) -> str:
    if report is None:
        return "no call was made"
    if report.status != run.expect:
        expected = "" if run.expect == 200 else f" (expected {run.expect})"
        return (report.problem or f"{report.status} {report.reason}".strip() or "no final status") + expected
    return audio_problem(report, run.expect_tone, run.expect_echo)


def _bar(pcm: bytes) -> str:
    """A level meter from -60 to 0 dBFS."""
    level = level_dbfs(pcm)
    full = max(0, min(_BAR, round((level + 60) / 60 * _BAR)))
    return f"[{'#' * full}{'.' * (_BAR - full)}] {level:6.1f} dBFS"


def execute(reactor: RunReactor, run: Run, stream: TextIO) -> int:
    """Run the reactor until the run is over.

    :return: the exit status.
    """
    runner = Runner(reactor, run, Display(stream, stream.isatty()))
    statuses: list[int] = []

    def start() -> None:
        signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(runner.interrupt))
        Deferred.fromCoroutine(runner.carry_out()).addCallback(statuses.append).addBoth(_end)

    failures: list[Any] = []

    def _end(result: Any) -> None:
        if result is not None:
            failures.append(result)
        reactor.callLater(0, reactor.stop)

    reactor.callWhenRunning(start)
    reactor.run()
    if failures:
        failures[0].raiseException()
    return statuses[0] if statuses else EXIT_UNREACHABLE
