"""Digest authentication and nonces."""

from __future__ import annotations

import base64
import json
import random
import string
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.digest import (
    ALGORITHMS,
    DigestChallenge,
    answer_challenge,
    authorization_for,
    base_algorithm,
    choose_challenge,
    ha1,
    is_digest,
    parse_authorization,
    parse_challenge,
    response_value,
)
from stellar_gw.sip.nonce import Nonces

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "digest" / "digest-vectors.json"

RESPONSE = "89eb0059246c02b2f6ee02c7961d5ea3"
CREDENTIALS = (
    'Digest username="bob", realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="sip:bob@biloxi.com", '
    f'qop=auth, nc=00000001, cnonce="0a4f113b", response="{RESPONSE}", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
HA1 = ha1("bob", "biloxi.com", "zanzibar")

lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=12)


class ComputationTests(SynchronousTestCase):
    def test_published_vectors(self) -> None:
        """RFC 2617 3.5, RFC 7616 3.9.1 and draft-smith-sipping-auth-examples come out as published."""
        if not VECTORS.is_file():
            raise SkipTest(f"{VECTORS} is absent")
        vectors = json.loads(VECTORS.read_text())
        self.assertEqual(len(vectors), 6)
        for vector in vectors:
            key = ha1(vector["username"], vector["realm"], vector["password"], vector["algorithm"])
            value = response_value(
                key, vector["method"], vector["uri"], vector["nonce"], algorithm=vector["algorithm"],
                qop=vector["qop"], nc=vector["nc"] or "", cnonce=vector["cnonce"] or "",
            )  # fmt: skip
            self.assertEqual(value, vector["response"], vector["name"])

    def test_unknown_algorithms(self) -> None:
        """An algorithm that is not spoken here is a mistake of ours, not a wrong password."""
        with self.assertRaises(LocalProtocolError):
            ha1("u", "r", "p", "MD4")

    def test_sessions_keep_the_same_ha1(self) -> None:
        """HA1 is kept for MD5 and SHA-256; their sessions are derived from it."""
        self.assertEqual([base_algorithm(each) for each in ALGORITHMS], ["MD5", "MD5", "SHA-256", "SHA-256"])
        self.assertEqual(ha1("u", "r", "p", "MD5-sess"), ha1("u", "r", "p"))


