"""Gateways that the tests of one process share: starting one costs more than most calls do."""

from __future__ import annotations

import atexit
from collections import OrderedDict
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.ports import PortBlock, take_ports
from tests.integration.gateway_support import RealGateway, changed

MOST = 2
"""At the same time in one process; the one that nobody has asked for longest is stopped for another."""


@frozen
class _Kept:
    gateway: RealGateway
    block: PortBlock

    def stop(self) -> None:
        self.gateway.stop()
        self.block.release()


_kept: OrderedDict[str, _Kept] = OrderedDict()


def share_gateway(test: SynchronousTestCase, *changes: tuple[str, str], **settings: str) -> RealGateway:
    """A gateway with this configuration, which other tests have called before, and others will.

    Its log and its records are everybody's: a test looks for its own calls, by their Call-IDs. After each test no
    port may be open, and nothing may have gone wrong inside.
    """
    key = repr((changes, sorted(settings.items())))
    kept = _kept.pop(key, None)
    if kept is not None and not kept.gateway.running:
        kept.stop()
        kept = None
    if kept is None:
        while len(_kept) >= MOST:
            _kept.popitem(last=False)[1].stop()
        kept = _start(test, changes, settings)
    _kept[key] = kept
    test.addCleanup(_check, test, kept.gateway, kept.gateway.log.count("Traceback"))
    return kept.gateway


def _start(test: SynchronousTestCase, changes: tuple[tuple[str, str], ...], settings: dict[str, str]) -> _Kept:
    block = take_ports()
    folder = Path(test.mktemp())
    folder.mkdir(parents=True)
    gateway = changed(RealGateway(folder, block, **settings), *changes)
    try:
        gateway.start()
    except BaseException:
        block.release()
        raise
    return _Kept(gateway, block)


def _check(test: SynchronousTestCase, gateway: RealGateway, tracebacks: int) -> None:
    closed = wait_until(lambda: gateway.media_sockets() == 0, 5.0)
    test.assertTrue(closed, f"{gateway.media_sockets()} media sockets are open after the last call")
    test.assertTrue(gateway.running, gateway.log[-3000:])
    test.assertEqual(gateway.log.count("Traceback"), tracebacks, gateway.log[-3000:])


@atexit.register
def _stop_all() -> None:
    while _kept:
        _kept.popitem()[1].stop()
