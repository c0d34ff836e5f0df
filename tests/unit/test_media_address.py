"""By which IP version a caller is answered, on a host that has both."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.media_address import media_address
from stellar_gw.sip.flow import Listener
from tests.messages import invite, parsed

FOUR, SIX = "192.0.2.10", "2001:db8::10"
BOTH = Listener(
    name="udp", transport="udp", bind=("::", 5060), advertise=(SIX, 5060), media_advertise=SIX, media_other=FOUR
)
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\n"
IN_4, IN_6 = "c=IN IP4 192.0.2.7\r\n", "c=IN IP6 2001:db8::7\r\n"
AUDIO = "m=audio 4000 RTP/AVP 0\r\n"


def answered(sdp: str, listener: Listener = BOTH) -> str:
    return media_address(listener, parsed(invite(body=sdp.encode())))


class MediaAddressTests(SynchronousTestCase):
    def test_the_offers_version_decides(self) -> None:
        """Of the audio that is offered, wherever its c= line stands; and not of what is refused or no audio."""
        offers = {
            HEAD + IN_4 + "t=0 0\r\n" + AUDIO: FOUR,
            HEAD + IN_6 + "t=0 0\r\n" + AUDIO: SIX,
            HEAD + IN_6 + "t=0 0\r\n" + AUDIO + IN_4: FOUR,
            HEAD + IN_4 + "t=0 0\r\n" + AUDIO + IN_6: SIX,
            HEAD + "t=0 0\r\nm=video 4000 RTP/AVP 99\r\n" + IN_6 + AUDIO + IN_4: FOUR,
            HEAD + "t=0 0\r\nm=audio 0 RTP/AVP 0\r\n" + IN_6 + AUDIO + IN_4: FOUR,
            HEAD + "c=IN IP4 0.0.0.0\r\nt=0 0\r\n" + AUDIO: FOUR,
            HEAD + "c=IN IP6 ::\r\nt=0 0\r\n" + AUDIO: SIX,
        }
        self.assertEqual({offer: answered(offer) for offer in offers}, offers)

    def test_the_listeners_first_where_there_is_a_choice(self) -> None:
        """Alternatives (RFC 4091), a name, no offer at all, and an offer that cannot be read."""
        offers = (
            HEAD + "t=0 0\r\na=group:ANAT 1 2\r\n" + AUDIO + IN_4 + "a=mid:1\r\n" + AUDIO + IN_6 + "a=mid:2\r\n",
            HEAD + "c=IN IP4 phone.example\r\nt=0 0\r\n" + AUDIO,
            "",
            "v=1\r\n",
        )
        self.assertEqual([answered(offer) for offer in offers], [SIX] * 4)

    def test_nothing_to_choose_from(self) -> None:
        """A listener with one address answers with it; offer and answer will say that it does not fit."""
        self.assertEqual(answered(HEAD + IN_4 + "t=0 0\r\n" + AUDIO, evolve(BOTH, media_other="")), SIX)
