"""The REFER that a transfer sends, and what a refusal of it means (RFC 3515, RFC 3892, RFC 4488, RFC 5589 6)."""

from __future__ import annotations

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.headers import embedded
from stellar_gw.call.transfer.outcome import Failure
from stellar_gw.call.transfer.ports import Headers
from stellar_gw.sip.message import Response
from stellar_gw.sip.reasons import REASONS
from stellar_gw.sip.refer import refer_to
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import NameAddr


def refer_headers(target: Target, headers: Headers, referrer: Uri) -> Headers:
    """Of the REFER. X-* headers stand in it, and in Refer-To too where the phone system reads them there.

    :param referrer: who asks for the transfer: what the caller dialled.
    """
    uri = target.refer_to
    if target.embed_headers:
        whole = embedded(uri, headers)
        if not isinstance(whole, TargetRefused):  # too much for one line: those of the REFER must do
            uri = whole
    return (
        ("Refer-To", refer_to(uri)),
        ("Referred-By", str(NameAddr("", referrer))),
        ("Max-Forwards", str(target.max_forwards)),
        *headers,
    )


def refusal_of(response: Response | None) -> Failure:
    """A final response to REFER that is no 2xx, or none at all. A challenge is one: our password is none of theirs."""
    if response is None:
        return Failure(code="refer_unanswered", reason="REFER was not answered")
    phrase = "".join(letter for letter in response.reason if letter.isprintable())[:80]
    return Failure(
        code="refer_refused", status=response.status, reason=phrase or REASONS.get(response.status, "refused")
    )
