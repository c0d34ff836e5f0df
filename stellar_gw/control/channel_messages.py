"""The channel itself: who speaks, is it alive, what does it carry."""

from __future__ import annotations

from stellar_gw.control.envelope import Message, Reply, Request


class Hello(Message, frozen=True, kw_only=True):
    """The worker's first frame."""

    version: int
    worker: int
    generation: int
    pid: int


class Configure(Request, frozen=True, kw_only=True):
    """The gateway's first request: what the worker owns. Answered by :class:`Done`.

    :ivar bind: what RTP sockets are bound to: one address, or one of each IP version, the usual one first.
    :ivar no_media: seconds without RTP and RTCP after which a leg is :class:`MediaLost`.
    :ivar no_media_on_hold: the same while the peer need not send.
    :ivar fast_path: the socket of the helper that has the kernel pass bridged packets on; empty for none.
    """

    bind: tuple[str, ...]
    ports: tuple[int, int]
    dscp: int = 46
    quarantine: float = 5.0
    recordings: str = ""
    no_media: float = 30.0
    no_media_on_hold: float = 3600.0
    fast_path: str = ""


class Ping(Request, frozen=True, kw_only=True):
    """Answered by :class:`Pong` in time (``PoolSettings.ping_timeout``), or the worker is taken for dead."""


class ListCalls(Request, frozen=True, kw_only=True):
    """What do you carry? Answered by :class:`Listing`, at most 256 calls a page."""

    after: str = ""


class Drain(Request, frozen=True, kw_only=True):
    """Take no new calls; exit once the last has ended."""


class Done(Reply, frozen=True, kw_only=True):
    pass


class Pong(Reply, frozen=True, kw_only=True):
    """A worker lives, and has done so much since it was started.

    :ivar at: seconds of its own clock, which never runs backwards.
    :ivar worked: seconds of processor time of its loop.
    :ivar turns: of its pacer, of 5 ms each; none pass while there is nobody to send to.
    :ivar late: turns that came a whole turn late or more, but were made up for.
    :ivar skipped: frames, over all calls, that were too late to be made up for.
    """

    at: float
    worked: float
    turns: int
    late: int
    skipped: int


class Failed(Reply, frozen=True, kw_only=True):
    """The request was refused; nothing has changed.

    :ivar code: ``no_ports``, ``no_descriptors``, ``unknown_call``, ``bad_request``, ``draining`` or ``internal``.
    """

    code: str
    message: str


class Listing(Reply, frozen=True, kw_only=True):
    calls: tuple[str, ...]
    more: bool = False
