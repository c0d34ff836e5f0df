"""The function tools that a Realtime model is given: the gateway's verbs, as it asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from attrs import frozen

from stellar_gw.dialects.contract import Ask, Hangup, SendDigits
from stellar_gw.dialects.wire import reason
from stellar_gw.errors import StellarError

TRANSFER, END, DIGITS = "transfer_call", "end_call", "send_dtmf"
MAX_TEXT: Final = 256
"""Characters of an argument."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


class ToolError(StellarError):
    """A call that cannot be carried out; the model is told.

    :ivar code: a stable word.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@frozen
class ToolCall:
    """:ivar arguments: JSON, as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class _Transfer(msgspec.Struct, frozen=True):
    to: Text


class _Digits(msgspec.Struct, frozen=True):
    digits: Text


_transfer: Final = msgspec.json.Decoder(_Transfer)
_digits: Final = msgspec.json.Decoder(_Digits)


def tools(transfers: Mapping[str, str]) -> list[dict[str, object]]:
    """The list for ``session.tools``.

    :param transfers: where the agent may send the caller: name to description. Empty: it may name any target, and
        the gateway decides.
    """
    to: dict[str, object] = {"type": "string", "description": "A phone number in E.164 form, or a sip: URI."}
    if transfers:
        known = "; ".join(f"{name}: {about}" if about else name for name, about in transfers.items())
        to = {"type": "string", "enum": list(transfers), "description": known}
    keys = {"type": "string", "pattern": "^[0-9*#A-D]+$", "description": "The keys, in order."}
    return [
        _tool(
            TRANSFER,
            "Transfer the caller to somebody else. Say so first. The result tells whether it worked; if it did not, "
            "the caller is still with you.",
            to=to,
        ),
        _tool(END, "Hang up, once everything that you have said was heard. Say good-bye first."),
        _tool(DIGITS, "Press telephone keys, which the other side hears as DTMF.", digits=keys),
    ]


def verb_of(call: ToolCall, transfers: Mapping[str, str]) -> Ask | Hangup | SendDigits:
    """What the model wants.

    :raise ToolError: there is no such tool, or its arguments make no sense.
    """
    try:
        match call.name:
            case "transfer_call":
                to = _transfer.decode(call.arguments).to
                if transfers and to not in transfers:
                    raise ToolError("unknown_target", f"to must be one of: {', '.join(transfers)}")
                return Ask("transfer", call.call_id, (("to", to), ("method", "auto")))
            case "end_call":
                return Hangup(after_playout=True, ask=call.call_id)
            case "send_dtmf":
                return SendDigits(_digits.decode(call.arguments).digits, call.call_id)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ToolError("bad_arguments", f"{call.name}: {reason(error)}") from error
    raise ToolError("unknown_tool", f"there are {TRANSFER}, {END} and {DIGITS}")


def _tool(name: str, about: str, **properties: object) -> dict[str, object]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "name": name, "description": about, "parameters": parameters}
