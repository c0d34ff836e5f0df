"""What offer and answer agreed on, passed on to all who must know: worker, record, agent and operator."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.python.failure import Failure

from stellar_gw.call.media import CallerMedia
from stellar_gw.call.ports import MediaPlane
from stellar_gw.call.record import CallRecord
from stellar_gw.control import messages


@define(kw_only=True)
class Agreement:
    """One caller's.

    :ivar failed: called where the worker cannot do what was agreed on.
    :ivar note: a kind and a line for the operator.
    """

    media: CallerMedia
    plane: MediaPlane
    record: CallRecord
    failed: Callable[[Failure], None]
    note: Callable[[str, str], None]
    _told: bool | None = field(default=None, init=False)
    """Whether the audio is encrypted, as the agent knows it; None before there is one."""

    def apply(self) -> None:
        """Put the last whole exchange into force."""
        call_id = self.record.call_id
        self.plane.ask(self.media.set_media(call_id)).addErrback(self.failed)
        self.record.codec = self.media.codec
        if self.record.srtp and not self.media.srtp:
            self.note(
                "srtp_ended",
                "a re-INVITE took SRTP off, the audio is no longer encrypted; media.plain_reinvite: refuse, or srtp: "
                "required, would not let it",
            )
        self.record.srtp = self.media.srtp
        self._tell()

    def agent_begins(self) -> None:
        """The agent's context says how it is now; it hears of changes from here on."""
        self._told = bool(self.media.srtp)

    def _tell(self) -> None:
        encrypted = bool(self.media.srtp)
        if self._told is None or self._told == encrypted:
            return
        self._told = encrypted
        detail = {"encrypted": "true" if encrypted else "false", "suite": self.media.srtp}
        tell = messages.Tell(request=0, call=self.record.call_id, kind="srtp", detail=detail)
        self.plane.ask(tell).addErrback(self.failed)
