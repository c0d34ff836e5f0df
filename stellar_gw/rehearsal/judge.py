"""What is made of a call that was seen: each function judges one thing, and says what to mend."""

from __future__ import annotations

from typing import Final

from stellar_gw.media.analysis import dominant_tone, find, level_dbfs, tone_ms
from stellar_gw.rehearsal.findings import LOST, UNREACHABLE, Finding, State
from stellar_gw.rehearsal.line import NEVER, Failed, Line
from stellar_gw.rehearsal.plan import RATE, Expectations

SLOW: Final = 2.0
"""Seconds without an answer after which callers say "hello?"."""
FAR_AHEAD_MS: Final = 120_000
STUTTERS: Final = 0.01
"""Of the frames in which the agent has audio; each gap is one."""
ECHO: Final = 0.6
ECHO_MS: Final = 500
"""Of what was said, which must come back in one piece."""
TONE_MS: Final = 500
"""For which a tone must be heard."""
CLEARS: Final = {
    "twilio": 'send {"event":"clear","streamSid":...} when the caller begins to speak',
    "native": 'send {"action":"clear"} when the caller begins to speak',
    "vonage": 'send {"action":"clear"} when the caller begins to speak',
    "openai": "leave turn_detection on: the model's input_audio_buffer.speech_started is what interrupts it",
}
"""How an agent throws away what it has said too much."""
_MENDS: Final = {
    "refused": "start the agent, or look at host and port of the URL",
    "dns": "look at the host name in the URL",
    "tls": "look at the certificate; a private authority goes into the file that SSL_CERT_FILE names",
    "timeout": "answer the upgrade request first and set the agent up afterwards: it has 3 s for everything",
    "lost": "look at the agent's log: it has ended without a close frame, as where a handler raises",
    "unresponsive": "answer pings and keep reading while the agent thinks: do not block its loop",
    "oversize": "send audio in messages of a few seconds",
    "protocol": "use a WebSocket library on the agent's side; something there breaks RFC 6455",
    "flood": "send no more than 5 minutes of audio ahead, and wait for marks",
}


def explained(failed: Failed) -> str:
    """What to do about a link that did not come to be or did not last."""
    if failed.code.startswith("http_"):
        return "the path must speak WebSocket, and the agent must accept what --header carries"
    if failed.code.startswith("closed_"):
        return "close with code 1000 to hang up; any other code tells of a failure, and the caller is lost"
    return _MENDS.get(failed.code, "look at the agent's log")


def not_connected(failed: Failed) -> Finding:
    return Finding(check=UNREACHABLE, state="fail", said=failed.message, mend=explained(failed))


def connected(line: Line) -> Finding:
    return Finding(check=UNREACHABLE, state="ok", said=f"in {line.connect_ms or 0:.0f} ms")


def lost(line: Line, meanwhile: str) -> Finding | None:
    """The link that failed during the call; ``meanwhile`` says what the caller was doing."""
    failed = line.failed
    if failed is None:
        return None
    return Finding(check=LOST, state="fail", said=f"{failed.message}, {meanwhile}", mend=explained(failed))


def greeting(line: Line, expect: Expectations, waited: float) -> Finding:
    if line.first_sound_at == NEVER:
        mend = "speak as soon as the call has started; callers wait for it" if expect.greeting else ""
        return Finding(
            check="greeting", state="fail" if expect.greeting else "none", said=f"none within {waited:g} s", mend=mend
        )
    after = (line.first_sound_at - line.answered_at) * 1000
    return Finding(check="greeting", state="ok", said=f"after {after:.0f} ms, {line.spoken_ms / 1000:.1f} s long")


def turn(name: str, seconds: float | None, spoken_ms: int, waited: float, expect: Expectations) -> Finding:
    """One prompt's answer.

    :param seconds: that the caller waited for it; None where none was measured.
    :param spoken_ms: of the agent, since the prompt began.
    """
    if seconds is None and not spoken_ms:
        return Finding(
            check=name,
            state="fail",
            said=f"no answer within {waited:g} s",
            mend="look whether the agent hears the caller: --record what it says, and its own log",
        )
    if seconds is None:
        state: State = "fail" if expect.turn_ms else "none"
        said = f"it spoke for {spoken_ms / 1000:.1f} s while the caller did: no answer to be timed"
        return Finding(check=name, state=state, said=said, mend="wait for the caller's silence" * bool(expect.turn_ms))
    said = f"{seconds * 1000:.0f} ms after the caller had spoken, {spoken_ms / 1000:.1f} s long"
    if expect.turn_ms and seconds * 1000 > expect.turn_ms:
        mend = f"more than {expect.turn_ms} ms: send the first words as soon as there are some"
        return Finding(check=name, state="fail", said=said, mend=mend)
    if not expect.turn_ms and seconds > SLOW:
        return Finding(check=name, state="warn", said=said, mend="send the first words as soon as there are some")
    return Finding(check=name, state="ok", said=said)


