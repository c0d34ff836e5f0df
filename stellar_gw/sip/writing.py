"""Our requests as they go out (RFC 3261 8.1.1, 12.2.1.1, 13.2.2.4, 22)."""

from __future__ import annotations

from stellar_gw.sip.body import SDP
from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.dialog import way
from stellar_gw.sip.digest import answer_challenge
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request
from stellar_gw.sip.names import Names
from stellar_gw.sip.session_timer import headers_of_request
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.usage import Sending
from stellar_gw.sip.values import NameAddr

_TARGET_REFRESH = ("INVITE", "SUBSCRIBE", "REFER", "NOTIFY", "UPDATE")


class RequestWriter:
    """Writes a request for the flow that it goes out on: Via and Contact are that flow's."""

    def __init__(self, names: Names, able: Capabilities, user_agent: str) -> None:
        self._names, self._able, self._user_agent = names, able, user_agent

    def write(self, sending: Sending, method: str, body: bytes) -> tuple[Request, Uri]:
        """A request as it goes out on its flow, and its next hop."""
        uri, routes, hop = way(sending.uri, sending.route_set)
        given, flow = sending.headers, sending.flow
        items = [("Via", str(self._names.via(flow, self._names.branch())))]
        if "Max-Forwards" not in given or method == "ACK":
            items.append(("Max-Forwards", "70"))
        items += [("Route", route) for route in routes]
        items += [
            ("From", str(sending.from_)),
            ("To", str(sending.to)),
            ("Call-ID", sending.call_id),
            ("CSeq", f"{sending.sequence} {method}"),
        ]
        if method in _TARGET_REFRESH or (sending.dialog is None and method != "ACK"):
            items += self._own_headers(sending, method, flow)
        items.append(("User-Agent", self._user_agent))
        if method == "ACK":
            items += self._credentials_of(sending)
        else:
            items += given
            items += self._authorization(sending, method, uri, body)
        if body and ("Content-Type" not in given or method == "ACK"):
            items.append(("Content-Type", SDP))
        return Request(method, uri, Headers.sound(items), body), hop

    def _own_headers(self, sending: Sending, method: str, flow: Flow) -> list[tuple[str, str]]:
        usage = sending.usage
        able = self._able if usage is None else usage.able
        contact = self._names.contact(flow, sending.contact_user, sips=usage is not None and usage.sips)
        own = [("Contact", str(NameAddr("", contact)))]
        if method in ("INVITE", "OPTIONS"):
            own += [able.allow_header, able.supported_header]
        elif method == "UPDATE":
            own.append(able.supported_header)
        if method in ("INVITE", "UPDATE") and self._able.session is not None and usage is not None:
            own += headers_of_request(usage.session, self._able.session, first=sending.dialog is None)
        return [item for item in own if item[0] not in sending.headers]

    def _authorization(self, sending: Sending, method: str, uri: Uri, body: bytes) -> list[tuple[str, str]]:
        if sending.challenge is None or sending.credentials is None:
            return []
        name, challenge = sending.challenge
        ours = sending.credentials
        value = answer_challenge(challenge, ours.username, ours.password, method, str(uri), body, self._names.tag(), 1)
        return [(name, value)]

    @staticmethod
    def _credentials_of(sending: Sending) -> list[tuple[str, str]]:
        """An ACK carries the credentials of its INVITE, for nobody can challenge it (22.1)."""
        if sending.transaction is None:
            return []
        headers = sending.transaction.request.headers
        return [(name, value) for name in ("Authorization", "Proxy-Authorization") for value in headers.all(name)]
