"""The INVITEs of one call of ours, one after the other: each has its own session description, and makes its own dialog.

They differ in where they go and in what they offer; Call-ID and From tag stay, and CSeq goes on (RFC 3261 8.1.3.5).
"""

from __future__ import annotations

from stellar_gw.call.leg.dialog import Calling, LegDialog
from stellar_gw.call.leg.listener import LegSurroundings
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.ports import HeaderItems
from stellar_gw.call.target.target import Target
from stellar_gw.call.timers import Timers
from stellar_gw.control.messages import Allocated
from stellar_gw.sip.audio_media import CODECS
from stellar_gw.sip.checks import Besides
from stellar_gw.sip.events import Ended
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.uri import SipUri, in_to
from stellar_gw.sip.values import NameAddr


class Invites:
    """
    :param calling: whom each dialog tells what comes of it.
    :param leg: its name in the worker.
    :param codec_first: of all that are offered.
    :param extra_headers: validated.
    :param besides: what the peer may in the dialog.
    :param early: as of :class:`~stellar_gw.call.leg.dialog.LegDialog`.
    :ivar sip_call_id: of all of them.
    :ivar dialog: of the last one; None before there is any.
    """

    def __init__(
        self,
        calling: Calling,
        *,
        call_id: str,
        leg: str,
        target: Target,
        codec_first: str,
        extra_headers: HeaderItems,
        around: LegSurroundings,
        timers: Timers,
        besides: Besides,
        early: bool,
    ) -> None:
        self._calling, self._call_id, self._leg, self._target = calling, call_id, leg, target
        self.sip_call_id = around.rng(16).hex()
        self._codecs = tuple(dict.fromkeys([*([codec_first] if codec_first in CODECS else []), *CODECS]))
        self._headers = (*target.identity, *extra_headers, ("Max-Forwards", str(target.max_forwards)))
        self._from = target.from_.with_tag(around.rng(8).hex())
        self._around, self._timers, self._besides, self._early = around, timers, besides, early
        self.dialog: LegDialog | None = None
        self._sequence = 0

    def send(self, uri: SipUri, terms: SrtpTerms, flow: Flow, ports: Allocated) -> None:
        """:raise SrtpRefused: where keys may not be sent that way; then nothing is."""
        media = self._media(terms, flow, ports)
        media.check_signalling()
        self._sequence += 1
        usage = self._around.signalling.invite(
            uri,
            flow,
            from_=self._from,
            to=NameAddr("", in_to(self._target.uri)),
            headers=self._headers,
            body=media.call(),
            credentials=self._target.credentials,
            call_id=self.sip_call_id,
            sequence=self._sequence,
            besides=self._besides,
        )
        self.dialog = LegDialog(
            usage,
            call_id=self._call_id,
            media=media,
            signalling=self._around.signalling,
            plane=self._around.plane,
            timers=self._timers,
            calling=self._calling,
            early=self._early,
        )
        self._around.usages.own(usage, self.dialog)

    def _media(self, terms: SrtpTerms, flow: Flow, ports: Allocated) -> LegMedia:
        """A session description anew for each: another rung, another flow."""
        around = self._around
        media = LegMedia(
            leg=self._leg,
            session_id=int.from_bytes(around.rng(6), "big"),
            advertise=around.listeners[flow.listener].media_advertise,
            signalling_host=flow.remote[0],
            rng=around.rng,
            srtp=terms,
            secure=flow.secure,
            strict_latch=self._target.strict_latch,
            codecs=self._codecs,
            ice=self._target.ice,
        )
        media.allocated(ports)
        return media

    def ended(self, event: Ended) -> None:
        """The last one has come to nothing, or its dialog is over."""
        self._sequence = max(self._sequence, event.sequence)

    def leave(self, headers: HeaderItems) -> None:
        """CANCEL or BYE; what still comes of it is the core's affair, and a late 2xx gets its ACK and BYE."""
        if self.dialog is not None:
            usage = self.dialog.usage
            self._sequence = max(self._sequence, self._around.signalling.sequence(usage))
            self._around.usages.disown(usage)
            self._around.signalling.bye(usage, headers)
