"""What the SIP core tells the floor above; drained by ``SipCore.next_event()`` in the order it happened.

A *usage* is one INVITE usage (RFC 5057): a call leg from its first INVITE to its end, named by an id of
ours. Every usage ends in exactly one :class:`Ended`, and nothing is told of it afterwards.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.uri import Uri

UsageId = str
Token = int

EndCause = Literal[
    "bye",  # either side sent BYE
    "cancelled",  # CANCEL before the final response, ours or the peer's
    "rejected",  # a final response other than 2xx, ours or the peer's
    "ack_timeout",  # our 2xx was never acknowledged; BYE has been sent
    "timeout",  # a transaction of ours timed out (408)
    "transport",  # no way to the peer
    "dialog_gone",  # 481 or 408 to a request inside the dialog (RFC 5057 5.1)
    "expired",  # nobody has refreshed the session in time (RFC 4028)
]


@frozen
class RequestReceived:
    """A sound request outside any dialog, for the floor above to judge; no transaction exists yet.

    Answer by ``accept`` (INVITE), or by the stateless ``respond``.
    """

    request: Request
    flow: Flow


@frozen
class Pinged:
    """OPTIONS outside any dialog came, and has been answered (RFC 3261 11)."""

    flow: Flow


@frozen
class Cancelled:
    """The peer cancelled an INVITE we had not answered; 200 and 487 are sent. :class:`Ended` follows.

    :ivar reinvite: whether it was a re-INVITE: then the session goes on unchanged, and no Ended follows.
    """

    usage: UsageId
    request: Request
    reinvite: bool = False


@frozen
class Confirmed:
    """The ACK of our 2xx arrived; ``body`` is its answer where our 2xx carried the offer, else empty.

    :ivar reinvite: whether that 2xx answered a re-INVITE.
    """

    usage: UsageId
    request: Request
    body: bytes = field(repr=False)  # it may hold an SRTP key
    reinvite: bool = False


@frozen
class ProvisionalAcknowledged:
    """The PRACK of our reliable provisional response that carried our offer; ``body`` is its answer."""

    usage: UsageId
    request: Request
    body: bytes = field(repr=False)


@frozen
class Reoffered:
    """A re-INVITE; answer by ``answer`` or ``reject``. Empty body: the offer is ours to make."""

    usage: UsageId
    request: Request


@frozen
class RequestInDialog:
    """INFO, NOTIFY, REFER, MESSAGE, ... inside a dialog; answer by ``respond_in(token, ...)``."""

    usage: UsageId
    token: Token
    request: Request


@frozen
class Trying:
    """100 to our INVITE: the next hop has it. Not every peer sends one before another response."""

    usage: UsageId


@frozen
class Provisional:
    """1xx above 100 to our INVITE; one early dialog per To tag."""

    usage: UsageId
    response: Response


@frozen
class Answered:
    """2xx to our INVITE or re-INVITE. Already acknowledged, unless our INVITE carried no offer:
    then ``ack(usage, body)`` is due."""

    usage: UsageId
    response: Response
    reinvite: bool = False


@frozen
class ReinviteRefused:
    """Our re-INVITE was refused (``None``: timed out); the session goes on unchanged (RFC 3261 14.1)."""

    usage: UsageId
    response: Response | None


@frozen
class RefreshDue:
    """The session has to be refreshed, and the peer takes no UPDATE: offer the same again by ``reinvite``."""

    usage: UsageId


@frozen
class ResponseReceived:
    """The final response to a request of ours other than INVITE; ``None`` when it timed out or could not go."""

    token: Token
    response: Response | None


@frozen
class FlowNeeded:
    """The core needs a way to ``uri``; answer by ``flow_ready(token, flow)`` or ``flow_failed(token, why)``.

    :ivar fallback: the flow to use when ``uri`` cannot be resolved, if that flow still lives.
    :ivar listener: whose Via and Contact shall be kept if possible.
    :ivar tls: what holds if the way is by TLS.
    """

    token: Token
    uri: Uri
    listener: str
    fallback: Flow | None
    tls: TlsTerms = ANY_PEER


@frozen
class Ended:
    """The usage is over. ``by`` says who ended it.

    :ivar request: the peer's BYE or CANCEL, where one ended it (its Reason header is of interest).
    :ivar response: the final response, where one ended it.
    :ivar sequence: the CSeq of our INVITE, where we called: the next try of the same call has a higher one.
    """

    usage: UsageId
    cause: EndCause
    by: Literal["remote", "local"]
    request: Request | None = None
    response: Response | None = None
    sequence: int = field(default=0, eq=False)


Event = (
    RequestReceived
    | Pinged
    | Cancelled
    | Confirmed
    | ProvisionalAcknowledged
    | Reoffered
    | RequestInDialog
    | Trying
    | Provisional
    | Answered
    | ReinviteRefused
    | RefreshDue
    | ResponseReceived
    | FlowNeeded
    | Ended
)
