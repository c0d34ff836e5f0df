"""One INVITE usage (RFC 5057): the data of a call leg, and what its table asks the core to do."""

from __future__ import annotations

from typing import Literal, Protocol

from attrs import define, field, frozen

from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import Dialog
from stellar_gw.sip.digest import DigestChallenge
from stellar_gw.sip.events import EndCause, Event, Token, UsageId
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.reliable import RAck, Received
from stellar_gw.sip.session_timer import SessionTimer
from stellar_gw.sip.timers import Alarm
from stellar_gw.sip.transactions.effects import Start, Stop
from stellar_gw.sip.transactions.transaction import ClientTransaction, ServerTransaction
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import NameAddr

HeaderItems = tuple[tuple[str, str], ...]


class InviteUsage(Protocol):
    """What can happen to a call leg; the table is in invite_usage.py."""

    # from the floor above
    def ring(self, status: int, reason: str, headers: HeaderItems, body: bytes) -> None: ...
    def ring_reliably(self, status: int, reason: str, headers: HeaderItems, body: bytes) -> None: ...  # RFC 3262
    def answer(self, headers: HeaderItems, body: bytes) -> None: ...
    def reject(self, status: int, reason: str, headers: HeaderItems) -> None: ...
    def reinvite(self, headers: HeaderItems, body: bytes) -> None: ...
    def ack(self, body: bytes) -> None: ...
    def cancel(self, headers: HeaderItems) -> None: ...
    def bye(self, headers: HeaderItems) -> None: ...

    # from the peer
    def peer_cancel(self, cancel: Request) -> None: ...
    def peer_bye(self, bye: Request) -> None: ...
    def peer_invite(self, transaction: ServerTransaction) -> None: ...
    def acknowledged(self, ack: Request) -> None: ...
    def pracked(self) -> None: ...  # the reliable provisional response that is out
    def trying(self) -> None: ...  # 100
    def provisional(self, response: Response) -> None: ...  # 101 to 199
    def success(self, response: Response) -> None: ...  # the first 2xx, or one with another To tag
    def success_with_offer(self, response: Response) -> None: ...  # the same; its ACK carries our answer
    def challenge(self, response: Response) -> None: ...  # 401, 407 or 422 that we can answer
    def failure(self, response: Response) -> None: ...  # 300 to 699
    def reinvite_success(self, response: Response) -> None: ...
    def reinvite_success_with_offer(self, response: Response) -> None: ...
    def reinvite_failure(self, response: Response | None) -> None: ...
    def timed_out(self) -> None: ...  # our INVITE
    def unreachable(self) -> None: ...  # our INVITE, or our answer to the peer's
    def gone(self, cause: EndCause, response: Response | None) -> None: ...  # 481 or 408 in the dialog

    # timers
    def repeat(self) -> None: ...  # our 2xx again
    def remind(self) -> None: ...  # our 1xx again
    def ack_timeout(self) -> None: ...
    def repeat_reliable(self) -> None: ...  # our reliable 1xx again
    def prack_timeout(self) -> None: ...
    def cancel_timeout(self) -> None: ...
    def reinvite_timeout(self) -> None: ...  # our re-INVITE got a provisional response and no more
    def refresh_due(self) -> None: ...  # half of the session's interval is over
    def session_expired(self) -> None: ...  # all of it is, nearly


@frozen
class Acknowledgement:
    """The ACK of one 2xx, kept to be sent again whenever that 2xx comes again (13.2.2.4)."""

    data: bytes = field(repr=False)
    flow: Flow
    dialog: Dialog
    body: bytes = field(repr=False)


