"""The non-INVITE server transaction (RFC 3261 17.2.2)."""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder

from stellar_gw.fsm import seal
from stellar_gw.sip.transactions.effects import TERMINATED, TRANSPORT_FAILED, Send, Start, Stop
from stellar_gw.sip.transactions.transaction import ServerTransaction


class NonInviteServer(Protocol):
    def send_1xx(self, data: bytes) -> None: ...
    def send_final(self, data: bytes) -> None: ...
    def receive_request(self) -> None: ...  # the request again
    def transport_error(self) -> None: ...
    def timer_j(self) -> None: ...  # no more requests to absorb


def send_provisional(_: NonInviteServer, it: ServerTransaction, data: bytes) -> None:
    it.last = data
    it.effects.append(Send(data))


def send_final(_: NonInviteServer, it: ServerTransaction, data: bytes) -> None:
    it.last, it.final = data, True
    it.effects.append(Send(data))
    it.effects.append(Start("timer_j", 0.0 if it.reliable else it.timers.timeout))


def resend(_: NonInviteServer, it: ServerTransaction) -> None:
    it.effects.append(Send(it.last))


def fail(_: NonInviteServer, it: ServerTransaction) -> None:
    it.effects.append(Stop("timer_j"))
    it.effects.append(TRANSPORT_FAILED)
    it.effects.append(TERMINATED)


def terminate(_: NonInviteServer, it: ServerTransaction) -> None:
    it.effects.append(TERMINATED)


machine = TypeMachineBuilder[NonInviteServer, ServerTransaction](NonInviteServer, ServerTransaction)
trying, proceeding = map(machine.state, ("Trying", "Proceeding"))
completed, terminated = map(machine.state, ("Completed", "Terminated"))

trying.upon(NonInviteServer.send_1xx).to(proceeding)(send_provisional)
trying.upon(NonInviteServer.send_final).to(completed)(send_final)
trying.upon(NonInviteServer.transport_error).to(terminated)(fail)

proceeding.upon(NonInviteServer.receive_request).loop()(resend)
proceeding.upon(NonInviteServer.send_1xx).loop()(send_provisional)
proceeding.upon(NonInviteServer.send_final).to(completed)(send_final)
proceeding.upon(NonInviteServer.transport_error).to(terminated)(fail)

completed.upon(NonInviteServer.receive_request).loop()(resend)
completed.upon(NonInviteServer.transport_error).to(terminated)(fail)
completed.upon(NonInviteServer.timer_j).to(terminated)(terminate)

NonInviteServerMachine = seal(
    machine,
    name="NonInviteServerTransaction",
    remote=[NonInviteServer.receive_request, NonInviteServer.transport_error],
)
