"""What the demonstration has shown: measured from the WAV files of both ends, and from the gateway's own records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from stellar_gw.dialects.twilio import stream_sid
from stellar_gw.media.analysis import dominant_tone, find, tone_ms
from stellar_gw.media.wav import WavError, read_wav
from stellar_gw.phone.report import CallReport
from stellar_gw.testing.gateway_process import wait_until
from tools.demo_calls import PERSON, TONE, Recordings, Scene
from tools.demo_screen import Screen
from tools.demo_stage import Stage, shown

RATE: Final = 16000
CORRELATED: Final = 0.6
"""Of speech with itself after G.722 and G.711, 0.9 and more is usual; of different speech, 0.2 or less."""
TONE_SHARE: Final = 0.6
"""Of the call in which the tone must be there: the agent beeps first, and the keys take their time."""
PERSON_SHARE: Final = 0.4
"""The same of the person's: the agent is heard before, and the person's telephone rings."""
CONTENT_MOS: Final = 3.6
"""Below it many users are dissatisfied (ITU-T G.107 annex B)."""
MOST_LOST: Final = 0.02
_RECORDS = 5.0
"""Seconds that records and recordings may take to be written after a call."""


@frozen(kw_only=True)
class Sound:
    """What one end heard of what the phone sent.

    :ivar good: it was there.
    """

    good: bool
    text: str


@frozen(kw_only=True)
class Finding:
    """One call, what is known of it, and what about it is not as it must be."""

    scene: Scene
    report: CallReport
    record: dict[str, Any]
    recordings: Recordings
    agent: Sound | None
    phone: Sound | None
    faults: tuple[str, ...] = field(default=())


def find_out(scene: Scene, report: CallReport, stage: Stage) -> Finding:
    """Gather and judge what is known of a call that is over; waits for its record and the agent's recording."""
    recordings = Recordings.of(scene, stage.folder)
    record = _record(stage, report, "cdr" if scene.status == 200 else "refusals")
    agent = phone = None
    if scene.status == 200 and report.answered:
        if not scene.transfer:
            _fetch(stage, record, recordings.agent)
        agent = heard_of(scene, recordings.sent, recordings.agent, echo=False)
        phone = heard_of(scene, recordings.sent, recordings.heard, echo=True)
    faults = tuple(faults_of(scene, report, record, agent, phone))
    return Finding(
        scene=scene, report=report, record=record, recordings=recordings, agent=agent, phone=phone, faults=faults
    )


def _record(stage: Stage, report: CallReport, name: str) -> dict[str, Any]:
    """The gateway's record of a call; empty where there is none."""
    assert stage.gateway is not None
    found: list[dict[str, Any]] = []

    def look() -> bool:
        assert stage.gateway is not None
        records = stage.gateway.records(name)
        found.extend(each for each in records if report.call_id and each["sip_call_id"] == report.call_id)
        return bool(found)

    wait_until(look, _RECORDS)
    return found[-1] if found else {}


def _fetch(stage: Stage, record: dict[str, Any], path: Path) -> None:
    """Bring the agent's recording of a call to where the others are."""
    recorded = stage.agent_folder / f"{stream_sid(record.get('call_id', ''))}.wav"
    agent = stage.agent
    if agent is not None and wait_until(lambda: f"recorded {recorded}" in agent.log, _RECORDS):
        recorded.replace(path)


# --- judging ------------------------------------------------------------------------------------


def heard_of(scene: Scene, sent: Path, heard: Path, *, echo: bool) -> Sound:
    """Look for what the phone sent in what an end has recorded.

    :param echo: the end is the phone: it came back.
    """
    try:
        source, target = (read_wav(path.read_bytes()).at(RATE) for path in (sent, heard))
    except (OSError, WavError) as error:
        return Sound(good=False, text=f"no recording ({error})")
    back = " back" if echo else ""
    if echo and scene.transfer:
        return _tone(target, "", PERSON, PERSON_SHARE)
    if scene.play.startswith("tone:"):
        return _tone(target, back)
    if scene.transfer:
        # The person has joined late: what was heard there is looked for in what was sent from a second on.
        source, target = target, source[2 * RATE :]
    match = find(source, target, RATE)
    good = match.correlation >= CORRELATED
    if not good:
        return Sound(good=False, text=f"not the speech sent (correlation {match.correlation:.2f})")
    # The agent's recording has a beginning of its own, so that only what came back says how long it took.
    after = f" after {match.delay_ms:.0f} ms" if echo and match.delay_ms is not None else ""
    return Sound(good=True, text=f"the speech{back}{after}, {match.correlation:.0%} alike")


