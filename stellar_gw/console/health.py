"""Whether the gateway lives, whether it takes calls, and what it counts."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.server import Request

from stellar_gw.console.web import Page, answer, answer_json
from stellar_gw.gateway.metrics import CONTENT_TYPE, Metrics, Sight


class Health(Page):
    """``/healthz``: the process turns, or nobody would answer."""

    def show(self, request: Request) -> None:
        answer_json(request, 200, {"status": "ok"})


class Readiness(Page):
    """``/readyz``: 200 if calls are taken.

    :param calls: how many are up.
    """

    def __init__(self, sight: Sight, calls: Callable[[], int]) -> None:
        self._sight, self._calls = sight, calls

    def show(self, request: Request) -> None:
        reasons = not_ready(self._sight)
        workers = self._sight.workers()
        answer_json(
            request,
            503 if reasons else 200,
            {
                "status": "not ready" if reasons else "ready",
                "reasons": reasons,
                "calls": self._calls(),
                "workers": {"wanted": len(workers), "up": sum(each.up for each in workers)},
            },
        )


def not_ready(sight: Sight) -> list[str]:
    """Why no calls should be sent here; empty where all is well."""
    reasons = []
    if sight.draining():
        reasons.append("the gateway is draining")
    up = [each for each in sight.workers() if each.up]
    if not up:
        reasons.append("no media worker is up")
    elif all(each.load.overloaded for each in up):
        reasons.append("every media worker has all that it can carry")
    reasons += [f"{each.path.name} cannot be written: {each.failing}" for each in sight.journals if each.failing]
    return reasons


class MetricsPage(Page):
    """``/metrics``, for Prometheus."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def show(self, request: Request) -> None:
        answer(request, 200, CONTENT_TYPE, self._metrics.render())
