"""What it costs to parse SIP messages: ``python benchmarks/sip_parse.py``.

Prints microseconds of CPU a message for a trunk's INVITE with SDP and for a BYE, and the ratio to a peer in
the same run: the standard library's e-mail parser, which splits the same kind of headers into name and value
and parses none of them. The best of several rounds counts, as rounds are disturbed but never sped up.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from email.parser import BytesHeaderParser
from email.policy import compat32
from functools import partial
from time import process_time

from stellar_gw.sip.message import Message
from stellar_gw.sip.parser import parse_message

SDP = """v=0\r
o=- 1747221 1747221 IN IP4 203.0.113.30\r
s=-\r
c=IN IP4 203.0.113.30\r
t=0 0\r
m=audio 18244 RTP/AVP 9 0 8 101\r
a=rtpmap:9 G722/8000\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-16\r
a=ptime:20\r
a=sendrecv\r
"""

INVITE = """INVITE sip:+12025550143@gw.example.com:5060;user=phone SIP/2.0\r
Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK74b.{call}1;rport\r
Record-Route: <sip:203.0.113.7;lr;ftag=gK{call}>\r
From: "Dana Whitfield" <sip:+1202{caller}@203.0.113.30;user=phone>;tag=gK{call}\r
To: <sip:+12025550143@gw.example.com;user=phone>\r
Call-ID: 1107354881_{call}@203.0.113.30\r
CSeq: 18022 INVITE\r
Max-Forwards: 68\r
Contact: <sip:+1202{caller}@203.0.113.30:5060;transport=udp>\r
Allow: INVITE,ACK,CANCEL,BYE,PRACK,REFER,OPTIONS,INFO,UPDATE\r
Supported: timer,100rel,replaces\r
Session-Expires: 1800\r
Min-SE: 90\r
P-Asserted-Identity: "Dana Whitfield" <sip:+1202{caller}@203.0.113.30>\r
User-Agent: Carrier SBC 9.2\r
Content-Type: application/sdp\r
Content-Length: {length}\r
\r
{sdp}"""

BYE = """BYE sip:gw@198.51.100.10:5060 SIP/2.0\r
Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK74b.{call}2;rport\r
From: "Dana Whitfield" <sip:+1202{caller}@203.0.113.30;user=phone>;tag=gK{call}\r
To: <sip:+12025550143@gw.example.com;user=phone>;tag=8f3c6e1b{call}\r
Call-ID: 1107354881_{call}@203.0.113.30\r
CSeq: 18023 BYE\r
Max-Forwards: 68\r
Reason: Q.850;cause=16;text="Normal call clearing"\r
Content-Length: 0\r
\r
"""

CALLS = 2000


def messages(template: str) -> list[bytes]:
    """One message of each of ``CALLS`` calls by 200 callers, so that no memory of earlier texts flatters us."""
    return [
        template.format(call=f"{call:08x}", caller=5550000 + call % 200, length=len(SDP), sdp=SDP).encode()
        for call in range(CALLS)
    ]


def microseconds(work: Callable[[bytes], object], corpus: list[bytes], rounds: int) -> float:
    """CPU of ``work`` on one message, in the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = process_time()
        for data in corpus:
            work(data)
        best = min(best, process_time() - started)
    return best / len(corpus) * 1e6


def _write(message: Message, _: bytes) -> bytes:
    return message.to_bytes()


def main() -> None:
    """Measure, print, and with ``--json`` print for a program."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    peer = BytesHeaderParser(policy=compat32)
    results = {}
    for name, template in (("INVITE", INVITE), ("BYE", BYE)):
        corpus = messages(template)
        headers = [data.partition(b"\r\n")[2] for data in corpus]
        message = parse_message(corpus[0], stream=False)
        ours = microseconds(partial(parse_message, stream=False), corpus, chosen.rounds)
        theirs = microseconds(peer.parsebytes, headers, chosen.rounds)
        written = microseconds(partial(_write, message), corpus, chosen.rounds)
        results[name] = {"parse_us": ours, "peer_us": theirs, "ratio": ours / theirs, "write_us": written}
    if chosen.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(
            f"{name}: parse {result['parse_us']:.1f} us, write {result['write_us']:.1f} us; "
            f"email.parser {result['peer_us']:.1f} us; ratio {result['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
