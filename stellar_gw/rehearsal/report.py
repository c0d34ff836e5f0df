"""A rehearsal for people, line by line as it goes, and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from attrs import asdict

from stellar_gw.dialects.contract import AudioFormat
from stellar_gw.rehearsal.findings import EXIT_OK, Finding, exit_status
from stellar_gw.rehearsal.line import Line
from stellar_gw.rehearsal.plan import Plan
from stellar_gw.terminal import Palette

_STATES: Final = {"ok": "ok", "none": "-", "warn": "WARN", "fail": "FAIL"}
_WIDTH: Final = 14
MOST: Final = 500
"""Characters of one line: agents' words are in some."""


def origin(url: str) -> str:
    """Where a URL leads, without path and query: these may hold secrets."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url.partition(":")[0] + ":..."
    if not host:
        return f"{parts.scheme}:{parts.path}"[:80]
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def head(plan: Plan, audio: AudioFormat, palette: Palette) -> Iterator[str]:
    encoding = {"pcm": "16-bit PCM", "mulaw": "mu-law", "alaw": "A-law"}[audio.encoding]
    told = f"{plan.dialect}, {encoding} at {audio.rate // 1000} kHz; the caller speaks {plan.codec}"
    yield f"{palette.bold(origin(plan.url))}  {palette.dim(told)}"
    yield ""


def finding_lines(finding: Finding, palette: Palette) -> Iterator[str]:
    """One line, and one more where there is something to mend."""
    colour = {"ok": palette.green, "none": palette.dim, "warn": palette.yellow, "fail": palette.red}[finding.state]
    yield f"  {colour(f'{_STATES[finding.state]:5}')} {finding.check:{_WIDTH}} {_cut(finding.said)}"
    if finding.mend:
        yield f"  {'':5} {'':{_WIDTH}} {palette.cyan('mend')}  {_cut(finding.mend)}"


def verdict(findings: Sequence[Finding], *, strict: bool) -> str:
    """One line for the whole of it."""
    failed = [each.check for each in findings if each.state == "fail"]
    warned = [each.check for each in findings if each.state == "warn"]
    good = sum(1 for each in findings if each.state == "ok")
    if exit_status(findings, strict=strict) == EXIT_OK:
        return f"OK: {good} checks" + (f", look at: {', '.join(warned)}" if warned else "")
    return f"FAILED: {', '.join(failed + warned * strict)} ({good} checks were good)"


def end(plan: Plan, findings: Sequence[Finding], palette: Palette) -> Iterator[str]:
    strict = plan.expect.strict
    good = exit_status(findings, strict=strict) == EXIT_OK
    yield ""
    yield palette.bold((palette.green if good else palette.red)(verdict(findings, strict=strict)))
    if plan.record:
        yield f"what the caller heard: {plan.record}"


def as_json(plan: Plan, findings: Sequence[Finding], line: Line | None) -> str:
    """Everything in one object; ``turn_ms`` are the waits for answers, in order."""
    status = exit_status(findings, strict=plan.expect.strict)
    found: dict[str, Any] = {
        "exit": status,
        "verdict": verdict(findings, strict=plan.expect.strict),
        "agent": origin(plan.url),
        "dialect": plan.dialect,
        "codec": plan.codec,
        "checks": [asdict(each) for each in findings],
        "connect_ms": None if line is None or line.connect_ms is None else round(line.connect_ms, 1),
        "turn_ms": [] if line is None else [round(seconds * 1000) for seconds in line.turns],
        "conversation": None if line is None else msgspec.to_builtins(line.statistics),
        "notes": None if line is None else asdict(line.notes),
        "record": plan.record,
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def _cut(text: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= MOST else text[: MOST - 3] + "..."
