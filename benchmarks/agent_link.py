"""What it costs to talk with agents: ``python benchmarks/agent_link.py``.

Prints microseconds of this process's CPU per call and 20 ms (one Media Streams message each way, the dialect
included) over picows and, in the same run, over the Sans-I/O protocol of ``websockets``, and the ratio of the two.
The agent echoes in a process of its own. The ticks are paced as real ones are, so that messages come singly;
what the bare ticking costs is measured too and left out. The best of several rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from time import process_time

import uvloop

from stellar_gw.agent.link import Connector, Link, LinkClosed, LinkLimits, Target
from stellar_gw.agent.ws_link import WsConnector
from stellar_gw.control.messages import CallContext
from stellar_gw.dialects.contract import Frame
from stellar_gw.dialects.twilio import TwilioDialect
from stellar_gw.testing.processes import unwind_on_sigterm
from stellar_gw.testing.sansio_link import SansIoConnector

TICK = 0.02
CONTEXT = CallContext(
    call_id="c-1", tenant="acme", connector="600", agent="echo", environment="production", version="1",
    from_uri="sip:+31612345678@pbx.example",
)  # fmt: skip
FRAME = bytes(range(160))


class Call:
    """One call's link and dialect."""

    def __init__(self, connector: Connector, url: str) -> None:
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.heard = 0
        self._sent = 0
        self._dialect = TwilioDialect(CONTEXT)
        self._link: Link = connector.connect(Target(url=url), self, LinkLimits())

    def link_opened(self, connect_ms: float) -> None:
        self.send(self._dialect.opened())
        self.opened.set()

    def link_received(self, frame: Frame) -> None:
        self.heard += len(self._dialect.received(frame))

    def link_closed(self, closed: LinkClosed) -> None:
        if closed.code != "cancelled":
            raise SystemExit(f"the link has ended: {closed.message}")
        self.closed.set()

    def send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self._link.send(frame)

    def tick(self) -> None:
        self.send(self._dialect.audio(FRAME, self._sent * 20))
        self._sent += 1

    def close(self) -> None:
        self._link.close()


async def ticking(ticks: int, tick: Callable[[], None]) -> float:
    """Seconds of CPU that the ticks and whatever they caused took."""
    loop = asyncio.get_running_loop()
    before, start = process_time(), loop.time()
    for place in range(1, ticks + 1):
        tick()
        await asyncio.sleep(max(0.0, start + place * TICK - loop.time()))
    return process_time() - before


async def measure(make: Callable[[asyncio.AbstractEventLoop], Connector], url: str, calls: int, ticks: int) -> float:
    """Microseconds per call and tick."""
    connector = make(asyncio.get_running_loop())
    links = [Call(connector, url) for _ in range(calls)]
    for link in links:
        await link.opened.wait()
    bare = await ticking(ticks, lambda: None)

    def tick() -> None:
        for link in links:
            link.tick()

    spent = await ticking(ticks, tick)
    heard = sum(link.heard for link in links)
    for link in links:
        link.close()
        await link.closed.wait()
    if heard < calls * ticks * 0.9:
        raise SystemExit(f"the agent echoed {heard} of {calls * ticks} messages: this machine is too busy to measure")
    return (spent - bare) / (calls * ticks) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unwind_on_sigterm()
    command = [sys.executable, "-m", "stellar_gw.testing.agents", "--behaviour", "echo"]
    kinds: dict[str, Callable[[asyncio.AbstractEventLoop], Connector]] = {
        "picows": WsConnector,
        "websockets_sansio": SansIoConnector,
    }
    best = dict.fromkeys(kinds, float("inf"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            url = agent.stdout.readline().removeprefix("listening on ").strip()
            for _ in range(options.rounds):
                for kind, make in kinds.items():
                    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                        work = measure(make, url, options.calls, round(options.seconds / TICK))
                        best[kind] = min(best[kind], runner.run(work))
        finally:
            agent.terminate()
    ratio = best["websockets_sansio"] / best["picows"]
    if options.json:
        print(json.dumps({**{f"{kind}_us": round(us, 2) for kind, us in best.items()}, "ratio": round(ratio, 2)}))
    else:
        for kind, us in best.items():
            print(f"{kind:18} {us:6.1f} us per call and 20 ms")
        print(f"{'ratio':18} {ratio:6.2f}")


if __name__ == "__main__":
    main()
