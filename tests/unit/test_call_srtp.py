"""SRTP of whole calls: whose word holds, what the worker, the agent and the record are told, and refusals."""

from __future__ import annotations

from base64 import b64encode
from itertools import product

from attrs import evolve

from stellar_gw.call.events import CallNoted
from stellar_gw.call.leg.srtp import SrtpTerms, srtp_terms
from stellar_gw.control import messages
from stellar_gw.directory.records import Route
from stellar_gw.sip.events import Reoffered, RequestReceived
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.srtp import SrtpMode
from tests.configurations import CONFIGURATION, configuration
from tests.messages import OFFER, flow, invite, parsed
from tests.unit.test_call import MAIN_LINE, TELNYX, CallCase

SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY = bytes(range(30))
CRYPTO = f"a=crypto:7 {SUITE} inline:{b64encode(KEY).decode()}|2^31\r\n".encode()
BEST_EFFORT = OFFER + CRYPTO
SECURE = BEST_EFFORT.replace(b"RTP/AVP", b"RTP/SAVP")
REQUIRED = CONFIGURATION.replace("tenants: [acme]}", "tenants: [acme], srtp: required}")


class SrtpCallCase(CallCase):
    def configure(self, text: str) -> None:
        self.calls = self.make_calls(configuration(text))
        self.plane.listener = self.calls.heard

    def call(self, body: bytes, transport: Transport = "tls") -> None:
        """An INVITE of the provider's, and its ACK where it is answered."""
        self.calls.handle(RequestReceived(parsed(invite(MAIN_LINE, body=body)), flow(TELNYX, transport=transport)))
        self.wait()

    def reinvite(self, body: bytes) -> None:
        request = parsed(invite(MAIN_LINE, cseq=2, body=body))
        self.calls.handle(Reoffered("usage of a1", request))
        self.wait()

    @property
    def media(self) -> list[messages.SetMedia]:
        (call,) = self.plane.calls.values()
        return call.media

    def told(self) -> list[dict[str, str]]:
        (call,) = self.plane.calls.values()
        return [each.detail for each in call.told if each.kind == "srtp"]

    def notes(self) -> list[tuple[str, str]]:
        return [(event.kind, event.message) for event in self.events if isinstance(event, CallNoted)]

    def profile(self) -> str:
        """Of the last description that we sent."""
        line = next(line for said in reversed(self.said()) for line in said if str(line).startswith("m="))
        return str(line).split()[2]


class AgreedTests(SrtpCallCase):
    def test_what_everybody_is_told(self) -> None:
        """The worker gets both keys, the agent's context says so, and the record names the suite."""
        self.call(SECURE)
        (media,) = self.media
        assert media.srtp_send is not None and media.srtp_receive is not None
        self.assertEqual((media.srtp_receive.suite, media.srtp_receive.octets), (SUITE, KEY))
        self.assertEqual((media.srtp_send.suite, len(media.srtp_send.octets)), (SUITE, 30))
        self.assertEqual([session.context.srtp for session in self.plane.sessions], [True])
        self.assertEqual(self.profile(), "RTP/SAVP")
        self.ack()
        self.hang_up()
        self.settle()
        self.assertEqual((self.record().srtp, self.record().as_json()["srtp"]), (SUITE, SUITE))

    def test_best_effort_and_plain(self) -> None:
        """RTP/AVP with a=crypto is answered alike; without it the call is plain, and says so."""
        found = []
        for body in (BEST_EFFORT, OFFER):
            self.setUp()
            self.call(body, "udp")
            found.append((self.media[0].srtp_send is not None, self.plane.sessions[0].context.srtp, self.profile()))
        self.assertEqual(found, [(True, True, "RTP/AVP"), (False, False, "RTP/AVP")])

    def test_an_offer_of_ours(self) -> None:
        """An INVITE without SDP gets the offer that its provider wants; the agent hears of SRTP later."""
        wanted = {"": "RTP/AVP", ", srtp_offer: savp": "RTP/SAVP", ", srtp: required": "RTP/SAVP"}
        found = {}
        for more in wanted:
            self.setUp()
            self.configure(CONFIGURATION.replace("tenants: [acme]}", f"tenants: [acme]{more}}}"))
            self.call(b"")
            found[more] = self.profile()
        self.assertEqual(found, wanted)
        self.ack(SECURE.replace(b"crypto:7", b"crypto:1"))
        self.wait()
        self.assertEqual(self.told(), [{"encrypted": "true", "suite": SUITE}])
        assert self.media[0].srtp_receive is not None
        self.assertEqual(self.media[0].srtp_receive.octets, KEY)

    def test_a_plain_answer_where_srtp_is_required(self) -> None:
        """Our offer answered without SRTP ends the call."""
        self.configure(REQUIRED.replace("required", "required, srtp_offer: avp"))
        self.call(b"")
        self.ack(OFFER)
        self.settle()
        self.assertEqual(
            (self.record().cause, self.record().reason),
            ("not_acceptable", "answer in ACK: the answer has no a=crypto, SRTP is required"),
        )


