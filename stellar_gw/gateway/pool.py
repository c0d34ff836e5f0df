"""The media workers as the gateway sees them: which are up, which carries which call, and what becomes of both."""

from __future__ import annotations

import time
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from stellar_gw.call.ports import MediaListener, WorkerFailed, WorkerLost
from stellar_gw.control.messages import Allocate, Drain, Event, Hello, ListCalls, Listing, Release, Reply, Request
from stellar_gw.errors import LocalProtocolError, StellarError
from stellar_gw.gateway.channel import WorkerChannel
from stellar_gw.gateway.pool_settings import PoolSettings, prepare_socket
from stellar_gw.gateway.worker_load import WorkerLoad
from stellar_gw.gateway.worker_slot import SlotReactor, WorkerSlot
from stellar_gw.media.ports import cut
from stellar_gw.patience import Patience

_log = Logger()


def _slices(settings: PoolSettings) -> tuple[tuple[int, int], ...]:
    try:
        return cut(*settings.ports, settings.workers)
    except ValueError as reason:
        raise StellarError(f"media.ports: {reason}") from None


class PoolReactor(SlotReactor, Protocol):
    """What the pool needs of a reactor: IReactorTime, IReactorProcess and IReactorUNIX."""

    def listenUNIX(self, *args: Any, **keywords: Any) -> Any: ...


@frozen(kw_only=True)
class WorkerDescription:
    """One worker, for people.

    :ivar pid: 0 where no process runs at the moment.
    :ivar ports: the first, and the one after the last.
    :ivar load: as it is now.
    """

    worker: int
    pid: int
    generation: int
    up: bool
    calls: int
    ports: tuple[int, int]
    replaced: int
    load: WorkerLoad


