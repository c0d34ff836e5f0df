"""SRTP in offer and answer: profiles, order of preference, keys and their life (RFC 4568, RFC 8643)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from itertools import count
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.crypto import KEY_OCTETS, MasterKey
from stellar_gw.sip.offer_answer import LocalMedia, OfferAnswer
from stellar_gw.sip.sdp import parse_sdp
from stellar_gw.sip.srtp import SUITES, Agreed, Keys, Srtp, SrtpMode, SrtpOffer, SrtpRefused

PLATFORMS = Path(__file__).resolve().parents[2].parent / "shared" / "platforms"
AES_80, AES_32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
GCM_128, GCM_256 = "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"


def numbered() -> Callable[[int], bytes]:
    """Keys of one repeated octet: 1 in the first, 2 in the second, ..."""
    numbers = count(1)
    return lambda octets: bytes([next(numbers)] * octets)


def local(mode: SrtpMode = "opportunistic", offer: SrtpOffer = "avp", suites: tuple[str, ...] = SUITES) -> LocalMedia:
    srtp = Srtp(mode=mode, offer=offer, suites=suites, keys=Keys(numbered()))
    return LocalMedia(address="203.0.113.10", port=14022, codecs=("PCMU",), telephone_event=False, srtp=srtp)


def key(number: int, suite: str = AES_80) -> MasterKey:
    return MasterKey(suite, bytes([number] * KEY_OCTETS[suite]))


def crypto(tag: str, number: int, suite: str = AES_80, more: str = "") -> str:
    return f"a=crypto:{tag} {suite} inline:{b64encode(key(number, suite).octets).decode()}{more}"


def description(*lines: str) -> bytes:
    head = ("v=0", "o=- 5 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")
    return "".join(f"{line}\r\n" for line in (*head, *lines)).encode()


def audio(profile: str, *crypto_lines: str) -> bytes:
    return description(f"m=audio 4000 {profile} 0", *crypto_lines)


def shown(body: bytes) -> list[str]:
    """The m-lines and crypto lines of a description; keys as their number."""
    found = []
    for line in body.decode().split("\r\n"):
        if line.startswith("m="):
            found.append(line[2:])
        elif line.startswith("a=crypto:"):
            head, inline = line.removeprefix("a=crypto:").split(" inline:")
            found.append(f"{head} {b64decode(inline)[0]}")
    return found


def answered(body: bytes, ours: LocalMedia) -> object:
    """Our answer, and what was agreed on; or why not."""
    state = OfferAnswer(1)
    try:
        state.receive_offer(body, ours)
        agreed = state.answer(ours)
    except SrtpRefused as error:
        return error.why, error.reason
    except RemoteProtocolError as error:
        return error.status, error.reason
    return shown(agreed.answer), agreed.srtp


class AnswerTests(SynchronousTestCase):
    def test_profiles(self) -> None:
        """An answer has the profile of its offer, with our key wherever the offer had one that we can use."""
        offers = [audio(profile, crypto("3", 70)) for profile in ("RTP/SAVP", "RTP/SAVPF", "RTP/AVP", "RTP/AVPF")]
        both = Agreed(send=key(1), receive=key(70))
        for mode in ("opportunistic", "required"):
            self.assertEqual(
                [answered(each, local(mode)) for each in offers],
                [
                    ([f"audio 14022 {profile} 0", f"3 {AES_80} 1"], both)
                    for profile in ("RTP/SAVP", "RTP/SAVPF", "RTP/AVP", "RTP/AVPF")
                ],
            )

    def test_plain(self) -> None:
        """Without usable crypto lines RTP/AVP is answered plain, unless SRTP is required."""
        offers = [
            audio("RTP/AVP"),
            audio("RTP/AVP", crypto("1", 70, more="|2^31|1:1")),
            audio("RTP/AVP", crypto("1", 70), crypto("1", 71)),
            audio("RTP/AVP", crypto("1", 70, AES_32)),
        ]
        self.assertEqual(
            [answered(each, local()) for each in offers], [(["audio 14022 RTP/AVP 0"], None)] * len(offers)
        )
        needed = f"needed is one of {AES_80}, {GCM_128}, {GCM_256}"
        shown = "the audio offered is RTP/AVP"
        self.assertEqual(
            [answered(each, local("required")) for each in offers],
            [
                ("plain", f"{shown} without a=crypto, SRTP is required"),
                ("unusable", f"{shown} without a usable a=crypto (tag 1: an MKI); {needed}"),
                ("unusable", f"{shown} without a usable a=crypto (tag 1: it comes twice); {needed}"),
                ("unusable", f"{shown} without a usable a=crypto; {needed}"),
            ],
        )

    def test_secure_profiles_that_cannot_be(self) -> None:
        """RTP/SAVP is 488 where SRTP is off, or no line can be used; DTLS-SRTP always."""
        needed = f"needed is one of {AES_80}, {GCM_128}, {GCM_256}"
        shown = "the audio offered is RTP/SAVP"
        self.assertEqual(
            [
                answered(audio("RTP/SAVP", crypto("1", 70)), local("off")),
                answered(audio("RTP/SAVP"), local()),
                answered(audio("RTP/SAVP", f"a=crypto:1 {AES_80} inline:AAAA"), local()),
                answered(audio("UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 AA"), local()),
                answered(audio("RTP/AVP", crypto("1", 70)), local("off")),
            ],
            [
                ("off", f"{shown}, SRTP is off here; needed is RTP/AVP"),
                ("unusable", f"{shown} without a=crypto; {needed}"),
                ("unusable", f"{shown} without a usable a=crypto (tag 1: a key that is not of 30 octets); {needed}"),
                ("dtls", "the audio offered is UDP/TLS/RTP/SAVP, DTLS-SRTP is not spoken here; needed is RTP/AVP, "
                         "or RTP/SAVP with a=crypto"),
                (["audio 14022 RTP/AVP 0"], None),
            ],
        )  # fmt: skip

    def test_order_of_preference(self) -> None:
        """Our order of suites decides, the peer's among lines of one suite; what cannot be used is passed over."""
        lines = [
            crypto("1", 71, GCM_256),
            crypto("2", 72, GCM_128),
            crypto("3", 73, AES_32),
            crypto("4", 74, more="|2^31|1:1"),
            crypto("5", 75, more="|2^31"),
            crypto("6", 76),
        ]
        body = audio("RTP/SAVP", *lines)
        preferences = (SUITES, (GCM_256, AES_80), (AES_32, AES_80))
        self.assertEqual(
            [answered(body, local(suites=suites)) for suites in preferences],
            [
                (["audio 14022 RTP/SAVP 0", f"5 {AES_80} 1"], Agreed(send=key(1), receive=key(75))),
                (["audio 14022 RTP/SAVP 0", f"1 {GCM_256} 1"], Agreed(send=key(1, GCM_256), receive=key(71, GCM_256))),
                (["audio 14022 RTP/SAVP 0", f"3 {AES_32} 1"], Agreed(send=key(1, AES_32), receive=key(73, AES_32))),
            ],
        )

    def test_two_audio_lines(self) -> None:
        """Of a plain and an encrypted m-line the encrypted one is taken, wherever it stands; the plain one if SRTP
        is off."""
        plain, secure = ("m=audio 4000 RTP/AVP 0",), ("m=audio 4002 RTP/SAVP 0", crypto("1", 70))
        self.assertEqual(
            [
                answered(description(*plain, *secure), local()),
                answered(description(*secure, *plain), local()),
                answered(description(*secure, *plain), local("off")),
            ],
            [
                (["audio 0 RTP/AVP 0", "audio 14022 RTP/SAVP 0", f"1 {AES_80} 1"],
                 Agreed(send=key(1), receive=key(70))),
                (["audio 14022 RTP/SAVP 0", f"1 {AES_80} 1", "audio 0 RTP/AVP 0"],
                 Agreed(send=key(1), receive=key(70))),
                (["audio 0 RTP/SAVP 0", "audio 14022 RTP/AVP 0"], None),
            ],
        )  # fmt: skip


