"""The client transactions' tables, row by row (RFC 3261 17.1, RFC 6026)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.transactions.invite_client import InviteClientMachine
from stellar_gw.sip.transactions.non_invite_client import NonInviteClientMachine
from tests.unit.transaction_case import BYE, INVITE, Table, response

STOP = ["stop timer_a", "stop timer_b"]


def invite(*, reliable: bool = False) -> Table:
    return Table(InviteClientMachine, INVITE, client=True, reliable=reliable)


def bye(*, reliable: bool = False) -> Table:
    return Table(NonInviteClientMachine, BYE, client=True, reliable=reliable)


class InviteClientTests(SynchronousTestCase):
    def test_unreliable(self) -> None:
        """Timer A doubles without bound, timer B ends it after 64*T1."""
        table = invite()
        self.assertEqual(table("send"), (["send request", "timer_b 32", "timer_a 0.5"], "Calling"))
        self.assertEqual(
            [table("timer_a")[0][1] for _ in range(6)],
            ["timer_a 1", "timer_a 2", "timer_a 4", "timer_a 8", "timer_a 16", "timer_a 32"],
        )
        self.assertEqual(table("timer_b"), ([*STOP, "TimedOut", "Terminated"], "Terminated"))

    def test_reliable(self) -> None:
        """Timer B only; timer D is zero."""
        table = invite(reliable=True)
        self.assertEqual(table("send"), (["send request", "timer_b 32"], "Calling"))
        self.assertEqual(
            table("receive_300_699", response(INVITE, 486)),
            ([*STOP, "send ACK", "timer_d 0", "deliver 486"], "Completed"),
        )

    def test_failure(self) -> None:
        """ACK for each copy; told once; timer D is 32 s."""
        table = invite()
        table("send")
        self.assertEqual(table("receive_1xx", response(INVITE, 180)), ([*STOP, "deliver 180"], "Proceeding"))
        self.assertEqual(table("receive_1xx", response(INVITE, 183)), (["deliver 183"], "Proceeding"))
        self.assertEqual(
            table("receive_300_699", response(INVITE, 486)),
            ([*STOP, "send ACK", "timer_d 32", "deliver 486"], "Completed"),
        )
        self.assertEqual(table("receive_300_699", response(INVITE, 486)), (["send ACK"], "Completed"))
        self.assertEqual(table("receive_2xx", response(INVITE, 200)), ([], "Completed"))
        self.assertEqual(table("timer_d"), (["stop timer_d", *STOP, "Terminated"], "Terminated"))

    def test_success(self) -> None:
        """Every 2xx is told until timer M (RFC 6026); no ACK from here."""
        table = invite()
        table("send")
        self.assertEqual(
            table("receive_2xx", response(INVITE, 200)), ([*STOP, "timer_m 32", "deliver 200"], "Accepted")
        )
        self.assertEqual(table("receive_2xx", response(INVITE, 200)), (["deliver 200"], "Accepted"))
        self.assertEqual(table("receive_1xx", response(INVITE, 180)), ([], "Accepted"))
        self.assertEqual(table("receive_300_699", response(INVITE, 486)), ([], "Accepted"))
        self.assertEqual(table("timer_m")[1], "Terminated")

    def test_transport_error(self) -> None:
        """Told while nobody has answered; of an ACK that cannot go nothing is told."""
        table = invite()
        table("send")
        self.assertEqual(table("transport_error"), ([*STOP, "TransportFailed", "Terminated"], "Terminated"))
        table = invite()
        table("send")
        table("receive_300_699", response(INVITE, 486))
        self.assertEqual(table("transport_error"), (["stop timer_d", *STOP, "Terminated"], "Terminated"))

    def test_timers_never_fire_in_states_that_have_none(self) -> None:
        """They are ours: one that fires where it cannot is a bug, and raises."""
        table = invite()
        self.assertRaises(LocalProtocolError, table, "timer_a")
        table("send")
        self.assertRaises(LocalProtocolError, table, "timer_d")


class NonInviteClientTests(SynchronousTestCase):
    def test_unreliable(self) -> None:
        """Timer E doubles up to T2, timer F ends it."""
        table = bye()
        self.assertEqual(table("send"), (["send request", "timer_f 32", "timer_e 0.5"], "Trying"))
        self.assertEqual(
            [table("timer_e")[0][1] for _ in range(5)],
            ["timer_e 1", "timer_e 2", "timer_e 4", "timer_e 4", "timer_e 4"],
        )
        self.assertEqual(table("timer_f"), (["stop timer_e", "stop timer_f", "TimedOut", "Terminated"], "Terminated"))

    def test_proceeding(self) -> None:
        """After a 1xx it goes out every T2, and timer F goes on (17.1.2.2)."""
        table = bye()
        table("send")
        self.assertEqual(table("receive_1xx", response(BYE, 100)), (["deliver 100"], "Proceeding"))
        self.assertEqual(table("timer_e"), (["send request", "timer_e 4"], "Proceeding"))
        self.assertEqual(
            table("receive_final", response(BYE, 200)),
            (["stop timer_e", "stop timer_f", "timer_k 5", "deliver 200"], "Completed"),
        )
        self.assertEqual(table("receive_final", response(BYE, 200)), ([], "Completed"))
        self.assertEqual(table("timer_k"), (["Terminated"], "Terminated"))

    def test_reliable(self) -> None:
        table = bye(reliable=True)
        self.assertEqual(table("send"), (["send request", "timer_f 32"], "Trying"))
        self.assertEqual(
            table("receive_final", response(BYE, 200)),
            (["stop timer_e", "stop timer_f", "timer_k 0", "deliver 200"], "Completed"),
        )

    def test_transport_error(self) -> None:
        for before in ((), ("receive_1xx",)):
            table = bye()
            table("send")
            for symbol in before:
                table(symbol, response(BYE, 100))
            self.assertEqual(
                table("transport_error"),
                (["stop timer_e", "stop timer_f", "TransportFailed", "Terminated"], "Terminated"),
            )