class AuthorizationTests(SynchronousTestCase):
    def test_reading(self) -> None:
        """Every field is read; the right HA1 and method match, and no others."""
        credentials = parse_authorization(CREDENTIALS)
        self.assertEqual(
            (credentials.username, credentials.realm, credentials.nonce, credentials.uri, credentials.algorithm,
             credentials.qop, credentials.nc, credentials.cnonce, credentials.opaque),
            ("bob", "biloxi.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "sip:bob@biloxi.com", "MD5",
             "auth", 1, "0a4f113b", "5ccc069c403ebaf9f0171e9517f40e41"),
        )  # fmt: skip
        self.assertEqual(
            [
                credentials.matches(HA1, "INVITE"),
                credentials.matches(HA1, "BYE"),
                credentials.matches("0" * 32, "INVITE"),
            ],
            [True, False, False],
        )
        self.assertNotIn(RESPONSE, repr(credentials))

    def test_every_field_counts(self) -> None:
        """Changing any hashed field breaks the match; algorithms and qops not offered never match."""
        credentials = parse_authorization(CREDENTIALS)
        for other in (
            evolve(credentials, nonce="x"), evolve(credentials, uri="sip:x"), evolve(credentials, cnonce="x"),
            evolve(credentials, nc_text="00000002"), evolve(credentials, qop=None), evolve(credentials, qop="auth-int"),
            evolve(credentials, algorithm="SHA-256"), evolve(credentials, algorithm="MD5-sess"),
            evolve(credentials, algorithm="MD4"), evolve(credentials, response="0" * 64),
            evolve(credentials, response="é"),
        ):  # fmt: skip
            self.assertFalse(other.matches(HA1, "INVITE"), str(other.algorithm))

    def test_habits(self) -> None:
        """Case of names, values quoted or not, white space, a comma at the end, and upper-case digits all do."""
        text = (
            'DIGEST  USERNAME=bob ,realm="biloxi.com",nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
            "uri=sip:bob@biloxi.com,"
            f'algorithm="md5",QOP="auth" , nc=00000001 , cnonce=0a4f113b,  response={RESPONSE.upper()},'
        )
        self.assertTrue(parse_authorization(text).matches(HA1, "INVITE"))
        escaped = parse_authorization(CREDENTIALS.replace('"bob"', r'"\b\"o\\b"'))
        self.assertEqual(escaped.username, 'b"o\\b')

    def test_refused(self) -> None:
        """Fields missing, doubled, broken or too many are refused."""
        for bad in (
            "", "Basic eDp5", "Digest", "Digest ", "Digestusername=x", CREDENTIALS + ', realm="biloxi.com"',
            CREDENTIALS + ", REALM=x", CREDENTIALS + " x", CREDENTIALS + ', x="', CREDENTIALS + ", =x",
            CREDENTIALS + ",,",
            CREDENTIALS.replace("nc=00000001", "nc=1"), CREDENTIALS.replace("nc=00000001", "nc=0000000g"),
            CREDENTIALS.replace("nc=00000001", "x=y"), CREDENTIALS.replace('cnonce="0a4f113b"', "x=y"),
            CREDENTIALS.replace(RESPONSE, RESPONSE[1:]), CREDENTIALS.replace(RESPONSE, "z" * 32),
            CREDENTIALS.replace('username="bob"', 'username=""'), CREDENTIALS.replace('username="bob", ', ""),
            CREDENTIALS.replace("uri=", "url="), CREDENTIALS.replace("nonce=", "once=", 1),
            CREDENTIALS + "".join(f", x{n}=y" for n in range(30)), CREDENTIALS.replace("00000001", "٠٠٠٠٠٠٠١"),
        ):  # fmt: skip
            with self.assertRaises(RemoteProtocolError, msg=bad):
                parse_authorization(bad)

    def test_only_our_realm_counts(self) -> None:
        """Credentials for other realms and schemes are none; two for ours, or unreadable ones, are refused."""
        other = CREDENTIALS.replace("biloxi.com", "elsewhere.com", 1)
        ours = authorization_for(["NoOneKnowsThisScheme opaque-data=here", other, CREDENTIALS], "biloxi.com")
        assert ours is not None
        self.assertEqual(ours.realm, "biloxi.com")
        self.assertIsNone(authorization_for(["NoOneKnowsThisScheme opaque-data=here", other, "", "("], "biloxi.com"))
        self.assertIsNone(authorization_for([], "biloxi.com"))
        for values in (
            [CREDENTIALS, CREDENTIALS],
            ["Digest x", CREDENTIALS],
            [CREDENTIALS, 'Digest realm="biloxi.com"'],
        ):
            with self.assertRaises(RemoteProtocolError):
                authorization_for(values, "biloxi.com")

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text('Digest="\\, \tabncqop/:é\udc80\0\r\n', max_size=60).map("Digest ".__add__) | st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """No text raises anything but RemoteProtocolError."""
        for parse in (parse_authorization, parse_challenge, is_digest):
            try:
                parse(text)
            except RemoteProtocolError:
                continue


