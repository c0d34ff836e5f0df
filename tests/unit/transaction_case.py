"""One transaction's table on its own: inputs by name, effects looked at."""

from __future__ import annotations

from typing import Any

from stellar_gw.fsm import Sealed
from stellar_gw.sip.message import Request, Response, response_to
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.transactions.effects import Deliver, Effect, Send, Start, Stop
from stellar_gw.sip.transactions.transaction import ClientTransaction, ServerTransaction
from tests.unit.sip_case import TCP, UDP, invite, request


def sound(data: bytes) -> Request:
    message = parse_message(data, stream=True)
    assert isinstance(message, Request)
    return message


INVITE, BYE, ACK = sound(invite()), sound(request("BYE")), sound(request("ACK"))


class Nobody:
    def responded(self, transaction: ClientTransaction, response: Response) -> None: ...

    def timed_out(self, transaction: ClientTransaction) -> None: ...

    def transport_failed(self, transaction: Any) -> None: ...

    def acknowledged(self, transaction: ServerTransaction, ack: Request) -> None: ...


class Table:
    """A machine around a transaction; each input returns the effects in words, and the state it leads to."""

    def __init__(self, sealed: Sealed[Any, Any], asked: Request, *, client: bool, reliable: bool) -> None:
        flow = TCP if reliable else UDP
        self.sealed = sealed
        self.it: ClientTransaction | ServerTransaction
        if client:
            self.it = ClientTransaction(
                key=1,
                request=asked,
                flow=flow,
                timers=Timers(),
                destination=asked.uri,
                data=b"request",
                user=Nobody(),
                sent_by=("x", None),
            )
        else:
            self.it = ServerTransaction(
                key=1, request=asked, flow=flow, timers=Timers(), destination=asked.uri, user=Nobody(), to_tag="t"
            )
        self.machine = sealed(self.it)

    def __call__(self, symbol: str, *arguments: object) -> tuple[list[str], str]:
        getattr(self.machine, symbol)(*arguments)
        effects, self.it.effects = self.it.effects, []
        return [in_words(effect) for effect in effects], self.sealed.state(self.machine)


def in_words(effect: Effect) -> str:
    match effect:
        case Send(data):
            return f"send {data.split(b' ')[0].decode()}"
        case Start(timer, delay):
            return f"{timer} {delay:g}"
        case Stop(timer):
            return f"stop {timer}"
        case Deliver(message):
            return f"deliver {message.status if isinstance(message, Response) else message.method}"
        case _:
            return type(effect).__name__


def response(asked: Request, status: int) -> Response:
    return response_to(asked, status, to_tag="t")