@define(eq=False, kw_only=True)
class Sending:
    """A request of ours through its retries: each is a transaction with a CSeq of its own (RFC 3261 22.2).

    :ivar headers: of the floor above; they stand in the place of those the core would write.
    :ivar dialog: the one it belongs to; where there is none, the five fields after it say the same.
    :ivar usage: whose request it is.
    :ivar token: what the floor above knows it by.
    :ivar challenge: what the next attempt answers: the name of the header, and the challenge.
    :ivar challenged: whether one has been answered.
    :ivar renewals: how many new nonces were asked for because the old one was stale.
    :ivar lengthened: how often its session interval was too short.
    :ivar refreshes: it is an UPDATE of the core's own.
    :ivar attempt: how many transactions it has had.
    :ivar acks: the ACKs of an INVITE's 2xx by To tag; None where the floor above has not given its answer yet.
    """

    method: str
    headers: Headers
    body: bytes = field(repr=False)
    dialog: Dialog | None = None
    uri: Uri
    route_set: tuple[NameAddr, ...] = ()
    from_: NameAddr
    to: NameAddr
    call_id: str
    sequence: int
    flow: Flow
    contact_user: str
    usage: Usage | None = None
    token: Token | None = None
    credentials: ClientCredentials | None = None
    challenge: tuple[str, DigestChallenge] | None = None
    challenged: bool = False
    renewals: int = 0
    lengthened: int = 0
    refreshes: bool = False
    attempt: int = 0
    transaction: ClientTransaction | None = None
    acks: dict[str, Acknowledgement | None] = field(factory=dict)


@define(eq=False, kw_only=True)
class Usage:
    """A call leg.

    :ivar machine: its table; made with it.
    :ivar contact_user: the user part of our Contact, the same in all its messages.
    :ivar able: what its peer is told that we can.
    :ivar sips: whether the INVITE was for a sips URI.
    :ivar dialog: the confirmed one, or as UAS the only one; None while we call.
    :ivar early: as UAC, the early dialogs by To tag.
    :ivar invite: the transaction of the peer's INVITE or re-INVITE that is being answered.
    :ivar offer_is_ours: whether that INVITE carried no offer, so that our 2xx does.
    :ivar success: the 2xx to it, for as long as its ACK is missing.
    :ivar awaited: the RAck of our reliable provisional response that is out; None: none is.
    :ivar rseq: the number of the last one; 0 before the first.
    :ivar held: our answer, which waits for its PRACK: headers and body (RFC 3262 3).
    :ivar initial: the INVITE that we called with.
    :ivar calling: our INVITE or re-INVITE that was sent last.
    :ivar credentials: ours, for all requests of a usage that we began; never of one that came in.
    :ivar asked: requests of the peer's that the floor above has not answered yet.
    :ivar sent: requests of ours, by token, that the peer has not answered yet.
    :ivar session: the session timer that holds, or that our INVITE asks for; None: none does.
    :ivar updates: whether the peer takes UPDATE (its Allow).
    :ivar reliable: as UAC, the reliable provisional responses, by CSeq and To tag.
    :ivar leaving: headers for the BYE or CANCEL that has to wait.
    :ivar cancel_patience: how long a cancelled INVITE is waited for, seconds.
    :ivar ended: whether the floor above knows that it is over.
    :ivar referred: whether a REFER of ours was accepted in it, whose NOTIFYs may outlive the call (RFC 5057 4.2).
    """

    id: UsageId
    contact_user: str
    able: Capabilities
    sips: bool = False
    dialog: Dialog | None = None
    early: dict[str, Dialog] = field(factory=dict)
    invite: ServerTransaction | None = None
    offer_is_ours: bool = False
    success: bytes = b""
    interval: float = 0.0
    awaited: RAck | None = None
    rseq: int = 0
    held: tuple[HeaderItems, bytes] = ((), b"")
    initial: Sending | None = None
    calling: Sending | None = None
    credentials: ClientCredentials | None = None
    asked: dict[Token, ServerTransaction] = field(factory=dict)
    sent: set[Token] = field(factory=set)
    session: SessionTimer | None = None
    updates: bool = False
    reliable: dict[str, Received] = field(factory=dict)
    leaving: HeaderItems = ()
    cancel_patience: float = 32.0
    ended: bool = False
    referred: bool = False
    effects: list[UsageEffect] = field(factory=list)
    running: dict[str, Alarm] = field(factory=dict)
    machine: InviteUsage = field(init=False)

    @property
    def confirmed(self) -> bool:
        """Whether a 2xx has made its dialog more than an early one."""
        return bool(self.success) if self.initial is None else self.dialog is not None

    def sending(self, dialog: Dialog, method: str, headers: Headers, body: bytes = b"") -> Sending:
        """A request of ours in one of its dialogs, to be numbered when it is sent."""
        return Sending(
            method=method,
            headers=headers,
            body=body,
            dialog=dialog,
            uri=dialog.remote_target,
            from_=dialog.local,
            to=dialog.remote,
            call_id=dialog.call_id,
            sequence=0,
            flow=dialog.flow,
            contact_user=self.contact_user,
            usage=self,
            credentials=self.credentials,
        )

    def note_allow(self, message: Request | Response) -> None:
        """What the peer takes, where it says so."""
        if allowed := message.headers.all("Allow"):
            self.updates = "UPDATE" in {each.strip().upper() for value in allowed for each in value.split(",")}