class OfferTests(SynchronousTestCase):
    def test_what_we_offer(self) -> None:
        """RTP/AVP with a line and a key for each suite, RTP/SAVP, or neither, as configured."""
        lines = [f"1 {AES_80} 1", f"2 {GCM_128} 2", f"3 {GCM_256} 3"]
        offers = [OfferAnswer(1).make_offer(local(offer=each)) for each in ("avp", "savp", "plain")]
        self.assertEqual(
            [shown(body) for body in (*offers, OfferAnswer(1).make_offer(local("off", "savp")))],
            [
                ["audio 14022 RTP/AVP 0", *lines],
                ["audio 14022 RTP/SAVP 0", *lines],
                ["audio 14022 RTP/AVP 0"],
                ["audio 14022 RTP/AVP 0"],
            ],
        )

    def test_answers(self) -> None:
        """The line that the answer names is in force; without one it is plain RTP, where that is allowed."""
        cases: tuple[tuple[LocalMedia, bytes], ...] = (
            (local(), audio("RTP/AVP", crypto("2", 70, GCM_128))),
            (local(), audio("RTP/AVP", crypto("01", 70, more="|2^31"))),
            (local(), audio("RTP/AVP")),
            (local("required"), audio("RTP/AVP")),
            (local(offer="savp"), audio("RTP/SAVP")),
            (local(), audio("RTP/AVP", crypto("2", 70))),
            (local(), audio("RTP/AVP", crypto("9", 70))),
            (local(), audio("RTP/AVP", crypto("1", 70, more="|1:1"))),
            (local("off"), audio("RTP/AVP", crypto("1", 70))),
            (local(), audio("RTP/SAVP", crypto("1", 70))),
        )
        found: list[object] = []
        for ours, body in cases:
            state = OfferAnswer(1)
            state.make_offer(ours)
            try:
                found.append(state.receive_answer(body).srtp)
            except RemoteProtocolError as error:
                found.append(error.reason)
        none = "the answer's a=crypto is none of those we offered"
        self.assertEqual(
            found,
            [
                Agreed(send=key(2, GCM_128), receive=key(70, GCM_128)),
                Agreed(send=key(1), receive=key(70)),
                None,
                *["the answer has no a=crypto, SRTP is required"] * 2,
                *[none] * 2,
                f"{none} (tag 1: an MKI)",
                None,
                "the answer's audio is RTP/SAVP, offered was RTP/AVP",
            ],
        )

    def test_both_ends_agree(self) -> None:
        """Two of us: what one enciphers with, the other opens with."""
        caller, called = OfferAnswer(1), OfferAnswer(2)
        there, here = local(), evolve(local(), srtp=Srtp(mode="required", offer="savp", keys=Keys(lambda n: b"x" * n)))
        called.receive_offer(caller.make_offer(here), there)
        theirs = called.answer(there)
        ours = caller.receive_answer(theirs.answer)
        assert theirs.srtp is not None and ours.srtp is not None
        self.assertEqual((theirs.srtp.send, theirs.srtp.receive), (ours.srtp.receive, ours.srtp.send))
        self.assertEqual(shown(theirs.answer), ["audio 14022 RTP/SAVP 0", f"1 {AES_80} 1"])