def _tone(pcm: bytes, back: str, hertz: int = TONE, share: float = TONE_SHARE) -> Sound:
    there, whole = tone_ms(pcm, RATE, hertz) / 1000, len(pcm) / 2 / RATE
    if whole and there >= share * whole:
        return Sound(good=True, text=f"{hertz} Hz{back}, {there:.1f} of {whole:.1f} s")
    strongest = dominant_tone(pcm, RATE)
    instead = "silence" if strongest is None else f"mostly {strongest.hertz:.0f} Hz"
    return Sound(good=False, text=f"{hertz} Hz for {there:.1f} of {whole:.1f} s only, {instead}")


def faults_of(
    scene: Scene, report: CallReport, record: dict[str, Any], agent: Sound | None, phone: Sound | None
) -> Iterator[str]:
    """Everything that is not as it must be, each in a line."""
    if report.status != scene.status:
        came = report.problem or f"{report.status or 'no status'} {report.reason}".strip()
        yield f"status {scene.status} was to come: {came}"
        if report.fix:
            yield f"what to do: {report.fix}"
        return
    if report.transport != scene.transport or bool(report.protection) != (scene.transport == "tls"):
        yield f"it went over {report.transport} {report.protection}".rstrip()
    if not record:
        yield "the gateway wrote no record of it"
        return
    if scene.status != 200:
        if not report.reference or record["reference"] != report.reference:
            yield f"its Warning has the reference {report.reference or 'none'}, the record {record['reference']}"
        if not (record["reason"] and record["fix"]):
            yield "its record names no reason, or no fix"
        return
    if record["admitted"] != scene.admitted:
        yield f"it was {record['admitted']}, not {scene.admitted}"
    if record["ended_by"] != scene.ended_by:
        yield f"the {record['ended_by']} ended it ({record['cause']} {record['reason']}), not the {scene.ended_by}"
    if scene.transfer and _transferred(record) != f"to {scene.transfer}, bridged":
        yield f"the transfer to {scene.transfer} is not in its record as bridged: {_transferred(record) or 'none'}"
    yield from _media_faults(scene, report, record)
    for name, sound in (("person" if scene.transfer else "agent", agent), ("phone", phone)):
        if sound is None or not sound.good:
            yield f"the {name} heard {'nothing' if sound is None else sound.text}"


def _media_faults(scene: Scene, report: CallReport, record: dict[str, Any]) -> Iterator[str]:
    media = report.media
    if media is None:
        yield report.problem or "no audio was agreed on"
        return
    if media.codec != scene.codecs[0]:
        yield f"the codec is {media.codec}, not {scene.codecs[0]}"
    due = report.duration_s * 1000 / media.ptime
    for what, packets in (("sent", media.packets_sent), ("received", media.packets_received)):
        # RFC 4733 sends several packets a key in the place of audio, or fewer: a fifth either way is the keys'.
        if not 0.8 * due <= packets <= 1.2 * due:
            yield f"the phone {what} {packets} packets in {report.duration_s:.1f} s, {due:.0f} were due"
    if media.packets_lost > MOST_LOST * (media.packets_received + media.packets_lost):
        yield f"{media.packets_lost} packets were lost on the way to the phone"
    if media.mos is None or media.mos < CONTENT_MOS:
        yield f"MOS {media.mos}, {CONTENT_MOS} or more was to be had"
    digits = next((leg["digits"] for leg in record["legs"] if leg["leg"] == "caller"), "")
    if digits != scene.digits:
        yield f"the digits {scene.digits or 'none'} were pressed, the gateway took {digits or 'none'}"


# --- showing ------------------------------------------------------------------------------------


