"""Open the listeners of a configuration, all or none, and say in words what stands in the way."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort, IReactorSocket

from stellar_gw.config import ListenerConfig
from stellar_gw.errors import ConfigError
from stellar_gw.net.flows import Flows, NetReactor
from stellar_gw.net.tls import Identity, ServerTls, TlsError
from stellar_gw.sip.flow import Listener, address_text

MAX_DATAGRAM = 65535
"""Octets; Twisted cuts at 8192 without a word unless told otherwise."""
BACKLOG = 512


class ListenReactor(NetReactor, IReactorSocket):
    """What a reactor must be able to do here."""


class _Stoppable(Protocol):
    def stopListening(self) -> Deferred[None] | None: ...


@frozen
class Listening:
    """The open listeners.

    :ivar listeners: by name, with the addresses really bound and advertised (port 0 filled in).
    """

    listeners: dict[str, Listener]
    _ports: tuple[IListeningPort, ...]

    def stop(self) -> Deferred[None]:
        """Take nothing new; connections that are up stay."""
        stopping = [port.stopListening() for port in self._ports]
        done: Deferred[None] = DeferredList([each for each in stopping if each is not None]).addCallback(lambda _: None)
        return done


def listen(reactor: ListenReactor, flows: Flows, configs: Iterable[ListenerConfig]) -> Listening:
    """Bind every listener, then read from all of them.

    :raise ConfigError: one problem for each listener that cannot be; then none is open.
    """
    bound: list[tuple[ListenerConfig, socket.socket, ServerTls | None]] = []
    problems = []
    try:
        for config in configs:
            try:
                bound.append((config, *_bound(reactor, config)))
            except OSError as error:
                problems.append(f"{config.where}: listeners.{config.name}: {_in_words(config, error)}")
            except TlsError as error:
                problems.append(f"{config.where}: listeners.{config.name}: {error}")
        if problems:
            raise ConfigError(*problems)
        opened = [_opened(reactor, flows, *each) for each in bound]
    finally:
        # The reactor has copies of its own.
        for _, sock, _ in bound:
            sock.close()
    return Listening({listener.name: listener for listener, _ in opened}, tuple(port for _, port in opened))


def _bound(reactor: ListenReactor, config: ListenerConfig) -> tuple[socket.socket, ServerTls | None]:
    tls = None
    if config.transport == "tls":
        tls = ServerTls(Identity(certificate=config.certificate, key=config.key), reactor.seconds, config.client_ca)
    host = config.bind[0]
    six = ":" in host
    kind = socket.SOCK_DGRAM if config.transport == "udp" else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        if six:
            # One listener, one family: an address that is advertised to IPv6 peers is of no use to others.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # After a restart old connections may linger. Over UDP the option would let two programs share a port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(config.bind)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, tls


def _opened(
    reactor: ListenReactor, flows: Flows, config: ListenerConfig, sock: socket.socket, tls: ServerTls | None
) -> tuple[Listener, IListeningPort]:
    listener = config.listener(sock.getsockname()[:2])
    if config.transport == "udp":
        port = reactor.adoptDatagramPort(sock.fileno(), sock.family, flows.udp(listener), MAX_DATAGRAM)
    else:
        port = reactor.adoptStreamPort(sock.fileno(), sock.family, flows.stream_factory(listener, tls))
    return listener, port


def _in_words(config: ListenerConfig, error: OSError) -> str:
    host, port = config.bind
    what = f"{port}/{'udp' if config.transport == 'udp' else 'tcp'}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{what} on {host} is in use by another program (a second gateway? another SIP server?); "
            f"`ss -lnp 'sport = :{port}'` names it. Stop it, or bind another address or port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this host; bind one that `ip address` shows, or 0.0.0.0 with an advertise"
    if error.errno == errno.EACCES:
        return f"{what} needs a privilege (below 1024); bind a port above, or grant CAP_NET_BIND_SERVICE to the unit"
    if error.errno == errno.EAFNOSUPPORT:
        return f"{host}: this host has no {'IPv6' if ':' in host else 'IPv4'}"
    return f"cannot bind {address_text(config.bind)}: {error.strerror or error}"
