"""What the gateway and a media worker say to each other; no audio ever passes here.

Every message is a msgspec struct, tagged by its class name, one per frame. A request carries an id
that its reply repeats; every failure is a reply (:class:`Failed`). Commands are idempotent by call and
leg: repeating one returns what the first returned. ``generation`` is the worker's: a message of a
replaced worker is told apart by it. Times are seconds unless the name says otherwise.
"""

from __future__ import annotations

from typing import Literal

import msgspec

VERSION = 1
MAX_FRAME = 1 << 20
"""Octets; a longer frame ends the channel."""

Address = tuple[str, int]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Source = Literal["agent", "leg", "silence", "tone", "file"]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The base of all messages."""


class Request(Message, frozen=True, kw_only=True):
    """Gateway to worker; answered by exactly one :class:`Reply` with the same ``request``."""

    request: int


class Reply(Message, frozen=True, kw_only=True):
    request: int


class Event(Message, frozen=True, kw_only=True):
    """Worker to gateway, unasked."""

    generation: int


class Secret(msgspec.Struct, frozen=True):
    """A header or URL that must never be shown: its repr is empty."""

    value: str

    def __repr__(self) -> str:
        return "Secret(...)"


# --- the channel itself -------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True):
    """The worker's first frame."""

    version: int
    worker: int
    generation: int
    pid: int


class Configure(Request, frozen=True, kw_only=True):
    """The gateway's first request: what the worker owns. Answered by :class:`Done`.

    :ivar no_media: seconds without RTP and RTCP after which a leg is :class:`MediaLost`.
    :ivar no_media_on_hold: the same while the peer need not send.
    """

    bind: str
    ports: tuple[int, int]
    dscp: int = 46
    quarantine: float = 5.0
    recordings: str = ""
    no_media: float = 30.0
    no_media_on_hold: float = 3600.0


class Ping(Request, frozen=True, kw_only=True):
    """Answered by :class:`Done` in time (``PoolSettings.ping_timeout``), or the worker is taken for dead."""


class ListCalls(Request, frozen=True, kw_only=True):
    """What do you carry? Answered by :class:`Listing`, at most 256 calls a page."""

    after: str = ""


class Drain(Request, frozen=True, kw_only=True):
    """Take no new calls; exit once the last has ended."""


class Done(Reply, frozen=True, kw_only=True):
    pass


class Failed(Reply, frozen=True, kw_only=True):
    """The request was refused; nothing has changed.

    :ivar code: ``no_ports``, ``no_descriptors``, ``unknown_call``, ``bad_request``, ``draining`` or ``internal``.
    """

    code: str
    message: str


class Listing(Reply, frozen=True, kw_only=True):
    calls: tuple[str, ...]
    more: bool = False


# --- media legs ---------------------------------------------------------------------------------


class Allocate(Request, frozen=True, kw_only=True):
    """Reserve an RTP and an RTCP port for a leg. Answered by :class:`Allocated`."""

    call: str
    leg: str = "caller"
    bind: str = ""
    """The address to bind; empty for the worker's own."""


