"""The composition root: makes every part of the gateway, starts them in order, and stops them in reverse.

Up: media workers (each has said Hello), listeners, READY. Down: no new calls (503), the calls that are up may
finish, then BYE; then listeners, workers, records.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from stellar_gw import __version__
from stellar_gw.call.calls import Calls
from stellar_gw.call.events import CallEvent
from stellar_gw.call.ports import WorkerLost
from stellar_gw.config import Config, reload_config
from stellar_gw.config.addresses import own_addresses
from stellar_gw.console.site import HttpListening, Sources
from stellar_gw.console.twilio_record import CallIndex
from stellar_gw.control.messages import CallContext
from stellar_gw.control.messages import Event as MediaEvent
from stellar_gw.directory.records import Environment
from stellar_gw.directory.twilio_account import find_environment
from stellar_gw.errors import ConfigError, StellarError
from stellar_gw.gateway.capabilities import capabilities
from stellar_gw.gateway.driver import Driver
from stellar_gw.gateway.fastpath import check_helper
from stellar_gw.gateway.http_client import HttpClient
from stellar_gw.gateway.journal import Journal
from stellar_gw.gateway.log import log_writer
from stellar_gw.gateway.metrics import Metrics, Sight
from stellar_gw.gateway.notify import Notifier
from stellar_gw.gateway.pool import WorkerPool
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.report import Reporter
from stellar_gw.gateway.webhook import WebhookPlane
from stellar_gw.gateway.worker_process import WorkerCommand
from stellar_gw.net.descriptors import connections_within, raise_limit
from stellar_gw.net.flows import Flows
from stellar_gw.net.listen import Listening, listen
from stellar_gw.net.lookup import DnsLookup
from stellar_gw.net.reach import Reach
from stellar_gw.net.resolver import Resolver
from stellar_gw.net.stream import StreamLimits
from stellar_gw.net.tls import ClientTls
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.flow import Listener, address_text
from stellar_gw.sip.timers import Timers

WORKERS_READY = 20.0
"""Seconds that workers may take to say Hello."""
LAST_BYES = 2.0
"""Seconds for the answers to our last BYEs."""
WATCHDOG = 3.0
"""Seconds between looks at the driver's loop; the unit's WatchdogSec is 10."""

_log = Logger()


@define
class _Parts:
    """Everything that runs."""

    calls: Calls
    driver: Driver
    flows: Flows
    listening: Listening
    lookup: DnsLookup
    http: HttpListening | None


class GatewayService(Service):
    """The whole gateway as one service of Twisted's.

    :param environ: of the process: systemd's variables, and what ``${env:}`` names on a reload.
    """

    name = "stellar-gw"

    def __init__(self, config: Config, *, reactor: Any, environ: Mapping[str, str]) -> None:
        self._config, self._reactor, self._environ = config, reactor, environ
        # Twisted's reactors tell the time of day: a clock that is set would move every timer of every call.
        reactor.seconds = time.monotonic
        self._notifier = Notifier(environ)
        self._log_writer = log_writer(
            sys.stderr, environ, level=config.log.level, form=config.log.format, secrets=config.directory.secrets()
        )
        self._runtime, self._own_runtime = _runtime_folder(environ)
        records = Path(config.records.directory)
        pool = reactor.getThreadPool()

        def run(write: Any) -> Deferred[None]:
            return deferToThreadPool(reactor, pool, write)

        self._journals = [Journal(records / name, reactor, run) for name in ("cdr.jsonl", "refusals.jsonl")]
        self._reporter = Reporter(*self._journals)
        self._pool = WorkerPool(reactor, pool_settings(config, self._runtime), self._heard)
        self._sight = Sight(workers=self._pool.describe, journals=self._journals, draining=lambda: self._stopping)
        self._metrics = Metrics(reactor.seconds, self._sight)
        self._index = CallIndex()
        self._parts: _Parts | None = None
        self._watchdog = LoopingCall(self._look)
        self._watchdog.clock = reactor
        self._turns = -1
        self._hurry: Deferred[None] = Deferred()
        self._stopping = False

    def setServiceParent(self, parent: Any) -> None:
        """Besides joining twistd's application, say how it logs (it asks the application before it starts)."""
        Service.setServiceParent(self, parent)
        parent.setComponent(ILogObserver, self._log_writer)

    # --- up -------------------------------------------------------------------------------------

    def startService(self) -> None:
        Service.startService(self)
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        for number, act in ((signal.SIGTERM, self._end), (signal.SIGINT, self._end), (signal.SIGHUP, self.reload)):
            signal.signal(number, lambda *_, act=act: self._reactor.callFromThread(act))
        Deferred.fromCoroutine(self._start()).addErrback(self._failed)

    async def _start(self) -> None:
        raise_limit()
        records = self._config.records
        _make_folder("records.directory", Path(records.directory))
        if self._config.recording:
            _make_folder("records.recordings", Path(records.recordings_folder))
        media = self._config.media
        if media.fast_path == "nftables":
            await check_helper(self._reactor, media.fast_path_socket, (media.ports[0], media.ports[1] + 1))
        await self._pool.start()
        ready = self._pool.ready()
        ready.addTimeout(WORKERS_READY, self._reactor)
        try:
            await ready
        except Exception as error:
            why = f"no media worker was ready within {WORKERS_READY:g} s; their lines above say why"
            raise StellarError(why) from error
        if self._stopping:
            return
        self._parts = self._open()
        names = ", ".join(
            f"{address_text(listener.bind)}/{listener.transport}"
            for listener in self._parts.listening.listeners.values()
        )
        if self._parts.http is not None:
            names += f", {address_text(self._parts.http.address)}/http"
        _log.info("stellar-gw {version} is ready on {names}", version=__version__, names=names)
        _settle_memory()
        self._notifier.ready(f"ready on {names}")
        self._watchdog.start(WATCHDOG).addErrback(_log_failure)

    def _open(self) -> _Parts:
        config, clock = self._config, self._reactor
        limits = StreamLimits(
            setup=config.sip.setup_timeout,
            idle=config.sip.idle_timeout,
            per_source=config.limits.connections,
            total=connections_within(config.limits.all_connections),
        )
        lookup = DnsLookup(clock, servers=config.dns.servers)
        client_tls = ClientTls(clock.seconds, ca_file=config.sip.trusted_ca)
        flows = Flows(clock, limits=limits, client_tls=client_tls, dscp=config.sip.dscp)
        listeners: dict[str, Listener] = {}
        core = SipCore(
            listeners,
            user_agent=config.sip.user_agent,
            rng=os.urandom,
            timers=Timers(t1=config.sip.t1),
            max_transactions=config.limits.transactions,
            able=capabilities(config.sip),
        )
        resolver = Resolver(clock, lookup)
        driver = Driver(core, clock, Reach(flows, resolver, clock.seconds))
        flows.owner = driver
        calls = Calls(
            config,
            listeners=listeners,
            signalling=driver,
            plane=self._plane(resolver),
            clock=clock,
            wall=time.time,
            rng=os.urandom,
            tell=self._tell,
        )
        driver.connect(calls)
        listening = listen(clock, flows, config.listeners.values())
        listeners.update(listening.listeners)  # before the reactor turns: nothing has been received yet
        http = self._listen_http(calls)
        calls.start()
        return _Parts(calls, driver, flows, listening, lookup, http)

    def _plane(self, resolver: Resolver) -> WebhookPlane:
        """The workers, behind what asks webhooks."""

        def environment(context: CallContext) -> Environment | None:
            return find_environment(self._config.directory, context.tenant, context.agent, context.environment)

        return WebhookPlane(
            self._pool,
            post=HttpClient(self._reactor, resolver.addresses).post,
            environment=environment,
            listener=self._heard,
            clock=self._reactor,
        )

    def _listen_http(self, calls: Calls) -> HttpListening | None:
        bind = self._config.http.bind
        if bind is None:
            return None
        sources = Sources(
            metrics=self._metrics,
            sight=self._sight,
            index=self._index,
            count=lambda: len(calls),
            find=calls.find,
            directory=lambda: self._config.directory,
        )
        return HttpListening(self._reactor, bind, sources)

    def _failed(self, failure: Failure) -> None:
        """Could not start: one line, everything down again, status 1."""
        error = failure.value
        if isinstance(error, ConfigError):
            for problem in error.problems:
                _log.critical("{problem}", problem=problem)
        elif isinstance(error, StellarError | OSError):
            _log.critical("stellar-gw cannot start: {error}", error=str(error))
        else:
            _log.failure("stellar-gw cannot start", failure)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._end()

    # --- while it runs --------------------------------------------------------------------------

    def _tell(self, event: CallEvent) -> None:
        self._reporter.tell(event)
        self._metrics.tell(event)
        self._index.tell(event)

    def _heard(self, event: MediaEvent | WorkerLost) -> None:
        self._metrics.heard(event)
        if self._parts is not None:
            self._parts.calls.heard(event)

    def _look(self) -> None:
        """Feed systemd's watchdog, but only while the driver's loop turns."""
        assert self._parts is not None
        driver = self._parts.driver
        driver.poke()
        if driver.turns != self._turns:
            self._turns = driver.turns
            failing = next((journal.failing for journal in self._journals if journal.failing), "")
            status = f"{len(self._parts.calls)} calls" + (f"; records are not written: {failing}" if failing else "")
            self._notifier.alive(status)

    def reload(self) -> None:
        """Take the configuration file anew: all of it, or nothing and why (SIGHUP)."""
        self._notifier.reloading()
        try:
            config = reload_config(self._config, self._config.file, self._environ, own_addresses)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("reload refused, the running configuration is kept: {problem}", problem=problem)
        else:
            self._config = config
            self._log_writer.redaction.replace(config.directory.secrets())
            if self._parts is not None:
                self._parts.calls.replace(config)
            for warning in config.warnings:
                _log.warn("{warning}", warning=warning)
            _log.info("reloaded {file}", file=config.file)
        self._notifier.ready("reloaded")

    # --- down -----------------------------------------------------------------------------------

    def _end(self) -> None:
        """The first signal drains, the second ends every call now."""
        if self._stopping:
            if not self._hurry.called:
                self._hurry.callback(None)
            return
        self._stopping = True
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        self._stopping = True
        return Deferred.fromCoroutine(self._stop()).addErrback(_log_failure)

    async def _stop(self) -> None:
        self._notifier.stopping()
        if self._watchdog.running:
            self._watchdog.stop()
        parts = self._parts
        if parts is not None:
            await self._drain(parts)
            await parts.listening.stop()
            if parts.http is not None:
                await parts.http.stop()
            parts.calls.stop()
            await parts.flows.stop()
            parts.driver.stop()
            parts.lookup.stop()
        await self._pool.stop()
        for journal in self._journals:
            await journal.close()
        if self._own_runtime:
            shutil.rmtree(self._runtime, ignore_errors=True)
        Service.stopService(self)

    async def _drain(self, parts: _Parts) -> None:
        """Let the calls finish; when time is up, or at a second signal, end them."""
        seconds, count = self._config.timers.drain, len(parts.calls)
        drained = parts.calls.drain()
        if count:
            _log.info(
                "draining: {count} calls may finish within {seconds:g} s, new ones get 503; "
                "a second signal ends them now",
                count=count,
                seconds=seconds,
            )
        late = self._reactor.callLater(seconds, self._end)
        self._hurry.addCallback(lambda _: parts.calls.end_all("shutdown", "the gateway was stopped"))
        await drained
        if late.active():
            late.cancel()
        if self._hurry.called:
            await deferLater(self._reactor, LAST_BYES)


