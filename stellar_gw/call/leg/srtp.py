"""Which SRTP a call gets: what the configuration says of its caller and of what it dialled, and in whose name."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.config.records import MediaConfig
from stellar_gw.directory.records import Connector, Credential, TrunkProvider
from stellar_gw.sip.srtp import SUITES, SrtpMode, SrtpOffer, SrtpRefused

STRICTNESS: tuple[SrtpMode, ...] = ("off", "opportunistic", "required")


@frozen(kw_only=True)
class SrtpTerms:
    """What holds for one call.

    :ivar by: whose word the mode is, for the operator: ``connector vault (conf.yaml:40)``.
    :ivar caller: who could be allowed to send keys unencrypted, likewise.
    :ivar without_tls: required SRTP may have its keys come over UDP or TCP.
    :ivar keeps: a re-INVITE may not take SRTP off again.
    """

    mode: SrtpMode = "off"
    by: str = "media.srtp"
    caller: str = "its caller"
    offer: SrtpOffer = "avp"
    suites: tuple[str, ...] = SUITES
    without_tls: bool = False
    keeps: bool = False

    def check_signalling(self, secure: bool) -> None:
        """:raise SrtpRefused: required SRTP would have its keys cross the network in clear."""
        if self.mode == "required" and not secure and not self.without_tls:
            raise SrtpRefused("signalling", "SRTP is required, and its keys would come without TLS")

    def explain(self, refused: SrtpRefused) -> tuple[str, str]:
        """Reason and remedy of a refusal, for the operator."""
        fix = {
            "off": f"Turn SRTP off in the phone system, or set srtp: opportunistic ({self.by})",
            "plain": "Turn SRTP on in the phone system, with keys in SDP (SDES). FreePBX: Media Encryption = SRTP via "
            f"in-SDP. Or set srtp: opportunistic ({self.by})",
            "unusable": "Let the phone system offer AES_CM_128_HMAC_SHA1_80 without MKI, or see media.srtp_suites",
            "dtls": "Set the phone system to SRTP with keys in SDP (SDES)",
            "signalling": f"Send calls to port 5061 with transport=tls, or set srtp_without_tls: true ({self.caller})",
        }
        return f"{refused.reason} (srtp: {self.mode}, {self.by})", fix.get(refused.why, "")


def srtp_terms(media: MediaConfig, caller: Credential | TrunkProvider, connector: Connector) -> SrtpTerms:
    """The stricter of what caller and connector say; ``media.srtp`` where neither says anything.

    How an offer of ours looks is the caller's matter; unless it says so, RTP/SAVP where SRTP is required, since
    nothing else could be agreed on, and RTP/AVP with ``a=crypto`` otherwise.
    """
    kind = "provider" if isinstance(caller, TrunkProvider) else "credential"
    name = caller.name if isinstance(caller, TrunkProvider) else caller.username
    who = f"{kind} {name} ({caller.where})"
    said: list[tuple[SrtpMode, str]] = []
    if caller.srtp is not None:
        said.append((caller.srtp, who))
    if connector.srtp is not None:
        said.append((connector.srtp, f"connector {connector.name} ({connector.where})"))
    mode, by = max(said, key=lambda each: STRICTNESS.index(each[0]), default=(media.srtp, "media.srtp"))
    return SrtpTerms(
        mode=mode,
        by=by,
        caller=who,
        offer=caller.srtp_offer or ("savp" if mode == "required" else "avp"),
        suites=media.srtp_suites,
        without_tls=caller.srtp_without_tls,
        keeps=media.plain_reinvite == "refuse",
    )
