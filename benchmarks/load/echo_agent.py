"""An agent that costs little: it sends every Media Streams ``media`` message back as it came.

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

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):
    """One call."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            if b'"media"' in text[:60]:
                transport.send(WSMsgType.TEXT, text)
        elif frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


def made(_: WSUpgradeRequest) -> Echo:
    return Echo()


async def serve(certificate: str) -> None:
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    server = await ws_create_server(made, "127.0.0.1", 0, ssl=tls, enable_auto_pong=True, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print(f"listening on {'wss' if tls else 'ws'}://127.0.0.1:{port}/ws", flush=True)
    await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--certificate", default="", help="PEM file of key and certificate: speak TLS")
    parser.add_argument("--core", type=int, default=-1)
    parser.add_argument("--priority", type=int, default=0, help="of SCHED_FIFO, where permitted")
    options = parser.parse_args()
    if options.core >= 0:
        os.sched_setaffinity(0, {options.core})
    if options.priority:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.priority))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.certificate))


if __name__ == "__main__":
    main()