class ChallengeTests(SynchronousTestCase):
    def test_writing(self) -> None:
        """Quotes are where RFC 3261 25.1 has them, and realms are escaped."""
        self.assertEqual(
            str(DigestChallenge(realm='a"b', nonce="n", stale=True, opaque="o", qop=("auth", "auth-int"))),
            r'Digest realm="a\"b", nonce="n", opaque="o", stale=true, algorithm=MD5, qop="auth,auth-int"',
        )
        self.assertEqual(
            str(DigestChallenge(realm="r", nonce="n", qop=())), 'Digest realm="r", nonce="n", algorithm=MD5'
        )
        for bad in (DigestChallenge(realm="a\r\nb", nonce="n"), DigestChallenge(realm="r", nonce="n", algorithm="a b")):
            with self.assertRaises(LocalProtocolError):
                str(bad)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        lines, lines, st.sampled_from(ALGORITHMS), st.sampled_from([(), ("auth",), ("auth", "auth-int")]), lines, lines
    )
    def test_what_we_write_matches(
        self, realm: str, nonce: str, algorithm: str, qop: tuple[str, ...], username: str, password: str
    ) -> None:
        """Any challenge survives the wire, and its answer matches the right password and no other."""
        challenge = DigestChallenge(realm=realm, nonce=nonce, algorithm=algorithm, qop=qop)
        read = parse_challenge(str(challenge))
        self.assertEqual(read, challenge)
        answer = answer_challenge(read, username, password, "INVITE", "sip:a@b", b"", "c", 1)
        credentials = authorization_for([answer], realm)
        assert credentials is not None
        self.assertEqual((credentials.username, credentials.nonce, str(credentials)), (username, nonce, answer))
        keys = [ha1(username, realm, each, base_algorithm(algorithm)) for each in (password, password + "x")]
        self.assertEqual([credentials.matches(key, "INVITE") for key in keys], [True, False])

    def test_the_published_answer(self) -> None:
        """Our answer to RFC 7616's SHA-256 challenge is the published one."""
        challenge = parse_challenge(
            'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
            'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
        )
        answer = answer_challenge(
            challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", b"",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", 1,
        )  # fmt: skip
        self.assertEqual(
            answer,
            'Digest username="Mufasa", realm="http-auth@example.org", '
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", '
            'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", algorithm=SHA-256, '
            'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", '
            'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", qop=auth, nc=00000001',
        )

    def test_integrity(self) -> None:
        """Where only auth-int is offered, the body is in the hash (RFC 7616 3.4.3)."""
        challenge = DigestChallenge(realm="r", nonce="n", qop=("auth-int",))
        answer = parse_authorization(answer_challenge(challenge, "u", "p", "INVITE", "sip:a", b"body", "c", 1))
        expected = response_value(
            ha1("u", "r", "p"), "INVITE", "sip:a", "n", qop="auth-int", nc="00000001", cnonce="c", body=b"body"
        )
        self.assertEqual((answer.qop, answer.response), ("auth-int", expected))

    def test_the_first_that_can_be_answered(self) -> None:
        """The first challenge in header order with a known scheme, algorithm and qop is chosen (RFC 8760 2.4)."""
        sha, plain = 'Digest realm="r", nonce="1", algorithm=sha-256, qop="auth"', 'Digest realm="r", nonce="2"'
        useless = [
            "Bearer x", 'Digest realm="r"', 'Digest realm="r", nonce="3", algorithm=SHA-512-256',
            'Digest realm="r", nonce="4", qop="other"',
        ]  # fmt: skip
        chosen = [choose_challenge(values) for values in ([*useless, sha, plain], [plain, sha], useless)]
        self.assertEqual(
            [each and (each.nonce, each.algorithm) for each in chosen], [("1", "SHA-256"), ("2", "MD5"), None]
        )
        with self.assertRaises(LocalProtocolError):
            answer_challenge(parse_challenge(useless[3]), "u", "p", "INVITE", "sip:a", b"", "c", 1)
        with self.assertRaises(LocalProtocolError):
            answer_challenge(parse_challenge(plain), "u", "p", "INVITE", "sip:a", b"", "c", 0)


