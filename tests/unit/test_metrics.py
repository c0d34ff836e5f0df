"""What Prometheus is told, and that dashboard and alerts speak of nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import yaml
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw import __version__
from stellar_gw.call.events import (
    AuthenticationFailed,
    CallAnswered,
    CallConfirmed,
    CallEnded,
    CallRefused,
    CallStarted,
    TrunkChanged,
)
from stellar_gw.call.record import CallRecord, RefusalRecord
from stellar_gw.control.messages import AgentFailed, AgentReady, AgentTurned
from stellar_gw.gateway.journal import Journal
from stellar_gw.gateway.metrics import MOST_NAMES, Metrics, Sight
from stellar_gw.gateway.pool import WorkerDescription
from stellar_gw.gateway.worker_load import WorkerLoad

ROOT = Path(__file__).resolve().parent.parent.parent
LEG = {"packets_received": 990, "packets_lost": 10, "packets_sent": 1000, "jitter_ms": 4.0, "remote_loss": 0.25,
       "round_trip_ms": 30.0, "packets_unauthenticated": 3}  # fmt: skip


def record(call_id: str, **fields: Any) -> CallRecord:
    texts = dict.fromkeys(
        ("sip_call_id", "environment", "version", "caller", "admitted", "source", "transport", "from_uri", "to_uri",
         "user_agent"), "x",
    )  # fmt: skip
    known = {"tenant": "acme", "connector": "front", "agent": "reception", "started": 0.0}
    return CallRecord(call_id=call_id, **{**texts, **known, **fields})


def refusal(check: str) -> CallRefused:
    texts: dict[str, Any] = dict.fromkeys(
        ("reference", "reason", "fix", "source", "transport", "method", "uri", "from_uri", "username", "sip_call_id",
         "user_agent"), "x",
    )  # fmt: skip
    return CallRefused(RefusalRecord(at=0.0, status=480, check=check, **texts))


def workers() -> list[WorkerDescription]:
    load = WorkerLoad(0.9)
    load.busy, load.overloaded, load.late_turns, load.skipped = 0.93, True, 17, 200
    one = WorkerDescription(
        worker=0, pid=1, generation=1, up=True, calls=2, ports=(10000, 10100), replaced=0, load=load
    )
    return [one, evolve(one, worker=1, pid=0, up=False, calls=0, replaced=3, load=WorkerLoad(0.9))]


class MetricsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        journal = Journal(Path("cdr.jsonl"), self.clock, execute)
        self.metrics = Metrics(self.clock.seconds, Sight(workers=workers, journals=[journal], draining=lambda: False))

    def samples(self) -> dict[str, float]:
        """Every sample but those of the process itself, as ``name{label=value,...}``."""
        found = {}
        for family in text_string_to_metric_families(self.metrics.render().decode()):
            for sample in family.samples:
                if "process" not in sample.name:
                    labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                    found[f"{sample.name}{{{labels}}}"] = sample.value
        return found

    def changed(self) -> dict[str, float]:
        """Samples that count something, without the buckets."""
        return {name: value for name, value in self.samples().items() if value and "_bucket{" not in name}

    def a_whole_life(self) -> None:
        """Of everything there is, something."""
        tell = self.metrics.tell
        first = record("c-1")
        tell(CallStarted(first))
        self.metrics.heard(AgentReady(generation=1, call="c-1", connect_ms=40.0))
        self.clock.advance(0.25)
        first.answered = 0.25
        tell(CallAnswered(first))
        tell(CallConfirmed(first))
        self.metrics.heard(AgentTurned(generation=1, call="c-1", wait_ms=700.0))
        first.conversation = {"heard_ms": 20000, "caller_ms": 6000, "agent_ms": 9000, "both_ms": 500, "barge_ins": 2,
                              "malformed": 4}  # fmt: skip
        up, gone = {"connect_ms": 40.0, "failure": "lost"}, {"connect_ms": None, "failure": "refused"}
        first.agent_links = [up, up, gone]
        first.fallback = {"outcome": "played"}
        first.cause, first.duration, first.legs = "caller_hangup", 20.0, [dict(LEG)]
        tried = [{"method": "refer"}, {"method": "invite"}]
        first.transfers = [
            {"result": "failed", "code": "busy", "attempts": tried},
            {"result": "transferred", "code": None, "attempts": tried[:1]},
        ]
        tell(CallEnded(first))
        second = record("c-2")
        tell(CallStarted(second))
        self.metrics.heard(AgentFailed(generation=1, call="c-2", code="timeout", message=""))
        second.cause = "agent_unavailable"
        tell(CallEnded(second))
        tell(CallStarted(record("c-3")))
        tell(refusal("agent_timeout"))
        tell(
            AuthenticationFailed(
                source="x", port=1, transport="udp", reason="x", sip_call_id="x", username="x", failures=9, banned=True
            )
        )


class MetricsTests(MetricsTestCase):
    def test_a_life_in_numbers(self) -> None:
        """Calls, agents, media, refusals and workers are each counted once, where they belong."""
        self.a_whole_life()
        whose, agent = "connector=front,tenant=acme", "agent=reception"
        self.assertEqual(
            self.changed(),
            {
                f"stellar_gw_build_info{{version={__version__}}}": 1.0,
                f"stellar_gw_calls_up{{{whose}}}": 1.0,
                f"stellar_gw_calls_started_total{{{whose}}}": 3.0,
                f"stellar_gw_calls_ended_total{{cause=caller_hangup,{whose}}}": 1.0,
                f"stellar_gw_calls_ended_total{{cause=agent_unavailable,{whose}}}": 1.0,
                "stellar_gw_call_setup_seconds_count{tenant=acme}": 1.0,
                "stellar_gw_call_setup_seconds_sum{tenant=acme}": 0.25,
                "stellar_gw_call_duration_seconds_count{tenant=acme}": 1.0,
                "stellar_gw_call_duration_seconds_sum{tenant=acme}": 20.0,
                "stellar_gw_transfers_total{code=,method=refer,result=transferred,tenant=acme}": 1.0,
                "stellar_gw_transfers_total{code=busy,method=invite,result=failed,tenant=acme}": 1.0,
                "stellar_gw_refusals_total{check=agent_timeout}": 1.0,
                "stellar_gw_authentication_failures_total{}": 1.0,
                "stellar_gw_bans_total{}": 1.0,
                f"stellar_gw_agent_connect_seconds_count{{{agent},tenant=acme}}": 1.0,
                f"stellar_gw_agent_connect_seconds_sum{{{agent},tenant=acme}}": 0.04,
                f"stellar_gw_agent_failures_total{{{agent},code=timeout,established=no,tenant=acme}}": 1.0,
                f"stellar_gw_agent_reconnects_total{{{agent},outcome=resumed,tenant=acme}}": 1.0,
                f"stellar_gw_agent_reconnects_total{{{agent},outcome=failed,tenant=acme}}": 1.0,
                f"stellar_gw_agent_malformed_messages_total{{{agent},tenant=acme}}": 4.0,
                "stellar_gw_fallbacks_total{connector=front,outcome=played,tenant=acme}": 1.0,
                f"stellar_gw_agent_turn_seconds_count{{{agent},tenant=acme}}": 1.0,
                f"stellar_gw_agent_turn_seconds_sum{{{agent},tenant=acme}}": 0.7,
                f"stellar_gw_agent_barge_ins_total{{{agent},tenant=acme}}": 2.0,
                f"stellar_gw_conversation_seconds_total{{{agent},tenant=acme,who=caller}}": 5.5,
                f"stellar_gw_conversation_seconds_total{{{agent},tenant=acme,who=agent}}": 8.5,
                f"stellar_gw_conversation_seconds_total{{{agent},tenant=acme,who=both}}": 0.5,
                f"stellar_gw_conversation_seconds_total{{{agent},tenant=acme,who=nobody}}": 5.5,
                "stellar_gw_rtp_round_trip_seconds_count{}": 1.0,
                "stellar_gw_rtp_round_trip_seconds_sum{}": 0.03,
                "stellar_gw_rtp_loss_ratio_count{direction=received}": 1.0,
                "stellar_gw_rtp_loss_ratio_sum{direction=received}": 0.01,
                "stellar_gw_rtp_loss_ratio_count{direction=sent}": 1.0,
                "stellar_gw_rtp_loss_ratio_sum{direction=sent}": 0.25,
                "stellar_gw_rtp_jitter_seconds_count{}": 1.0,
                "stellar_gw_rtp_jitter_seconds_sum{}": 0.004,
                "stellar_gw_rtp_packets_total{direction=received}": 990.0,
                "stellar_gw_rtp_packets_total{direction=sent}": 1000.0,
                "stellar_gw_srtp_unauthenticated_packets_total{}": 3.0,
                "stellar_gw_workers{}": 2.0,
                "stellar_gw_workers_up{}": 1.0,
                "stellar_gw_workers_replaced_total{}": 3.0,
                "stellar_gw_worker_calls{worker=0}": 2.0,
                "stellar_gw_worker_busy{worker=0}": 0.93,
                "stellar_gw_worker_overloaded{worker=0}": 1.0,
                "stellar_gw_worker_late_turns_total{worker=0}": 17.0,
                "stellar_gw_worker_skipped_frames_total{worker=0}": 200.0,
            },
        )

    def test_labels_are_bounded(self) -> None:
        """Whatever close codes agents choose and however many connectors there are, the series stay few."""
        for number in range(1000):
            call = record(f"c-{number}", connector=f"line-{number}")
            self.metrics.tell(CallStarted(call))
            code = f"closed_{4000 + number}" if number % 2 else f"http_{number}"
            self.metrics.heard(AgentFailed(generation=1, call=call.call_id, code=code, message=""))
            self.metrics.tell(refusal(f"agent_{code}"))
        samples = self.samples()
        connectors = {name for name in samples if name.startswith("stellar_gw_calls_up{")}
        self.assertEqual(len(connectors), MOST_NAMES + 1)
        self.assertEqual(samples["stellar_gw_calls_up{connector=other,tenant=acme}"], 1000 - MOST_NAMES)
        codes = {match[1] for name in samples if (match := re.search(r"code=([^,]+)", name))}
        known = {f"http_{status}" for status in (302, 308, 400, 404, 426, 500, 502, 504)}
        self.assertEqual(codes, {"closed_other", "http_other"} | known)
        checks = {match[1] for name in samples if (match := re.search(r"check=([^,}]+)", name))}
        self.assertEqual(checks, {f"agent_{code}" for code in codes})

    def test_trunks(self) -> None:
        """A gauge for each trunk and what is known of it, up or down."""
        for up in (True, False):
            self.metrics.tell(TrunkChanged("telnyx", "registration", up, "why"))
        self.metrics.tell(TrunkChanged("telnyx", "probe", True, "why"))
        samples = {name: value for name, value in self.samples().items() if "trunk" in name}
        self.assertEqual(
            samples,
            {
                "stellar_gw_trunk_up{trunk=telnyx,what=registration}": 0.0,
                "stellar_gw_trunk_up{trunk=telnyx,what=probe}": 1.0,
            },
        )

    def test_strangers_count_nothing(self) -> None:
        """Events of calls that were never begun, and ends that come twice, change nothing."""
        before = self.samples()
        self.metrics.heard(AgentReady(generation=1, call="c-9", connect_ms=1.0))
        self.metrics.heard(AgentFailed(generation=1, call="c-9", code="lost", message=""))
        self.metrics.heard(AgentTurned(generation=1, call="c-9", wait_ms=700.0))
        self.metrics.tell(CallAnswered(record("c-9")))
        self.metrics.tell(CallEnded(record("c-9")))
        self.assertEqual(self.samples(), before)


class WrittenTests(MetricsTestCase):
    """What operators are given beside the gateway."""

    def labels(self) -> dict[str, set[str]]:
        """Each exported sample's name, with the labels it has."""
        self.a_whole_life()
        self.metrics.tell(TrunkChanged("telnyx", "probe", False, "down"))
        found: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(self.metrics.render().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        return found

    def check(self, expressions: Iterator[str]) -> set[str]:
        """Every metric and label of the expressions exists; the metrics that they name."""
        known, used = self.labels(), set()
        for expression in expressions:
            names = set(re.findall(r"\bstellar_gw_[a-z_]+", expression))
            self.assertEqual(names - set(known), set(), expression)
            labels = {label for name in names for label in known[name]} | {"instance", "job"}
            asked = set(re.findall(r"([a-z_]+)=~?\"", expression))
            for group in re.findall(r"by \(([^)]*)\)", expression):
                asked |= {label.strip() for label in group.split(",")}
            self.assertEqual(asked - labels, set(), expression)
            used |= names
        return used

    def test_the_dashboard(self) -> None:
        """Each panel asks for metrics and labels that exist, and nearly all metrics are on it."""
        dashboard = json.loads((ROOT / "conf/grafana/stellar-gw.json").read_text("utf-8"))
        targets = [(panel, target) for panel in dashboard["panels"] for target in panel["targets"]]
        used = self.check(target["expr"] for _, target in targets)
        for panel, target in targets:
            names = set(re.findall(r"\bstellar_gw_[a-z_]+", target["expr"]))
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            self.assertEqual(shown - {each for name in names for each in self.labels()[name]}, set(), panel["title"])
        unused = {
            name for name in self.labels()
            if name not in used and "process" not in name and not name.endswith(("_count", "_sum"))
        }  # fmt: skip
        self.assertEqual(unused, {"stellar_gw_journal_failing", "stellar_gw_trunk_up"})

    def test_the_alerts(self) -> None:
        """Each rule has the keys that Prometheus wants, and asks for metrics and labels that exist."""
        groups = yaml.safe_load((ROOT / "conf/prometheus/alerts.yaml").read_text("utf-8"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertEqual(len({rule["alert"] for rule in rules}), len(rules))
        for rule in rules:
            self.assertEqual(set(rule) - {"for"}, {"alert", "expr", "labels", "annotations"})
            self.assertEqual(set(rule["annotations"]), {"summary", "description"})
        self.assertIn("stellar_gw_journal_failing", self.check(rule["expr"] for rule in rules))

    def test_the_alerts_by_prometheus(self) -> None:
        """``promtool check rules`` finds nothing wrong, neither with the alerts nor with what the dashboard asks."""
        if shutil.which("promtool") is None:
            raise SkipTest("promtool is not there (Debian: prometheus)")
        dashboard = json.loads((ROOT / "conf/grafana/stellar-gw.json").read_text("utf-8"))
        asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        # The dashboard's questions as rules, so that they are checked likewise.
        rules = [
            {"record": f"asked:{number}", "expr": text.replace("$__rate_interval", "5m")}
            for number, text in enumerate(asked)
        ]
        questions = Path(self.mktemp())
        questions.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
        command = ["promtool", "check", "rules", str(ROOT / "conf/prometheus/alerts.yaml"), str(questions)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.assertIn(f"SUCCESS: {len(rules)} rules found", checked.stdout)

    def test_the_page(self) -> None:
        """docs/http.rst names each metric, and no other."""
        page = (ROOT / "docs/http.rst").read_text("utf-8")
        families = {family.name for family in text_string_to_metric_families(self.metrics.render().decode())}
        named = set(re.findall(r"``(stellar_gw_[a-z_]+)``", page))
        totals = {name.removesuffix("_total") for name in named}
        self.assertEqual(totals, {name for name in families if "process" not in name})
