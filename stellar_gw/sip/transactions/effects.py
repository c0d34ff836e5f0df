"""What a transaction's table asks for; the layer carries it out after the table has turned."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.sip.message import Request, Response


@frozen
class Send:
    """Put these octets on the transaction's flow."""

    data: bytes


@frozen
class Start:
    """Start a timer, ``timer_a`` and so on: the name of the input it causes. One that runs begins anew."""

    timer: str
    delay: float


@frozen
class Stop:
    """Stop a timer; fine if it does not run."""

    timer: str


@frozen
class Deliver:
    """Give a response (client) or an ACK (server) to the transaction user."""

    message: Request | Response


@frozen
class TimedOut:
    """Tell the transaction user that nobody answered (a 408 of our own, RFC 3261 8.1.3.1), or acknowledged."""


@frozen
class TransportFailed:
    """Tell the transaction user that there is no way to the peer (503, RFC 3261 8.1.3.1)."""


@frozen
class Terminated:
    """Forget the transaction."""


Effect = Send | Start | Stop | Deliver | TimedOut | TransportFailed | Terminated
TIMED_OUT = TimedOut()
TRANSPORT_FAILED = TransportFailed()
TERMINATED = Terminated()
