"""Who may call, and where it leads: the order of the checks is the contract."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.admission import (
    Admitted,
    Attempt,
    DigestResult,
    NoCredentials,
    Refused,
    Unverified,
    Verified,
    judge,
)
from stellar_gw.sip.flow import Transport
from tests.configurations import configuration

TELNYX = "192.76.120.10"
STRANGER = "203.0.113.99"
HOSTS = frozenset({"sip.acme.example", "203.0.113.10"})
CALL = Attempt(
    source=(STRANGER, 5060), transport="udp", user="123456789", host="sip.acme.example", digest=NoCredentials()
)


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = configuration().directory

    def judge(
        self,
        source: str = STRANGER,
        digest: DigestResult | None = None,
        user: str = "123456789",
        transport: Transport = "udp",
        host: str = "sip.acme.example",
    ) -> Admitted | Refused:
        attempt = evolve(
            CALL, source=(source, 5060), digest=digest or NoCredentials(), user=user, transport=transport, host=host
        )
        return judge(attempt, self.directory, HOSTS)

    def admitted(self, judgement: Admitted | Refused) -> tuple[str, str]:
        assert isinstance(judgement, Admitted), judgement
        return judgement.how, judgement.route.connector.name

    def refused(self, judgement: Admitted | Refused) -> tuple[int, str]:
        assert isinstance(judgement, Refused), judgement
        return judgement.status, judgement.check

    # --- registrations --------------------------------------------------------------------------

    def test_a_call_on_our_registration_is_its_trunks(self) -> None:
        """Whatever address it comes from, and without a challenge; a password that is shown still decides."""
        [provider, _] = self.directory.providers()
        on_ours = evolve(CALL, trunk=provider, user="+31201230000")
        self.assertEqual(
            self.admitted(judge(on_ours, self.directory, HOSTS)),
            ("admitted on our registration at provider telnyx", "main-line"),
        )
        shown = evolve(on_ours, digest=Unverified("freepbx-hq", "wrong_password"))
        self.assertEqual(self.refused(judge(shown, self.directory, HOSTS)), (401, "wrong_password"))

    def test_a_call_on_a_registration_at_a_phone_system(self) -> None:
        """It leads where that phone system's own calls lead, and no further."""
        credential = self.directory.credential("office-hq")
        assert credential is not None
        on_ours = evolve(CALL, trunk=credential)
        self.assertEqual(
            self.admitted(judge(on_ours, self.directory, HOSTS)),
            ("admitted on our registration as office-hq", "front-desk"),
        )
        refused = judge(evolve(on_ours, user="700"), self.directory, HOSTS)
        self.assertEqual(self.refused(refused), (404, "other_tenant"))

    def test_a_registrar_may_call_us_by_the_address_that_it_sees(self) -> None:
        """Behind address translation that is none of ours, and on our own flow it does not matter."""
        for caller, user in ((self.directory.providers()[0], "+31201230000"), (self.directory.credentials()[0], "600")):
            seen = evolve(CALL, trunk=caller, user=user, host="198.51.100.77")
            self.assertIsInstance(judge(seen, self.directory, HOSTS), Admitted)

    # --- credentials ----------------------------------------------------------------------------

    def test_the_right_digest_is_admitted_from_anywhere(self) -> None:
        self.assertEqual(
            self.admitted(self.judge(digest=Verified("freepbx-hq"))), ("admitted by digest as freepbx-hq", "front-desk")
        )

    def test_wrong_credentials_never_fall_back_to_the_address(self) -> None:
        """A trunk provider's own address does not help whoever shows a wrong password."""
        judgement = self.judge(TELNYX, Unverified("freepbx-hq", "wrong_password"))
        self.assertEqual(self.refused(judgement), (401, "wrong_password"))

    def test_an_unknown_user_looks_like_a_wrong_password_from_outside(self) -> None:
        """Status, challenge and stale are the same; only the operator's record differs."""
        unknown = self.judge(digest=Unverified("nobody-here", "unknown_user"))
        wrong = self.judge(digest=Unverified("freepbx-hq", "wrong_password"))
        assert isinstance(unknown, Refused) and isinstance(wrong, Refused)
        seen = [(each.status, each.challenge, each.stale, each.guessed) for each in (unknown, wrong)]
        self.assertEqual(seen, [(401, True, False, True)] * 2)

    def test_an_old_nonce_is_challenged_as_stale_and_is_no_guess(self) -> None:
        judgement = self.judge(digest=Unverified("freepbx-hq", "stale"))
        assert isinstance(judgement, Refused)
        self.assertEqual((judgement.status, judgement.stale, judgement.guessed), (401, True, False))

    def test_a_credential_that_requires_tls_is_refused_over_udp(self) -> None:
        self.assertEqual(self.refused(self.judge(digest=Verified("secure-hq"))), (403, "require_tls"))
        self.assertEqual(self.admitted(self.judge(digest=Verified("secure-hq"), transport="tls"))[1], "front-desk")

    def test_a_credential_with_an_allowlist_is_refused_from_elsewhere(self) -> None:
        judgement = self.judge(digest=Verified("office-hq"))
        self.assertEqual(self.refused(judgement), (403, "allowed_ips"))
        self.assertEqual(self.admitted(self.judge("203.0.113.20", Verified("office-hq")))[1], "front-desk")
        self.assertEqual(self.admitted(self.judge("::ffff:203.0.113.20", Verified("office-hq")))[1], "front-desk")

    # --- addresses ------------------------------------------------------------------------------

    def test_a_providers_address_is_admitted_without_a_challenge(self) -> None:
        self.assertEqual(
            self.admitted(self.judge("198.51.100.77", user="+31201230000")),
            ("admitted as provider telnyx (allowed IP 198.51.100.0/24)", "main-line"),
        )

    def test_the_plus_of_a_dialled_number_may_be_missing(self) -> None:
        self.assertEqual(self.admitted(self.judge(TELNYX, user="31201230000"))[1], "main-line")

    def test_a_provider_that_requires_tls_is_refused_over_udp(self) -> None:
        self.assertEqual(self.refused(self.judge("52.114.0.1", user="+31201239999")), (403, "require_tls"))

    def test_a_stranger_without_credentials_is_challenged(self) -> None:
        judgement = self.judge("192.76.120.13")
        assert isinstance(judgement, Refused)
        self.assertEqual((judgement.status, judgement.challenge, judgement.guessed), (401, True, False))
        self.assertEqual(
            judgement.reason,
            "192.76.120.13 sent no credentials and is in no allowed_ips (nearest: telnyx 192.76.120.10)",
        )
        self.assertIn("add it to allowed_ips at conf.yaml:", judgement.fix)

    # --- whom -----------------------------------------------------------------------------------

    def test_unknown_disabled_and_another_tenants_are_one_404(self) -> None:
        verified = Verified("freepbx-hq")
        judgements = [self.judge(digest=verified, user=user) for user in ("nobody", "555", "700")]
        self.assertEqual({each.status for each in judgements if isinstance(each, Refused)}, {404})
        self.assertEqual([self.refused(each)[1] for each in judgements], ["unknown", "disabled", "other_tenant"])

    def test_a_number_of_another_provider_says_how_to_mend_it(self) -> None:
        judgement = self.judge(TELNYX, user="+31201239999")
        assert isinstance(judgement, Refused)
        self.assertEqual((judgement.status, judgement.check), (404, "other_provider"))
        self.assertIn("belongs to provider teams", judgement.reason)

    def test_an_ipv6_host_is_ours_however_it_is_spelled(self) -> None:
        """Of leading zeros, capitals and brackets nothing depends (RFC 5952 2)."""
        for host in ("2001:db8::1", "[2001:DB8:0:0::1]", "2001:0db8::0001"):
            seen = evolve(CALL, source=(TELNYX, 5060), user="+31201230000", host=host)
            self.assertEqual(self.admitted(judge(seen, self.directory, frozenset({"2001:db8::1"})))[1], "main-line")

    def test_a_foreign_host_is_told_only_to_whom_we_know(self) -> None:
        self.assertEqual(self.refused(self.judge(host="evil.example")), (401, "no_credentials"))
        self.assertEqual(self.refused(self.judge(TELNYX, host="evil.example")), (404, "foreign_host"))
        self.assertEqual(
            self.admitted(self.judge(TELNYX, user="+31201230000", host="SIP.acme.example."))[1], "main-line"
        )
