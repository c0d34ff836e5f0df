"""An agent that costs little: it sends the caller's audio back as it came, in whichever dialect it came.

A program of its own, so that its CPU is not the worker's. By picows on uvloop, as a fast agent would be. Prints
``listening on URL`` when it is ready; ends with SIGTERM. Run by the benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
from typing import cast

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

APPEND = b'{"type":"input_audio_buffer.append","audio":"'
DELTA = b'{"type":"response.output_audio.delta","item_id":"item","delta":"'


class AudioSocketEcho(asyncio.Protocol):
    """One call by AudioSocket: every frame of audio, types 0x10 to 0x18, comes back."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer, at = self._buffer + data, 0
        while len(buffer) - at >= 3 and len(buffer) - at >= (
            length := 3 + int.from_bytes(buffer[at + 1 : at + 3], "big")
        ):
            if 0x10 <= buffer[at] <= 0x18:
                self._transport.write(buffer[at : at + length])
            at += length
        self._buffer = buffer[at:]


class Echo(WSListener):
    """One call: Media Streams, OpenAI's Realtime API, or binary audio."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            if b'"media"' in text[:60]:
                transport.send(WSMsgType.TEXT, text)
            elif text.startswith(APPEND):
                transport.send(WSMsgType.TEXT, DELTA + text[len(APPEND) :])
        elif frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


def made(_: WSUpgradeRequest) -> Echo:
    return Echo()


async def serve(certificate: str, audiosocket: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    tls = None
    if audiosocket:
        listening = await loop.create_server(AudioSocketEcho, "127.0.0.1", 0, backlog=1024)
        print(f"listening on audiosocket://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
        await stopping.wait()
        return
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    server = await ws_create_server(made, "127.0.0.1", 0, ssl=tls, enable_auto_pong=True, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on {'wss' if tls else 'ws'}://127.0.0.1:{port}/ws", flush=True)
    await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--certificate", default="", help="PEM file of key and certificate: speak TLS")
    parser.add_argument("--audiosocket", action="store_true", help="TCP instead of WebSocket")
    parser.add_argument("--core", type=int, default=-1)
    parser.add_argument("--priority", type=int, default=0, help="of SCHED_FIFO, where permitted")
    options = parser.parse_args()
    if options.core >= 0:
        os.sched_setaffinity(0, {options.core})
    if options.priority:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.priority))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.certificate, options.audiosocket))


if __name__ == "__main__":
    main()
