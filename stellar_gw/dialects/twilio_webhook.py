"""The voice webhook by which a Twilio agent is asked where its stream is: the request, and what the answer means.

The gateway POSTs the fields of a call as a form, signed with ``X-Twilio-Signature``, and gets TwiML back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence

from attrs import frozen

from stellar_gw.dialects.context import Context, facts, header_values
from stellar_gw.dialects.twilio import PARAMETER, call_sid
from stellar_gw.dialects.twiml import Hangup, PassedOver, Reject, Stream, TwimlError, parse


@frozen
class Rejected:
    """The agent does not want the call.

    :ivar status: of SIP, for the caller.
    """

    status: int
    reason: str


@frozen
class Answer:
    """What a webhook said.

    :ivar decision: where the stream is, or that there is to be none.
    :ivar passed_over: verbs before it that have no effect here.
    """

    decision: Stream | Rejected
    passed_over: tuple[str, ...] = ()


def form(context: Context, account_sid: str) -> list[tuple[str, str]]:
    """The fields of the request, in Twilio's names; X-* headers are ``SipHeader_X-...``."""
    told = facts(context)
    fields = [
        ("AccountSid", account_sid),
        ("ApiVersion", "2010-04-01"),
        ("CallSid", call_sid(context.call_id)),
        ("CallStatus", "ringing"),
        ("Called", told["to"]),
        ("Caller", told["from"]),
        ("Direction", "inbound"),
        ("From", told["from"]),
        ("To", told["to"]),
    ]
    if told["from_display"]:
        fields.append(("CallerName", told["from_display"]))
    return fields + [(f"SipHeader_{name}", value) for name, value in header_values(context).items()]


def signature(auth_token: str, url: str, fields: Iterable[tuple[str, str]]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and every field, sorted by name, without anything between them."""
    signed = url + "".join(name + value for name, value in sorted(fields))
    mac = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode("ascii")


def read_answer(document: bytes) -> Answer:
    """What TwiML says about a new call: where its stream is, or that there is none.

    :raise TwimlError: if it says neither.
    """
    passed_over: list[str] = []
    for verb in parse(document):
        match verb:
            case PassedOver(name):
                passed_over.append(name)
            case Stream():
                return Answer(verb, tuple(passed_over))
            case Reject(busy):
                decision = Rejected(486, "busy") if busy else Rejected(603, "rejected by the webhook")
                return Answer(decision, tuple(passed_over))
            case Hangup():
                return Answer(Rejected(603, "hung up by the webhook"), tuple(passed_over))
            case _:
                raise TwimlError(f"<{type(verb).__name__}> cannot come before <Connect>, <Reject> or <Hangup>")
    raise TwimlError("no <Connect><Stream url>, <Reject> or <Hangup> in it")


def as_options(stream: Stream) -> Sequence[tuple[str, str]]:
    """The parameters of a stream as options of its dialect."""
    return [(PARAMETER + name, value) for name, value in stream.parameters]