@frozen
class Tell:
    """Tell the floor above."""

    event: Event


@frozen
class Respond:
    """Answer the peer's INVITE that is open; a 2xx is repeated until its ACK comes."""

    status: int
    reason: str = ""
    headers: HeaderItems = ()
    body: bytes = field(default=b"", repr=False)


@frozen
class RespondReliably:
    """Answer it by a provisional response that is repeated until its PRACK comes."""

    status: int
    reason: str
    headers: HeaderItems
    body: bytes = field(repr=False)


@frozen
class RepeatReliable:
    """Send that again, and again later (RFC 3262 3)."""


@frozen
class Refuse:
    """Answer another INVITE of the peer's, one that may not be now."""

    transaction: ServerTransaction
    status: int


@frozen
class RepeatSuccess:
    """Send the 2xx again, and again later (13.3.1.4)."""


@frozen
class RepeatProvisional:
    """Send the last 1xx again, so that no proxy gives up on it (13.3.1.1)."""


@frozen
class SendAck:
    """Acknowledge the 2xx to our INVITE."""

    body: bytes = field(default=b"", repr=False)


@frozen
class SendBye:
    """End the dialog."""

    headers: HeaderItems = ()


@frozen
class RefuseSuccess:
    """Acknowledge a 2xx that nobody wants any more, and end the dialog it made."""

    response: Response


@frozen
class SendCancel:
    """Take the INVITE or re-INVITE back."""

    headers: HeaderItems = ()


@frozen
class Abandon:
    """Forget the INVITE: it was cancelled, and nothing came of it for 64*T1 (9.1)."""


@frozen
class SendReinvite:
    headers: HeaderItems
    body: bytes = field(repr=False)


@frozen
class Refresh:
    """Refresh the session, by UPDATE or by the floor above."""


@frozen
class AnswerChallenge:
    """Send our INVITE again, with the credentials or the interval that this response asks for."""

    response: Response


@frozen
class Adopt:
    """Take the dialog that this 2xx makes as the usage's."""

    response: Response


@frozen
class End:
    """Tell that the usage is over, unless that has been told."""

    cause: EndCause
    by: Literal["remote", "local"]
    request: Request | None = None
    response: Response | None = None


@frozen
class RefuseAsked:
    """Answer what the peer has asked inside the dialog and nobody will answer any more (15.1.2)."""


@frozen
class Close:
    """Forget the dialogs: nothing goes out in them any more."""


UsageEffect = (
    Tell
    | Respond
    | RespondReliably
    | RepeatReliable
    | Refuse
    | RepeatSuccess
    | RepeatProvisional
    | SendAck
    | SendBye
    | RefuseSuccess
    | SendCancel
    | Abandon
    | SendReinvite
    | Refresh
    | AnswerChallenge
    | Adopt
    | End
    | RefuseAsked
    | Close
    | Start
    | Stop
)
