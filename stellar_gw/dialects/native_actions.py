"""What an agent of the native dialect may ask for, as msgspec reads it: text in, one of these structs out.

A file of its own, because structs that are told apart by a tag cannot be compiled (:mod:`stellar_gw.compiled`), and
what is done with them can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

Id = str


class NotifyAction(msgspec.Struct, frozen=True, tag_field="action", tag="notify"):
    payload: msgspec.Raw = msgspec.Raw(b"null")


class ClearAction(msgspec.Struct, frozen=True, tag_field="action", tag="clear"):
    id: Id = ""


class HangupAction(msgspec.Struct, frozen=True, tag_field="action", tag="hangup"):
    id: Id = ""
    when: Literal["now", "after_playout"] = "now"


class SendDtmfAction(msgspec.Struct, frozen=True, tag_field="action", tag="send_dtmf"):
    digits: str
    id: Id = ""


class AnswerAction(msgspec.Struct, frozen=True, tag_field="action", tag="answer"):
    id: Id = ""


class RejectAction(msgspec.Struct, frozen=True, tag_field="action", tag="reject"):
    id: Id = ""
    status: int = 603
    reason: str = ""


class TransferAction(msgspec.Struct, frozen=True, tag_field="action", tag="transfer"):
    to: str
    id: Id = ""
    method: Literal["auto", "refer", "invite"] = "auto"
    timeout_s: float = 0.0
    headers: dict[str, str] = {}


class HoldAction(msgspec.Struct, frozen=True, tag_field="action", tag="hold"):
    id: Id = ""


class ResumeAction(msgspec.Struct, frozen=True, tag_field="action", tag="resume"):
    id: Id = ""


Action = (
    NotifyAction
    | ClearAction
    | HangupAction
    | SendDtmfAction
    | AnswerAction
    | RejectAction
    | TransferAction
    | HoldAction
    | ResumeAction
)
decode: Final[Callable[[str], Action]] = msgspec.json.Decoder(Action).decode
head_of: Final[Callable[[str], Any]] = msgspec.json.Decoder(
    msgspec.defstruct("Head", [("action", str, ""), ("id", str, "")])
).decode
