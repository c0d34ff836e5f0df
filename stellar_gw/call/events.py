"""The one stream of call events, from which records, metrics, console and logs are fed."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.call.record import CallRecord, RefusalRecord


@frozen
class CallStarted:
    """Admitted; its agent is being connected."""

    record: CallRecord


@frozen
class CallAnswered:
    """Our 200 is out."""

    record: CallRecord


@frozen
class CallConfirmed:
    """The caller's ACK came."""

    record: CallRecord


@frozen
class CallNoted:
    """Something about a call that its operator should read: ``reference`` is the call's id."""

    call_id: str
    kind: str
    message: str


@frozen
class CallEnded:
    """Exactly once for each :class:`CallStarted`; the record is complete."""

    record: CallRecord


@frozen
class CallRefused:
    record: RefusalRecord


@frozen
class AuthenticationFailed:
    """A failed digest that counts against its source (the line that fail2ban reads)."""

    source: str
    port: int
    transport: str
    reason: str
    sip_call_id: str
    username: str
    failures: int
    banned: bool


@frozen
class TrunkChanged:
    """A trunk is registered at, or answers, or it is not and does not any more.

    :ivar trunk: the provider's name, or the credential's user name.
    :ivar what: ``registration`` or ``probe``.
    """

    trunk: str
    what: str
    up: bool
    message: str


CallEvent = (
    CallStarted
    | CallAnswered
    | CallConfirmed
    | CallNoted
    | CallEnded
    | CallRefused
    | AuthenticationFailed
    | TrunkChanged
)
