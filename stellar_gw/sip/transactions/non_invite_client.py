"""The non-INVITE client transaction (RFC 3261 17.1.2)."""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder

from stellar_gw.fsm import seal
from stellar_gw.sip.message import Response
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


class NonInviteClient(Protocol):
    def send(self) -> None: ...  # the request itself
    def receive_1xx(self, response: Response) -> None: ...
    def receive_final(self, response: Response) -> None: ...
    def transport_error(self) -> None: ...
    def timer_e(self) -> None: ...  # send again, UDP only
    def timer_f(self) -> None: ...  # nobody answered
    def timer_k(self) -> None: ...  # no more answers to absorb


def send_request(_: NonInviteClient, it: ClientTransaction) -> None:
    it.effects.append(Send(it.data))
    it.effects.append(Start("timer_f", it.timers.timeout))
    if not it.reliable:
        it.interval = it.timers.t1
        it.effects.append(Start("timer_e", it.interval))


def resend_request(_: NonInviteClient, it: ClientTransaction) -> None:
    it.interval = min(it.interval * 2, it.timers.t2)
    it.effects.append(Send(it.data))
    it.effects.append(Start("timer_e", it.interval))


def resend_slowly(_: NonInviteClient, it: ClientTransaction) -> None:
    it.effects.append(Send(it.data))
    it.effects.append(Start("timer_e", it.timers.t2))


def deliver(_: NonInviteClient, it: ClientTransaction, response: Response) -> None:
    it.effects.append(Deliver(response))


def _stop(it: ClientTransaction) -> None:
    it.effects.append(Stop("timer_e"))
    it.effects.append(Stop("timer_f"))


def complete(_: NonInviteClient, it: ClientTransaction, response: Response) -> None:
    _stop(it)
    it.effects.append(Start("timer_k", 0.0 if it.reliable else it.timers.t4))
    it.effects.append(Deliver(response))


def time_out(_: NonInviteClient, it: ClientTransaction) -> None:
    _stop(it)
    it.effects.append(TIMED_OUT)
    it.effects.append(TERMINATED)


def fail(_: NonInviteClient, it: ClientTransaction) -> None:
    _stop(it)
    it.effects.append(TRANSPORT_FAILED)
    it.effects.append(TERMINATED)


def terminate(_: NonInviteClient, it: ClientTransaction) -> None:
    it.effects.append(TERMINATED)


machine = TypeMachineBuilder[NonInviteClient, ClientTransaction](NonInviteClient, ClientTransaction)
begun, trying, proceeding = map(machine.state, ("Begun", "Trying", "Proceeding"))
completed, terminated = map(machine.state, ("Completed", "Terminated"))

begun.upon(NonInviteClient.send).to(trying)(send_request)

trying.upon(NonInviteClient.timer_e).loop()(resend_request)
trying.upon(NonInviteClient.timer_f).to(terminated)(time_out)
trying.upon(NonInviteClient.transport_error).to(terminated)(fail)
trying.upon(NonInviteClient.receive_1xx).to(proceeding)(deliver)
trying.upon(NonInviteClient.receive_final).to(completed)(complete)

proceeding.upon(NonInviteClient.timer_e).loop()(resend_slowly)
proceeding.upon(NonInviteClient.timer_f).to(terminated)(time_out)
proceeding.upon(NonInviteClient.transport_error).to(terminated)(fail)
proceeding.upon(NonInviteClient.receive_1xx).loop()(deliver)
proceeding.upon(NonInviteClient.receive_final).to(completed)(complete)

completed.upon(NonInviteClient.timer_k).to(terminated)(terminate)

NonInviteClientMachine = seal(
    machine,
    name="NonInviteClientTransaction",
    remote=[NonInviteClient.receive_1xx, NonInviteClient.receive_final, NonInviteClient.transport_error],
)