class NonceTests(SynchronousTestCase):
    KEY, OTHER_KEY = b"k" * 32, b"o" * 32

    def nonces(self, *keys: bytes, realm: str = "r", remembered: int = 100) -> Nonces:
        return Nonces(keys or (self.KEY,), random.Random(7616).randbytes, realm=realm, remembered=remembered)

    def test_life(self) -> None:
        """A nonce is good from 5 s before it was made until 60 s after; then it is stale, even a clock jump later."""
        at = 1_800_000_000.0
        for later, verdict in (
            (0, "ok"), (60, "ok"), (60.1, "stale"), (-5, "ok"), (-5.1, "stale"), (3600, "stale"), (-3600, "stale"),
        ):  # fmt: skip
            nonces = self.nonces()
            self.assertEqual(nonces.check(nonces.make(at), 1, "c", 1, at + later), verdict)

    def test_forgery(self) -> None:
        """Nothing but what one of us made passes: other keys, realms, spellings, lengths, bits."""
        nonces = self.nonces()
        nonce = nonces.make(100.0)
        self.assertEqual(len(nonce), 72)
        octets = base64.b64decode(nonce)
        flipped = [
            base64.b64encode(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]).decode()
            for at in range(len(octets))
        ]
        for bad in (
            *flipped, "", "x", nonce[:-1], nonce + "A", nonce[:-4] + "AAA=", nonce[:-1] + "\n", "é" * 72, "\udc80" * 72,
            self.nonces(self.OTHER_KEY).make(100.0), self.nonces(realm="s").make(100.0), nonce.swapcase(),
            nonce[:32] + "*" + nonce[33:],
        ):  # fmt: skip
            self.assertEqual((nonces.check(bad, 1, "c", 1, 100.0), nonces.age(bad, 100.0)), ("forged", None), bad)
        self.assertEqual((nonces.check(nonce, 1, "c", 1, 100.0), nonces.age(nonce, 101.0)), ("ok", 1.0))

    def test_whom_it_was_given_to(self) -> None:
        """It says so itself, to whoever has the key; a forged one was given to nobody."""
        nonces, other = self.nonces(), self.nonces(self.OTHER_KEY, self.KEY)
        nonce = nonces.make(100.0, "203.0.113.9")
        seen = [
            (which.was_given_to(nonce, "203.0.113.9"), which.was_given_to(nonce, "203.0.113.10"))
            for which in (nonces, other, self.nonces(self.OTHER_KEY))
        ]
        self.assertEqual(seen, [(True, False), (True, False), (False, False)])
        self.assertEqual(nonces.check(nonce, 1, "c", 1, 100.0), "ok")

    def test_several_gateways_and_restarts(self) -> None:
        """Whoever has the key knows the nonce; a changed key keeps the one before good, and no older one."""
        old = self.nonces(self.OTHER_KEY)
        nonce, later = old.make(100.0), self.nonces(self.KEY, self.OTHER_KEY)
        self.assertEqual(later.check(nonce, 1, "c", 1, 101.0), "ok")
        self.assertEqual(old.check(later.make(100.0), 1, "c", 1, 101.0), "forged")
        old.rotate(self.KEY)
        self.assertEqual(
            (old.check(nonce, 1, "c", 1, 101.0), old.check(later.make(100.0), 1, "c", 1, 101.0)), ("ok", "ok")
        )
        old.rotate(b"x" * 32)
        self.assertEqual(old.check(nonce, 2, "c", 2, 101.0), "forged")
        for keys in ((), (b"short",)):
            with self.assertRaises(LocalProtocolError):
                Nonces(keys, random.Random(1).randbytes)

    def test_counts_rise(self) -> None:
        """nc rises strictly, gaps allowed; a request that was overtaken is asked again (RFC 7616 3.4)."""
        nonces = self.nonces()
        nonce = nonces.make(100.0)
        seen = [nonces.check(nonce, nc, f"call{n}", 1, 101.0) for n, nc in enumerate((1, 2, 5, 4, 5, 6, 0, None))]
        self.assertEqual(seen, ["ok", "ok", "ok", "replayed", "replayed", "ok", "replayed", "stale"])
        self.assertEqual(nonces.check(nonces.make(100.0), 0, "c", 1, 101.0), "replayed")

    def test_retransmissions_are_no_replays(self) -> None:
        """The very same request is ok again for 5 s over UDP, and never over TCP."""
        nonces = self.nonces()
        nonce = nonces.make(100.0)
        same = [
            nonces.check(nonce, 1, "c", (7, "INVITE"), 101.0 + later, branch="b", reliable=reliable)
            for later, reliable in ((0, False), (0.5, False), (5, False), (5.1, False), (0.5, True))
        ]
        self.assertEqual(same, ["ok", "ok", "ok", "replayed", "replayed"])
        for call_id, number, branch in (("d", 7, "b"), ("c", 8, "b"), ("c", 7, "x")):
            self.assertEqual(nonces.check(nonce, 1, call_id, (number, "INVITE"), 101.0, branch=branch), "replayed")

    def test_without_qop_a_nonce_serves_one_request(self) -> None:
        """Without nc the first request owns the nonce; a retransmission passes, others are asked again."""
        nonces = self.nonces()
        nonce = nonces.make(100.0)
        seen = [
            nonces.check(nonce, nc, call_id, cseq, 101.0 + later)
            for nc, call_id, cseq, later in (
                (None, "c", 1, 0), (None, "c", 1, 1), (None, "c", 2, 1), (None, "d", 1, 1), (1, "c", 1, 1),
                (None, "c", 1, 9),
            )
        ]  # fmt: skip
        self.assertEqual(seen, ["ok", "ok", "stale", "stale", "replayed", "replayed"])

    def test_a_thousand_replays(self) -> None:
        """One captured request sent 1,000 times over a minute passes as its own retransmissions only."""
        nonces = self.nonces()
        nonce = nonces.make(100.0)
        verdicts = [nonces.check(nonce, 1, "c", 1, 100.0 + n * 0.06, branch="b") for n in range(1000)]
        self.assertEqual((set(verdicts[:84]), set(verdicts[84:])), ({"ok"}, {"replayed"}))

    def test_memory_is_bounded(self) -> None:
        """What is forgotten before its time is stale, never ok again; what is dead is forgotten by itself."""
        nonces = self.nonces(remembered=3)
        made = [nonces.make(100.0 + n) for n in range(5)]
        self.assertEqual([nonces.check(nonce, 1, "c", 1, 104.0) for nonce in made], ["ok"] * 5)
        self.assertEqual(
            [nonces.check(nonce, 2, "c", 2, 104.0) for nonce in made], ["stale", "stale", "ok", "ok", "ok"]
        )
        self.assertEqual(len(nonces._uses), 3)
        for n in range(200):
            nonces.check(nonces.make(200.0 + n * 30), 1, "c", 1, 200.0 + n * 30)
        self.assertLessEqual(len(nonces._uses), 3)

    def test_a_clock_set_back_locks_nobody_out(self) -> None:
        """After the clock was set back by an hour, old nonces are stale and new ones are good."""
        nonces = self.nonces(remembered=1)
        made = [nonces.make(10_000.0), nonces.make(10_000.0)]
        before = [nonces.check(nonce, 1, "c", 1, 10_000.0) for nonce in made]
        after = [nonces.check(nonce, 2, "c", 2, 6_400.0) for nonce in (*made, nonces.make(6_400.0))]
        self.assertEqual((before, after), (["ok", "ok"], ["stale", "stale", "ok"]))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text(string.ascii_letters + string.digits + "+/=", min_size=60, max_size=68) | st.text(max_size=70))
    def test_anything(self, nonce: str) -> None:
        """No text is taken for a nonce of ours, and none raises."""
        self.assertEqual(self.nonces().check(nonce, 1, "c", 1, 100.0), "forged")
