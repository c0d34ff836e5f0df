"""An example agent for ``dialect: native``: it greets, says back what it hears, and knows a few keys.

    pip install websockets
    python native_agent.py --port 7861

Then in stellar-gw's configuration: ``dialect: native, rate: 16000, url: "ws://127.0.0.1:7861/"``. While it talks,
``*`` interrupts it, ``1`` has it send the digits 1 2 3, and ``#`` has it say good-bye and hang up.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import json
import math
import re
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


def tone(hertz: float, seconds: float, rate: int) -> bytes:
    """16-bit little-endian PCM."""
    count = int(seconds * rate)
    return array.array("h", (round(9000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))).tobytes()


class Call:
    """One connection is one call."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.rate = 16000
        self.talking = False

    async def do(self, action: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"action": action, **fields}))

    async def say(self, hertz: float, seconds: float, mark: str) -> None:
        """Audio is queued and played in real time; the mark comes back when it has been."""
        self.talking = True
        await self.connection.send(tone(hertz, seconds, self.rate))
        await self.do("notify", payload={"mark": mark})

    async def run(self) -> None:
        try:
            async for message in self.connection:
                if isinstance(message, str):
                    await self.told(json.loads(message))
                elif not self.talking:
                    await self.connection.send(message)  # the caller's own 20 ms back
        except ConnectionClosed:
            print("the gateway is gone", flush=True)

    async def told(self, event: dict[str, Any]) -> None:
        print(json.dumps(event), flush=True)
        match event["event"]:
            case "websocket:connected":
                found = re.search(r"rate=(\d+)", event["content-type"])
                self.rate = int(found[1]) if found else self.rate
                await self.do("answer", id="a1")  # an error where the gateway answers by itself; that harms nothing
                await self.say(880, 0.5, "greeting")
            case "websocket:notify" if event["payload"] == {"mark": "greeting"}:
                self.talking = False
            case "websocket:dtmf" if event["digit"] == "*":
                await self.do("clear")
            case "websocket:dtmf" if event["digit"] == "1":
                await self.do("send_dtmf", id="d1", digits="123")
            case "websocket:dtmf" if event["digit"] == "#":
                await self.say(440, 0.5, "good-bye")
                await self.do("hangup", id="h1", when="after_playout")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7861)
    options = parser.parse_args()
    async with serve(lambda connection: Call(connection).run(), options.host, options.port) as server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"listening on ws://{host}:{port}/", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
