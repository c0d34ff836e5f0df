"""ICE-lite in offers and answers (RFC 8839)."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.ice import Credentials, IceAgreed, IceKeys, credentials
from stellar_gw.sip.offer_answer import LocalMedia, OfferAnswer
from stellar_gw.sip.sdp import parse_sdp
from tests.unit.test_offer_answer import LOCAL, offer

THEIRS = ("a=ice-ufrag:full", f"a=ice-pwd:{'f' * 22}")
AUDIO = ("m=audio 4000 RTP/AVP 0", "a=rtcp-mux")


def octets() -> IceKeys:
    """Credentials that are told apart by their number."""
    count = 0

    def random(length: int) -> bytes:
        nonlocal count
        count += 1
        return bytes([count]) * length

    return IceKeys(random)


def local() -> LocalMedia:
    return evolve(LOCAL, ice=octets())


def ice_lines(description: bytes) -> list[str]:
    return [line for line in description.decode().split("\r\n") if line.startswith(("a=ice", "a=candidate"))]


class AnswerTests(SynchronousTestCase):
    def test_answered(self) -> None:
        """Credentials are answered by ours, with our one candidate; the description says that we are lite."""
        dialog = OfferAnswer(1)
        dialog.receive_offer(offer(*AUDIO, *THEIRS))
        agreed = dialog.answer(local())
        self.assertEqual(
            ice_lines(agreed.answer),
            [
                "a=ice-lite",
                "a=ice-options:ice2",
                "a=ice-ufrag:AQEB",
                "a=ice-pwd:AgICAgICAgICAgICAgICAgIC",
                "a=candidate:1 1 UDP 2130706431 203.0.113.10 14022 typ host",
            ],
        )
        self.assertEqual(
            agreed.ice, IceAgreed(Credentials("AQEB", "AgICAgICAgICAgICAgICAgIC"), Credentials("full", "f" * 22))
        )

    def test_two_components(self) -> None:
        """Without rtcp-mux RTCP has a candidate of its own."""
        dialog = OfferAnswer(1)
        dialog.receive_offer(offer("m=audio 4000 RTP/AVP 0", *THEIRS))
        self.assertEqual(
            ice_lines(dialog.answer(local()).answer)[-1], "a=candidate:1 2 UDP 2130706430 203.0.113.10 14023 typ host"
        )

    def test_of_the_session(self) -> None:
        """Credentials may stand before the m-lines, for all of them."""
        dialog = OfferAnswer(1)
        dialog.receive_offer(offer(*AUDIO, session="c=IN IP4 192.0.2.1\r\n" + "\r\n".join(THEIRS)))
        agreed = dialog.answer(local())
        assert agreed.ice is not None
        self.assertEqual(agreed.ice.theirs, Credentials("full", "f" * 22))

    def test_nothing(self) -> None:
        """Where the peer has no credentials, or none that could be, where we want no ICE, or have only a name to be
        reached by, nothing of it is answered."""
        named = evolve(local(), address="sbc.example.com")
        for wanted, lines in (
            (local(), ()),
            (local(), THEIRS[:1]),
            (local(), ("a=ice-ufrag:ful", THEIRS[1])),
            (local(), (THEIRS[0], f"a=ice-pwd:{'f' * 21}")),
            (local(), ("a=ice-ufrag:fu:l", THEIRS[1])),
            (LOCAL, THEIRS),
            (named, THEIRS),
        ):
            dialog = OfferAnswer(1)
            dialog.receive_offer(offer(*AUDIO, *lines))
            agreed = dialog.answer(wanted)
            self.assertEqual((ice_lines(agreed.answer), agreed.ice), ([], None))

    def test_again(self) -> None:
        """The same credentials once more change nothing, not even the version; others are a restart, with others of
        ours."""
        dialog, ours = OfferAnswer(1), local()
        answers = []
        for lines in (THEIRS, THEIRS, ("a=ice-ufrag:anew", THEIRS[1])):
            dialog.receive_offer(offer(*AUDIO, *lines))
            answers.append(dialog.answer(ours).answer)
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(ice_lines(answers[2])[2:4], ["a=ice-ufrag:AwMD", "a=ice-pwd:BAQEBAQEBAQEBAQEBAQEBAQE"])


class OfferTests(SynchronousTestCase):
    def test_offered(self) -> None:
        """An offer of ours has credentials, which hold if the answer has some, and go on in the next offer."""
        dialog, ours = OfferAnswer(1), local()
        first = dialog.make_offer(ours)
        agreed = dialog.receive_answer(offer("m=audio 4000 RTP/AVP 0", *THEIRS))
        assert agreed.ice is not None
        self.assertEqual((agreed.ice.ours.ufrag, agreed.ice.theirs.ufrag), ("AQEB", "full"))
        self.assertEqual(ice_lines(dialog.make_offer(ours)), ice_lines(first))

    def test_not_taken(self) -> None:
        """An answer without credentials makes it a call without ICE."""
        dialog = OfferAnswer(1)
        dialog.make_offer(local())
        self.assertIsNone(dialog.receive_answer(offer("m=audio 4000 RTP/AVP 0")).ice)


class ReadingTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text(max_size=40), st.text(max_size=40))
    def test_anything(self, ufrag: str, password: str) -> None:
        """Whatever stands there is credentials, or is none."""
        lines = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{password}"]
        clean = ["".join(each for each in line if each.isprintable()) for line in lines]
        description = parse_sdp(offer(*AUDIO, *clean))
        found = credentials(description, description.media[0])
        if found is not None:
            self.assertRegex(f"{found.ufrag}:{found.password}", r"\A[A-Za-z0-9+/]{4,256}:[A-Za-z0-9+/]{22,256}\Z")

    def test_secrets(self) -> None:
        """Passwords are in no repr."""
        description = parse_sdp(offer(*AUDIO, *THEIRS))
        self.assertNotIn("ffff", repr(description) + repr(credentials(description, description.media[0])))