def show(findings: Sequence[Finding], screen: Screen, folder: Path) -> bool:
    """The table, the faults, where the files are; whether everything held."""
    screen.title("Verdict")
    screen.table([each.scene.head for each in findings], list(_rows(findings, screen)))
    faults = [(each.scene, fault) for each in findings for fault in each.faults]
    screen.line()
    recorded = [
        path
        for each in findings
        for path in (each.recordings.sent, each.recordings.agent, each.recordings.heard)
        if path.exists()
    ]
    if recorded:
        screen.line("Listen to it:  " + shown(recorded[0]))
        for path in recorded[1:]:
            screen.line(f"{'':15}{shown(path)}")
    screen.line(f"Records, logs: {shown(folder)}/cdr.jsonl, refusals.jsonl, gateway.log, agent.log")
    screen.line()
    for scene, fault in faults:
        screen.line(screen.palette.red(f"{screen.sign('bad')} call {scene.name}: {fault}"))
    return not faults


def _rows(findings: Sequence[Finding], screen: Screen) -> Iterator[tuple[str, list[str]]]:
    def row(name: str, cells: Sequence[str]) -> tuple[str, list[str]]:
        return name, list(cells)

    palette = screen.palette
    good, bad = palette.green(screen.sign("ok")), palette.red(screen.sign("bad"))
    yield row("", [f"{bad} not as it must be" if each.faults else f"{good} as it must be" for each in findings])
    yield row("called", [each.scene.number for each in findings])
    yield row("status", [f"{each.report.status} {each.report.reason}".strip("0 ") for each in findings])
    yield row("admitted", [_admitted(each) for each in findings])
    yield row("signalling", [_signalling(each.report) for each in findings])
    yield row("codec", [_codec(each.report) for each in findings])
    yield row("set-up", [_ms(each.report.answered_ms) for each in findings])
    yield row("agent there", [_ms(each.record.get("agent_connect_ms")) for each in findings])
    yield row("packets", [_packets(each.report) for each in findings])
    yield row("lost, jitter", [_loss(each.report) for each in findings])
    yield row("put through", [_transferred(each.record) for each in findings])
    yield row("keys", [each.scene.digits and f"{each.scene.digits} by RFC 4733" for each in findings])
    for name, sounds in (("agent heard", [None if each.scene.transfer else each.agent for each in findings]),
                         ("person heard", [each.agent if each.scene.transfer else None for each in findings]),
                         ("phone heard", [each.phone for each in findings])):  # fmt: skip
        yield row(name, [_sound(sound, screen) for sound in sounds])
    yield row("MOS", [_mos(each.report) for each in findings])
    yield row("hung up", [f"by the {each.record['ended_by']}" if each.report.answered and each.record else ""
                          for each in findings])  # fmt: skip


def _transferred(record: dict[str, Any]) -> str:
    return ", ".join(f"to {each['target']}, {each['result']}" for each in record.get("transfers", ()))


def _admitted(finding: Finding) -> str:
    if finding.scene.status != 200:
        return f"no: ref {finding.report.reference}" if finding.report.reference else ""
    admitted = str(finding.record.get("admitted", "")).partition(" (")[0]
    return admitted.removeprefix("admitted ")


def _signalling(report: CallReport) -> str:
    return report.protection.replace("TLSv", "TLS ").partition(" TLS_")[0] + (
        ", certificate checked" if report.protection else report.transport.upper()
    )


def _codec(report: CallReport) -> str:
    media = report.media
    return "" if media is None else f"{media.codec}, {media.ptime} ms a packet"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _packets(report: CallReport) -> str:
    media = report.media
    return "" if media is None else f"{media.packets_sent} out, {media.packets_received} in"


def _loss(report: CallReport) -> str:
    media = report.media
    return "" if media is None else f"{media.packets_lost}, {media.jitter_ms:.1f} ms"


def _mos(report: CallReport) -> str:
    media = report.media
    return "" if media is None or media.mos is None else f"{media.mos:.2f} (ITU-T G.107)"


def _sound(sound: Sound | None, screen: Screen) -> str:
    if sound is None:
        return ""
    return sound.text if sound.good else screen.palette.red(sound.text)
