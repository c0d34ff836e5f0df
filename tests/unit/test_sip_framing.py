"""Messages out of streams, in whatever chunks they come."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.sip.framing import PING, Framed, Ping, Pong, StreamFramer
from stellar_gw.sip.parser import MalformedMessage, parse_message

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"

HEAD = (
    b"MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
    b"Call-ID: x\r\nCSeq: 1 MESSAGE\r\n"
)
EMPTY = HEAD + b"l: 0\r\n\r\n"
FULL = HEAD + b"Content-Length : \r\n 0012\r\n\r\nhello\r\n\r\nyou"


def told(framed: list[Framed]) -> list[object]:
    """What was framed, errors as what they say and whether they can be answered."""
    return [
        (item.status, item.reason, item.salvage is not None) if isinstance(item, MalformedMessage) else item
        for item in framed
    ]


def fed(*chunks: bytes) -> list[object]:
    framer = StreamFramer()
    return told([item for chunk in chunks for item in framer.feed(chunk)])


class FramingTests(SynchronousTestCase):
    def test_many_messages_in_one_chunk(self) -> None:
        """Messages follow each other without anything between; a body may look like the end of headers."""
        self.assertEqual(fed(FULL + EMPTY + FULL), [FULL, EMPTY, FULL])

    def test_octet_by_octet(self) -> None:
        """One octet at a time gives the same as one chunk, keepalives and errors too."""
        for stream in (
            FULL + EMPTY, PING + FULL + b"\r\n" + EMPTY + PING + PING, EMPTY + HEAD + b"\r\n", EMPTY + b"\x16\x03\x01",
            FULL + b"\r\r", HEAD + b"l: five\r\n\r\n" + EMPTY,
        ):  # fmt: skip
            self.assertEqual(fed(*[bytes([octet]) for octet in stream]), fed(stream))

    def test_keepalives(self) -> None:
        """A double CRLF is a ping, a single one a pong, and both only between messages (RFC 5626 4.4.1)."""
        self.assertEqual(fed(b"\r\n", EMPTY, b"\r\n\r\n", EMPTY), [Pong(), EMPTY, Pong(), Ping(), EMPTY])
        self.assertEqual(fed(b"\r", b"\n\r", b"\n"), [Pong(), Ping()])
        self.assertEqual(fed(b"\r\n" * 5), [Pong(), Ping(), Pong(), Ping(), Pong()])

    def test_what_has_begun(self) -> None:
        """A stream tells whether a message has begun, and how many have come."""
        framer = StreamFramer()
        seen = []
        for chunk in (b"", PING, FULL[:1], FULL[1:-1], FULL[-1:], b"\r", b"\n", EMPTY + EMPTY + b"M"):
            framer.feed(chunk)
            seen.append((framer.partial, framer.messages))
        self.assertEqual(
            seen,
            [(False, 0), (False, 0), (True, 0), (True, 0), (False, 1), (True, 1), (False, 1), (True, 3)],
        )

    def test_lengths_that_end_the_stream(self) -> None:
        """Missing, doubled, negative, no number, too much: answered, and then there is nothing more."""
        for line, status, reason in (
            (b"", 400, "Content-Length: missing on a stream"),
            (b"l: 1\r\nContent-Length: 1\r\n", 400, "Content-Length: comes more than once"),
            (b"l: -1\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: five\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: 1, 1\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: 1\xc2\xb2\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: 2147483648\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: 1000000000\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: " + b"9" * 5000 + b"\r\n", 400, "Content-Length: must be a number of octets"),
            (b"l: 65536\r\n", 513, "more than 65536 octets"),
        ):
            self.assertEqual(fed(EMPTY + HEAD + line + b"\r\n" + EMPTY, EMPTY), [EMPTY, (status, reason, True)], line)

    def test_the_limit(self) -> None:
        """64 KiB is a message; one octet more is none, and neither are headers that never end."""
        head = HEAD + b"l: %d\r\n\r\n"
        room = 65_536 - len(head % 65_000)
        whole = head % room + b"x" * room
        self.assertEqual((len(whole), fed(whole)), (65_536, [whole]))
        self.assertEqual(fed(head % (room + 1) + b"x" * (room + 1)), [(513, "more than 65536 octets", True)])
        endless = HEAD + b"X: " + b"y" * 70_000
        self.assertEqual(fed(endless), [(513, "more than 65536 octets", True)])
        self.assertEqual(fed(endless[:65_535], b""), [])

    def test_what_is_no_sip(self) -> None:
        """TLS, binary and blank lines are seen at the first octet, and not answered."""
        for stream in (b"\x16\x03\x01", b"\0", b"\n", b" INVITE", b"\r\r", b"\xff", b"(", b'"'):
            self.assertEqual(fed(stream), [(400, "not SIP", False)], stream)
        self.assertEqual(fed(b"GET / HTTP/1.1\r\n\r\n"), [(400, "Content-Length: missing on a stream", False)])

    def test_memory_is_bounded(self) -> None:
        """Nothing but the message that has begun is kept, and nothing at all after an error."""
        framer = StreamFramer()
        for _ in range(100):
            framer.feed(EMPTY * 100)
        self.assertEqual((len(framer._buffer), framer.messages), (0, 10_000))
        framer.feed(b"\0" + b"x" * 1_000_000)
        framer.feed(b"x" * 1_000_000)
        self.assertEqual((len(framer._buffer), framer.partial), (0, False))

    def test_rfc_4475(self) -> None:
        """Two requests in one stream are two messages; doubtful lengths end it (RFC 4475 3.1.1.8, 3.1.2.3, 3.3.9)."""
        folder = VECTORS / "rfc4475"
        if not folder.is_dir():
            raise SkipTest(f"{folder} is absent")
        read = {name: (folder / f"{name}.dat").read_bytes() for name in ("dblreq", "ncl", "mcl01", "clerr")}
        first, between, second = StreamFramer().feed(read["dblreq"])[:3]
        assert isinstance(first, bytes) and isinstance(second, bytes)
        self.assertEqual((first[:8], between, second[:6]), (b"REGISTER", Pong(), b"INVITE"))
        self.assertEqual(fed(read["ncl"]), [(400, "Content-Length: must be a number of octets", True)])
        self.assertEqual(fed(read["mcl01"]), [(400, "Content-Length: comes more than once", True)])
        waiting = StreamFramer()
        self.assertEqual((waiting.feed(read["clerr"]), waiting.partial), ([], True))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.sampled_from([FULL, EMPTY, b"\r\n", PING, b"\0", HEAD + b"\r\n", HEAD[:40]]) | st.binary(max_size=9)
        ),
        st.lists(st.integers(0, 400), max_size=20),
    )
    def test_chunks_do_not_matter(self, parts: list[bytes], cuts: list[int]) -> None:
        """Any stream gives the same in any chunks."""
        stream = b"".join(parts)
        edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
        chunks = [stream[start:end] for start, end in pairwise(edges)]
        self.assertEqual(fed(*chunks), fed(stream))

    def test_framer_and_parser_agree(self) -> None:
        """Of 2,000 mutated streams no message is cut otherwise than the parser reads its length."""
        chance = random.Random(5626)
        pieces = (
            b"l: 3\r\n",
            b"\r\nl: 3",
            b"\r\n l: 3",
            b"\r\n",
            b" ",
            b"\0",
            b"\n",
            b":",
            b"Content-Length:9\r\n",
            b"1",
        )
        agreed = 0
        for _ in range(2000):
            data = bytearray(FULL + EMPTY)
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(data))
                data[at:at] = chance.choice(pieces)
            for item in StreamFramer().feed(bytes(data)):
                if not isinstance(item, bytes):
                    continue
                try:
                    parse_message(item, stream=True)
                    agreed += 1
                except MalformedMessage as error:
                    self.assertNotIn("than there is", error.reason, bytes(item))
        self.assertGreater(agreed, 1000)
