"""SIP messages for tests, made from parts."""

from __future__ import annotations

from stellar_gw.sip.flow import Flow, Transport
from stellar_gw.sip.message import Request
from stellar_gw.sip.parser import parse_message

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 9 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)


def invite(
    to: str = "sip:600@sip.acme.example",
    *,
    call_id: str = "a1",
    cseq: int = 1,
    branch: str = "z9hG4bK1",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = OFFER,
) -> bytes:
    """An INVITE from 192.0.2.7:5060 over UDP."""
    lines = [
        f"INVITE {to} SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.7:5060;branch={branch};rport",
        'From: "Ann" <sip:+31612345678@192.0.2.7>;tag=f1',
        f"To: <{to}>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} INVITE",
        "Contact: <sip:ann@192.0.2.7:5060>",
        "Max-Forwards: 70",
        *(f"{name}: {value}" for name, value in headers),
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def parsed(data: bytes) -> Request:
    """A request from its octets."""
    message = parse_message(data, stream=False)
    assert isinstance(message, Request)
    return message


def flow(host: str = "192.0.2.7", port: int = 5060, transport: Transport = "udp") -> Flow:
    return Flow(1, transport, transport, ("203.0.113.10", 5060), (host, port))
