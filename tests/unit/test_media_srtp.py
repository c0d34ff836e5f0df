"""SRTP of one leg: the standards' vectors, the life of its keys, and what it makes of anything else."""

from __future__ import annotations

import hmac
import json
import random
import struct
import subprocess
import sys
from hashlib import sha1
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.rtp import RtpSender
from stellar_gw.media.srtp import LONGEST, MOST_KEYS, MOST_SSRCS, REPLAY_WINDOW, Srtp, SrtpKey

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "srtp" / "srtp-vectors.json"
LENGTHS = {
    "AES_CM_128_HMAC_SHA1_80": 30, "AES_CM_128_HMAC_SHA1_32": 30, "AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 44,
}  # fmt: skip
TAGS = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4, "AEAD_AES_128_GCM": 16, "AEAD_AES_256_GCM": 16}
REPORT = bytes.fromhex("80c9000122222222")


def key(number: int, suite: str = "AES_CM_128_HMAC_SHA1_80") -> SrtpKey:
    return SrtpKey(suite, bytes((number + at) & 0xFF for at in range(LENGTHS[suite])))


def srtp(send: SrtpKey | None = None, receive: SrtpKey | None = None) -> Srtp:
    made = Srtp()
    made.set_keys(send or receive, receive or send)
    return made


def packets(count: int, ssrc: int = 0x22222222, first: int = 100) -> list[bytes]:
    sender = RtpSender(ssrc, first & 0xFFFF, 8000, 0)
    return [sender.packet(bytes([number & 0xFF]) * 20, 160) for number in range(count)]


# --- a second implementation, by the RFCs' text alone -------------------------------------------


def keystream(session_key: bytes, iv: bytes, length: int) -> bytes:
    """AES in counter mode (RFC 3711 4.1.1)."""
    return Cipher(algorithms.AES(session_key), modes.CTR(iv)).encryptor().update(bytes(length))


