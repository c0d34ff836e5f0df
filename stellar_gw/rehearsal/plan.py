"""What to try with an agent, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

from attrs import field, frozen

from stellar_gw.agent.link import LinkLimits
from stellar_gw.control.messages import BargeIn, CallContext
from stellar_gw.media.source import Recording
from stellar_gw.media.wav import read_wav
from stellar_gw.phone.plan import Playable

RATE = 16000
"""Samples a second of everything said and heard here."""


def spoken_prompt() -> Playable:
    """The sentence that comes with us: two seconds without a pause, so that it is one turn."""
    wav = read_wav(files("stellar_gw.rehearsal").joinpath("prompt.wav").read_bytes())
    pcm = wav.at(RATE)
    return Playable(lambda: Recording(pcm, RATE), seconds=wav.seconds)


@frozen(kw_only=True)
class Expectations:
    """What must be so besides what must always be; times in milliseconds.

    :ivar greeting: the agent speaks first.
    :ivar turn_ms: no answer may take longer; 0: any time will do.
    :ivar clear: the agent falls silent when it is interrupted.
    :ivar hangup: the agent ends the call, after the digits at the latest.
    :ivar echo: what the caller said comes back.
    :ivar tone: this one is heard, in Hz.
    :ivar strict: a warning counts as a failure.
    """

    greeting: bool = False
    turn_ms: int = 0
    clear: bool = False
    hangup: bool = False
    echo: bool = False
    tone: float | None = None
    strict: bool = False


@frozen(kw_only=True)
class Plan:
    """One rehearsal; times in seconds.

    :ivar url, headers: templates, as an environment has them (:mod:`stellar_gw.dialects.template`).
    :ivar context: of each call, but for its id.
    :ivar answer: who answers the call (``answer:`` of an environment).
    :ivar barge_in: what the gateway does when the caller begins to speak.
    :ivar prompts: what the caller says, one after the other.
    :ivar digits: keys that the caller presses after that.
    :ivar interrupt: speak while the agent speaks.
    :ivar drop: cut the link of a second call, and see whether a third is taken.
    :ivar greeting: how long to wait for the agent to speak first.
    :ivar patience: how long to wait for each answer.
    :ivar longest: of one thing the agent says; then the caller goes on.
    :ivar quiet: without a sound after which the agent has said what it had to say.
    :ivar transfer: what a transfer comes to; ``done`` ends the call.
    :ivar record: path of a WAV file for what the agent said; empty for none.
    """

    url: str = field(repr=False)
    dialect: str
    context: CallContext
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    options: Mapping[str, str] = field(factory=dict)
    codec: str = "G722"
    answer: Literal["gateway", "agent"] = "gateway"
    barge_in: BargeIn = "off"
    prompts: tuple[Playable, ...] = field(factory=lambda: (spoken_prompt(),))
    digits: str = "5"
    interrupt: bool = True
    drop: bool = True
    greeting: float = 3.0
    patience: float = 10.0
    longest: float = 8.0
    quiet: float = 1.0
    transfer: Literal["done", "failed"] = "failed"
    record: str = ""
    limits: LinkLimits = field(factory=LinkLimits)
    expect: Expectations = Expectations()
