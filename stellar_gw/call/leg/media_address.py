"""By which IP version a caller's media come: what our answer to its offer says, and what its sockets are."""

from __future__ import annotations

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.audio_media import versions
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.flow import Listener, ip_version
from stellar_gw.sip.message import Request
from stellar_gw.sip.sdp import parse_sdp


def media_address(listener: Listener, request: Request) -> str:
    """The address in our answer to an INVITE: of the IP version of its audio (RFC 6157 5.1).

    It is the listener's first where the offer takes either (RFC 4091), where there is none, and where there is nothing
    to choose from. What is wrong with an offer is found when it is answered.
    """
    ours, other = listener.media_advertise, listener.media_other
    if not other:
        return ours
    try:
        body = sdp_body(request)
        wanted = versions(parse_sdp(body)) if body else frozenset[int]()
    except RemoteProtocolError:
        return ours
    return other if wanted == {ip_version(other)} else ours
