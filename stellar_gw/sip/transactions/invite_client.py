"""The INVITE client transaction (RFC 3261 17.1.1, with the Accepted state of RFC 6026 8.4)."""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder

from stellar_gw.fsm import seal
from stellar_gw.sip.message import Response
from stellar_gw.sip.transactions.ack import ack_of
from stellar_gw.sip.transactions.effects import (
    TERMINATED,
    TIMED_OUT,
    TRANSPORT_FAILED,
    Deliver,
    Send,
    Start,
    Stop,
)
from stellar_gw.sip.transactions.transaction import ClientTransaction


class InviteClient(Protocol):
    def send(self) -> None: ...  # the INVITE itself
    def receive_1xx(self, response: Response) -> None: ...
    def receive_2xx(self, response: Response) -> None: ...
    def receive_300_699(self, response: Response) -> None: ...
    def transport_error(self) -> None: ...
    def timer_a(self) -> None: ...  # send again, UDP only
    def timer_b(self) -> None: ...  # nobody answered
    def timer_d(self) -> None: ...  # no more answers to acknowledge
    def timer_m(self) -> None: ...  # no more 2xx to expect
    def abandon(self) -> None: ...  # cancelled long ago and never answered (9.1)


def send_invite(_: InviteClient, it: ClientTransaction) -> None:
    it.effects.append(Send(it.data))
    it.effects.append(Start("timer_b", it.timers.timeout))
    if not it.reliable:
        it.interval = it.timers.t1
        it.effects.append(Start("timer_a", it.interval))


def resend_invite(_: InviteClient, it: ClientTransaction) -> None:
    it.interval *= 2
    it.effects.append(Send(it.data))
    it.effects.append(Start("timer_a", it.interval))


def _stop(it: ClientTransaction) -> None:
    it.effects.append(Stop("timer_a"))
    it.effects.append(Stop("timer_b"))


def proceed(_: InviteClient, it: ClientTransaction, response: Response) -> None:
    _stop(it)
    it.effects.append(Deliver(response))


def deliver(_: InviteClient, it: ClientTransaction, response: Response) -> None:
    it.effects.append(Deliver(response))


def accept(_: InviteClient, it: ClientTransaction, response: Response) -> None:
    _stop(it)
    it.effects.append(Start("timer_m", it.timers.timeout))
    it.effects.append(Deliver(response))


def complete(_: InviteClient, it: ClientTransaction, response: Response) -> None:
    _stop(it)
    it.ack = ack_of(it.request, response)
    it.effects.append(Send(it.ack))
    it.effects.append(Start("timer_d", 0.0 if it.reliable else it.timers.d))
    it.effects.append(Deliver(response))


def resend_ack(_: InviteClient, it: ClientTransaction, response: Response) -> None:
    it.effects.append(Send(it.ack))


def time_out(_: InviteClient, it: ClientTransaction) -> None:
    _stop(it)
    it.effects.append(TIMED_OUT)
    it.effects.append(TERMINATED)


def fail(_: InviteClient, it: ClientTransaction) -> None:
    _stop(it)
    it.effects.append(TRANSPORT_FAILED)
    it.effects.append(TERMINATED)


def terminate(_: InviteClient, it: ClientTransaction) -> None:
    it.effects.append(Stop("timer_d"))
    _stop(it)
    it.effects.append(TERMINATED)


machine = TypeMachineBuilder[InviteClient, ClientTransaction](InviteClient, ClientTransaction)
begun, calling, proceeding = map(machine.state, ("Begun", "Calling", "Proceeding"))
completed, accepted, terminated = map(machine.state, ("Completed", "Accepted", "Terminated"))

begun.upon(InviteClient.send).to(calling)(send_invite)

calling.upon(InviteClient.timer_a).loop()(resend_invite)
calling.upon(InviteClient.timer_b).to(terminated)(time_out)
calling.upon(InviteClient.transport_error).to(terminated)(fail)
calling.upon(InviteClient.receive_1xx).to(proceeding)(proceed)
calling.upon(InviteClient.receive_2xx).to(accepted)(accept)
calling.upon(InviteClient.receive_300_699).to(completed)(complete)
calling.upon(InviteClient.abandon).to(terminated)(terminate)

proceeding.upon(InviteClient.receive_1xx).loop()(deliver)
proceeding.upon(InviteClient.receive_2xx).to(accepted)(accept)
proceeding.upon(InviteClient.receive_300_699).to(completed)(complete)
proceeding.upon(InviteClient.abandon).to(terminated)(terminate)

completed.upon(InviteClient.receive_300_699).loop()(resend_ack)
# The user has his answer already, so that its ACK cannot go is nothing to tell him.
completed.upon(InviteClient.transport_error).to(terminated)(terminate)
completed.upon(InviteClient.timer_d).to(terminated)(terminate)

accepted.upon(InviteClient.receive_2xx).loop()(deliver)
accepted.upon(InviteClient.timer_m).to(terminated)(terminate)

InviteClientMachine = seal(
    machine,
    name="InviteClientTransaction",
    remote=[
        InviteClient.receive_1xx,
        InviteClient.receive_2xx,
        InviteClient.receive_300_699,
        InviteClient.transport_error,
    ],
)
