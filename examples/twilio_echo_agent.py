"""An example agent: it beeps, says back what it hears, and hangs up at ``#``.

It speaks Twilio Media Streams over WebSocket, so it works with Twilio as it works with stellar-gw::

    pip install websockets
    python twilio_echo_agent.py --port 7860 --record calls/

and in stellar-gw's configuration: ``dialect: twilio, url: "ws://127.0.0.1:7860/ws"``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import math
import struct
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

MU_LAW_WAV = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")


def mu_law(sample: int) -> int:
    """One 16-bit sample as ITU-T G.711 mu-law."""
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | magnitude >> (exponent + 3) & 0xF) & 0xFF


BEEP = bytes(mu_law(round(8000 * math.sin(2 * math.pi * 880 * n / 8000))) for n in range(8000 * 3 // 10))


def save(folder: Path, name: str, heard: bytes) -> None:
    """Keep mu-law audio as a WAV file."""
    folder.mkdir(parents=True, exist_ok=True)
    size = len(heard)
    form = (b"fmt ", 18, 7, 1, 8000, 8000, 1, 8, 0, b"fact", 4, size, b"data", size)
    (folder / name).write_bytes(MU_LAW_WAV.pack(b"RIFF", 50 + size, b"WAVE", *form) + heard)
    print(f"recorded {folder / name}", flush=True)


async def talk(connection: ServerConnection, record: Path | None) -> None:
    """One call, from ``connected`` to ``stop``."""
    stream, heard, greeted = "", bytearray(), False

    async def say(event: str, **body: object) -> None:
        await connection.send(json.dumps({"event": event, "streamSid": stream, **body}))

    with contextlib.suppress(ConnectionClosed):
        async for text in connection:
            message = json.loads(text)
            match message["event"]:
                case "start":
                    stream = message["streamSid"]
                    call = message["start"]["customParameters"]
                    print(f"call {call.get('call_id')} from {call.get('from')} to {call.get('to')}", flush=True)
                    await say("media", media={"payload": base64.b64encode(BEEP).decode()})
                    await say("mark", mark={"name": "greeted"})
                case "mark":
                    greeted = True
                    print("the caller has heard the beep; what follows is echoed", flush=True)
                case "media":
                    audio = base64.b64decode(message["media"]["payload"])
                    heard += audio
                    if greeted:
                        await say("media", media={"payload": base64.b64encode(audio).decode()})
                case "dtmf":
                    digit = message["dtmf"]["digit"]
                    print(f"digit {digit}", flush=True)
                    if digit == "*":
                        await say("clear")
                    elif digit == "#":
                        await connection.close(1000, "hung up by #")
                case "stop":
                    break
    print(f"call over, {len(heard) / 8000:.1f} s heard", flush=True)
    if record is not None and stream:
        save(record, f"{stream}.wav", bytes(heard))


async def main() -> None:
    parser = argparse.ArgumentParser(description="An agent that beeps, then echoes; # hangs up, * clears.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860, help="0: any free one (default: 7860)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="keep what was heard of each call as a WAV file")
    options = parser.parse_args()
    async with serve(lambda connection: talk(connection, options.record), options.host, options.port) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        print(f"listening on ws://{host}:{port}/ws", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
