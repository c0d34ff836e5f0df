"""A worker's life, apart from how its process is set up: attached to a gateway, draining, orphaned, over."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from attrs import frozen
from twisted.application.internet import ClientService
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from stellar_gw.agent.link import Connector
from stellar_gw.control.messages import VERSION, Configure, Event, Hello
from stellar_gw.media.ports import Random
from stellar_gw.worker.carrier import Carrier
from stellar_gw.worker.channel import GatewayChannel
from stellar_gw.worker.fastpath import FastPath
from stellar_gw.worker.pacer import SLOT, Pacer
from stellar_gw.worker.poller import DatagramPoller
from stellar_gw.worker.poller import Reactor as Readers
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.port_pair import PortPairs
from stellar_gw.worker.recording import Recorder
from stellar_gw.worker.sounds import Sounds
from stellar_gw.worker.surroundings import Surroundings
from stellar_gw.worker.timer import SlotTimer

DIAL_AGAIN = (0.1, 2.0)
"""Seconds: the first and the longest delay before the gateway's socket is tried again."""
IDLE = 0.75 * SLOT
"""Seconds of a slot that others may fill. Real-time threads that take 95 % of a second sleep for the rest of it
(sched_rt_runtime_us), and packets are 50 ms late."""
_log = Logger()


class WorkerReactor(Protocol):
    """What a worker needs of a reactor, besides IReactorUNIX."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> IDelayedCall: ...
    def addReader(self, reader: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...
    def seconds(self) -> float: ...
    def callFromThread(self, callable: Callable[..., object], *args: Any) -> object: ...
    def stop(self) -> None: ...
    def getThreadPool(self) -> Any: ...


@frozen(kw_only=True)
class WorkerIdentity:
    """
    :ivar socket: path of the gateway's UNIX socket.
    :ivar orphan_time: seconds without a gateway after which calls are ended, and the process with them.
    """

    socket: str
    worker: int
    generation: int
    orphan_time: float = 60.0


class Worker:
    """Joins the gateway's channel to what is carried here, and ends the process when its time has come.

    :ivar look: sends what is due; for the midst of work that may take long (:meth:`SlotTimer.look`).
    """

    def __init__(
        self,
        reactor: WorkerReactor,
        identity: WorkerIdentity,
        connector: Connector,
        clocks: Clocks,
        random: Random,
        readers: Readers | None = None,
    ) -> None:
        """:param readers: reads RTP and the pacer's clock; by default the reactor does that, too."""
        self._reactor = reactor
        self._identity = identity
        self._channel: GatewayChannel | None = None
        self._orphaned: IDelayedCall | None = None
        self._ending = False
        self._poller = DatagramPoller(readers or reactor, now=clocks.now)
        self._recorder = Recorder(clocks, reactor.callFromThread)
        self._fast_path = FastPath()
        pacer = self._pacer = Pacer()
        self._timer = SlotTimer(readers or reactor, SLOT, self._slot, now=clocks.now)
        self.look = self._poller.between = self._timer.look
        self._poller.rest = self._timer.rest
        pacer.run_by(self._timer)
        self._carrier = Carrier(
            Surroundings(
                ports=PortPairs(self._poller, clocks, random),
                pacer=pacer,
                connector=connector,
                emit=self._emit,
                now=clocks.now,
                sounds=Sounds(partial(deferToThreadPool, cast(Any, reactor), reactor.getThreadPool())),
                recorder=self._recorder,
                generation=identity.generation,
                fast_path=self._fast_path,
            ),
            self._configured,
            self._idle,
        )
        factory = Factory.forProtocol(self._dialled)
        factory.noisy = False
        self._dialler = ClientService(
            UNIXClientEndpoint(reactor, identity.socket, timeout=5), factory, retryPolicy=_retry
        )

    def start(self) -> None:
        self._set_orphaned()
        self._dialler.startService()

    def drain(self) -> None:
        """Take no new calls; the process ends with the last one."""
        _log.info("draining: {count} calls go on", count=len(self._carrier))
        self._carrier.drain()

    def _dialled(self) -> GatewayChannel:
        identity = self._identity
        hello = Hello(version=VERSION, worker=identity.worker, generation=identity.generation, pid=os.getpid())
        return GatewayChannel(hello, self._carrier.handle, self._changed)

    def _changed(self, channel: GatewayChannel, connected: bool) -> None:
        if connected:
            self._channel = channel
            if self._orphaned is not None and self._orphaned.active():
                self._orphaned.cancel()
            self._orphaned = None
        elif self._channel is channel:
            self._channel = None
            if self._ending:
                return
            if self._carrier.draining and not len(self._carrier):
                self._end()
                return
            _log.warn(
                "the gateway is gone: {count} calls go on for {seconds:g} s at most, unless it comes back",
                count=len(self._carrier),
                seconds=self._identity.orphan_time,
            )
            self._set_orphaned()

    def _set_orphaned(self) -> None:
        self._orphaned = self._reactor.callLater(self._identity.orphan_time, self._give_up)

    def _give_up(self) -> None:
        """Nobody can hang up for these calls any more, and their agents cost money."""
        _log.error(
            "no gateway for {seconds:g} s: {count} calls are ended, and this worker with them",
            seconds=self._identity.orphan_time,
            count=len(self._carrier),
        )
        self._carrier.release_all("gateway_lost")
        self._end()

    def _slot(self, count: int) -> None:
        """5 ms have passed, and what is due goes out; then there is time for others until the next."""
        idle_until = self._timer.due - SLOT + IDLE  # looked at now: the last call to end stops the timer
        self._pacer.expired(count)
        self._recorder.idle(idle_until)

    def _emit(self, event: Event) -> None:
        if self._channel is not None:
            self._channel.emit(event)

    def _configured(self, configure: Configure) -> None:
        self._poller.dscp = configure.dscp
        if configure.fast_path:
            self._fast_path.start(self._reactor, configure.fast_path)

    def _idle(self) -> None:
        if self._carrier.draining:
            self._end()

    def _end(self) -> None:
        """Stop in a later turn: the last reply, the last words to agents and RTCP's goodbye are to go out first."""
        if not self._ending:
            self._ending = True
            self._reactor.callLater(0.05, self._stop)

    def _stop(self) -> None:
        self._dialler.stopService()
        self._fast_path.stop()
        self._timer.close()
        self._poller.close()
        self._recorder.close()
        self._reactor.callLater(0.05, self._reactor.stop)


def _retry(attempts: int) -> float:
    first, longest = DIAL_AGAIN
    return min(first * 2.0 ** min(attempts, 10), longest)