class KeyLifeTests(SynchronousTestCase):
    def exchange(self, *offers: bytes) -> list[tuple[int, int] | None]:
        """The numbers of both keys after each offer, in one dialog."""
        ours, state = local(), OfferAnswer(1)
        found: list[tuple[int, int] | None] = []
        for body in offers:
            state.receive_offer(body, ours)
            agreed = state.answer(ours).srtp
            found.append((agreed.send.octets[0], agreed.receive.octets[0]) if agreed else None)
        return found

    def test_keys_stay_and_change_together(self) -> None:
        """The same key of the peer keeps ours; a new one, another suite, or plain RTP between, brings a new one."""
        first, second = audio("RTP/SAVP", crypto("1", 70)), audio("RTP/SAVP", crypto("1", 71))
        other = audio("RTP/SAVP", crypto("1", 70, GCM_128))
        plain = audio("RTP/AVP")
        self.assertEqual(
            self.exchange(first, first, second, second, first, other, first, plain, first),
            [(1, 70), (1, 70), (2, 71), (2, 71), (3, 70), (4, 70), (5, 70), None, (6, 70)],
        )

    def test_a_removed_stream_keeps_its_keys(self) -> None:
        """Port 0 and back: nothing begins anew."""
        first, removed = audio("RTP/SAVP", crypto("1", 70)), description("m=audio 0 RTP/SAVP 0")
        self.assertEqual(self.exchange(first, removed, first), [(1, 70)] * 3)

    def test_a_refresh_changes_nothing(self) -> None:
        """The same offer again: the same answer, its version included."""
        ours, state, answers = local(), OfferAnswer(1), []
        for _ in range(2):
            state.receive_offer(audio("RTP/SAVP", crypto("1", 70)), ours)
            answers.append(state.answer(ours).answer)
        self.assertEqual(answers[0], answers[1])

    def test_our_offer_in_a_call(self) -> None:
        """It keeps the profile and the key in use; the lines of the other suites have keys that were never used."""
        ours, state = local(), OfferAnswer(1)
        state.receive_offer(audio("RTP/SAVP", crypto("1", 70, GCM_128)), ours)
        state.answer(ours)
        self.assertEqual(
            shown(state.make_offer(ours)),
            ["audio 14022 RTP/SAVP 0", f"1 {AES_80} 2", f"2 {GCM_128} 1", f"3 {GCM_256} 3"],
        )
        kept = state.receive_answer(audio("RTP/SAVP", crypto("2", 70, GCM_128))).srtp
        self.assertEqual(kept, Agreed(send=key(1, GCM_128), receive=key(70, GCM_128)))
        state.make_offer(ours)
        moved = state.receive_answer(audio("RTP/SAVP", crypto("1", 71))).srtp
        self.assertEqual(moved, Agreed(send=key(2), receive=key(71)))
        # The suite that was left comes back with a key of its own.
        self.assertEqual(shown(state.make_offer(ours))[2], f"2 {GCM_128} 4")

    def test_a_refused_offer_changes_nothing(self) -> None:
        """After 488 the next offer with the old key finds ours as it was."""
        ours, state = local("required"), OfferAnswer(1)
        state.receive_offer(audio("RTP/SAVP", crypto("1", 70)), ours)
        before = state.answer(ours)
        self.assertRaises(SrtpRefused, state.receive_offer, audio("RTP/AVP"), ours)
        state.receive_offer(audio("RTP/SAVP", crypto("1", 70)), ours)
        self.assertEqual(state.answer(ours), before)


