"""Digest as the gateway judges it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.admission import DigestResult, NoCredentials, Unverified, Verified
from stellar_gw.call.admission.authentication import Authentication
from stellar_gw.sip.digest import answer_challenge, choose_challenge, parse_challenge
from tests.configurations import configuration
from tests.messages import invite, parsed

REALM = "sip.acme.example"
HOST = "203.0.113.9"
PASSWORD = "correct horse"
_numbers = count(1)


def random(octets: int) -> bytes:
    return next(_numbers).to_bytes(octets, "big")


class AuthenticationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = configuration().directory
        self.authentication = Authentication(REALM, random, life=60.0)

    def challenge(self, algorithms: Sequence[str] = ("MD5",), at: float = 1000.0, realm: str = REALM) -> str:
        challenge = self.authentication.challenge(algorithms, HOST, at, stale=False)
        return challenge[-1][1].replace(f'realm="{REALM}"', f'realm="{realm}"')

    def answer(
        self,
        challenge: str,
        username: str = "freepbx-hq",
        password: str = PASSWORD,
        nc: int = 1,
        method: str = "INVITE",
    ) -> str:
        uri = "sip:600@sip.acme.example"
        return answer_challenge(parse_challenge(challenge), username, password, method, uri, b"", "cnonce", nc)

    def check(self, *authorization: str, at: float = 1001.0, call_id: str = "a1") -> DigestResult:
        headers = tuple(("Authorization", each) for each in authorization)
        request = parsed(invite(headers=headers, call_id=call_id))
        return self.authentication.check(request, self.directory, HOST, at, reliable=True).result

    def test_the_right_password_is_verified(self) -> None:
        self.assertEqual(self.check(self.answer(self.challenge())), Verified("freepbx-hq", "MD5"))

    def test_sha256_is_verified_where_it_is_offered(self) -> None:
        self.assertEqual(self.check(self.answer(self.challenge(["MD5", "SHA-256"]))), Verified("freepbx-hq", "SHA-256"))

    def test_no_credentials_and_those_for_other_realms_are_none(self) -> None:
        self.assertEqual(self.check(), NoCredentials())
        self.assertEqual(self.check(self.answer(self.challenge(realm="other.example"))), NoCredentials())
        self.assertEqual(self.check("NoOneKnowsThisScheme opaque-data=here"), NoCredentials())

    def test_each_failure_has_its_name(self) -> None:
        challenge = self.challenge()
        forged = challenge.replace('nonce="', 'nonce="x')
        failures = {
            "wrong_password": self.check(self.answer(challenge, password="wrong horse")),
            "unknown_user": self.check(self.answer(challenge, username="nobody-here")),
            "forged_nonce": self.check(self.answer(forged)),
            "stale": self.check(self.answer(challenge), at=1061.0),
            "malformed": self.check('Digest username="freepbx-hq", username="again"'),
        }
        self.assertEqual(
            {name: each.why for name, each in failures.items() if isinstance(each, Unverified)},
            {name: name for name in failures},
        )

    def test_a_digest_for_another_method_is_a_wrong_password(self) -> None:
        self.assertEqual(
            self.check(self.answer(self.challenge(), method="BYE")), Unverified("freepbx-hq", "wrong_password")
        )

    def test_the_same_credentials_again_are_a_replay(self) -> None:
        shown = self.answer(self.challenge())
        self.assertEqual(self.check(shown), Verified("freepbx-hq", "MD5"))
        self.assertEqual(self.check(shown, call_id="another"), Unverified("freepbx-hq", "replayed"))

    def test_a_rising_count_uses_one_nonce_again(self) -> None:
        challenge = self.challenge()
        results = [self.check(self.answer(challenge, nc=nc), call_id=f"c{nc}") for nc in (1, 2, 7)]
        self.assertEqual(results, [Verified("freepbx-hq", "MD5")] * 3)

    def test_a_wrong_password_does_not_use_the_nonce_up(self) -> None:
        challenge = self.challenge()
        self.check(self.answer(challenge, password="wrong horse"))
        self.assertEqual(self.check(self.answer(challenge)), Verified("freepbx-hq", "MD5"))

    def test_md5_is_challenged_alone_and_every_algorithm_with_one_nonce(self) -> None:
        """RFC 8760 2.4: one header for each algorithm, the wanted first."""
        both = self.authentication.challenge(("SHA-256", "MD5"), HOST, 1000.0, stale=True)
        read = [parse_challenge(value) for _, value in both]
        self.assertEqual([(each.algorithm, each.stale, each.qop) for each in read],
                         [("SHA-256", True, ("auth",)), ("MD5", True, ("auth",))])  # fmt: skip
        self.assertEqual(len({each.nonce for each in read}), 1)
        self.assertEqual(choose_challenge([value for _, value in both]), read[0])

    def test_a_guess_counts_for_whom_its_challenge_was_given_to(self) -> None:
        """A forged source cannot have its victim banned: only a nonce that went there is shown as that source's own."""
        ours, wrong = "2001:db8:0:1::1", self.authentication.challenge(("MD5",), "2001:db8:0:1::1", 1000.0, stale=False)
        shown = self.answer(wrong[0][1], password="wrong horse")
        request = parsed(invite(headers=(("Authorization", shown),)))
        nonces = [
            self.authentication.check(request, self.directory, source, 1001.0, reliable=False).nonce
            for source in (ours, "2001:db8:0:1:ffff::2", "2001:db8:0:2::1", HOST)
        ]
        given = parse_challenge(wrong[0][1]).nonce
        self.assertEqual(nonces, [given, given, "", ""])
