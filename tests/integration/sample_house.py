"""Where platforms' callers are transferred to by a call of ours: it answers, and hangs up when it has been bridged."""

from __future__ import annotations

import re
import socket
import threading
import time

from stellar_gw.sip.message import Request, response_to
from stellar_gw.sip.parser import MalformedMessage, parse_message

STAYS = 2.6
"""Seconds that it stays: longer than a bridge takes to be one for good."""
REPEATS = 0.5
"""Seconds after which a BYE that is not answered goes out again."""


class House:
    """A SIP phone of one UDP socket, in a thread of its own.

    :ivar called: the INVITEs that it has had.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(0.05)
        self.uri = f"sip:house@{address}:{self._socket.getsockname()[1]}"
        self.called: list[Request] = []
        self._leaving: list[tuple[float, bytes, tuple[str, int]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            for leaving in [each for each in self._leaving if each[0] <= time.monotonic()]:
                self._leaving.remove(leaving)
                self._leaving.append((time.monotonic() + REPEATS, *leaving[1:]))
                self._socket.sendto(leaving[1], leaving[2])
            try:
                data, source = self._socket.recvfrom(65535)
                message = parse_message(data, stream=False)
            except (TimeoutError, MalformedMessage):
                continue
            if not isinstance(message, Request):
                self._leaving = [each for each in self._leaving if message.call_id.encode() not in each[1]]
            elif message.method != "ACK":
                self._answer(message, source)

    def _answer(self, request: Request, source: tuple[str, int]) -> None:
        tag = request.call_id[:8]
        headers = [("Contact", f"<{self.uri}>")]
        body = b""
        if request.method == "INVITE":
            body = _answer_to(request.body.decode()).encode()
            headers.append(("Content-Type", "application/sdp"))
        self._socket.sendto(response_to(request, 200, "", headers, body, to_tag=tag).to_bytes(), source)
        if request.method == "INVITE" and request.call_id not in {each.call_id for each in self.called}:
            self.called.append(request)
            assert request.contact is not None
            bye = [
                f"BYE {request.contact.uri} SIP/2.0",
                f"Via: SIP/2.0/UDP {self.uri.partition('@')[2]};branch=z9hG4bKbye{tag}",
                f"From: {request.to};tag={tag}",
                f"To: {request.from_}",
                f"Call-ID: {request.call_id}",
                "CSeq: 1 BYE",
                "Max-Forwards: 70",
                "Content-Length: 0",
            ]
            self._leaving.append((time.monotonic() + STAYS, ("\r\n".join(bye) + "\r\n\r\n").encode(), source))


def _answer_to(offer: str) -> str:
    """The offer's first codec and its first key, as one's own: nobody listens to this media."""
    media = re.search(r"m=audio \d+ (\S+) (\d+)", offer)
    assert media is not None
    crypto = re.search(r"a=crypto:.*", offer)
    lines = ["v=0", "o=- 7 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    lines.append(f"m=audio 9 {media[1]} {media[2]}")
    if crypto is not None and media[1] == "RTP/SAVP":
        lines.append(crypto[0].strip())
    return "\r\n".join(lines) + "\r\n"
