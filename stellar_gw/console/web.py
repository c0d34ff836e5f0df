"""The HTTP server itself: what bounds a request and a connection, and what every answer carries.

A connection that has finished no request for 75 s is cut, whether it is idle or slow; there are at most 100, and
a body has at most 64 KiB. No answer holds a traceback, and none is kept or shown in a frame.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

MAX_BODY: Final = 65536
"""Octets."""
MOST_CONNECTIONS: Final = 100
PATIENCE: Final = 75.0
"""Seconds for one request, and between two: longer than Prometheus' usual interval."""

SECURITY_HEADERS: Final = (
    (b"server", b"stellar-gw"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_TOO_LONG: Final = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_log = Logger()


class BoundedRequest(Request):
    """A request whose body is bounded, whatever length it announces or does not."""

    def __init__(self, channel: HTTPChannel, *args: Any, **keywords: Any) -> None:
        Request.__init__(self, channel, *args, **keywords)
        self._octets = 0
        self._refused = False

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > MAX_BODY:
            self._refuse()
        Request.gotLength(self, min(length, MAX_BODY) if length is not None else None)

    def handleContentChunk(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MAX_BODY:
            self._refuse()
        if not self._refused:
            Request.handleContentChunk(self, data)

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            transport: Any = self.channel.transport
            transport.write(_TOO_LONG)
            transport.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            return
        connection: Any = self.channel.transport
        if isinstance(connection, _Connection):
            connection.progressed()
        Request.requestReceived(self, command, path, version)

    def write(self, data: bytes) -> None:
        if not self.startedWriting:
            for name, value in SECURITY_HEADERS:
                self.responseHeaders.setRawHeaders(name, [value])
        Request.write(self, data)

    def processingFailed(self, reason: Failure) -> Failure:
        _log.failure("{path} failed", reason, path=self.path.decode("ascii", "replace"))
        if self.startedWriting:
            channel: Any = self.channel
            if channel is not None:
                channel.loseConnection()
        else:
            answer_json(self, 500, {"message": "internal error; the log of the gateway has it whole"})
        return reason


def answer_json(request: Request, status: int, body: object) -> None:
    """Answer a request, and finish it."""
    answer(request, status, "application/json", msgspec.json.encode(body))


def answer(request: Request, status: int, content_type: str, body: bytes) -> None:
    """Answer a request, and finish it; nothing where the asker has left."""
    channel: Any = request.channel
    if channel is None:
        return
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type.encode("ascii"))
    request.setHeader(b"content-length", b"%d" % len(body))
    if request.method != b"HEAD":
        request.write(body)
    request.finish()


@implementer(IResource)
class Page:
    """A page with nothing below it; it answers GET, and what else it says."""

    isLeaf = True
    methods: tuple[bytes, ...] = (b"GET", b"HEAD")

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        return NOT_FOUND

    def putChild(self, path: bytes, child: IResource) -> None:
        raise TypeError("a page has nothing below it")

    def render(self, request: Request) -> int:
        if request.method in self.methods:
            self.show(request)
        else:
            request.setHeader(b"allow", b", ".join(self.methods))
            answer_json(request, 405, {"message": "method not allowed"})
        return NOT_DONE_YET

    def show(self, request: Request) -> None:
        """Answer it, now or later."""
        raise NotImplementedError


class _NotFound(Page):
    def render(self, request: Request) -> int:
        answer_json(request, 404, {"message": "not found"})
        return NOT_DONE_YET


NOT_FOUND: Final = _NotFound()


class Root(_NotFound):
    """Pages by the first part of their path; those of ``bare`` have no path beyond."""

    isLeaf = False

    def __init__(self, pages: dict[str, Page], bare: Collection[str]) -> None:
        self._pages, self._bare = pages, bare

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        known = name.decode("ascii", "replace")
        if known in self._bare and request.postpath:
            return NOT_FOUND
        return self._pages.get(known, NOT_FOUND)


class _Site(Site):
    """Twisted's, without its access log: that has a line for each scrape, and a timer that never rests."""

    noisy = False

    def startFactory(self) -> None: ...

    def stopFactory(self) -> None: ...

    def log(self, request: HttpRequest) -> None:
        _log.debug(
            "http: {method} {path} {status}",
            method=request.method.decode("ascii", "replace")[:20],
            path=request.path.decode("ascii", "replace")[:200],
            status=request.code,
        )


class _Connection(ProtocolWrapper):
    """A connection that is cut when it finishes nothing for too long."""

    def makeConnection(self, transport: Any) -> None:
        self._late: IDelayedCall = self.factory.reactor.callLater(PATIENCE, transport.abortConnection)
        ProtocolWrapper.makeConnection(self, transport)

    def progressed(self) -> None:
        """A request has come whole."""
        if self._late.active():
            self._late.reset(PATIENCE)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's wrapper has no default
        if self._late.active():
            self._late.cancel()
        ProtocolWrapper.connectionLost(self, reason)


class _Connections(WrappingFactory[_Connection]):
    """The connections that there are."""

    protocol = _Connection
    noisy = False

    def __init__(self, site: Site, reactor: Any) -> None:
        self.reactor = reactor
        untyped: Any = WrappingFactory
        untyped.__init__(self, site)


class BoundedSite(Factory):
    """The factory to listen with.

    :param reactor: IReactorTime.
    """

    noisy = False

    def __init__(self, root: Root, reactor: Any) -> None:
        make: Any = _Site
        site: Site = make(root, requestFactory=BoundedRequest, reactor=reactor, timeout=PATIENCE)
        self._connections: Any = _Connections(site, reactor)

    def startFactory(self) -> None:
        self._connections.doStart()

    def stopFactory(self) -> None:
        self._connections.doStop()

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:
        if len(self._connections.protocols) >= MOST_CONNECTIONS:
            return None
        connection: ProtocolWrapper = self._connections.buildProtocol(addr)
        return connection

    def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._connections.protocols):
            connection.transport.abortConnection()
