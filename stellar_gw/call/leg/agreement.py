"""What offer and answer agreed on, passed on to all who must know: worker, record, agent and operator."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from attrs import define, field
from twisted.python.failure import Failure

from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.ports import MediaPlane
from stellar_gw.control import messages


@define(kw_only=True)
class Agreement:
    """One leg's.

    :ivar failed: called where the worker cannot do what was agreed on.
    :ivar note: a kind and a line for the operator.
    :ivar keep: the codec and the SRTP suite, for the record.
    """

    call_id: str
    media: LegMedia
    plane: MediaPlane
    failed: Callable[[Failure], None]
    note: Callable[[str, str], None]
    keep: Callable[[str, str], None]
    _suite: str = field(default="", init=False)
    _told: bool | None = field(default=None, init=False)
    """Whether the audio is encrypted, as the agent knows it; None before there is one."""

    def apply(self) -> None:
        """Put the last whole exchange into force."""
        self.plane.ask(self.media.set_media(self.call_id)).addErrback(self.failed)
        if self._suite and not self.media.srtp:
            self.note(
                "srtp_ended",
                "a re-INVITE took SRTP off, the audio is no longer encrypted; media.plain_reinvite: refuse, or srtp: "
                "required, would not let it",
            )
        self._suite = self.media.srtp
        self.keep(self.media.codec, self.media.srtp)
        self._tell()

    def mute(self) -> None:
        """Neither hear nor send any more, until something is put into force again: the dialog is over."""
        silent = msgspec.structs.replace(self.media.set_media(self.call_id), direction="inactive")
        self.plane.ask(silent).addErrback(self.failed)

    def takes_over_from(self, other: Agreement) -> None:
        """The agent knows how it was with the other leg, and hears of what is different now."""
        self._told = other._told

    def agent_begins(self) -> None:
        """The agent's context says how it is now; it hears of changes from here on."""
        self._told = bool(self.media.srtp)

    def _tell(self) -> None:
        encrypted = bool(self.media.srtp)
        if self._told is None or self._told == encrypted:
            return
        self._told = encrypted
        detail = {"encrypted": "true" if encrypted else "false", "suite": self.media.srtp}
        tell = messages.Tell(request=0, call=self.call_id, kind="srtp", detail=detail)
        self.plane.ask(tell).addErrback(self.failed)
