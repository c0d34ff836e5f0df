"""The media worker: ``python -m stellar_gw.worker.main --socket PATH --worker N --generation G``.

Started by the gateway, which it dials. It writes its log to stderr, one line for each event. It takes no notice
of SIGINT, which a terminal sends to the gateway's whole process group; SIGTERM drains it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO, cast

from stellar_gw.compiled import prefer

if TYPE_CHECKING:
    from twisted.logger import ILogObserver

# Before numpy: its products here are small, and threads would only take the other calls' core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

PRIORITY = 10
"""Of SCHED_FIFO: above everything that is not real-time, below the kernel's own threads."""


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runs = prefer()  # before the modules that it is about are imported
    from stellar_gw.worker.uvloop_reactor import install

    loop = install()
    from twisted.internet import reactor as installed

    _run(cast(Any, installed), loop, options, runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stellar_gw.worker.main", description="A media worker of stellar-gw; the gateway starts it."
    )
    parser.add_argument("--socket", required=True, help="the gateway's UNIX socket")
    parser.add_argument("--worker", type=int, required=True, help="this worker's number")
    parser.add_argument("--generation", type=int, required=True, help="tells it from those it replaces")
    parser.add_argument(
        "--orphan-time",
        type=float,
        default=60.0,
        help="seconds without a gateway after which it ends (default: %(default)s)",
    )
    parser.add_argument(
        "--priority",
        type=int,
        default=PRIORITY,
        help="of SCHED_FIFO where that is permitted; 0: ordinary scheduling (default: %(default)s)",
    )
    return parser


def _run(reactor: Any, loop: asyncio.AbstractEventLoop, options: argparse.Namespace, runs: str) -> None:
    from twisted.logger import Logger, globalLogBeginner

    from stellar_gw.agent.builtin import BuiltinConnector, ConnectorByScheme
    from stellar_gw.agent.reading import Rota
    from stellar_gw.agent.tcp_link import TcpConnector
    from stellar_gw.agent.ws_link import WsConnector
    from stellar_gw.worker.halting import cores_halt
    from stellar_gw.worker.port_contracts import Clocks
    from stellar_gw.worker.process import Worker, WorkerIdentity
    from stellar_gw.worker.readers import DirectReaders

    globalLogBeginner.beginLoggingTo([_log_lines(options.worker, sys.stderr)], redirectStandardIO=False)
    log = Logger(namespace="stellar_gw.worker")
    # Twisted's timers go by the time of day, which may jump; ours must not.
    reactor.seconds = time.monotonic
    clocks = Clocks(now=time.monotonic, wall=time.time, random=random.random, number=secrets.randbits)
    identity = WorkerIdentity(
        socket=options.socket, worker=options.worker, generation=options.generation, orphan_time=options.orphan_time
    )
    rota = Rota(loop.call_later)
    connector = ConnectorByScheme(
        builtin=BuiltinConnector(reactor),
        websocket=WsConnector(loop, rota=rota),
        others={"audiosocket": TcpConnector(reactor, rota)},
    )
    worker = Worker(reactor, identity, connector, clocks, random.SystemRandom(), DirectReaders(loop, reactor))
    rota.between = worker.look
    loop.add_signal_handler(signal.SIGTERM, worker.drain)
    scheduling = _schedule(options.priority)
    awake = "; its core halts between packets (install conf/stellar-gw-haltpoll.conf)" if cores_halt() else ""
    log.info(
        "started (pid {pid}): {scheduling}; {runs}{awake}",
        pid=os.getpid(), scheduling=scheduling, runs=runs, awake=awake,
    )  # fmt: skip
    reactor.callWhenRunning(worker.start)
    # What is there now stays until the end: the collector need not look at it again, nor copy its pages. And a call
    # leaves it nothing to find; its look at the objects of a thousand calls halts them all for a tenth of a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 5)
    reactor.run(installSignalHandlers=False)


def _schedule(priority: int) -> str:
    """Ask for real-time scheduling, the one thing that keeps packets on time when others want the core."""
    if priority <= 0:
        return "ordinary scheduling"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as reason:
        return (
            f"ordinary scheduling, SCHED_FIFO is denied ({reason.strerror}): "
            "audio may stutter when other processes want the core; LimitRTPRIO= in the unit permits it"
        )
    return f"SCHED_FIFO, priority {priority}"


def _log_lines(worker: int, stream: TextIO) -> ILogObserver:
    """An observer that writes one line for each event, tracebacks folded into it by their own line breaks."""
    from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, eventAsText

    def write(event: dict[str, Any]) -> None:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        level = event.get("log_level")
        name = level.name if level is not None else "info"
        try:
            stream.write(f"media worker {worker} [{name}] {text}\n")
            stream.flush()
        except (OSError, ValueError):  # whoever read it is gone; the calls are not
            pass

    return FilteringLogObserver(cast("ILogObserver", write), [LogLevelFilterPredicate(LogLevel.info)])


if __name__ == "__main__":
    main()
