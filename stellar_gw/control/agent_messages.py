"""A call's agent: how it is started, told and answered, and what goes on besides."""

from __future__ import annotations

from typing import Literal

import msgspec

from stellar_gw.control.envelope import Request, Secret

BargeIn = Literal["off", "tell", "clear"]


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is told about its call (DESIGN.md's contract "Context")."""

    call_id: str
    tenant: str
    connector: str
    agent: str
    environment: str
    version: str
    from_uri: str
    from_display: str = ""
    from_number: str = ""
    to_uri: str = ""
    to_number: str = ""
    contact: str = ""
    user_agent: str = ""
    accept_language: str = ""
    language: str = ""
    p_asserted_identity: tuple[str, ...] = ()
    remote_party_id: tuple[str, ...] = ()
    privacy: str = ""
    diversion: tuple[str, ...] = ()
    history_info: tuple[str, ...] = ()
    diverted_from: str = ""
    diversion_reason: str = ""
    user_to_user: tuple[str, ...] = ()
    verstat: str = ""
    attestation: str = ""
    identity: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """The first 32 X-* headers, values of at most 1,024 octets."""
    headers_omitted: int = 0
    variables: dict[str, str] = {}
    transfers: dict[str, str] = {}
    """Where the agent may send the caller: name to description."""
    codec: str = ""
    tls: bool = False
    srtp: bool = False
    resumed: bool = False
    """The agent had this call already, and its link broke."""


class StartAgent(Request, frozen=True, kw_only=True):
    """Connect the call to its agent. Answered by :class:`Done` at once; then one event follows,
    :class:`AgentReady` or :class:`AgentFailed`.

    :ivar dialect: ``twilio`` or ``builtin``.
    :ivar url: ``ws://`` or ``wss://``; for ``builtin`` one of ``builtin:echo``, ``builtin:tone``,
        ``builtin:greeting``, ``builtin:readback``.
    :ivar connect_timeout: over DNS, connect, TLS and upgrade together.
    :ivar audio: passed through where the caller's codec allows (the caller's codec, e.g. ``PCMU``).
    :ivar inband: look for digits in the caller's audio, too.
    :ivar resumes: an agent whose link breaks is connected once more (:class:`AgentLost`, :class:`AgentResumed`).
    :ivar filler: the path of a WAV file that the caller hears meanwhile; empty: comfort noise.
    :ivar barge_in: what the worker makes of the caller's speech: nothing; it tells the agent; it throws away what the
        agent has yet to say, besides.
    """

    call: str
    leg: str = "caller"
    dialect: str
    url: Secret
    headers: tuple[tuple[str, Secret], ...] = ()
    context: CallContext
    options: dict[str, str] = {}
    connect_timeout: float = 3.0
    ping_interval: float = 5.0
    ping_timeout: float = 5.0
    inband: bool = False
    resumes: bool = False
    filler: str = ""
    barge_in: BargeIn = "off"


class StopAgent(Request, frozen=True, kw_only=True):
    """The agent leaves, and the legs stay: it is told so, and no event of it follows. Answered by Done.

    :ivar cause, by: as in :class:`Release`.
    """

    call: str
    cause: str = "transferred"
    by: str = "gateway"


class Answered(Request, frozen=True, kw_only=True):
    """A leg's dialog is up (200 sent or received): audio may flow both ways, and is owed. Answered by Done."""

    call: str
    leg: str = "caller"


class Early(Request, frozen=True, kw_only=True):
    """A leg's dialog is not up yet, and it is to hear something all the same (RFC 3960). Answered by Done.

    Until its :class:`Answered` nobody hears the leg, and nothing is owed.

    :ivar source: ``ringback``: a ringing tone, while the agent's words wait; ``agent``: what it says.
    """

    call: str
    leg: str = "caller"
    source: Literal["ringback", "agent"]


class Pressed(Request, frozen=True, kw_only=True):
    """A press that signalling told (SIP INFO); the worker finds out whether the leg's media told it too.

    Answered by Done. Where it is a press of its own, :class:`DigitReceived` follows as for any other.

    :ivar digit: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``.
    """

    call: str
    leg: str = "caller"
    digit: str
    duration_ms: int = 0


class Record(Request, frozen=True, kw_only=True):
    """Write down what a leg says and hears, from its :class:`Answered` on. Answered by :class:`Done` at once.

    At most one leg of a call is recorded; asking again changes nothing. It ends with the leg, or before, and
    :class:`RecordingEnded` follows, perhaps after the leg's :class:`Released`, which says so; none where the leg was
    never answered.
    """

    call: str
    leg: str = "caller"


class Tell(Request, frozen=True, kw_only=True):
    """Tell the agent something that its dialect may pass on, e.g. ``limit`` with seconds left."""

    call: str
    kind: str
    detail: dict[str, str] = {}


class SendDigits(Request, frozen=True, kw_only=True):
    """Digits, asked for beside the agent's link. Answered by Done, or Failed ``bad_digits``.

    :ivar leg: to whom; empty: to whoever hears the agent.
    """

    call: str
    leg: str = ""
    digits: str


class ConversationStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller and the agent made of their call, in milliseconds (:mod:`stellar_gw.media.turns`).

    :ivar heard_ms: for so long the agent heard the caller, be it silence.
    :ivar agent_audio_ms: of the agent's audio that were put on the wire, be it silence.
    :ivar turns: answers of the agent's; ``p50_ms``, ``p95_ms`` and ``max_ms`` are how long the caller waited for them.
    :ivar caller_ms, agent_ms: in which they spoke; ``both_ms``: at the same time.
    :ivar barge_ins: how often the caller began to speak while the agent was to be heard.
    :ivar malformed: messages of the agent that did not follow its dialect, or told of an error at its side.
    """

    heard_ms: int = 0
    agent_audio_ms: int = 0
    turns: int = 0
    p50_ms: int = 0
    p95_ms: int = 0
    max_ms: int = 0
    caller_ms: int = 0
    agent_ms: int = 0
    both_ms: int = 0
    barge_ins: int = 0
    malformed: int = 0


class Outcome(Request, frozen=True, kw_only=True):
    """What became of an :class:`AgentAsked`. Answered by Done.

    :ivar state: ``done`` or ``failed`` at the end; anything else on the way there.
    :ivar detail: for a failure ``code`` and ``message``.
    """

    call: str
    ask: str
    state: str
    final: bool = True
    detail: dict[str, str] = {}