def derive(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """RFC 3711 4.3.1 with a derivation rate of 0; salts of 12 octets are padded (RFC 7714 11)."""
    salt = bytearray(master_salt.ljust(14, b"\0"))
    salt[7] ^= label
    return keystream(master_key, bytes(salt) + b"\0\0", length)


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def gcm_rtp(session_key: bytes, salt: bytes, packet: bytes, encrypt: bool = True, counter: int = 0) -> bytes:
    """RFC 7714 8, for packets with a header of 12 octets."""
    iv = xor(salt, b"\0\0" + packet[8:12] + struct.pack("!I", counter) + packet[2:4])
    start = 12 if encrypt else len(packet)
    return packet[:start] + AESGCM(session_key).encrypt(iv, packet[start:], packet[:start])


def gcm_rtcp(session_key: bytes, salt: bytes, packet: bytes, index: int, encrypt: bool = True) -> bytes:
    """RFC 7714 9."""
    iv = xor(salt, b"\0\0" + packet[4:8] + b"\0\0" + struct.pack("!I", index))
    word = struct.pack("!I", index | (0x80000000 if encrypt else 0))
    start = 8 if encrypt else len(packet)
    return packet[:start] + AESGCM(session_key).encrypt(iv, packet[start:], packet[:start] + word) + word


def cm_rtp(master: SrtpKey, packet: bytes) -> bytes:
    """RFC 3711 4.1.1 and 4.2, with a roll-over counter of 0."""
    master_key, master_salt = master.octets[:16], master.octets[16:]
    session_key, auth_key, salt = (
        derive(master_key, master_salt, label, length) for label, length in ((0, 16), (1, 20), (2, 14))
    )
    iv = xor(salt + b"\0\0", bytes(4) + packet[8:12] + bytes(4) + packet[2:4] + b"\0\0")
    sealed = packet[:12] + xor(packet[12:], keystream(session_key, iv, len(packet) - 12))
    return sealed + hmac.digest(auth_key, sealed + bytes(4), sha1)[: TAGS[master.suite]]


def cm_rtcp(master: SrtpKey, packet: bytes, index: int) -> bytes:
    """RFC 3711 3.4, encrypted; the tag has 80 bits in both suites (RFC 4568 6.2)."""
    master_key, master_salt = master.octets[:16], master.octets[16:]
    session_key, auth_key, salt = (
        derive(master_key, master_salt, label, length) for label, length in ((3, 16), (4, 20), (5, 14))
    )
    iv = xor(salt + b"\0\0", bytes(4) + packet[4:8] + struct.pack("!Q", index << 16))
    sealed = packet[:8] + xor(packet[8:], keystream(session_key, iv, len(packet) - 8))
    sealed += struct.pack("!I", index | 0x80000000)
    return sealed + hmac.digest(auth_key, sealed, sha1)[:10]


def vectors() -> Any:
    if not VECTORS.exists():
        raise SkipTest(f"{VECTORS} is absent")
    return json.loads(VECTORS.read_text())


class VectorTests(SynchronousTestCase):
    def test_published_packet(self) -> None:
        """libsrtp's validation packet, both ways (RFC 3711 B)."""
        for each in vectors()["packets"]:
            master = SrtpKey("AES_CM_128_HMAC_SHA1_80", bytes.fromhex(each["master_key"] + each["master_salt"]))
            plain, sealed = bytes.fromhex(each["plaintext"]), bytes.fromhex(each["srtp"])
            self.assertEqual(
                (srtp(master).protect(plain), srtp(master).unprotect(sealed), cm_rtp(master, plain)),
                (sealed, plain, sealed),
            )

    def test_session_keys(self) -> None:
        """Vectors that begin at session keys, which libsrtp does not take: the second implementation passes them."""
        known = vectors()
        for each in known["keystream"]:
            wanted = bytes.fromhex(each["keystream"])
            found = keystream(bytes.fromhex(each["key"]), bytes.fromhex(each["iv"]), len(wanted))
            self.assertEqual(found, wanted, each["name"])
        for each in known["kdf"]:
            wanted = bytes.fromhex(each["out"])
            arguments = (bytes.fromhex(each["master_key"]), bytes.fromhex(each["master_salt"]), each["label"])
            self.assertEqual(derive(*arguments, len(wanted)), wanted, each["name"])
        for each in known["gcm"]:
            session_key, salt, rtp, rtcp = (
                bytes.fromhex(each[name])
                for name in ("srtpSessionKey", "srtpSessionSalt", "decryptedRTPPacket", "decryptedRTCPPacket")
            )
            self.assertEqual(
                [
                    gcm_rtp(session_key, salt, rtp).hex(),
                    gcm_rtp(session_key, salt, rtp, encrypt=False).hex(),
                    gcm_rtcp(session_key, salt, rtcp, 0x5D4).hex(),
                    gcm_rtcp(session_key, salt, rtcp, 0x5D4, encrypt=False).hex(),
                ],
                [
                    each["encryptedRTPPacket"],
                    each["authenticatedRTPPacket"],
                    each["encryptedRTCPPacket"],
                    each["authenticatedRTCPPacket"],
                ],
            )

    def test_both_implementations_agree(self) -> None:
        """From a master key on, packet by packet and for SRTCP, libsrtp writes what the second implementation does."""
        for suite, length in (("AEAD_AES_128_GCM", 16), ("AEAD_AES_256_GCM", 32)):
            master = key(7, suite)
            master_key, master_salt = master.octets[:length], master.octets[length:]
            rtp_key, rtcp_key = (derive(master_key, master_salt, label, length) for label in (0, 3))
            rtp_salt, rtcp_salt = (derive(master_key, master_salt, label, 12) for label in (2, 5))
            ours = srtp(master)
            self.assertEqual(
                [ours.protect(packet) for packet in packets(5)],
                [gcm_rtp(rtp_key, rtp_salt, packet) for packet in packets(5)],
            )
            self.assertEqual(ours.protect_rtcp(REPORT), gcm_rtcp(rtcp_key, rtcp_salt, REPORT, 1))
        for suite in ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"):
            ours = srtp(key(7, suite))
            self.assertEqual(
                [ours.protect(packet) for packet in packets(5)],
                [cm_rtp(key(7, suite), packet) for packet in packets(5)],
            )
            report = REPORT + bytes(range(24))
            self.assertEqual(
                [ours.protect_rtcp(report) for _ in range(2)],
                [cm_rtcp(key(7, suite), report, index) for index in (1, 2)],
            )


class PacketTests(SynchronousTestCase):
    def test_every_suite(self) -> None:
        """What is sealed opens to what it was, RTP and RTCP, and is longer by the tag (SRTCP by the index too)."""
        for suite, tag in TAGS.items():
            ours, theirs = srtp(key(1, suite), key(2, suite)), srtp(key(2, suite), key(1, suite))
            sealed = [ours.protect(packet) or b"" for packet in packets(100)]
            report = theirs.protect_rtcp(REPORT) or b""
            # The tag of SRTCP has 80 bits in both AES_CM suites (RFC 4568 6.2).
            rtcp_tag = 10 if suite.startswith("AES_CM") else tag
            self.assertEqual(
                ([theirs.unprotect(each) for each in sealed], ours.unprotect_rtcp(report), ours.suite),
                (packets(100), REPORT, suite),
            )
            self.assertEqual((len(sealed[0]), len(report)), (len(packets(1)[0]) + tag, len(REPORT) + rtcp_tag + 4))

    def test_plain(self) -> None:
        """Without keys everything passes as it is."""
        plain, packet = Srtp(), packets(1)[0]
        self.assertEqual(
            [plain.protect(packet), plain.unprotect(packet), plain.protect_rtcp(REPORT), plain.unprotect_rtcp(REPORT)],
            [packet, packet, REPORT, REPORT],
        )
        self.assertEqual((plain.active, plain.suite, plain.rejected, plain.unsent), (False, "", 0, 0))

    def test_what_is_not_authentic(self) -> None:
        """Any changed octet, another's key, plain RTP, and what came before, are refused and counted."""
        ours, theirs = srtp(key(1)), srtp(key(1))
        packet = packets(1)[0]
        sealed = ours.protect(packet) or b""
        forged = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
        others = srtp(key(9)).protect(packet) or b""
        refused = [*forged, others, packet, sealed[:-1], sealed + b"\0"]
        self.assertEqual([theirs.unprotect(each) for each in refused], [None] * len(refused))
        self.assertEqual((theirs.unprotect(sealed), theirs.unprotect(sealed)), (packet, None))
        self.assertEqual(theirs.rejected, len(refused) + 1)
        report = ours.protect_rtcp(REPORT) or b""
        self.assertEqual(
            [theirs.unprotect_rtcp(each) for each in (report[:-1], REPORT, report, report)], [None, None, REPORT, None]
        )

    def test_replay_window(self) -> None:
        """Late packets are taken up to the window, each once; then no more."""
        ours, theirs = srtp(key(1)), srtp(key(1))
        sealed = [ours.protect(packet) or b"" for packet in packets(REPLAY_WINDOW + 1)]
        self.assertIsNotNone(theirs.unprotect(sealed[-1]))
        self.assertEqual(
            [theirs.unprotect(sealed[at]) is not None for at in (1, 1, 0, 64, 64)], [True, False, False, True, False]
        )

    def test_a_number_is_never_sent_twice(self) -> None:
        """A second packet of a number would be enciphered like the first: it is not sent, but counted."""
        ours, packet = srtp(key(1)), packets(1)[0]
        self.assertIsNotNone(ours.protect(packet))
        self.assertEqual((ours.protect(packet), ours.unsent), (None, 1))

    def test_the_number_of_streams_is_bounded(self) -> None:
        """Even whoever has the key cannot fill our memory with SSRCs; those that are known go on."""
        ours, theirs = [srtp(key(1)) for _ in range(2)], srtp(key(1))
        found = []
        for ssrc in range(MOST_SSRCS + 50):
            sealed = ours[ssrc >= MOST_SSRCS].protect(packets(1, ssrc)[0])
            found.append(theirs.unprotect(sealed or b"") is not None)
        self.assertEqual(found, [True] * MOST_SSRCS + [False] * 50)
        self.assertIsNotNone(theirs.unprotect(ours[0].protect(packets(2, 0)[1]) or b""))

    def test_too_long(self) -> None:
        """What the library has no room for is dropped, either way."""
        ours, packet = srtp(key(1)), packets(1)[0]
        self.assertEqual((ours.protect(packet + bytes(LONGEST)), ours.unprotect(packet + bytes(LONGEST))), (None, None))


class KeyTests(SynchronousTestCase):
    def test_wrong_keys(self) -> None:
        """A key of another length, or of an unknown suite, is refused, and never shown."""
        error = self.assertRaises(LocalProtocolError, SrtpKey, "AES_CM_128_HMAC_SHA1_80", bytes(29))
        self.assertEqual(str(error), "a key of 29 octets for AES_CM_128_HMAC_SHA1_80")
        self.assertRaises(LocalProtocolError, SrtpKey, "AES_256_CM_HMAC_SHA1_80", bytes(46))
        self.assertEqual(repr(key(1)), "SrtpKey(suite='AES_CM_128_HMAC_SHA1_80')")

    def test_the_same_key_goes_on(self) -> None:
        """The roll-over counter survives offers and answers that bring the same key (RFC 3711 3.3.1)."""
        ours, theirs = srtp(key(1)), srtp(key(1))
        found: list[bytes | None] = []
        for packet in packets(300, first=0x10000 - 150):
            sealed = ours.protect(packet)
            if len(found) in (50, 200):
                self.assertFalse(ours.set_keys(key(1), key(1)))
                theirs.set_keys(key(1), key(1))
            found.append(theirs.unprotect(sealed or b""))
        self.assertEqual(found, packets(300, first=0x10000 - 150))

    def test_both_keys_hold_until_the_first_packet_under_the_new_one(self) -> None:
        """Packets of the old key are taken until then, and not after."""
        old, new, theirs = srtp(key(1)), srtp(key(2)), srtp(key(1))
        early = [old.protect(packet) or b"" for packet in packets(4)]
        late = [new.protect(packet) or b"" for packet in packets(8)[4:]]
        theirs.set_keys(key(3), key(2))
        order = (early[0], early[1], late[0], early[2], late[1], early[3])
        self.assertEqual([theirs.unprotect(each) is not None for each in order], [True, True, True, False, True, False])

    def test_a_key_may_come_back(self) -> None:
        """From one key to another and back: the first context goes on, both ways, and enciphers nothing twice."""
        ours, theirs = srtp(key(1), key(5)), srtp(key(5), key(1))
        first = ours.protect(packets(1)[0]) or b""
        self.assertEqual(theirs.unprotect(first), packets(1)[0])
        for each in (key(2), key(1)):
            ours.set_keys(each, key(5))
            theirs.set_keys(key(5), each)
        self.assertEqual((ours.protect(packets(1)[0]), theirs.unprotect(first)), (None, None))
        self.assertEqual(theirs.unprotect(ours.protect(packets(2)[1]) or b""), packets(2)[1])

    def test_one_key_after_the_other_and_the_first_again(self) -> None:
        """An offer of ours has a key for each suite, and its answers, one after the other, may take each of them."""
        ours = srtp(key(1), key(9))
        self.assertIsNotNone(ours.protect(packets(1)[0]))
        began = [ours.set_keys(key(number), key(9)) for number in (2, 3, 4, 1)]
        self.assertEqual((began, ours.protect(packets(1)[0])), ([True, True, True, False], None))

    def test_a_key_may_come_back_later(self) -> None:
        """However much was heard under another one, or in clear, meanwhile: a stream whose numbers have wrapped is
        still understood, and what was heard before is not taken again."""
        for between in (key(2), None):
            phone, music, theirs = srtp(key(1)), srtp(between), srtp(key(1))
            stream = packets(40, first=0x10000 - 10)
            sealed = [phone.protect(packet) or b"" for packet in stream]
            heard = [theirs.unprotect(each) for each in sealed[:20]]
            theirs.set_keys(key(3), between)
            self.assertIsNotNone(theirs.unprotect(music.protect(packets(1, 9)[0]) or b""))
            theirs.set_keys(key(4), key(1))
            self.assertEqual([*heard, *map(theirs.unprotect, sealed)], [*stream[:20], *[None] * 20, *stream[20:]])

    def test_so_many_keys_are_kept(self) -> None:
        """A peer that brings ever new ones costs us no more than the last few."""
        theirs, sealed = srtp(key(0)), {}
        for number in range(2 * MOST_KEYS):
            sealed[number] = srtp(key(number)).protect(packets(1)[0]) or b""
            theirs.set_keys(key(99), key(number))
            self.assertIsNotNone(theirs.unprotect(sealed[number]))
        again = []
        for number in (MOST_KEYS + 1, MOST_KEYS - 1):
            theirs.set_keys(key(99), key(number))
            again.append(theirs.unprotect(sealed[number]) is not None)
        self.assertEqual(again, [False, True])

    def test_to_plain_and_back(self) -> None:
        """The last encrypted packets are still opened when plain RTP is agreed on; a key that returns goes on."""
        ours, theirs = srtp(key(1)), srtp(key(1))
        sealed = [ours.protect(packet) or b"" for packet in packets(3)]
        theirs.set_keys(None, None)
        ours.set_keys(None, None)
        plain = packets(4)[3]
        self.assertEqual(
            [theirs.unprotect(each) for each in (sealed[0], sealed[1], ours.protect(plain) or b"", sealed[2])],
            [packets(3)[0], packets(3)[1], plain, sealed[2]],
        )
        self.assertFalse(theirs.active)
        ours.set_keys(key(1), key(1))
        self.assertEqual((ours.protect(packets(1)[0]), ours.suite), (None, "AES_CM_128_HMAC_SHA1_80"))

    def test_rtcp_of_the_old_key(self) -> None:
        """SRTCP is opened by either key, too."""
        old, theirs = srtp(key(1)), srtp(key(1))
        report = old.protect_rtcp(REPORT) or b""
        theirs.set_keys(key(2), key(2))
        self.assertEqual(theirs.unprotect_rtcp(report), REPORT)


class HardeningTests(SynchronousTestCase):
    def test_memory_that_may_not_become_code(self) -> None:
        """The library works under systemd's MemoryDenyWriteExecute, which the unit sets."""
        program = (
            "import ctypes\n"
            "refused = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE\n"
            "from tests.unit.test_media_srtp import key, packets, srtp\n"
            "each = srtp(key(1, 'AEAD_AES_256_GCM'))\n"
            "assert each.unprotect(each.protect(packets(1)[0])) == packets(1)[0]\n"
            "print('no MDWE' if refused else 'done')\n"
        )
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
        if done.stdout == "no MDWE\n":
            raise SkipTest("this kernel has no PR_SET_MDWE (Linux 6.3)")
        self.assertEqual((done.stdout, done.stderr), ("done\n", ""))


class AnythingTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.sampled_from(sorted(TAGS)), st.binary(max_size=LONGEST + 100))
    def test_anything(self, suite: str, datagram: bytes) -> None:
        """Whatever comes is refused, and whatever is to be sent does not raise."""
        each = srtp(key(1, suite))
        self.assertEqual((each.unprotect(datagram), each.unprotect_rtcp(datagram)), (None, None))
        each.protect(datagram)
        each.protect_rtcp(datagram)

    def test_short_and_random(self) -> None:
        """Lengths 0 to 28 under every first octet, with header extensions and CSRCs that lie, and random ones."""
        chance = random.Random(1)
        each = srtp(key(1))
        many = [bytes([first]) + chance.randbytes(length) for length in range(28) for first in range(256)]
        many += [chance.choice(b"\x80\x90\x8f\x9f\xb0").to_bytes(1, "big") + chance.randbytes(chance.randrange(1600))
                 for _ in range(5000)]  # fmt: skip
        self.assertEqual([each.unprotect(datagram) for datagram in ([b"", *many])], [None] * (len(many) + 1))
        self.assertEqual([each.unprotect_rtcp(datagram) for datagram in ([b"", *many])], [None] * (len(many) + 1))
        for datagram in many:
            each.protect(datagram)