class ReinviteTests(SrtpCallCase):
    def test_to_plain(self) -> None:
        """By default it is taken; the worker forgets the keys, the agent is told, the log says so; and back again."""
        self.call(SECURE)
        self.ack()
        self.reinvite(OFFER)
        self.assertEqual(self.profile(), "RTP/AVP")
        self.reinvite(SECURE)
        self.assertEqual([each.srtp_send is not None for each in self.media], [True, False, True])
        self.assertNotEqual(self.media[0].srtp_send, self.media[2].srtp_send)
        self.assertEqual(self.told(), [{"encrypted": "false", "suite": ""}, {"encrypted": "true", "suite": SUITE}])
        self.assertEqual([kind for kind, _ in self.notes()], ["srtp_ended"])

    def test_to_plain_where_that_is_refused(self) -> None:
        """488, a line in the log, and the call goes on encrypted; a call that began plain may stay so."""
        text = CONFIGURATION.replace("limits:", "media: {plain_reinvite: refuse}\nlimits:")
        for config, plain_call in ((text, True), (REQUIRED, False)):
            self.setUp()
            self.configure(config)
            self.call(SECURE)
            self.ack()
            self.said()
            self.reinvite(OFFER)
            self.assertEqual([each[:2] for each in self.said()], [("reject", 488)])
            self.assertEqual((len(self.media), self.told()), (1, []))
            self.assertEqual([kind for kind, _ in self.notes()], ["srtp_refused"])
            if plain_call:
                self.setUp()
                self.configure(config)
                self.call(OFFER)
                self.reinvite(OFFER)
                self.assertEqual([each.srtp_send for each in self.media], [None, None])

    def test_the_same_key(self) -> None:
        """A refresh brings the worker the very keys it has."""
        self.call(SECURE)
        self.ack()
        self.reinvite(SECURE)
        first, second = self.media
        self.assertEqual((first.srtp_send, first.srtp_receive), (second.srtp_send, second.srtp_receive))


