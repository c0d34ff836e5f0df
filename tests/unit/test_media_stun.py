"""STUN: the samples of RFC 5769, and whatever else may come to a media port."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.ice import NOTHING, Checked, IceCredentials, IceLite
from stellar_gw.media.stun import (
    BINDING,
    ERROR,
    ERROR_CODE,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    INDICATION,
    PRIORITY,
    REQUEST,
    SUCCESS,
    UNKNOWN_ATTRIBUTES,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    build_stun,
    parse_stun,
    read_xor_address,
    xor_address,
)

modest = settings(max_examples=300, derandomize=True, deadline=None)
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
SAMPLE_REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701 bc34d686 fa87dfae"
    "80220010 5354554e 20746573 7420636c 69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b1 51263b36"
    "00060009 6576746a 3a683676 59202020"
    "00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2"
    "80280004 e57a3bcf"
)
"""RFC 5769 2.1."""
SAMPLE_IPV4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae"
    "8022000b 74657374 20766563 746f7220"
    "00200008 0001a147 e112a643"
    "00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7"
    "80280004 c07d4c96"
)
"""RFC 5769 2.2."""
SAMPLE_IPV6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701 bc34d686 fa87dfae"
    "8022000b 74657374 20766563 746f7220"
    "00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9"
    "00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41"
    "80280004 c8fb0b4c"
)
"""RFC 5769 2.3."""


class SampleTests(SynchronousTestCase):
    def test_request(self) -> None:
        """The sample request is read whole, believed with its password and with no other."""
        message = parse_stun(SAMPLE_REQUEST)
        assert message is not None
        self.assertEqual(
            (message.kind, message.method, message.transaction, message.first(USERNAME), message.first(PRIORITY)),
            (REQUEST, BINDING, TRANSACTION, b"evtj:h6vY", bytes.fromhex("6e0001ff")),
        )
        self.assertEqual(
            (message.is_from(PASSWORD), message.is_from(PASSWORD[:-1]), message.unknown), (True, False, ())
        )

    def test_responses(self) -> None:
        """The sample responses carry the address that the RFC says, for IPv4 and IPv6."""
        for sample, host in ((SAMPLE_IPV4, "192.0.2.1"), (SAMPLE_IPV6, "2001:db8:1234:5678:11:2233:4455:6677")):
            message = parse_stun(sample)
            assert message is not None
            value = message.first(XOR_MAPPED_ADDRESS) or b""
            self.assertEqual((message.kind, message.is_from(PASSWORD)), (SUCCESS, True))
            self.assertEqual(read_xor_address(value, TRANSACTION), (host, 32853))
            self.assertEqual(xor_address((host, 32853), TRANSACTION), value)

    def test_written(self) -> None:
        """Attributes written anew give the sample request octet by octet, but for its padding of blanks."""
        message = parse_stun(SAMPLE_REQUEST)
        assert message is not None
        written = build_stun(REQUEST, TRANSACTION, message.attributes, PASSWORD)
        padded = SAMPLE_REQUEST.replace(b"evtj:h6vY   ", b"evtj:h6vY\0\0\0")
        self.assertEqual(written[:76], padded[:76])
        again = parse_stun(written)
        assert again is not None
        self.assertTrue(again.is_from(PASSWORD))


class ParserTests(SynchronousTestCase):
    @modest
    @given(st.integers(0, len(SAMPLE_REQUEST) - 1), st.integers(1, 255))
    def test_damaged(self, place: int, by: int) -> None:
        """One octet changed, and the message is none, or not the one that its writer protected."""
        damaged = bytearray(SAMPLE_REQUEST)
        damaged[place] ^= by
        message = parse_stun(bytes(damaged))
        self.assertFalse(
            message is not None and message.is_from(PASSWORD) and message.octets[:100] != SAMPLE_REQUEST[:100]
        )

    @modest
    @given(st.binary(max_size=120) | st.binary(max_size=100).map(lambda rest: SAMPLE_REQUEST[:20] + rest))
    def test_anything(self, datagram: bytes) -> None:
        """Whatever comes is read, or is none: nothing is raised, and nobody is believed."""
        message = parse_stun(datagram)
        self.assertFalse(message is not None and message.is_from(PASSWORD))

    @modest
    @given(
        st.sampled_from((REQUEST, INDICATION, SUCCESS, ERROR)),
        st.integers(0, 0xFFF),
        st.lists(st.tuples(st.sampled_from((USERNAME, PRIORITY, 0x7777, 0x9999)), st.binary(max_size=30)), max_size=5),
    )
    def test_there_and_back(self, kind: int, method: int, attributes: list[tuple[int, bytes]]) -> None:
        """What is written is read as it was, class and method included."""
        message = parse_stun(build_stun(kind, TRANSACTION, attributes, PASSWORD, method))
        assert message is not None
        self.assertEqual(
            (message.kind, message.method, message.attributes, message.is_from(PASSWORD)),
            (kind, method, tuple(attributes), True),
        )

    def test_after_the_integrity(self) -> None:
        """What was added behind the protected part counts for nothing (RFC 8489 14.5)."""
        whole = build_stun(REQUEST, TRANSACTION, ((USERNAME, b"a:b"),), PASSWORD)
        added = whole[:2] + (len(whole) - 20 - 8 + 4).to_bytes(2, "big") + whole[4:-8] + b"\x00\x25\x00\x00"
        message = parse_stun(added)
        assert message is not None
        self.assertEqual((message.first(USE_CANDIDATE), message.is_from(PASSWORD)), (None, True))


class IceLiteTests(SynchronousTestCase):
    """Checks as a full agent sends them (RFC 8445 7.2.2)."""

    PEER = ("198.51.100.7", 4000)

    def setUp(self) -> None:
        self.ice = IceLite(IceCredentials(ufrag="lite", password="p" * 24))

    def check(
        self,
        *more: tuple[int, bytes],
        name: bytes = b"lite:full",
        password: bytes = b"p" * 24,
        role: int = ICE_CONTROLLING,
        kind: int = REQUEST,
    ) -> Checked:
        attributes = ((USERNAME, name), (PRIORITY, bytes(4)), (role, bytes(8)), *more)
        return self.ice.receive(build_stun(kind, TRANSACTION, attributes, password), self.PEER)

    def status(self, checked: Checked) -> tuple[int, bool]:
        """The error's number, and whether it is protected."""
        message = parse_stun(checked.answer or b"")
        assert message is not None and message.kind == ERROR and message.transaction == TRANSACTION
        value = message.first(ERROR_CODE) or b""
        return 100 * value[2] + value[3], message.is_from(b"p" * 24)

    def test_answered(self) -> None:
        """A check is answered with where it came from, under our password; it nominates only if it says so."""
        for more, nominated in (((), False), (((USE_CANDIDATE, b""),), True)):
            checked = self.check(*more)
            message = parse_stun(checked.answer or b"")
            assert message is not None
            mapped = read_xor_address(message.first(XOR_MAPPED_ADDRESS) or b"", TRANSACTION)
            self.assertEqual(
                (message.kind, message.transaction, mapped, message.is_from(b"p" * 24), checked.nominated),
                (SUCCESS, TRANSACTION, self.PEER, True, nominated),
            )
        self.assertEqual(self.ice.rejected, 0)

    def test_strangers(self) -> None:
        """Who does not know our fragment and our password nominates nothing, and is told so."""
        nominate = (USE_CANDIDATE, b"")
        found = [
            self.check(nominate, name=b"else:full"),
            self.check(nominate, name=b"lit:full"),
            self.check(nominate, password=b"x" * 24),
        ]
        self.assertEqual([self.status(checked) for checked in found], [(401, False)] * 3)
        bare = self.ice.receive(build_stun(REQUEST, TRANSACTION, (nominate,)), self.PEER)
        self.assertEqual(self.status(bare), (400, False))
        self.assertEqual(([checked.nominated for checked in (*found, bare)], self.ice.rejected), ([False] * 4, 4))

    def test_role_conflict(self) -> None:
        """A peer that takes us for the controlling one is told to be it (RFC 8445 7.3.1.1)."""
        checked = self.check((USE_CANDIDATE, b""), role=ICE_CONTROLLED)
        self.assertEqual((self.status(checked), checked.nominated), ((487, True), False))

    def test_unknown_attribute(self) -> None:
        """An attribute that must be understood is named in the refusal; others are passed over."""
        checked = self.check((0x7777, b"?"), (0x9999, b"?"))
        self.assertEqual(self.status(checked), (420, True))
        message = parse_stun(checked.answer or b"")
        assert message is not None
        self.assertEqual(message.first(UNKNOWN_ATTRIBUTES), b"\x77\x77")

    def test_no_requests(self) -> None:
        """Indications, responses and what is no STUN get no answer."""
        found = [self.check(kind=kind) for kind in (INDICATION, SUCCESS, ERROR)]
        found.append(self.ice.receive(SAMPLE_REQUEST[:-1], self.PEER))
        self.assertEqual((found, self.ice.rejected), ([NOTHING] * 4, 4))

    def test_secrets(self) -> None:
        """Passwords are in no repr."""
        self.assertNotIn("pppp", repr(self.ice.ours) + repr(parse_stun(SAMPLE_REQUEST)))
