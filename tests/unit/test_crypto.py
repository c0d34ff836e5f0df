"""``a=crypto`` lines: what is read, what is passed over and why, and that no key ever shows."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.crypto import KEY_OCTETS, MOST_LINES, CryptoLine, MasterKey, Unusable, crypto_lines, read_crypto
from stellar_gw.sip.sdp import MediaDescription

OCTETS = bytes(range(30))
INLINE = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
AES_80 = MasterKey("AES_CM_128_HMAC_SHA1_80", OCTETS)
AES_32 = MasterKey("AES_CM_128_HMAC_SHA1_32", OCTETS)


def media(*values: str) -> MediaDescription:
    return MediaDescription(
        kind="audio",
        port=4000,
        protocol="RTP/SAVP",
        formats=("0",),
        attributes=tuple(("crypto", value) for value in values),
    )


def read(value: str) -> object:
    """The line without its class, or the reason."""
    line = read_crypto(value)
    return line.reason if isinstance(line, Unusable) else (line.tag, line.key, line.lifetime)


class ReadTests(SynchronousTestCase):
    def test_what_phone_systems_send(self) -> None:
        """With and without lifetime, tag 0, blanks, any case, a window size hint and what may be ignored."""
        self.assertEqual(
            [
                read(f"1 AES_CM_128_HMAC_SHA1_80 {INLINE}"),
                read(f"0 AES_CM_128_HMAC_SHA1_32 {INLINE}|2^31"),
                read(f"007  aes_cm_128_hmac_sha1_80  INLINE:{INLINE[7:]}|1048576"),
                read(f"999999999 AES_CM_128_HMAC_SHA1_80 {INLINE}|2^48 WSH=128 -FOO=1"),
            ],
            [
                ("1", AES_80, None),
                ("0", AES_32, 2**31),
                ("007", AES_80, 1048576),
                ("999999999", AES_80, 2**48),
            ],
        )

    def test_each_suite_has_its_length(self) -> None:
        """The key is as long as its suite wants, to the octet, padded or not; any other is refused."""
        lengths = range(20, 50)
        for suite, right in KEY_OCTETS.items():
            padded = [b64encode(bytes(length)).decode() for length in lengths]
            for texts in (padded, [text.rstrip("=") for text in padded]):
                found = [isinstance(read_crypto(f"1 {suite} inline:{text}"), CryptoLine) for text in texts]
                self.assertEqual(found, [length == right for length in lengths])

    def test_what_is_passed_over(self) -> None:
        """A reason for each, with the tag and without the key."""
        self.assertEqual(
            [
                read(f"2 AES_CM_128_HMAC_SHA1_80 {INLINE}|2^31|1:1"),
                read(f"2 AES_CM_128_HMAC_SHA1_80 {INLINE}|1:4"),
                read(f"3 AES_256_CM_HMAC_SHA1_80 {INLINE}"),
                read(f"3 F8_128_HMAC_SHA1_80 {INLINE}"),
                read(f"4 AES_CM_128_HMAC_SHA1_80 {INLINE}|2^20|1:4;{INLINE}|2^20|2:4"),
                read(f"5 AES_CM_128_HMAC_SHA1_80 {INLINE} UNENCRYPTED_SRTP"),
                read(f"5 AES_CM_128_HMAC_SHA1_80 {INLINE} KDR=1"),
                read(f"5 AES_CM_128_HMAC_SHA1_80 {INLINE} WSH=64 UNAUTHENTICATED_SRTP"),
                read(f"6 AES_CM_128_HMAC_SHA1_80 {INLINE}|2^49"),
                read(f"6 AES_CM_128_HMAC_SHA1_80 {INLINE}|0"),
                read(f"6 AES_CM_128_HMAC_SHA1_80 {INLINE}|2^31|2^31"),
                read(f"6 AES_CM_128_HMAC_SHA1_80 {INLINE}|"),
                read("7 AES_CM_128_HMAC_SHA1_80 http://example.com/key"),
                read("7 AES_CM_128_HMAC_SHA1_80 uri:example"),
                read("8 AES_CM_128_HMAC_SHA1_80 inline:"),
                read(f"8 AES_CM_128_HMAC_SHA1_80 {INLINE[:-1]}"),
                read(f"8 AES_CM_128_HMAC_SHA1_80 {INLINE}AAAA"),
                read(f"8 AES_CM_128_HMAC_SHA1_80 {INLINE[:-1]}-"),
                read(""),
                read("1 AES_CM_128_HMAC_SHA1_80"),
                read(f"-1 AES_CM_128_HMAC_SHA1_80 {INLINE}"),
                read(f"1234567890 AES_CM_128_HMAC_SHA1_80 {INLINE}"),
            ],
            [
                *["tag 2: an MKI"] * 2,
                *["tag 3: a suite that is not spoken here"] * 2,
                "tag 4: several keys",
                *["tag 5: session parameters that are not spoken here"] * 3,
                *["tag 6: a malformed lifetime"] * 4,
                *["tag 7: no inline key"] * 2,
                *["tag 8: a key that is not of 30 octets"] * 4,
                *["a malformed line"] * 4,
            ],
        )

    def test_several_lines(self) -> None:
        """What can be used, in order; a tag that comes twice, in whichever spelling, is refused in every line."""
        usable, reasons = crypto_lines(
            media(
                f"1 AES_256_CM_HMAC_SHA1_80 {INLINE}",
                f"2 AES_CM_128_HMAC_SHA1_80 {INLINE}|2^31|1:1",
                f"3 AES_CM_128_HMAC_SHA1_32 {INLINE}",
                f"4 AES_CM_128_HMAC_SHA1_80 {INLINE}",
                f"5 AES_CM_128_HMAC_SHA1_80 {INLINE}",
                f"05 AES_CM_128_HMAC_SHA1_32 {INLINE}",
            )
        )
        self.assertEqual(
            (usable, reasons),
            (
                (CryptoLine(tag="3", key=AES_32), CryptoLine(tag="4", key=AES_80)),
                ("tag 1: a suite that is not spoken here", "tag 2: an MKI", "tag 5: it comes twice",
                 "tag 05: it comes twice"),
            ),
        )  # fmt: skip

    def test_most_lines(self) -> None:
        """Of thousands of lines the first are looked at."""
        many = [f"{tag} F8_128_HMAC_SHA1_80 {INLINE}" for tag in range(MOST_LINES - 1)]
        good = [f"{tag} AES_CM_128_HMAC_SHA1_80 {INLINE}" for tag in (1000, 1001)]
        usable, reasons = crypto_lines(media(*many, *good, *many))
        self.assertEqual(([line.tag for line in usable], len(reasons)), (["1000"], MOST_LINES - 1))

    def test_no_key_shows(self) -> None:
        """Neither in a repr nor in an error; only in the attribute, which is for SDP."""
        line = CryptoLine(tag="1", key=AES_80, lifetime=2**31)
        self.assertEqual(
            repr(line),
            "CryptoLine(tag='1', key=MasterKey(suite='AES_CM_128_HMAC_SHA1_80'), lifetime=2147483648)",
        )
        self.assertEqual(line.attribute, ("crypto", f"1 AES_CM_128_HMAC_SHA1_80 {INLINE}|2147483648"))
        error = self.assertRaises(LocalProtocolError, MasterKey, "AEAD_AES_128_GCM", OCTETS)
        self.assertEqual(str(error), "a key of 30 octets for AEAD_AES_128_GCM")


lines = st.builds(
    CryptoLine,
    tag=st.from_regex(r"[0-9]{1,9}", fullmatch=True),
    key=st.sampled_from(sorted(KEY_OCTETS)).flatmap(
        lambda suite: st.binary(min_size=KEY_OCTETS[suite], max_size=KEY_OCTETS[suite]).map(
            lambda octets: MasterKey(suite, octets)
        )
    ),
    lifetime=st.none() | st.integers(1, 2**48),
)
fragments = st.lists(
    st.sampled_from(["1", "0", " ", "|", ":", ";", "2^31", "inline:", INLINE, "AES_CM_128_HMAC_SHA1_80", "KDR=1", "="])
    | st.text(max_size=4),
    max_size=12,
).map("".join)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(lines)
    def test_what_is_written_is_read(self, line: CryptoLine) -> None:
        """Every line of ours comes back as it was."""
        self.assertEqual(read_crypto(line.attribute[1] or ""), line)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(fragments)
    def test_anything(self, value: str) -> None:
        """Whatever comes is a line with a key of the right length, or a reason that tells nothing of what came."""
        line = read_crypto(value)
        if isinstance(line, CryptoLine):
            self.assertEqual(len(line.key.octets), KEY_OCTETS[line.key.suite])
        else:
            self.assertNotIn(INLINE[7:], line.reason)
            self.assertLess(len(line.reason), 80)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(lines, max_size=8))
    def test_tags_are_unique(self, several: list[CryptoLine]) -> None:
        """Of the lines that are used no two have the same tag."""
        usable, _ = crypto_lines(media(*(line.attribute[1] or "" for line in several)))
        self.assertEqual(len({int(line.tag) for line in usable}), len(usable))