def _settle_memory() -> None:
    """What is loaded stays for good: the collector need not look at it again, nor look as often as it does.

    What a call leaves is cycles; by default they cost a third of the CPU of its signalling. A call of half a minute
    has outlived the two younger generations when it ends, so the oldest must be looked at often, too: with every
    second look at the middle one, once what came to it is a quarter of what it holds (the collector's own rule).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 1)


def _runtime_folder(environ: Mapping[str, str]) -> tuple[str, bool]:
    """The folder of the control socket: systemd's, else one of our own, which we remove again."""
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (given, False) if given else (tempfile.mkdtemp(prefix="stellar-gw-"), True)


def _make_folder(key: str, folder: Path) -> None:
    """:raise StellarError: if it is not there, and cannot be made, or files cannot be made in it."""
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise StellarError(f"{key} {folder} cannot be used ({why}); name a folder that this user may write to")


def pool_settings(config: Config, runtime: str) -> PoolSettings:
    """What the configuration says about media workers."""
    media = config.media
    return PoolSettings(
        workers=media.workers or os.cpu_count() or 1,
        ports=(media.ports[0], media.ports[1] + 1),
        bind=media.binds,
        runtime=runtime,
        dscp=media.dscp,
        quarantine=media.quarantine,
        recordings=config.records.recordings_folder,
        no_media=config.timers.no_media,
        no_media_on_hold=config.timers.no_media_on_hold,
        fast_path=media.fast_path_socket if media.fast_path == "nftables" else "",
        max_load=config.limits.load / 100,
        command=WorkerCommand(options=("--orphan-time", f"{media.orphan_time:g}")),
    )


def _log_failure(failure: Failure) -> None:
    _log.failure("while stopping", failure)
