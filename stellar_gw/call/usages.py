"""Whose each usage of the SIP core is, and who asked what inside a dialog: events find their way by this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stellar_gw.call.ports import HeaderItems, Signalling
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import (
    Answered,
    Confirmed,
    Ended,
    Event,
    Provisional,
    ProvisionalAcknowledged,
    RefreshDue,
    ReinviteRefused,
    Reoffered,
    RequestInDialog,
    ResponseReceived,
    Token,
    Trying,
    UsageId,
)
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import NameAddr

Heard = Callable[[ResponseReceived], None]
"""Gets the final response to a request; its ``response`` is None where there is none."""


class UsageOwner(Protocol):
    """Whose usage it is: the leg of a caller, or of the target of a transfer. See the events of the same names."""

    def trying(self, event: Trying) -> None: ...

    def provisional(self, event: Provisional) -> None: ...

    def answered(self, event: Answered) -> None: ...

    def confirmed(self, event: Confirmed) -> None: ...

    def provisional_acknowledged(self, event: ProvisionalAcknowledged) -> None: ...

    def reoffered(self, event: Reoffered) -> None: ...

    def reinvite_refused(self, event: ReinviteRefused) -> None: ...

    def refresh_due(self, event: RefreshDue) -> None: ...

    def request_in_dialog(self, event: RequestInDialog) -> None: ...

    def ended(self, event: Ended) -> None:
        """The last one; the usage has no owner any more."""


class Usages:
    """The usages of all calls."""

    def __init__(self, signalling: Signalling) -> None:
        self._signalling = signalling
        self._owners: dict[UsageId, UsageOwner] = {}
        self._asked: dict[Token, Heard] = {}

    def __len__(self) -> int:
        """How many usages have an owner, and how many requests wait for their response."""
        return len(self._owners) + len(self._asked)

    def own(self, usage: UsageId, owner: UsageOwner) -> None:
        """Have the events of a usage told to ``owner``, until it has ended."""
        self._owners[usage] = owner

    def disown(self, usage: UsageId) -> None:
        """What still comes of a usage matters to nobody."""
        self._owners.pop(usage, None)

    def owner(self, usage: UsageId) -> UsageOwner | None:
        return self._owners.get(usage)

    def ask(
        self,
        usage: UsageId,
        method: str,
        heard: Heard,
        headers: HeaderItems = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None:
        """Send a request inside a dialog; ``heard`` is called once, before the usage has ended at the latest."""
        token = self._signalling.request_in(usage, method, headers, body, content_type)
        self._asked[token] = heard

    def ask_outside(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        heard: Heard,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: HeaderItems = (),
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
    ) -> None:
        """Send a request outside any dialog; ``heard`` is called once, after 64*T1 at the latest."""
        token = self._signalling.request(
            method,
            uri,
            flow,
            from_=from_,
            to=to,
            headers=headers,
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
        )
        self._asked[token] = heard

    def handle(self, event: Event) -> None:
        """Take one event of the SIP core; what nobody owns is left alone."""
        if isinstance(event, ResponseReceived):
            heard = self._asked.pop(event.token, None)
            if heard is not None:
                heard(event)
        elif isinstance(event, Ended):
            ended = self._owners.pop(event.usage, None)
            if ended is not None:
                ended.ended(event)
        elif (owner := self._owners.get(getattr(event, "usage", ""))) is not None:
            _tell(owner, event)


def _tell(owner: UsageOwner, event: Event) -> None:
    match event:
        case Trying():
            owner.trying(event)
        case Provisional():
            owner.provisional(event)
        case Answered():
            owner.answered(event)
        case Confirmed():
            owner.confirmed(event)
        case ProvisionalAcknowledged():
            owner.provisional_acknowledged(event)
        case Reoffered():
            owner.reoffered(event)
        case ReinviteRefused():
            owner.reinvite_refused(event)
        case RefreshDue():
            owner.refresh_due(event)
        case RequestInDialog():
            owner.request_in_dialog(event)
        case _:
            pass
