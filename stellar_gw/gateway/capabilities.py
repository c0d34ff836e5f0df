"""What the gateway says of itself in Allow and Supported, from its configuration."""

from __future__ import annotations

from stellar_gw.config.records import SipConfig
from stellar_gw.sip import reliable
from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.session_timer import TAG, SessionTerms

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "NOTIFY", "UPDATE", "PRACK")

JUDGED = ("replaces",)
"""Each caller's configuration says whether it may (RFC 3891)."""


def capabilities(sip: SipConfig) -> Capabilities:
    """Methods, option tags and session timers."""
    if not sip.session_timers:
        return Capabilities(allow=METHODS, supported=(reliable.TAG,), judged=JUDGED)
    minimum = round(sip.session_minimum)
    terms = SessionTerms(interval=max(minimum, round(sip.session_expires)), minimum=minimum)
    return Capabilities(allow=METHODS, supported=(reliable.TAG, TAG), session=terms, judged=JUDGED)
