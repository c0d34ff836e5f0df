"""What Prometheus is told: call events, what workers say of agents, and a look at the moment of asking.

The registry is our own. What outsiders can choose never becomes a label: tenants, connectors and agents come from
the configuration, causes and codes from us, and each label has a most of values beyond which all others are
``other``. Times are seconds of a clock that nobody sets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stellar_gw import __version__
from stellar_gw.call.events import (
    AuthenticationFailed,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRefused,
    CallStarted,
    TrunkChanged,
)
from stellar_gw.call.ports import WorkerLost
from stellar_gw.call.record import CallRecord
from stellar_gw.control.messages import AgentFailed, AgentReady, AgentTurned
from stellar_gw.control.messages import Event as MediaEvent
from stellar_gw.gateway.journal import Journal
from stellar_gw.gateway.pool import WorkerDescription

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
OTHER: Final = "other"
MOST_NAMES: Final = 200
"""Values of one label that come from the configuration."""
MOST_WORDS: Final = 100
"""Values of one label that are words of ours."""
MOST_CALLS: Final = 20_000
"""Calls whose beginning is remembered; the oldest is forgotten first."""

SETUP_BUCKETS: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
CONNECT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 3.0)
TURN_BUCKETS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
DURATION_BUCKETS: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
LOSS_BUCKETS: Final = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
ROUND_TRIP_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
JITTER_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)


@define
class Bounded:
    """The values of one label; the first ones keep their names, all beyond ``most`` are ``other``."""

    most: int
    _known: set[str] = field(factory=set, init=False)

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self.most:
            return OTHER
        self._known.add(value)
        return value


@frozen(kw_only=True)
class Sight:
    """What is looked at when somebody asks.

    :ivar draining: whether new calls are refused because the gateway ends.
    """

    workers: Callable[[], Sequence[WorkerDescription]]
    journals: Sequence[Journal]
    draining: Callable[[], bool]


class Metrics:
    """
    :param now: seconds that never run backwards.
    """

    def __init__(self, now: Callable[[], float], sight: Sight) -> None:
        self._now = now
        self.registry = registry = CollectorRegistry()
        self._names = {label: Bounded(MOST_NAMES) for label in ("tenant", "connector", "agent", "trunk")}
        self._words = {label: Bounded(MOST_WORDS) for label in ("cause", "check", "code")}
        self._started: OrderedDict[str, tuple[float, dict[str, str]]] = OrderedDict()
        self._agents: OrderedDict[str, dict[str, str]] = OrderedDict()
        whose = ("tenant", "connector")
        self._up = Gauge("stellar_gw_calls_up", "Calls admitted and not ended.", whose, registry=registry)
        self._calls = Counter("stellar_gw_calls_started", "Calls admitted.", whose, registry=registry)
        self._ended = Counter("stellar_gw_calls_ended", "Calls ended, by cause.", (*whose, "cause"), registry=registry)
        self._setup = Histogram(
            "stellar_gw_call_setup_seconds",
            "From the admission of a call to our 200.",
            ("tenant",),
            buckets=SETUP_BUCKETS,
            registry=registry,
        )
        self._duration = Histogram(
            "stellar_gw_call_duration_seconds",
            "Of answered calls.",
            ("tenant",),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._transfers = Counter(
            "stellar_gw_transfers",
            "Transfers of ended calls, by how they were tried last and what they came to.",
            ("tenant", "method", "result", "code"),
            registry=registry,
        )
        self._refusals = Counter(
            "stellar_gw_refusals", "Requests and calls refused, by what failed.", ("check",), registry=registry
        )
        self._authentication = Counter(
            "stellar_gw_authentication_failures", "Failed digests that count.", registry=registry
        )
        self._bans = Counter("stellar_gw_bans", "Sources banned for failed digests.", registry=registry)
        self._trunks = Gauge(
            "stellar_gw_trunk_up",
            "Whether a trunk has us registered (registration), or answers OPTIONS (probe).",
            ("trunk", "what"),
            registry=registry,
        )
        self._fallbacks = Counter(
            "stellar_gw_fallbacks",
            "Callers without an agent who were transferred or played a file, or for whom that failed.",
            (*whose, "outcome"),
            registry=registry,
        )
        self._make_agent_metrics()
        self._make_media_metrics()
        registry.register(_Looked(sight))
        ProcessCollector(namespace="stellar_gw", registry=registry)

    def _make_agent_metrics(self) -> None:
        registry, whose = self.registry, ("tenant", "agent")
        self._connect = Histogram(
            "stellar_gw_agent_connect_seconds",
            "From the start of a connection to an agent to its opening messages.",
            whose,
            buckets=CONNECT_BUCKETS,
            registry=registry,
        )
        self._agent_failures = Counter(
            "stellar_gw_agent_failures",
            "Agents that were not there (established no), or were lost (yes).",
            (*whose, "code", "established"),
            registry=registry,
        )
        self._reconnects = Counter(
            "stellar_gw_agent_reconnects",
            "Agents lost in mid-call and connected anew: resumed, or failed.",
            (*whose, "outcome"),
            registry=registry,
        )
        self._malformed = Counter(
            "stellar_gw_agent_malformed_messages",
            "Messages of agents that did not follow their dialect, or told of an error; of ended calls.",
            whose,
            registry=registry,
        )
        self._turns = Histogram(
            "stellar_gw_agent_turn_seconds",
            "From the end of the caller's speech to the agent's first audio on the wire.",
            whose,
            buckets=TURN_BUCKETS,
            registry=registry,
        )

        self._barge_ins = Counter(
            "stellar_gw_agent_barge_ins", "Times that callers interrupted an agent.", whose, registry=registry
        )
        self._spoken = Counter(
            "stellar_gw_conversation_seconds",
            "Of ended calls, by who spoke; the sum is how long agents heard their callers.",
            (*whose, "who"),
            registry=registry,
        )

    def _make_media_metrics(self) -> None:
        registry = self.registry
        self._loss = Histogram(
            "stellar_gw_rtp_loss_ratio",
            "Share of RTP packets lost over a whole leg; sent: by the peer's last report.",
            ("direction",),
            buckets=LOSS_BUCKETS,
            registry=registry,
        )
        self._jitter = Histogram(
            "stellar_gw_rtp_jitter_seconds",
            "Interarrival jitter of a leg at its end (RFC 3550 A.8).",
            buckets=JITTER_BUCKETS,
            registry=registry,
        )
        self._round_trip = Histogram(
            "stellar_gw_rtp_round_trip_seconds",
            "Between us and the peer of a leg, by its last report (RFC 3550 6.4.1).",
            buckets=ROUND_TRIP_BUCKETS,
            registry=registry,
        )
        self._packets = Counter(
            "stellar_gw_rtp_packets", "RTP packets of ended legs.", ("direction",), registry=registry
        )
        self._unauthentic = Counter(
            "stellar_gw_srtp_unauthenticated_packets", "Packets that SRTP refused, of ended legs.", registry=registry
        )

    # --- what it is told ------------------------------------------------------------------------

    def tell(self, event: CallEvent) -> None:
        """Count one call event."""
        match event:
            case CallStarted(record):
                self._begin(record)
            case CallAnswered(record):
                begun = self._started.get(record.call_id)
                if begun is not None:
                    self._setup.labels(tenant=begun[1]["tenant"]).observe(self._now() - begun[0])
            case CallEnded(record):
                self._end(record)
            case CallRefused(record):
                self._refusals.labels(check=self._words["check"](_word(record.check))).inc()
            case TrunkChanged(trunk, what, up):
                self._trunks.labels(trunk=self._names["trunk"](trunk), what=what).set(up)
            case AuthenticationFailed():
                self._authentication.inc()
                if event.banned:
                    self._bans.inc()
            case _:
                pass

    def heard(self, event: MediaEvent | WorkerLost) -> None:
        """Count what a worker says of agents."""
        match event:
            case AgentReady(call=call, connect_ms=milliseconds):
                if (agent := self._agents.get(call)) is not None:
                    self._connect.labels(**agent).observe(milliseconds / 1000)
            case AgentFailed(call=call, code=code, established=established):
                if (agent := self._agents.get(call)) is not None:
                    word = self._words["code"](_word(code))
                    self._agent_failures.labels(**agent, code=word, established="yes" if established else "no").inc()
            case AgentTurned(call=call, wait_ms=milliseconds):
                if (agent := self._agents.get(call)) is not None:
                    self._turns.labels(**agent).observe(milliseconds / 1000)
            case _:
                pass

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(_Lean(self.registry))

    def _begin(self, record: CallRecord) -> None:
        names = self._names
        whose = {"tenant": names["tenant"](record.tenant), "connector": names["connector"](record.connector)}
        self._started[record.call_id] = (self._now(), whose)
        self._agents[record.call_id] = {"tenant": whose["tenant"], "agent": names["agent"](record.agent)}
        for remembered in (self._started, self._agents):
            if len(remembered) > MOST_CALLS:
                remembered.popitem(last=False)
        self._calls.labels(**whose).inc()
        self._up.labels(**whose).inc()

    def _end(self, record: CallRecord) -> None:
        agent = self._agents.pop(record.call_id, None)
        if agent is not None:
            self._reconnected(agent, record)
            if record.conversation is not None:
                self._conversation(agent, record.conversation)
        begun = self._started.pop(record.call_id, None)
        if begun is None:
            return
        whose = begun[1]
        self._up.labels(**whose).dec()
        self._ended.labels(**whose, cause=self._words["cause"](_word(record.cause))).inc()
        if record.answered is not None:
            self._duration.labels(tenant=whose["tenant"]).observe(record.duration)
        if record.fallback is not None:
            self._fallbacks.labels(**whose, outcome=record.fallback["outcome"] or "cut_short").inc()
        for leg in record.legs:
            self._leg(leg)
        for transfer in record.transfers:
            self._transfer(whose["tenant"], transfer)

    def _transfer(self, tenant: str, transfer: dict[str, Any]) -> None:
        method = transfer["attempts"][-1]["method"] if transfer["attempts"] else ""
        code = self._words["code"](_word(transfer["code"] or ""))
        self._transfers.labels(tenant=tenant, method=method, result=transfer["result"], code=code).inc()

    def _reconnected(self, agent: dict[str, str], record: CallRecord) -> None:
        for link in record.agent_links[1:]:
            outcome = "resumed" if link["connect_ms"] is not None else "failed" if link["failure"] else "cut_short"
            self._reconnects.labels(**agent, outcome=outcome).inc()

    def _conversation(self, agent: dict[str, str], said: dict[str, Any]) -> None:
        self._barge_ins.labels(**agent).inc(said["barge_ins"])
        self._malformed.labels(**agent).inc(said["malformed"])
        heard, caller, other, both = (said[f"{name}_ms"] / 1000 for name in ("heard", "caller", "agent", "both"))
        spoke = {"caller": caller - both, "agent": other - both, "both": both}
        spoke["nobody"] = heard - sum(spoke.values())
        for who, seconds in spoke.items():
            self._spoken.labels(**agent, who=who).inc(max(0.0, seconds))

    def _leg(self, leg: dict[str, Any]) -> None:
        received, lost, sent = (
            int(leg.get(name) or 0) for name in ("packets_received", "packets_lost", "packets_sent")
        )
        self._packets.labels(direction="received").inc(received)
        self._packets.labels(direction="sent").inc(sent)
        self._unauthentic.inc(int(leg.get("packets_unauthenticated") or 0))
        if received:
            self._loss.labels(direction="received").observe(max(0, lost) / (received + max(0, lost)))
            self._jitter.observe(float(leg.get("jitter_ms") or 0.0) / 1000)
        if sent and leg.get("round_trip_ms") is not None:
            self._round_trip.observe(float(leg["round_trip_ms"]) / 1000)
            self._loss.labels(direction="sent").observe(float(leg.get("remote_loss") or 0.0))


class _Looked(Collector):
    """What is counted elsewhere, read when it is asked for."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def collect(self) -> Iterable[Metric]:
        workers, journals = list(self._sight.workers()), self._sight.journals
        build = GaugeMetricFamily("stellar_gw_build_info", "The version that runs.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build
        yield GaugeMetricFamily(
            "stellar_gw_draining", "1 while the gateway ends and refuses calls.", value=int(self._sight.draining())
        )
        yield GaugeMetricFamily("stellar_gw_workers", "Media workers that there should be.", value=len(workers))
        yield GaugeMetricFamily(
            "stellar_gw_workers_up", "Media workers that take commands.", value=sum(each.up for each in workers)
        )
        yield CounterMetricFamily(
            "stellar_gw_workers_replaced",
            "Media workers that another took over from.",
            value=sum(each.replaced for each in workers),
        )
        carried = GaugeMetricFamily("stellar_gw_worker_calls", "Calls of each media worker.", labels=("worker",))
        for each in workers:
            carried.add_metric((str(each.worker),), each.calls)
        yield carried
        busy = GaugeMetricFamily("stellar_gw_worker_busy", "Share of its time that it works.", labels=("worker",))
        full = GaugeMetricFamily("stellar_gw_worker_overloaded", "1: it gets no new calls.", labels=("worker",))
        late = CounterMetricFamily("stellar_gw_worker_late_turns", "Turns that came late.", labels=("worker",))
        skipped = CounterMetricFamily("stellar_gw_worker_skipped_frames", "Frames never sent.", labels=("worker",))
        for each in workers:
            name = (str(each.worker),)
            busy.add_metric(name, each.load.busy)
            full.add_metric(name, int(each.load.overloaded))
            late.add_metric(name, each.load.late_turns)
            skipped.add_metric(name, each.load.skipped)
        yield from (busy, full, late, skipped)
        failing = GaugeMetricFamily("stellar_gw_journal_failing", "1: records cannot be written.", labels=("journal",))
        waiting = GaugeMetricFamily("stellar_gw_journal_waiting", "Records not on disk yet.", labels=("journal",))
        lost = CounterMetricFamily("stellar_gw_journal_lost", "Records that had no room left.", labels=("journal",))
        for journal in journals:
            name = (journal.path.stem,)
            failing.add_metric(name, int(bool(journal.failing)))
            waiting.add_metric(name, len(journal))
            lost.add_metric(name, journal.lost)
        yield from (failing, waiting, lost)


class _Lean(Collector):
    """A registry without the ``_created`` series, which would be one more for each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            if metric.samples or metric.type != "gauge" or not metric.name.endswith("_created"):
                yield metric


def _word(text: str) -> str:
    """A cause or code as it is, where it is a word of ours; a peer chooses among 4,000 close codes and 600 statuses."""
    kind, _, number = text.rpartition("_")
    if number.isdigit() and kind.removeprefix("agent_") in ("closed", "http"):
        known = 1000 <= int(number) <= 1014 if kind.endswith("closed") else int(number) in _STATUSES
        return text if known else f"{kind}_{OTHER}"
    return text


_STATUSES: Final = frozenset({301, 302, 307, 308, 400, 401, 403, 404, 426, 429, 500, 502, 503, 504})