class Allocated(Reply, frozen=True, kw_only=True):
    rtp_port: int
    rtcp_port: int
    cname: str
    ssrc: int


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One negotiated payload type.

    :ivar name: encoding name of the rtpmap, upper case: ``G722``, ``PCMU``, ``PCMA``.
    :ivar clock: RTP clock rate in Hz (8000 for G.722 too: RFC 3551 4.5.2).
    """

    name: str
    payload_type: int
    clock: int = 8000


class SrtpKey(msgspec.Struct, frozen=True):
    """An SRTP suite (RFC 4568 6.2) with its master key and master salt, which never show.

    Only on this channel, which is a UNIX socket between processes of one user; the key of a leg is as long-lived
    as the leg, and is written nowhere.
    """

    suite: str
    octets: bytes

    def __repr__(self) -> str:
        return f"SrtpKey({self.suite}, ...)"


class SetMedia(Request, frozen=True, kw_only=True):
    """What offer and answer agreed on for a leg; may come again after a re-INVITE. Answered by Done.

    :ivar remote: address and port of the peer's SDP; port 0 or host 0.0.0.0 means: send nothing.
    :ivar signalling_host: the signalling flow's peer, the other address that latching prefers.
    :ivar receive: payload types the peer may send us (ours, in the local SDP).
    :ivar dtmf_receive: telephone-event payload types that the peer may send, of any clock rate.
    :ivar noise_receive: comfort noise payload types that the peer may send (RFC 3389); 13 is understood anyway.
    :ivar direction: ours (RFC 3264): whether we send and whether we listen.
    :ivar ptime: milliseconds of audio in each packet we send.
    :ivar fresh: a new offer/answer exchange: a latched leg may latch again.
    :ivar srtp_send, srtp_receive: our key and the peer's; None in both for plain RTP. A key that comes again goes
        on with its context; a new one begins a new context (RFC 3711 3.2.3).
    :ivar comfort_noise: the payload type by which the peer itself takes comfort noise, of 8000 Hz; None: it does not.
    """

    call: str
    leg: str = "caller"
    remote: Address
    remote_rtcp: Address
    rtcp_mux: bool = False
    signalling_host: str = ""
    send: Codec
    receive: tuple[Codec, ...]
    dtmf_send: Codec | None = None
    dtmf_receive: tuple[Codec, ...] = ()
    noise_receive: tuple[Codec, ...] = ()
    direction: Direction = "sendrecv"
    ptime: int = 20
    strict_latch: bool = False
    fresh: bool = True
    comfort_noise: int | None = None
    srtp_send: SrtpKey | None = None
    srtp_receive: SrtpKey | None = None


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What one leg hears from us, and whether the agent hears the leg.

    :ivar source: ``agent``: what the agent says; ``leg``: what ``peer`` sends; ``silence``; ``tone`` and ``file``:
        these, over and over.
    :ivar peer: with source ``leg``, the other leg of the call.
    :ivar tone: with source ``tone``, its cadence (:mod:`stellar_gw.media.cadence`): ``ringback``, ``busy``, or
        parts of Hz and milliseconds as in ``440+480/2000,0/4000``.
    :ivar file: with source ``file``, the path of a WAV file (hold music).
    """

    leg: str
    source: Source
    peer: str = ""
    tone: str = "ringback"
    file: str = ""
    agent_hears: bool = False


class Rebind(Request, frozen=True, kw_only=True):
    """Change live, and at the same moment for all legs named, what they are sent and whether the agent hears them.

    Answered by :class:`Done`. Legs that are not named stay as they are. The first leg of an agent begins with the
    source ``agent``, heard by it; every other leg begins with silence. At most one leg has the agent as its source,
    and at most one is heard by it: what would break that is ``bad_request``, and changes nothing. An agent without a
    leg is muted, not stopped: time passes for it, and what it says is not kept.
    """

    call: str
    bindings: tuple[Binding, ...]


def bridge(call: str, leg: str = "caller", peer: str = "target") -> Rebind:
    """Two legs of a call that hear each other; the agent, if there is one, is muted and hears nothing."""
    return Rebind(
        request=0,
        call=call,
        bindings=(Binding(leg=leg, source="leg", peer=peer), Binding(leg=peer, source="leg", peer=leg)),
    )


def unbridge(call: str, leg: str = "caller", peer: str = "target") -> Rebind:
    """The first leg is back with the agent; the other, until it is released, hears silence."""
    return Rebind(
        request=0,
        call=call,
        bindings=(Binding(leg=leg, source="agent", agent_hears=True), Binding(leg=peer, source="silence")),
    )


class Release(Request, frozen=True, kw_only=True):
    """End a leg, or the whole call where ``leg`` is empty. Answered by :class:`Released`.

    :ivar cause: told to the agent in its stop message (``caller_hangup``, ``gateway_hangup``, ...).
    :ivar by: ``caller``, ``agent`` or ``gateway``.
    """

    call: str
    leg: str = ""
    cause: str = "gateway_hangup"
    by: str = "gateway"


class LegStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A leg's media in numbers (RFC 3550 6.4, A.3, A.8)."""

    leg: str
    codec: str = ""
    packets_received: int = 0
    packets_sent: int = 0
    octets_received: int = 0
    octets_sent: int = 0
    packets_lost: int = 0
    packets_late: int = 0
    packets_rejected: int = 0
    """Dropped before the leg looked at them: not authentic, not the latched source, or not RTP."""
    packets_unauthenticated: int = 0
    """Of those, how many SRTP refused: forged, replayed, or enciphered by another key."""
    srtp: str = ""
    """The SRTP suite of what was sent at the end; empty where it was plain."""
    jitter_ms: float = 0.0
    remote_loss: float = 0.0
    """Fraction lost of what we sent, by the peer's last receiver report."""
    round_trip_ms: float = -1.0
    """-1 where the peer sent no receiver report."""
    digits: str = ""
    latched: str = ""
    """``host:port`` that audio was sent to at the end, empty where nothing was ever received."""
    agent_audio_ms: int = 0
    """Milliseconds of the agent's audio that were put on the wire."""


class Released(Reply, frozen=True, kw_only=True):
    """:ivar recording: one of the call is being finished: its :class:`RecordingEnded` is to come."""

    legs: tuple[LegStatistics, ...] = ()
    recording: bool = False


# --- the agent ----------------------------------------------------------------------------------


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
    headers: tuple[tuple[str, str], ...] = ()
    """The first 32 X-* headers, values of at most 1,024 octets."""
    headers_omitted: int = 0
    variables: dict[str, str] = {}
    transfers: dict[str, str] = {}
    """Where the agent may send the caller: name to description."""
    codec: str = ""
    tls: bool = False
    srtp: bool = False


class StartAgent(Request, frozen=True, kw_only=True):
    """Connect the call to its agent. Answered by :class:`Done` at once; then one event follows,
    :class:`AgentReady` or :class:`AgentFailed`.

    :ivar dialect: ``twilio`` or ``builtin``.
    :ivar url: ``ws://`` or ``wss://``; for ``builtin`` one of ``builtin:echo``, ``builtin:tone``,
        ``builtin:greeting``, ``builtin:readback``.
    :ivar connect_timeout: over DNS, connect, TLS and upgrade together.
    :ivar audio: passed through where the caller's codec allows (the caller's codec, e.g. ``PCMU``).
    :ivar inband: look for digits in the caller's audio, too.
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
    """Digits to whoever hears the agent, asked for beside its link. Answered by Done, or Failed ``bad_digits``."""

    call: str
    digits: str


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


# --- what a worker says unasked -----------------------------------------------------------------


class AgentReady(Event, frozen=True, kw_only=True):
    """The agent's link is up and its dialect's opening messages are sent."""

    call: str
    connect_ms: float = 0.0


class AgentFailed(Event, frozen=True, kw_only=True):
    """The agent could not be reached, or its link broke. Sent at most once a call.

    :ivar code: ``timeout``, ``refused``, ``dns``, ``tls``, ``http_401``, ``closed_1011``, ``lost``,
        ``unresponsive``, ``flood``, ``oversize``, ``protocol`` or ``invalid_url``.
    :ivar message: one line for the operator; no secret, no query string.
    :ivar established: False while connecting, True where a link that was up has ended.
    """

    call: str
    code: str
    message: str
    established: bool = False


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


Anything = (
    Hello | Configure | Ping | ListCalls | Drain | Done | Failed | Listing | Allocate | Allocated | SetMedia
    | Outcome | SendDigits | Release | Released | StartAgent | StopAgent | Rebind | Answered | Pressed | Tell
    | AgentReady | AgentFailed | AgentHangup | AgentAsked | MediaLost | MediaBack | OneWayAudio | DigitReceived
    | Record | RecordingEnded
)