def interruption(
    dialect: str, *, clear_ms: float | None, discarded_ms: int, silent_ms: float | None, expect: Expectations
) -> Finding:
    """The caller has spoken while the agent did.

    :param clear_ms: from then until the agent threw its audio away; None: it did not.
    :param silent_ms: until it was silent; None: it went on.
    """
    if clear_ms is not None:
        said = f"cleared {clear_ms:.0f} ms after the caller began to speak, {discarded_ms / 1000:.1f} s thrown away"
        return Finding(check="interruption", state="ok", said=said)
    if silent_ms is not None:
        said = f"silent {silent_ms:.0f} ms after the caller began to speak"
        return Finding(check="interruption", state="ok", said=said)
    mend = CLEARS.get(dialect, "") if expect.clear else ""
    said = "it went on speaking" + ("" if dialect in CLEARS else f"; {dialect} has no word for throwing audio away")
    return Finding(check="interruption", state="fail" if expect.clear else "none", said=said, mend=mend)


def messages(line: Line) -> Finding:
    """What followed no dialect, and what the agent reports of itself."""
    notes = line.notes
    if notes.error_count:
        return Finding(
            check="messages",
            state="fail",
            said=f"{notes.error_count} errors reported by the agent: {'; '.join(notes.errors)}",
            mend="they are the agent's own words",
        )
    if notes.malformed_count:
        return Finding(
            check="messages",
            state="warn",
            said=f"{notes.malformed_count} of {notes.messages} follow no dialect: {'; '.join(notes.malformed)}",
            mend="calls survive them, but what they were to say is lost",
        )
    verbs = ", ".join(f"{verb} {count}" for verb, count in notes.verbs.items())
    said = f"{notes.messages}, {notes.pieces} of them audio" + (f"; asked for {verbs}" if verbs else "")
    return Finding(check="messages", state="ok", said=said + (f"; pressed {notes.digits}" if notes.digits else ""))


def pace(line: Line) -> Finding | None:
    """Whether its audio came in time, and not too far ahead of time."""
    audio_ms = line.statistics.agent_audio_ms
    if not audio_ms:
        return None
    said = f"{audio_ms / 1000:.1f} s of audio, at most {line.most_ahead_ms / 1000:.1f} s ahead"
    if line.gaps > max(3, audio_ms / 20 * STUTTERS):
        mend = "send audio a few hundred ms ahead of time instead of just in time"
        return Finding(check="pace", state="warn", said=f"{said}; ran out {line.gaps} times", mend=mend)
    if line.most_ahead_ms > FAR_AHEAD_MS:
        mend = "at 5 minutes the call is ended: wait for marks before sending more"
        return Finding(check="pace", state="warn", said=said, mend=mend)
    return Finding(check="pace", state="ok", said=said)


def marks(line: Line) -> Finding | None:
    notes = line.notes
    if not notes.marks:
        return None
    waiting = notes.marks - notes.played - notes.cleared
    parts = ((notes.played, "played"), (notes.cleared, "cleared"), (waiting, "with audio still to be played"))
    shown = ", ".join(f"{count} {word}" for count, word in parts if count)
    return Finding(check="marks", state="ok", said=f"{notes.marks} set: {shown}")


def content(line: Line, expect: Expectations) -> list[Finding]:
    """What was heard, held against what must be heard."""
    found, heard = [], bytes(line.heard)
    if expect.echo:
        match = find(bytes(line.said), heard, RATE, ECHO_MS)
        good = match.correlation >= ECHO
        delay = "" if match.delay_ms is None else f", {match.delay_ms:.0f} ms later"
        found.append(
            Finding(
                check="echo",
                state="ok" if good else "fail",
                said=f"what the caller said came back{delay} (correlation {match.correlation:.2f})"
                if good
                else f"what the caller said did not come back (correlation {match.correlation:.2f}, needed {ECHO})",
            )
        )
    if expect.tone is not None:
        ms = tone_ms(heard, RATE, expect.tone)
        good = ms >= TONE_MS
        tone = dominant_tone(heard, RATE)
        what = "silence" if tone is None else f"mostly {tone.hertz:.0f} Hz ({tone.share:.0%} of the energy)"
        said = f"{expect.tone:g} Hz for {ms / 1000:.1f} s" if good else f"{expect.tone:g} Hz was not heard, but {what}"
        found.append(
            Finding(check="tone", state="ok" if good else "fail", said=f"{said}, at {level_dbfs(heard):.0f} dBFS")
        )
    return found
