"""What can become of a worker and of what was asked of it, in terms that a call can act on."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.errors import StellarError


class WorkerFailed(StellarError):
    """A command to a media worker was not carried out.

    :ivar code: a code of :class:`~stellar_gw.control.messages.Failed` (``no_ports``, ``unknown_call``,
        ``bad_request``, ``draining``, ``internal``), or the pool's own: ``no_worker`` (none is up),
        ``worker_lost`` (it died before it answered) or ``timeout``.
    :ivar message: one line for the operator; no secret.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@frozen(kw_only=True)
class WorkerLost:
    """A worker is gone, and the media of its calls with it. Told like an event, once for each loss.

    :ivar calls: what it carried; nothing of these is left to release.
    :ivar reason: one line for the operator.
    """

    worker: int
    generation: int
    calls: tuple[str, ...]
    reason: str