class RefusalTests(SrtpCallCase):
    def refused(self, text: str, body: bytes, transport: Transport = "tls") -> tuple[int, str, str, str]:
        self.setUp()
        self.configure(text)
        self.call(body, transport)
        (refusal,) = self.refusals()
        self.assertIn(("reject", refusal.status, "Warning"), self.said())
        return refusal.status, refusal.check, refusal.reason, refusal.fix

    def test_reasons(self) -> None:
        """488 each; the record says whose word it was, and what mends it."""
        by = "provider telnyx (conf.yaml:8)"
        off = CONFIGURATION.replace("tenants: [acme]}", "tenants: [acme], srtp: off}")
        shown, needed = "the audio offered is RTP", f"needed is one of {SUITE}, AEAD_AES_128_GCM, AEAD_AES_256_GCM"
        self.assertEqual(
            [
                self.refused(REQUIRED, OFFER),
                self.refused(REQUIRED, SECURE, "udp"),
                self.refused(off, SECURE),
                self.refused(CONFIGURATION, SECURE.replace(b"|2^31", b"|2^31|1:1")),
                self.refused(CONFIGURATION, OFFER.replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVP")),
            ],
            [
                (
                    488,
                    "srtp_plain",
                    f"{shown}/AVP without a=crypto, SRTP is required (srtp: required, {by})",
                    "Turn SRTP on in the phone system, with keys in SDP (SDES). FreePBX: Media Encryption = SRTP via "
                    f"in-SDP. Or set srtp: opportunistic ({by})",
                ),
                (
                    488,
                    "srtp_signalling",
                    f"SRTP is required, and its keys would come without TLS (srtp: required, {by})",
                    f"Send calls to port 5061 with transport=tls, or set srtp_without_tls: true ({by})",
                ),
                (
                    488,
                    "srtp_off",
                    f"{shown}/SAVP, SRTP is off here; needed is RTP/AVP (srtp: off, {by})",
                    f"Turn SRTP off in the phone system, or set srtp: opportunistic ({by})",
                ),
                (
                    488,
                    "srtp_unusable",
                    f"{shown}/SAVP without a usable a=crypto (tag 7: an MKI); {needed} "
                    "(srtp: opportunistic, media.srtp)",
                    f"Let the phone system offer {SUITE} without MKI, or see media.srtp_suites",
                ),
                (
                    488,
                    "srtp_dtls",
                    "the audio offered is UDP/TLS/RTP/SAVP, DTLS-SRTP is not spoken here; needed is RTP/AVP, or "
                    "RTP/SAVP with a=crypto (srtp: opportunistic, media.srtp)",
                    "Set the phone system to SRTP with keys in SDP (SDES)",
                ),
            ],
        )  # fmt: skip

    def test_keys_in_clear_where_they_are_allowed_by_name(self) -> None:
        """With srtp_without_tls required SRTP works over UDP."""
        self.configure(REQUIRED.replace("required", "required, srtp_without_tls: true"))
        self.call(SECURE, "udp")
        self.assertIsNotNone(self.media[0].srtp_send)


class TermsTests(SrtpCallCase):
    def test_the_stricter_holds(self) -> None:
        """Of caller and connector; what media says, only where both say nothing."""
        config = configuration()
        provider = config.directory.providers()[0]
        route = config.directory.route_for_provider("31201230000", provider, TELNYX)
        assert isinstance(route, Route)
        modes: tuple[SrtpMode | None, ...] = (None, "off", "opportunistic", "required")
        found = {
            (caller, connector): srtp_terms(
                evolve(config.media, srtp="required"),
                evolve(provider, srtp=caller),
                evolve(route.connector, srtp=connector),
            ).mode
            for caller, connector in product(modes, modes)
        }
        self.assertEqual(
            [found[caller, connector] for caller, connector in product(modes, modes)],
            [
                *("required", "off", "opportunistic", "required"),
                *("off", "off", "opportunistic", "required"),
                *("opportunistic", "opportunistic", "opportunistic", "required"),
                *("required", "required", "required", "required"),
            ],
        )

    def test_defaults(self) -> None:
        """Opportunistic, RTP/AVP with a=crypto, no 32-bit tags, plain re-INVITEs taken."""
        config = configuration()
        provider = config.directory.providers()[0]
        route = config.directory.route_for_provider("31201230000", provider, TELNYX)
        assert isinstance(route, Route)
        self.assertEqual(
            srtp_terms(config.media, provider, route.connector),
            SrtpTerms(
                mode="opportunistic",
                by="media.srtp",
                caller="provider telnyx (conf.yaml:8)",
                offer="avp",
                suites=(SUITE, "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"),
            ),
        )
