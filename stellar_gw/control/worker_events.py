"""What a worker says unasked."""

from __future__ import annotations

from typing import Literal

from stellar_gw.control.envelope import Event


class AgentReady(Event, frozen=True, kw_only=True):
    """The agent's link is up and its dialect's opening messages are sent."""

    call: str
    connect_ms: float = 0.0


class AgentFailed(Event, frozen=True, kw_only=True):
    """The agent could not be reached, or its link broke. Sent at most once an attempt (:class:`StartAgent`).

    :ivar code: ``timeout``, ``refused``, ``dns``, ``tls``, ``http_401``, ``closed_1011``, ``lost``,
        ``unresponsive``, ``flood``, ``oversize``, ``protocol``, ``invalid_url``, or ``media_failure`` where it is not
        the agent that failed but the call's media in the worker; that is told of a call without an agent, too.
    :ivar message: one line for the operator; no secret, no query string.
    :ivar established: False while connecting, True where a link that was up has ended.
    """

    call: str
    code: str
    message: str
    established: bool = False


class AgentLost(Event, frozen=True, kw_only=True):
    """The link of an agent that resumes broke, and it is being connected again: :class:`AgentResumed` follows, or
    :class:`AgentFailed`. ``code`` and ``message`` are as of the latter."""

    call: str
    code: str
    message: str


class AgentResumed(Event, frozen=True, kw_only=True):
    """It has the call again."""

    call: str
    gap_ms: float = 0.0
    """From the loss until then."""


class AgentHangup(Event, frozen=True, kw_only=True):
    """The agent ended the call: by close code 1000, or by its dialect's verb, after playout."""

    call: str
    reason: str = "agent_hangup"


class AgentAsked(Event, frozen=True, kw_only=True):
    """A verb that only the gateway can carry out (transfer, reject, ...).

    :ivar ask: the agent's own id of the request.
    """

    call: str
    ask: str
    verb: str
    parameters: dict[str, str] = {}


class AgentTurned(Event, frozen=True, kw_only=True):
    """The agent has answered the caller.

    :ivar wait_ms: from the end of the caller's speech to the agent's first sound on the wire.
    """

    call: str
    wait_ms: float


class MediaLost(Event, frozen=True, kw_only=True):
    """No RTP and no RTCP for ``seconds``.

    :ivar ever: whether any had come before (else: "no media").
    """

    call: str
    leg: str
    seconds: float
    ever: bool


class MediaBack(Event, frozen=True, kw_only=True):
    """RTP or RTCP came again after :class:`MediaLost`."""

    call: str
    leg: str


class OneWayAudio(Event, frozen=True, kw_only=True):
    """5 s after the answer still nothing received: a log line, not the end of the call."""

    call: str
    leg: str
    local: str
    remote: str


class Played(Event, frozen=True, kw_only=True):
    """A file that was bound ``once`` is over.

    :ivar note: why it was not heard; empty where it was.
    """

    call: str
    leg: str
    note: str = ""


class RecordingEnded(Event, frozen=True, kw_only=True):
    """What a :class:`Record` has come to. Sent at most once a call.

    :ivar path: of a stereo WAV file: left what the peer said, right what it heard; empty where there is none.
    :ivar octets: of the file.
    :ivar missing: packets that are silence in it, because nobody could take them in time.
    :ivar note: why it ended before its leg, or what is wrong with it; empty where nothing is.
    """

    call: str
    leg: str
    path: str
    seconds: float
    octets: int
    missing: int = 0
    note: str = ""


class DigitReceived(Event, frozen=True, kw_only=True):
    """A key was pressed; once, however many ways told of it.

    :ivar way: the one that told first.
    """

    call: str
    leg: str
    digit: str
    duration_ms: int
    way: Literal["rfc4733", "info", "inband"] = "rfc4733"
