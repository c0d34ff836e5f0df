"""What the calls of a worker share."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import field, frozen

from stellar_gw.agent.link import Connector
from stellar_gw.control.messages import Event
from stellar_gw.worker.fastpath import FastPath
from stellar_gw.worker.pacer import Pacer
from stellar_gw.worker.port_pair import PortPairs
from stellar_gw.worker.recording import Recorder
from stellar_gw.worker.sounds import Sounds


@frozen(kw_only=True)
class Surroundings:
    """
    :ivar connector: the way to agents.
    :ivar emit: tells the gateway.
    :ivar now: seconds that never run backwards.
    :ivar worked: seconds of processor time of this thread.
    :ivar generation: of this worker, in every event.
    """

    ports: PortPairs
    pacer: Pacer
    connector: Connector
    emit: Callable[[Event], None]
    now: Callable[[], float]
    sounds: Sounds
    recorder: Recorder
    generation: int
    worked: Callable[[], float] = time.thread_time
    fast_path: FastPath = field(factory=FastPath)

    def tell(self, call: str, event: Callable[..., Event]) -> None:
        """Tell the gateway something of a call.

        :param event: makes it, given ``generation`` and ``call``.
        """
        self.emit(event(generation=self.generation, call=call))
