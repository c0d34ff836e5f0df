"""SIP INFO inside a dialog: it may tell that a key was pressed (RFC 6086, RFC 2976)."""

from __future__ import annotations

from collections.abc import Callable

from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.control import messages
from stellar_gw.sip.events import RequestInDialog
from stellar_gw.sip.info import read_info


def informed(
    event: RequestInDialog,
    *,
    call_id: str,
    leg: str,
    signalling: Signalling,
    plane: MediaPlane,
    note: Callable[[str, str], None],
) -> None:
    """Answer an INFO, and tell the worker of its digit."""
    info = read_info(event.request)
    signalling.respond_in(event.token, info.status, info.reason, info.headers)
    if info.digit:
        pressed = messages.Pressed(request=0, call=call_id, leg=leg, digit=info.digit, duration_ms=info.duration_ms)
        # A worker that is lost ends the call elsewhere; a digit alone is no reason to.
        plane.ask(pressed).addErrback(
            lambda failure: note("digit_lost", f"a digit by SIP INFO was lost: {failure.value}")
        )
