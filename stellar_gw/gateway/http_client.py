"""One kind of HTTP request: a form, POSTed within a time limit, and an answer that is bounded; no redirects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionRefusedError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from stellar_gw import __version__
from stellar_gw.errors import StellarError
from stellar_gw.net.resolver import Unresolvable

MAX_ANSWER: Final = 65536
"""Octets of an answer's body."""
MOST_ADDRESSES: Final = 4
"""Of one host, tried one after the other."""

Addresses = Callable[[str], "Deferred[tuple[str, ...]]"]
"""A host's numeric addresses, as :meth:`stellar_gw.net.resolver.Resolver.addresses` finds them."""


class HttpFailed(StellarError):
    """No answer, or none that can be used.

    :ivar code: as of :class:`stellar_gw.control.messages.AgentFailed`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@frozen
class HttpAnswer:
    status: int
    body: bytes


class HttpClient:
    """
    :param reactor: IReactorTCP and IReactorTime.
    :param policy: whose certificates are believed; by default the system's authorities.
    """

    def __init__(self, reactor: Any, addresses: Addresses, policy: BrowserLikePolicyForHTTPS | None = None) -> None:
        self._reactor = reactor
        endpoints = _Endpoints(reactor, addresses, policy or BrowserLikePolicyForHTTPS())
        self._agent = Agent.usingEndpointFactory(reactor, endpoints)

    def post(self, url: str, headers: Iterable[tuple[str, str]], body: bytes, timeout: float) -> Deferred[HttpAnswer]:
        """
        :param timeout: seconds over everything: name, connection, TLS, request and answer.
        :return: fires with the answer of whatever status, or fails with :class:`HttpFailed`.
        """
        try:
            origin = shown_origin(url)
            asked = Deferred.fromCoroutine(self._post(url.encode("ascii"), headers, body))
        except ValueError:
            raise HttpFailed("invalid_url", "the URL holds what no URL can") from None
        asked.addTimeout(timeout, self._reactor, lambda _, seconds: _timed_out(origin, seconds))
        return asked.addErrback(lambda failure: _explain(origin, failure))

    async def _post(self, url: bytes, headers: Iterable[tuple[str, str]], body: bytes) -> HttpAnswer:
        fields = Headers({"User-Agent": [f"stellar-gw/{__version__}"]})
        for name, value in headers:
            fields.setRawHeaders(name, [value])
        fields.setRawHeaders("Content-Type", ["application/x-www-form-urlencoded"])
        fields.setRawHeaders("Connection", ["close"])
        response: IResponse = await self._agent.request(b"POST", url, fields, _Body(body))
        reader = _Reader()
        response.deliverBody(reader)
        return HttpAnswer(response.code, await reader.done)


def shown_origin(url: str) -> str:
    """Scheme, host and port: path and query may hold secrets.

    :raise ValueError: if the URL has no usable host or port.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or "@" in parts.netloc:
        raise ValueError("no usable host")
    return f"{parts.scheme}://{parts.netloc}"


@implementer(IBodyProducer)
class _Body:
    """A request's body that is there already."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._octets)
        return succeed(None)

    def stopProducing(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


class _Reader(Protocol):
    """Gathers an answer's body; one that is too long is cut off with its connection."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(self._stop)
        self._parts: list[bytes] = []
        self._octets = 0

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MAX_ANSWER:
            self._fail(HttpFailed("oversize", f"the answer is longer than {MAX_ANSWER} octets"))
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        kind = reason.type.__name__ if reason.type is not None else ""
        # An answer without a length ends with its connection (RFC 9112 6.3); a shorter one than announced does not.
        if kind in ("ResponseDone", "PotentialDataLoss"):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)

    def _fail(self, error: HttpFailed) -> None:
        if not self.done.called:
            self.done.errback(error)
            self._stop(self.done)

    def _stop(self, _: Deferred[bytes]) -> None:
        self._parts.clear()
        if self.transport is not None:
            # Twisted gives a body's reader no more of the transport than this.
            self.transport.loseConnection()


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Endpoints that look names up without threads: those write our records."""

    def __init__(self, reactor: Any, addresses: Addresses, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor, self._addresses, self._policy = reactor, addresses, policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = _Endpoint(self._reactor, self._addresses, uri.host.decode("ascii"), uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return endpoint


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """One host by its addresses, in order."""

    def __init__(self, reactor: Any, addresses: Addresses, host: str, port: int) -> None:
        self._reactor, self._addresses, self._host, self._port = reactor, addresses, host, port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803  # the interface's name
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        refused: Exception = ConnectError("no address")
        for address in (await self._addresses(self._host))[:MOST_ADDRESSES]:
            kind = TCP6ClientEndpoint if ip_address(address).version == 6 else TCP4ClientEndpoint
            try:
                protocol: IProtocol = await kind(self._reactor, address, self._port).connect(factory)
            except ConnectError as error:
                refused = error
            else:
                return protocol
        raise refused


def _timed_out(origin: str, seconds: float) -> Any:
    raise HttpFailed("timeout", f"{origin} did not answer within {seconds:.3g} s")


def _explain(origin: str, failure: Failure) -> Failure:
    """Every failure as one line that says what to do."""
    error = failure.value
    if isinstance(error, ResponseFailed) and error.reasons:
        error = error.reasons[-1].value
    if isinstance(error, HttpFailed):
        return failure
    if isinstance(error, CancelledError):  # by who asked: our own timer has said so above
        return Failure(error)
    return Failure(_failed(origin, error))


def _failed(origin: str, error: BaseException | None) -> HttpFailed:
    match error:
        case Unresolvable() | DNSLookupError():
            return HttpFailed("dns", f"{origin}: {error}")
        case SSL.Error() | VerificationError():
            return HttpFailed("tls", f"{origin}: TLS failed, or the certificate is not accepted")
        case ConnectionRefusedError():
            return HttpFailed("refused", f"{origin} refused the connection; is it running there?")
        case ConnectTimeout():
            return HttpFailed("timeout", f"{origin} did not answer in time")
        case ConnectError():
            return HttpFailed("refused", f"{origin} cannot be reached")
        case ConnectionClosed():
            return HttpFailed("lost", f"{origin} cut the connection before it had answered")
        case ValueError():
            return HttpFailed("invalid_url", f"{origin}: the URL holds what no URL can")
        case _:
            return HttpFailed("protocol", f"{origin} gave no usable answer ({type(error).__name__})")
