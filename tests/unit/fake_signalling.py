"""A SIP core that does nothing but write down what calls ask of it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail, succeed

from stellar_gw.call.ports import NoWay
from stellar_gw.sip.checks import NOTHING_BESIDES, Besides
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import DialogKey
from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms, Way
from stellar_gw.sip.message import Request
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.values import NameAddr

Items = Iterable[tuple[str, str]]


@frozen(kw_only=True)
class Invite:
    """One INVITE that was asked for."""

    usage: str
    uri: Uri
    flow: Flow
    from_: NameAddr
    to: NameAddr
    headers: dict[str, str]
    body: bytes
    credentials: ClientCredentials | None
    call_id: str | None
    sequence: int


@frozen(kw_only=True)
class Asked:
    """One request outside any dialog."""

    token: int
    method: str
    uri: str
    flow: Flow
    from_: NameAddr
    headers: dict[str, str]
    credentials: ClientCredentials | None
    call_id: str | None
    sequence: int


@define
class FakeSignalling:
    """Implements :class:`~stellar_gw.call.ports.Signalling`.

    :ivar said: each verb with what matters of it, in order.
    :ivar found: what the dialog that an INVITE wants to replace is.
    :ivar invites: every INVITE, in order.
    :ivar ways: where the host of a URI leads.
    :ivar closed: ways that cannot be opened.
    :ivar failed: ways that were marked as such.
    :ivar requests: every request outside any dialog, in order.
    :ivar gone: flows that cannot be kept alive.
    """

    said: list[tuple[object, ...]] = field(factory=list)
    merged: bool = False
    found: str = "unknown"
    tokens: int = 0
    invites: list[Invite] = field(factory=list)
    ways: dict[str, tuple[Way, ...]] = field(factory=dict)
    closed: set[Way] = field(factory=set)
    failed: list[Way] = field(factory=list)
    sequences: dict[str, int] = field(factory=dict)

    requests: list[Asked] = field(factory=list)
    gone: set[Flow] = field(factory=set)
    kept_alive: list[Flow] = field(factory=list)

    def request(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Items = (),
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
    ) -> int:
        self.tokens += 1
        asked = Asked(
            token=self.tokens,
            method=method,
            uri=str(uri),
            flow=flow,
            from_=from_,
            headers=dict(headers),
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
        )
        self.requests.append(asked)
        return self.tokens

    def keep_alive(self, flow: Flow) -> bool:
        self.kept_alive.append(flow)
        return flow not in self.gone

    def respond(self, request: Request, flow: Flow, status: int, reason: str = "", headers: Items = ()) -> None:
        self.said.append(("respond", status, *sorted(name for name, _ in headers)))

    def find(self, key: DialogKey) -> str:
        return self.found

    def accept(
        self,
        request: Request,
        flow: Flow,
        tcp_above: int = 0,
        tls: TlsTerms = ANY_PEER,
        besides: Besides = NOTHING_BESIDES,
    ) -> str | None:
        return None if self.merged else f"usage of {request.call_id}"

    def ring(self, usage: str, status: int = 180, body: bytes = b"") -> None:
        self.said.append(("ring", status, *_lines(body, "m=", "o=")) if body else ("ring",))

    def answer(self, usage: str, body: bytes, headers: Items = ()) -> None:
        self.said.append(("answer", *_lines(body, "m=", "o=")))

    def reject(self, usage: str, status: int, reason: str = "", headers: Items = ()) -> None:
        self.said.append(("reject", status, *sorted(name for name, _ in headers)))

    def bye(self, usage: str, headers: Items = ()) -> None:
        self.said.append(("bye", *(value for _, value in headers)))

    def invite(
        self,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Items = (),
        body: bytes = b"",
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
        besides: Besides = NOTHING_BESIDES,
    ) -> str:
        usage = f"usage {len(self.invites) + 1}"
        self.invites.append(
            Invite(
                usage=usage,
                uri=uri,
                flow=flow,
                from_=from_,
                to=to,
                headers=dict(headers),
                body=body,
                credentials=credentials,
                call_id=call_id,
                sequence=sequence,
            )
        )
        self.sequences[usage] = sequence
        self.said.append(("invite", str(uri), flow.remote))
        return usage

    def sequence(self, usage: str) -> int:
        return self.sequences.get(usage, 0)

    def cancel(self, usage: str, headers: Items = ()) -> None:
        self.said.append(("cancel", *(value for _, value in headers)))

    def ack(self, usage: str, body: bytes) -> None:
        self.said.append(("ack", *_lines(body, "m=")))

    def reinvite(self, usage: str, body: bytes, headers: Items = ()) -> None:
        self.said.append(("reinvite", *_lines(body, "a=send", "a=recv", "a=inactive")))

    def glare_delay(self, usage: str) -> float:
        return 2.5

    def request_in(
        self, usage: str, method: str, headers: Items = (), body: bytes = b"", content_type: str = ""
    ) -> int:
        self.tokens += 1
        self.said.append((method, *(name for name, _ in headers)))
        return self.tokens

    def respond_in(self, token: int, status: int, reason: str = "", headers: Items = (), body: bytes = b"") -> None:
        self.said.append(("respond_in", status, *(name for name, _ in headers), *_lines(body, "m=")))

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        ways = self.ways.get(uri.host, ()) if isinstance(uri, SipUri) else ()
        return succeed(ways) if ways else fail(NoWay(f"{uri} leads nowhere"))

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        if way in self.closed:
            return fail(NoWay(f"{way} cannot be opened"))
        name = "six" if ":" in way.host else "udp"
        return succeed(Flow(1, way.transport, name, ("203.0.113.10", 5060), (way.host, way.port), way.tls))

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None:
        self.failed.append(way)

    def set_available(self, available: bool) -> None:
        self.said.append(("available", available))

    def ladder(self, call_id: str) -> tuple[str, ...]:
        return ("the ladder",)


def _lines(body: bytes, *prefixes: str) -> list[str]:
    return [line for line in body.decode().split("\r\n") if line.startswith(prefixes)]