class WorkerPool:
    """The media plane of the calls (:class:`stellar_gw.call.ports.MediaPlane`).

    :param listener: told every event of every worker, and :class:`WorkerLost`.
    :param generation: of the first process; later ones count on. By default the time of day in ms, so that it
        grows over restarts of the gateway, and a worker that outlived one is known for what it is.
    :raise StellarError: if the ports do not suffice for so many workers.
    """

    def __init__(
        self, reactor: PoolReactor, settings: PoolSettings, listener: MediaListener, generation: int | None = None
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._listener = listener
        self._generation = int(time.time() * 1000) if generation is None else generation
        self._slots = [
            WorkerSlot(reactor, settings, self, number, ports, self._next_generation)
            for number, ports in enumerate(_slices(settings))
        ]
        self._carriers: dict[str, WorkerSlot] = {}
        self._channels: set[WorkerChannel] = set()
        self._port: IListeningPort | None = None
        self._draining = False
        self._awaiting_ready: list[Deferred[None]] = []
        self._awaiting_end: list[Deferred[None]] = []

    def _next_generation(self) -> int:
        self._generation += 1
        return self._generation

    # --- for the composition root ---------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and start the workers; :meth:`ready` tells when the first is up.

        :raise StellarError: if the runtime folder cannot be used, or another gateway uses it.
        """
        prepare_socket(self._settings.socket)
        factory = Factory.forProtocol(self._connection)
        factory.noisy = False
        endpoint = UNIXServerEndpoint(self._reactor, self._settings.socket, mode=0o600, wantPID=False)
        self._port = await endpoint.listen(factory)
        for slot in self._slots:
            slot.start()

    def ready(self) -> Deferred[None]:
        """Fires once a worker is up; at once where one is."""
        waiting: Deferred[None] = Deferred(self._awaiting_ready.remove)
        if any(slot.up for slot in self._slots):
            waiting.callback(None)
        else:
            self._awaiting_ready.append(waiting)
        return waiting

    def drain(self) -> None:
        """Take no new calls; each worker ends with its last one, and is not replaced."""
        if not self._draining:
            self._draining = True
            for slot in self._slots:
                slot.drain()

    async def stop(self) -> None:
        """End what calls are left, and every worker; what has not ended within ``stop_timeout`` is killed."""
        released = [self.ask(Release(request=0, call=call)) for call in list(self._carriers)]
        await DeferredList(released, consumeErrors=True)
        self.drain()
        await self._all_ended(self._settings.stop_timeout)
        for channel in list(self._channels):
            channel.abort("the gateway ends")
        if self._port is not None:
            port, self._port = self._port, None
            stopped = port.stopListening()
            if stopped is not None:
                await stopped

    async def _all_ended(self, timeout: float) -> None:
        if not any(slot.running for slot in self._slots):
            return

        def kill() -> None:
            for slot in self._slots:
                slot.kill(f"has not ended within {timeout:g} s")

        ended: Deferred[None] = Deferred()
        self._awaiting_end.append(ended)
        killer = Patience(self._reactor, timeout, kill)
        try:
            await ended
        finally:
            killer.cancel()

    def describe(self) -> list[WorkerDescription]:
        return [
            WorkerDescription(
                worker=slot.number,
                pid=slot.pid,
                generation=slot.generation,
                up=slot.up,
                calls=len(slot.calls),
                ports=slot.ports,
                replaced=slot.replaced,
                load=slot.load,
            )
            for slot in self._slots
        ]

    # --- for calls ------------------------------------------------------------------------------

    def ask(self, request: Request) -> Deferred[Reply]:
        """Send a request to the worker that carries its call; ``Allocate`` of a new call takes the least loaded.

        Its ``request`` is set here. A ``Release`` of a whole call ends what we know of the call, whatever becomes
        of it.

        :return: fires with the reply, or fails with :class:`WorkerFailed`: a code of the worker's, ``lost``,
            ``timeout``, ``no_worker`` (none is up) or ``draining``.
        :raise LocalProtocolError: if the request is no command to a call.
        """
        call = getattr(request, "call", "")
        if not call:
            raise LocalProtocolError(f"{type(request).__name__} is no command to a call")
        slot = self._carriers.get(call)
        if slot is not None:
            return self._ask(slot, call, request)
        if not isinstance(request, Allocate):
            return fail(
                WorkerFailed(
                    "unknown_call", f"no worker carries call {call}: never allocated, released, or its worker is gone"
                )
            )
        if self._draining:
            return fail(WorkerFailed("draining", "the gateway ends and takes no new calls"))
        return Deferred.fromCoroutine(self._place(call, request))

    async def _place(self, call: str, request: Allocate) -> Reply:
        """The first leg of a call: a worker that has no room leaves it to the next."""
        refused = WorkerFailed("no_worker", "no media worker is up; the log says why")
        for slot in sorted((each for each in self._slots if each.up), key=lambda each: len(each.calls)):
            if not slot.up:
                continue
            if slot.load.overloaded:
                refused = WorkerFailed("overloaded", f"media worker {slot.number} has all that it can carry")
                continue
            self._carriers[call] = slot
            slot.calls.add(call)
            try:
                return await self._ask(slot, call, request)
            except WorkerFailed as reason:
                self._forget(call)
                refused = reason
                if reason.code not in ("no_ports", "no_descriptors"):
                    break
            except BaseException:  # cancelled
                self._forget(call)
                raise
        raise refused

    def _ask(self, slot: WorkerSlot, call: str, request: Request) -> Deferred[Reply]:
        channel = slot.channel
        if channel is None:
            return fail(WorkerFailed("lost", "its worker is gone"))
        answer = channel.ask(request, self._settings.request_timeout)
        if isinstance(request, Release) and not request.leg:
            self._forget(call)
        elif isinstance(request, Allocate):
            answer.addErrback(self._reap, channel, request)
        return answer

    def _reap(self, reason: Failure, channel: WorkerChannel, request: Allocate) -> Failure:
        """An allocation that nobody waits for any longer may still happen: take it back."""
        error = reason.value
        if not isinstance(error, WorkerFailed) or error.code == "timeout":
            release = Release(request=0, call=request.call, leg=request.leg)
            channel.ask(release, self._settings.request_timeout).addErrback(lambda _: None)
        return reason

    def _forget(self, call: str) -> None:
        slot = self._carriers.pop(call, None)
        if slot is not None:
            slot.calls.discard(call)

    # --- what workers say (ChannelOwner) --------------------------------------------------------

    def _connection(self) -> WorkerChannel:
        channel = WorkerChannel(self._reactor, self)
        self._channels.add(channel)
        return channel

    def hello(self, channel: WorkerChannel, hello: Hello) -> None:
        if any(slot.number == hello.worker and slot.attach(channel, hello) for slot in self._slots):
            return
        _log.warn(
            "a worker that this gateway has not started (pid {pid}) found it: its calls are ended, and it with them",
            pid=hello.pid,
        )
        Deferred.fromCoroutine(self._dismiss(channel)).addErrback(
            lambda reason: channel.abort(f"it could not be dismissed: {reason.getErrorMessage()}")
        )

    def event(self, channel: WorkerChannel, event: Event) -> None:
        if any(slot.channel is channel for slot in self._slots):
            self._listener(event)

    def closed(self, channel: WorkerChannel, reason: str) -> None:
        self._channels.discard(channel)
        for slot in self._slots:
            slot.cut(channel, reason)

    async def _dismiss(self, channel: WorkerChannel) -> None:
        """End the calls of a worker that is not ours: without the gateway that set them up they lead nowhere."""
        timeout = self._settings.request_timeout
        await channel.ask(Drain(request=0), timeout)
        after, more = "", True
        while more:
            listing = await channel.ask(ListCalls(request=0, after=after), timeout)
            if not isinstance(listing, Listing) or not listing.calls:
                return
            for call in listing.calls:
                await channel.ask(Release(request=0, call=call, cause="gateway_restarted"), timeout)
            after, more = listing.calls[-1], listing.more

    # --- what becomes of workers (SlotOwner) ----------------------------------------------------

    def up(self, slot: WorkerSlot) -> None:
        waiting, self._awaiting_ready = self._awaiting_ready, []
        for ready in waiting:
            ready.callback(None)

    def lost(self, slot: WorkerSlot, calls: tuple[str, ...], reason: str) -> None:
        for call in calls:
            self._carriers.pop(call, None)
        if not calls:
            return
        try:
            self._listener(WorkerLost(calls, f"media worker {slot.number} is lost: {reason}"))
        except Exception:
            _log.failure("the loss of a worker could not be dealt with")

    def ended(self, slot: WorkerSlot) -> None:
        if not any(each.running for each in self._slots):
            waiting, self._awaiting_end = self._awaiting_end, []
            for ended in waiting:
                ended.callback(None)
