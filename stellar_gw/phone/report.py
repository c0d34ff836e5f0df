"""What a call of the test phone was like: records, the report for people, JSON, and the exit status."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from attrs import asdict, frozen

from stellar_gw.phone.ladder import Rung

EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_AUDIO = range(5)
"""0 as expected; 1 the final status was not the expected one; 2 wrong usage (argparse's); 3 no final
status: nobody answered, or no connection; 4 the call was up, but its audio was not what it must be."""

QUIET_DBFS = -60.0
"""Below this level a call counts as silent: comfort noise lies at about -65."""
_REFERENCE = re.compile(r"\bref\s+([0-9A-Za-z]{4,16})\b")


@frozen(kw_only=True)
class Echo:
    """Whether what was heard is what was sent: see :class:`stellar_gw.media.analysis.Match`."""

    correlation: float
    delay_ms: float | None


@frozen(kw_only=True)
class Sound:
    """One direction's audio, measured from its samples.

    :ivar level_dbfs: RMS over the whole call; a sine of full amplitude has -3.
    :ivar tone_hz: its dominant frequency, ``None`` for silence; ``tone_share`` of its energy lies there.
    """

    seconds: float
    level_dbfs: float
    tone_hz: float | None = None
    tone_share: float = 0.0


@frozen(kw_only=True)
class MediaReport:
    """The audio of one call; times in milliseconds.

    :ivar srtp: the suite of the encrypted audio; empty where it is plain.
    :ivar unauthenticated: packets that SRTP refused.
    :ivar first_packet_ms: from the moment we could hear until something came; ``None``: nothing came.
    :ivar round_trip_ms: from RTCP; ``None`` where the peer sent no report that tells.
    :ivar remote_loss: fraction of our packets that the peer says it lost, by its last report.
    :ivar mos: of what we heard, by the E-model (ITU-T G.107); ``None`` where nothing came.
    """

    codec: str
    ptime: int
    direction: str
    remote: str
    rtcp_mux: bool
    telephone_event: bool
    packets_sent: int
    packets_received: int
    packets_lost: int
    packets_late: int
    duplicates: int
    jitter_ms: float
    first_packet_ms: float | None
    round_trip_ms: float | None
    remote_loss: float | None
    digits_sent: str
    digits_heard: str
    sent: Sound
    heard: Sound
    echo: Echo
    mos: float | None
    srtp: str = ""
    unauthenticated: int = 0


@frozen(kw_only=True)
class CallReport:
    """One call from beginning to end.

    :ivar protection: TLS version and cipher suite, empty where there is no TLS.
    :ivar status: the final SIP status, 0 where none came.
    :ivar reference: of the gateway's refusal record, from the Warning header.
    :ivar trying_ms, ringing_ms, answered_ms: from the INVITE to the first response, 180/183, and 200.
    :ivar ended_by: ``local``, ``remote``, or empty where there was no call.
    :ivar problem: one line for people, empty where all went well; ``fix`` says what to do.
    """

    to: str
    call_id: str = ""
    transport: str = ""
    protection: str = ""
    status: int = 0
    reason: str = ""
    reference: str = ""
    trying_ms: float | None = None
    ringing_ms: float | None = None
    answered_ms: float | None = None
    duration_s: float = 0.0
    ended_by: str = ""
    cause: str = ""
    problem: str = ""
    fix: str = ""
    media: MediaReport | None = None
    record: str = ""
    record_sent: str = ""
    ladder: tuple[Rung, ...] = ()

    @property
    def answered(self) -> bool:
        return self.answered_ms is not None


def reference_in(warnings: Iterable[str]) -> str:
    """The reference in ``399 host "ref 7K3F2S"``, empty where there is none."""
    for warning in warnings:
        if match := _REFERENCE.search(warning[:512]):
            return match[1]
    return ""


def explain(
    status: int, reason: str, reference: str = "", *, credentials: bool = False, user: str = ""
) -> tuple[str, str]:
    """A final status that is no success, in words: what it means, and what to do."""
    why = f"stellar-gw-why {reference} on the gateway says more" if reference else ""
    shown = "".join(character for character in reason if character.isprintable())[:80]
    what, fix = {
        403: ("it may not", "ask what this user or address may do, and over which transport"),
        404: ("nothing answers there", "check the number dialled"),
        405: ("the other side takes no calls", "check the address"),
        408: ("the other side gave up waiting", "try again; look at its log"),
        415: ("the other side does not read SDP", "it is no voice endpoint"),
        480: ("whom we called is not there now", "look at the agent behind the number"),
        481: ("the other side does not know this call", "try again"),
        486: ("busy", "try again later"),
        487: ("cancelled", "it rang longer than --ring-timeout"),
        488: ("no audio in common", "try another --codec, or --srtp optional"),
        503: ("the other side is overloaded or shutting down", "try again later"),
        603: ("declined", "it does not want this call"),
    }.get(status, ("refused", "look at the other side's log"))
    if status in (401, 407):
        what, fix = ("credentials are wanted", "give --user and --password-file")
        if credentials:
            what, fix = (
                f"wrong user name or password for {user}",
                "check both; the realm must be the gateway's domain",
            )
    said = f"{status} {shown}".strip()
    return f"{said}: {what}", "; ".join(filter(None, (fix, why)))


def exit_status(
    report: CallReport, expect: int = 200, expect_tone: float | None = None, expect_echo: bool = False
) -> int:
    """What the process says to its shell."""
    if report.status != expect:
        return EXIT_REFUSED if report.status else EXIT_UNREACHABLE
    if report.answered and audio_problem(report, expect_tone, expect_echo):
        return EXIT_AUDIO
    return EXIT_OK


def audio_problem(report: CallReport, expect_tone: float | None = None, expect_echo: bool = False) -> str:
    """Why the audio of an answered call is not what it must be; empty if it is."""
    media = report.media
    if media is None:
        return "no audio was agreed on"
    if "recv" in media.direction and media.packets_received == 0:
        return f"nothing was heard: not one packet came from {media.remote}"
    if expect_tone is not None:
        heard = media.heard.tone_hz
        if heard is None or abs(heard - expect_tone) > 5 or media.heard.tone_share < 0.5:
            what = "silence" if heard is None else f"mostly {heard:.0f} Hz ({media.heard.tone_share:.0%} of the energy)"
            return f"the tone of {expect_tone:.0f} Hz was not heard, but {what}"
    if expect_echo and media.echo.correlation < 0.6:
        return f"what was sent did not come back (correlation {media.echo.correlation:.2f}, needed 0.60)"
    return ""


def to_json(report: CallReport) -> dict[str, Any]:
    """Plain values, names as the fields."""
    plain: dict[str, Any] = asdict(report)
    plain["answered"] = report.answered
    return plain


def json_text(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def lines(report: CallReport) -> Iterator[str]:
    """The report for people."""
    over = f" over {report.transport.upper()}" if report.transport else ""
    yield f"to            {report.to}{over}" + (f" ({report.protection})" if report.protection else "")
    if report.status:
        yield f"status        {report.status} {report.reason}" + (
            f"  (ref {report.reference})" if report.reference else ""
        )
    times = (("first response", report.trying_ms), ("ringing", report.ringing_ms), ("answered", report.answered_ms))
    if shown := ", ".join(f"{name} {ms:.0f} ms" for name, ms in times if ms is not None):
        yield f"set-up        {shown}"
    if report.answered:
        by = {"local": "us", "remote": "the other side"}.get(report.ended_by, "nobody")
        yield f"duration      {report.duration_s:.1f} s, ended by {by}" + (f" ({report.cause})" if report.cause else "")
    if report.media is not None:
        yield from _media_lines(report.media)
    for name, path in (("heard", report.record), ("sent", report.record_sent)):
        if path:
            yield f"recorded      what was {name}: {path}"
    if report.problem:
        yield f"problem       {report.problem}"
    if report.fix:
        yield f"what to do    {report.fix}"


def _media_lines(media: MediaReport) -> Iterator[str]:
    events = "digits as RFC 4733" if media.telephone_event else "no digits"
    yield f"negotiated    {media.codec}, {media.ptime} ms a packet, {media.direction}, {events}, with {media.remote}"
    if media.srtp:
        refused = f"; {media.unauthenticated} packets were not authentic" if media.unauthenticated else ""
        yield f"encrypted     SRTP, {media.srtp}{refused}"
    yield f"sent          {media.packets_sent} packets" + _percent(media.remote_loss, "lost by the peer's report")
    expected = media.packets_received + media.packets_lost
    loss = media.packets_lost / expected if expected else 0.0
    yield (
        f"received      {media.packets_received} packets, {media.packets_lost} lost ({loss:.1%}), "
        f"{media.packets_late} late, {media.duplicates} twice, jitter {media.jitter_ms:.1f} ms"
    )
    trip = "unknown (no RTCP report)" if media.round_trip_ms is None else f"{media.round_trip_ms:.1f} ms"
    first = "never" if media.first_packet_ms is None else f"after {media.first_packet_ms:.0f} ms"
    yield f"round trip    {trip}; first packet {first}"
    if media.mos is not None:
        yield f"quality       MOS {media.mos:.2f} (E-model, ITU-T G.107)"
    for name, sound in (("we sent", media.sent), ("we heard", media.heard)):
        yield f"{name:13} {_sound(sound)}"
    if media.echo.correlation >= 0.6:
        delay = "" if media.echo.delay_ms is None else f" {media.echo.delay_ms:.0f} ms later"
        yield f"echo          what we sent came back{delay} (correlation {media.echo.correlation:.2f})"
    if media.digits_sent or media.digits_heard:
        yield f"digits        sent {media.digits_sent or 'none'}, heard {media.digits_heard or 'none'}"


def _sound(sound: Sound) -> str:
    if sound.level_dbfs <= QUIET_DBFS:
        return f"{sound.seconds:.1f} s of silence"
    tone = ""
    if sound.tone_hz is not None and sound.tone_share >= 0.5:
        tone = f", a tone of {sound.tone_hz:.0f} Hz ({sound.tone_share:.0%} of the energy)"
    return f"{sound.seconds:.1f} s at {sound.level_dbfs:.1f} dBFS{tone}"


def _percent(fraction: float | None, what: str) -> str:
    return "" if fraction is None else f", {fraction:.1%} {what}"


def summary(reports: Sequence[CallReport]) -> dict[str, Any]:
    """Many calls in one record: final statuses, set-up times, and the worst of the audio."""
    answered = [report for report in reports if report.answered]
    media = [report.media for report in answered if report.media is not None]
    scores = [each.mos for each in media if each.mos is not None]
    expected = sum(each.packets_received + each.packets_lost for each in media)
    return {
        "calls": len(reports),
        "answered": len(answered),
        "statuses": {str(status): many for status, many in sorted(Counter(each.status for each in reports).items())},
        "setup_ms": quantiles([report.answered_ms for report in answered if report.answered_ms is not None]),
        "packets_received": sum(each.packets_received for each in media),
        "loss": sum(each.packets_lost for each in media) / expected if expected else 0.0,
        "mos_min": min(scores, default=None),
        "silent": sum(1 for each in media if each.packets_received == 0),
        "problems": dict(Counter(report.problem for report in reports if report.problem).most_common(10)),
    }


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p90, p99 and the greatest, by nearest rank; ``None`` of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    found = {f"p{part}": ranked[max(0, -(-len(ranked) * part // 100) - 1)] for part in (50, 90, 99)}
    return {**found, "max": ranked[-1]}


def summary_lines(found: dict[str, Any]) -> Iterator[str]:
    """:func:`summary` for people."""
    statuses = ", ".join(f"{many} x {status}" for status, many in found["statuses"].items())
    yield f"calls         {found['calls']}, answered {found['answered']} ({statuses})"
    if found["setup_ms"]:
        yield "set-up        " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in found["setup_ms"].items())
    yield f"received      {found['packets_received']} packets, {found['loss']:.2%} lost, {found['silent']} calls silent"
    if found["mos_min"] is not None:
        yield f"quality       worst MOS {found['mos_min']:.2f} (E-model, ITU-T G.107)"
    for problem, many in found["problems"].items():
        yield f"problem       {many} x {problem}"
