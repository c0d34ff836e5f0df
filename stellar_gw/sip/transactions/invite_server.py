"""The INVITE server transaction (RFC 3261 17.2.1, with the Accepted state of RFC 6026 8.5)."""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder

from stellar_gw.fsm import seal
from stellar_gw.sip.message import Request
from stellar_gw.sip.transactions.effects import TERMINATED, TRANSPORT_FAILED, Deliver, Send, Start, Stop
from stellar_gw.sip.transactions.transaction import ServerTransaction


class InviteServer(Protocol):
    def send_1xx(self, data: bytes) -> None: ...
    def send_2xx(self, data: bytes) -> None: ...
    def send_300_699(self, data: bytes) -> None: ...
    def receive_request(self) -> None: ...  # the INVITE again
    def receive_ack(self, ack: Request) -> None: ...
    def transport_error(self) -> None: ...
    def timer_g(self) -> None: ...  # send the final response again, UDP only
    def timer_h(self) -> None: ...  # no ACK came
    def timer_i(self) -> None: ...  # no more ACKs to absorb
    def timer_l(self) -> None: ...  # no more INVITEs to absorb


def send_provisional(_: InviteServer, it: ServerTransaction, data: bytes) -> None:
    it.last = data
    it.effects.append(Send(data))


def send_success(_: InviteServer, it: ServerTransaction, data: bytes) -> None:
    it.last, it.final = data, True
    it.effects.append(Send(data))
    it.effects.append(Start("timer_l", it.timers.timeout))


def send_failure(_: InviteServer, it: ServerTransaction, data: bytes) -> None:
    it.last, it.final = data, True
    it.effects.append(Send(data))
    it.effects.append(Start("timer_h", it.timers.timeout))
    if not it.reliable:
        it.interval = it.timers.t1
        it.effects.append(Start("timer_g", it.interval))


def resend(_: InviteServer, it: ServerTransaction) -> None:
    if it.last:
        it.effects.append(Send(it.last))


def resend_failure(_: InviteServer, it: ServerTransaction) -> None:
    it.interval = min(it.interval * 2, it.timers.t2)
    it.effects.append(Send(it.last))
    it.effects.append(Start("timer_g", it.interval))


def send_again(_: InviteServer, it: ServerTransaction, data: bytes) -> None:
    it.effects.append(Send(data))


def confirm(_: InviteServer, it: ServerTransaction, ack: Request) -> None:
    it.effects.append(Stop("timer_g"))
    it.effects.append(Stop("timer_h"))
    it.effects.append(Start("timer_i", 0.0 if it.reliable else it.timers.t4))


def deliver_ack(_: InviteServer, it: ServerTransaction, ack: Request) -> None:
    it.effects.append(Deliver(ack))


def fail(_: InviteServer, it: ServerTransaction) -> None:
    it.effects.append(Stop("timer_g"))
    it.effects.append(Stop("timer_h"))
    it.effects.append(TRANSPORT_FAILED)
    it.effects.append(TERMINATED)


def tell_failure(_: InviteServer, it: ServerTransaction) -> None:
    it.effects.append(TRANSPORT_FAILED)


def terminate(_: InviteServer, it: ServerTransaction) -> None:
    it.effects.append(Stop("timer_g"))
    it.effects.append(TERMINATED)


machine = TypeMachineBuilder[InviteServer, ServerTransaction](InviteServer, ServerTransaction)
proceeding, completed, confirmed = map(machine.state, ("Proceeding", "Completed", "Confirmed"))
accepted, terminated = map(machine.state, ("Accepted", "Terminated"))

proceeding.upon(InviteServer.receive_request).loop()(resend)
proceeding.upon(InviteServer.send_1xx).loop()(send_provisional)
proceeding.upon(InviteServer.send_2xx).to(accepted)(send_success)
proceeding.upon(InviteServer.send_300_699).to(completed)(send_failure)
proceeding.upon(InviteServer.transport_error).to(terminated)(fail)

completed.upon(InviteServer.receive_request).loop()(resend)
completed.upon(InviteServer.timer_g).loop()(resend_failure)
completed.upon(InviteServer.timer_h).to(terminated)(terminate)
completed.upon(InviteServer.receive_ack).to(confirmed)(confirm)
completed.upon(InviteServer.transport_error).to(terminated)(fail)

confirmed.upon(InviteServer.timer_i).to(terminated)(terminate)

# The 2xx is the user's to send again (13.3.1.4); INVITEs that still come are absorbed without an answer.
accepted.upon(InviteServer.send_2xx).loop()(send_again)
accepted.upon(InviteServer.receive_ack).loop()(deliver_ack)
accepted.upon(InviteServer.transport_error).loop()(tell_failure)
accepted.upon(InviteServer.timer_l).to(terminated)(terminate)

InviteServerMachine = seal(
    machine,
    name="InviteServerTransaction",
    remote=[InviteServer.receive_request, InviteServer.receive_ack, InviteServer.transport_error],
)
