"""How a call ends, and its record is completed: ports and numbers from the worker, its file, the ladders."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.endings import conversation_numbers, leg_numbers
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.record import CallRecord
from stellar_gw.call.recording import CallRecording
from stellar_gw.control import messages


@define(kw_only=True)
class Completion:
    """
    :ivar wall: wall clock, seconds since 1970, for the record only.
    :ivar released: called when there is nothing more to wait for.
    """

    record: CallRecord
    recording: CallRecording
    signalling: Signalling
    plane: MediaPlane
    clock: IReactorTime
    wall: Callable[[], float]
    released: Callable[[], None]
    _since: float | None = field(default=None, init=False)

    def counts(self) -> None:
        """The call's duration counts from now on."""
        self._since = self.clock.seconds()

    def begin(self, ending: Ending) -> None:
        """Have everything released; the dialog is over, or is being ended."""
        record = self.record
        record.cause, record.ended_by, record.reason = ending.cause, ending.by, ending.reason
        if record.ended is None:
            record.ended = self.wall()
            if self._since is not None:
                record.duration = self.clock.seconds() - self._since
        if not record.status:
            record.status = ending.status
        release = messages.Release(request=0, call=record.call_id, cause=ending.cause, by=ending.by)
        asked = self.plane.ask(release)
        asked.addCallback(self._keep_statistics)
        asked.addErrback(lambda _: None)  # a lost worker's numbers are lost with it; the record says the cause
        asked.addCallback(lambda _: self.recording.finish(self.released))

    def _keep_statistics(self, reply: messages.Reply) -> None:
        if isinstance(reply, messages.Released):
            self.record.legs[:0] = [leg_numbers(leg) for leg in reply.legs]  # those of transfers are there already
            if reply.conversation is not None:
                self.record.conversation = conversation_numbers(reply.conversation)
            self.recording.finishing = reply.recording

    def draw_ladders(self) -> None:
        """Keep what was said in SIP, to its last message."""
        self.record.ladder = self.signalling.ladder(self.record.sip_call_id)
        for transfer in self.record.transfers:
            call_id = transfer["sip_call_id"]
            transfer["ladder"] = list(self.signalling.ladder(call_id)) if call_id else []