class ReprTests(SynchronousTestCase):
    def test_no_key_shows(self) -> None:
        """Neither the descriptions nor what was agreed on show a key."""
        ours, state = local(), OfferAnswer(1)
        body = audio("RTP/SAVP", crypto("1", 70))
        state.receive_offer(body, ours)
        agreed = state.answer(ours)
        text = repr((ours, parse_sdp(body), parse_sdp(agreed.answer), agreed))
        self.assertIn("('crypto', '...')", text)
        for number in (1, 70):
            self.assertNotIn(b64encode(key(number).octets).decode(), text)
            self.assertNotIn(repr(key(number).octets), text)


class PlatformTests(SynchronousTestCase):
    def test_samples(self) -> None:
        """Every phone system that offers SRTP gets it: the first line without an MKI, in its profile."""
        if not PLATFORMS.exists():
            raise SkipTest(f"{PLATFORMS} is absent")
        found = {}
        for path in sorted(PLATFORMS.glob("*.txt")):
            body = path.read_bytes().partition(b"\r\n\r\n")[2]
            if b"a=crypto:" in body:
                ours, state = evolve(local("required"), codecs=("G722", "PCMU", "PCMA")), OfferAnswer(1)
                state.receive_offer(body, ours)
                lines = shown(state.answer(ours).answer)
                found[path.stem] = (parse_sdp(body).media[0].protocol, lines[0].split()[2], lines[1])
        savp = ("RTP/SAVP", "RTP/SAVP", f"1 {AES_80} 1")
        names = ("mitel-mxone", "ringcentral", "teams-direct-routing", "twilio", "webex-calling-direct")
        self.assertEqual(found, dict.fromkeys(names, savp))
