"""Debian's rtpengine in userspace, the relay to compare with: started, and told of calls by its ng protocol.

The ng protocol is a cookie, a space and a bencoded dictionary in one UDP datagram each way (rtpengine's
``docs/ng_control_protocol.md``).
"""

from __future__ import annotations

import base64
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Any

from attrs import frozen

from benchmarks.load.generator import Leg, address_of
from benchmarks.load.machine import PRIORITY, RELAY_CORE, pin, real_time, with_us

HOST = "127.0.0.42"
CONTROL = (HOST, 2223)
SUITE = "AES_CM_128_HMAC_SHA1_80"


class RtpengineError(Exception):
    """It is not there, did not start, or refused a command."""


@frozen(kw_only=True)
class _Answer:
    """What rtpengine says for one leg."""

    port: int
    rtcp_port: int
    key: bytes


class Rtpengine:
    """A running rtpengine, one thread on one core; a context manager."""

    def __init__(self) -> None:
        self._cookies = count()
        self._calls: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(2.0)

    def __enter__(self) -> Rtpengine:
        program = shutil.which("rtpengine")
        if program is None:
            raise RtpengineError("rtpengine is missing: apt-get install --no-install-recommends rtpengine-daemon")
        command = [
            *with_us(), program, "--table=-1", "--config-file=none", "--foreground", "--log-stderr", "--log-level=2",
            f"--interface={HOST}", f"--listen-ng={HOST}:{CONTROL[1]}", "--port-min=10000", "--port-max=60000",
            "--num-threads=1", "--delete-delay=0",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._socket.connect(CONTROL)
        try:
            self._wait()
            pin(self.pid, RELAY_CORE)
            real_time(self.pid, PRIORITY)  # every thread: one that is not would hold locks the others wait for
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._socket.close()

    def _wait(self) -> None:
        assert self._process is not None
        for _ in range(100):
            if self._process.poll() is not None:
                raise RtpengineError(f"rtpengine ended with {self._process.returncode}; is {HOST} taken by another?")
            try:
                self.command("ping")
                return
            except OSError:  # nobody listens yet
                time.sleep(0.1)
        raise RtpengineError("rtpengine does not answer within 10 s")

    def command(self, name: str, **fields: Any) -> dict[str, Any]:
        """:raise RtpengineError: it refused."""
        cookie = f"c{next(self._cookies)}".encode()
        request = {"command": name, **{key.replace("_", "-"): value for key, value in fields.items()}}
        self._socket.send(cookie + b" " + bencode(request))
        while True:
            reply_to, _, body = self._socket.recv(65535).partition(b" ")
            if reply_to == cookie:
                break
        reply = bdecode(body)
        assert isinstance(reply, dict)
        if reply.get("result") not in ("ok", "pong"):
            raise RtpengineError(f"rtpengine refused {name}: {reply.get('error-reason', reply)}")
        return reply

    # --- calls ----------------------------------------------------------------------------------

    def set_up(self, calls: int, *, secure: bool = False) -> list[Leg]:
        """Bridge so many calls; the generator's legs of them, two of each.

        :param secure: the first leg of each is SRTP, the second plain.
        """
        legs: list[Leg] = []
        for number in range(calls):
            legs += self._bridge(f"bench-{next(self._cookies)}", 2 * number, secure)
        return legs

    def _bridge(self, call: str, first: int, secure: bool) -> list[Leg]:
        self._calls.append(call)
        key = bytes((first * 7 + place * 13) % 256 for place in range(30))
        tags: dict[str, str] = {"call_id": call, "from_tag": "caller"}
        common: dict[str, Any] = {"ICE": "remove", "replace": ["origin"], **tags}
        plainly = {"transport_protocol": "RTP/AVP"} if secure else {}
        offer = _sdp(first, key if secure else b"")
        to_callee = _read(self.command("offer", sdp=offer, **plainly, **common))
        answer = _sdp(first + 1, b"")
        to_caller = _read(self.command("answer", to_tag="callee", sdp=answer, **common))
        return [
            Leg(host=HOST, port=to_caller.port, rtcp_port=to_caller.rtcp_port, origin=first + 1,
                keys=(key, to_caller.key) if secure else None),
            Leg(host=HOST, port=to_callee.port, rtcp_port=to_callee.rtcp_port, origin=first),
        ]  # fmt: skip

    def tear_down(self) -> None:
        """End every call."""
        calls, self._calls = self._calls, []
        for call in calls:
            self.command("delete", call_id=call, from_tag="caller")


def _sdp(leg: int, key: bytes) -> str:
    host, port = address_of(leg)
    lines = [
        "v=0", f"o=- {leg} 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0",
        f"m=audio {port} RTP/{'SAVP' if key else 'AVP'} 0 101", "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000", "a=sendrecv",
    ]  # fmt: skip
    if key:
        lines.append(f"a=crypto:1 {SUITE} inline:{base64.b64encode(key).decode()}")
    return "\r\n".join([*lines, ""])


def _read(reply: dict[str, Any]) -> _Answer:
    sdp = str(reply["sdp"])
    media = re.search(r"^m=audio (\d+) ", sdp, re.MULTILINE)
    if media is None or media[1] == "0":
        raise RtpengineError(f"rtpengine's SDP has no audio:\n{sdp}")
    rtcp = re.search(r"^a=rtcp:(\d+)", sdp, re.MULTILINE)
    crypto = re.search(rf"^a=crypto:1 {SUITE} inline:([A-Za-z0-9+/=]+)", sdp, re.MULTILINE)
    return _Answer(
        port=int(media[1]),
        rtcp_port=int(rtcp[1]) if rtcp else int(media[1]) + 1,
        key=base64.b64decode(crypto[1]) if crypto else b"",
    )


def bencode(value: str | int | Sequence[Any] | dict[str, Any]) -> bytes:
    """BEP 3's encoding; keys of dictionaries sorted."""
    match value:
        case str():
            octets = value.encode()
            return b"%d:%b" % (len(octets), octets)
        case int():
            return b"i%de" % value
        case dict():
            return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
        case _:
            return b"l" + b"".join(map(bencode, value)) + b"e"


def bdecode(data: bytes) -> Any:
    """One value, strings as text; what follows it is ignored."""
    return _bdecode(data, 0)[0]


def _bdecode(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = _bdecode(data, at)
            items.append(item)
        return (items if kind == b"l" else dict(zip(items[::2], items[1::2], strict=True))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode(errors="replace"), end
