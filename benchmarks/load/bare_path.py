"""The way through an agent with nothing on it, to compare with: what only the system calls, picows and JSON cost.

A program of its own: each RTP payload goes to a WebSocket as a Media Streams message, each message's audio into a
queue, from which a packet goes out every 20 ms. No latching, order, statistics, RTCP, digits, limits or errors: this
is not a gateway, but the least that Python can do, by the same libraries. Prints its RTP ports when every agent is
reached; ends with SIGTERM. Run by ``benchmarks.agent_path``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import ssl
import struct
from binascii import b2a_base64
from collections import deque
from typing import Any

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.load.generator import address_of
from stellar_gw.worker.timer import make_timer

HOST = "127.0.0.44"
SLOTS = 4
SILENCE = b"\xff" * 160
_HEADER = struct.Struct("!BBHII")


class _Payload(msgspec.Struct):
    payload: bytes


class _Media(msgspec.Struct):
    media: _Payload


_decode = msgspec.json.Decoder(_Media).decode


class Call(WSListener):
    """One call: a socket, a link and a queue."""

    def __init__(self, number: int) -> None:
        self._destination = address_of(number)
        self._queue: deque[bytes] = deque()
        self._received = self._sent = 0
        self._link: WSTransport | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind((HOST, 0))

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._link = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._queue.append(_decode(frame.get_payload_as_bytes()).media.payload)

    def read(self) -> None:
        datagram, _ = self.socket.recvfrom(2048)
        self._received += 1
        assert self._link is not None
        encoded = b2a_base64(datagram[12:], newline=False).decode("ascii")
        message = (
            f'{{"event":"media","sequenceNumber":"{self._received}","streamSid":"MZ0","media":{{"track":"inbound",'
            f'"chunk":"{self._received}","timestamp":"{self._received * 20}","payload":"{encoded}"}}}}'
        )
        self._link.send(WSMsgType.TEXT, message)

    def tick(self) -> None:
        self._sent += 1
        header = _HEADER.pack(0x80, 0, self._sent & 0xFFFF, self._sent * 160 & 0xFFFFFFFF, 7)
        self.socket.sendto(header + (self._queue.popleft() if self._queue else SILENCE), self._destination)


async def serve(url: str, calls: int) -> None:
    loop = asyncio.get_running_loop()
    polled, timer = select.epoll(), make_timer()
    by_descriptor: dict[int, Call] = {}
    slots: list[list[Call]] = [[] for _ in range(SLOTS)]
    tls = ssl.create_default_context() if url.startswith("wss:") else None
    for number in range(calls):
        call = Call(number)
        await ws_connect(lambda *_, call=call: call, url, ssl_context=tls, use_aiofastnet=False)
        by_descriptor[call.socket.fileno()] = call
        polled.register(call.socket.fileno(), select.EPOLLIN)
        slots[number % SLOTS].append(call)
    turn = 0

    def readable() -> None:
        for descriptor, _ in polled.poll(0, 256):
            by_descriptor[descriptor].read()

    def expired() -> None:
        nonlocal turn
        for _ in range(struct.unpack("@Q", os.read(timer.descriptor, 8))[0]):
            for call in slots[turn % SLOTS]:
                call.tick()
            turn += 1

    loop.add_reader(polled.fileno(), readable)
    loop.add_reader(timer.descriptor, expired)
    timer.set(0.02 / SLOTS)
    gc.freeze()
    print(*(call.socket.getsockname()[1] for call in by_descriptor.values()), flush=True)
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--priority", type=int, required=True, help="of SCHED_FIFO, where permitted")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.priority))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        work: Any = serve(options.url, options.calls)
        runner.run(work)


if __name__ == "__main__":
    main()
