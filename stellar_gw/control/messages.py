"""What the gateway and a media worker say to each other; no audio ever passes here.

Every message is a msgspec struct, tagged by its class name, one per frame. A request carries an id
that its reply repeats; every failure is a reply (:class:`Failed`). Commands are idempotent by call and
leg: repeating one returns what the first returned. ``generation`` is the worker's: a message of a
replaced worker is told apart by it. Times are seconds unless the name says otherwise.
"""

from __future__ import annotations

from stellar_gw.control.agent_messages import (
    Answered,
    BargeIn,
    CallContext,
    ConversationStatistics,
    Early,
    Outcome,
    Pressed,
    Record,
    SendDigits,
    StartAgent,
    StopAgent,
    Tell,
)
from stellar_gw.control.channel_messages import (
    Configure,
    Done,
    Drain,
    Failed,
    Hello,
    ListCalls,
    Listing,
    Ping,
    Pong,
)
from stellar_gw.control.envelope import (
    MAX_FRAME,
    VERSION,
    Address,
    Event,
    Message,
    Reply,
    Request,
    Secret,
)
from stellar_gw.control.leg_messages import (
    Allocate,
    Allocated,
    Binding,
    Codec,
    Direction,
    Ice,
    LegStatistics,
    Rebind,
    Release,
    Released,
    SetMedia,
    Source,
    SrtpKey,
    bridge,
    unbridge,
)
from stellar_gw.control.worker_events import (
    AgentAsked,
    AgentFailed,
    AgentHangup,
    AgentLost,
    AgentReady,
    AgentResumed,
    AgentTurned,
    DigitReceived,
    MediaBack,
    MediaLost,
    OneWayAudio,
    Played,
    RecordingEnded,
)

Anything = (
    Hello
    | Configure
    | Ping
    | ListCalls
    | Drain
    | Done
    | Pong
    | Failed
    | Listing
    | Allocate
    | Allocated
    | SetMedia
    | Outcome
    | SendDigits
    | Release
    | Released
    | StartAgent
    | StopAgent
    | Rebind
    | Answered
    | Early
    | Pressed
    | Tell
    | AgentReady
    | AgentFailed
    | AgentHangup
    | AgentLost
    | AgentResumed
    | AgentAsked
    | AgentTurned
    | MediaLost
    | MediaBack
    | OneWayAudio
    | DigitReceived
    | Record
    | RecordingEnded
    | Played
)

__all__ = [
    "MAX_FRAME",
    "VERSION",
    "Address",
    "AgentAsked",
    "AgentFailed",
    "AgentHangup",
    "AgentLost",
    "AgentReady",
    "AgentResumed",
    "AgentTurned",
    "Allocate",
    "Allocated",
    "Answered",
    "Anything",
    "BargeIn",
    "Binding",
    "CallContext",
    "Codec",
    "Configure",
    "ConversationStatistics",
    "DigitReceived",
    "Direction",
    "Done",
    "Drain",
    "Early",
    "Event",
    "Failed",
    "Hello",
    "Ice",
    "LegStatistics",
    "ListCalls",
    "Listing",
    "MediaBack",
    "MediaLost",
    "Message",
    "OneWayAudio",
    "Outcome",
    "Ping",
    "Played",
    "Pong",
    "Pressed",
    "Rebind",
    "Record",
    "RecordingEnded",
    "Release",
    "Released",
    "Reply",
    "Request",
    "Secret",
    "SendDigits",
    "SetMedia",
    "Source",
    "SrtpKey",
    "StartAgent",
    "StopAgent",
    "Tell",
    "bridge",
    "unbridge",
]
