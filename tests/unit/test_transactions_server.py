"""The server transactions' tables, row by row (RFC 3261 17.2, RFC 6026)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.transactions.invite_server import InviteServerMachine
from stellar_gw.sip.transactions.non_invite_server import NonInviteServerMachine
from tests.unit.transaction_case import ACK, BYE, INVITE, Table

FAIL = ["stop timer_g", "stop timer_h", "TransportFailed", "Terminated"]


def invite(*, reliable: bool = False) -> Table:
    return Table(InviteServerMachine, INVITE, client=False, reliable=reliable)


def bye(*, reliable: bool = False) -> Table:
    return Table(NonInviteServerMachine, BYE, client=False, reliable=reliable)


class InviteServerTests(SynchronousTestCase):
    def test_proceeding(self) -> None:
        """The INVITE again gets the last provisional response again; nothing, before there is one."""
        table = invite()
        self.assertEqual(table("receive_request"), ([], "Proceeding"))
        self.assertEqual(table("send_1xx", b"100 "), (["send 100"], "Proceeding"))
        self.assertEqual(table("send_1xx", b"180 "), (["send 180"], "Proceeding"))
        self.assertEqual(table("receive_request"), (["send 180"], "Proceeding"))
        self.assertEqual(table("receive_ack", ACK), ([], "Proceeding"))

    def test_failure(self) -> None:
        """Timer G doubles up to T2 until the ACK; then timer I absorbs ACKs for T4."""
        table = invite()
        self.assertEqual(table("send_300_699", b"486 "), (["send 486", "timer_h 32", "timer_g 0.5"], "Completed"))
        self.assertEqual(table("receive_request"), (["send 486"], "Completed"))
        self.assertEqual(
            [table("timer_g")[0] for _ in range(4)],
            [
                ["send 486", "timer_g 1"],
                ["send 486", "timer_g 2"],
                ["send 486", "timer_g 4"],
                ["send 486", "timer_g 4"],
            ],
        )
        self.assertEqual(table("receive_ack", ACK), (["stop timer_g", "stop timer_h", "timer_i 5"], "Confirmed"))
        self.assertEqual((table("receive_ack", ACK), table("receive_request")), (([], "Confirmed"), ([], "Confirmed")))
        self.assertEqual(table("timer_i"), (["stop timer_g", "Terminated"], "Terminated"))

    def test_failure_over_a_reliable_transport(self) -> None:
        table = invite(reliable=True)
        self.assertEqual(table("send_300_699", b"486 "), (["send 486", "timer_h 32"], "Completed"))
        self.assertEqual(table("receive_ack", ACK), (["stop timer_g", "stop timer_h", "timer_i 0"], "Confirmed"))

    def test_no_ack(self) -> None:
        table = invite()
        table("send_300_699", b"486 ")
        self.assertEqual(table("timer_h"), (["stop timer_g", "Terminated"], "Terminated"))

    def test_success(self) -> None:
        """INVITEs are absorbed, ACKs told, the 2xx is the user's to repeat, until timer L (RFC 6026 7.1)."""
        table = invite()
        self.assertEqual(table("send_2xx", b"200 "), (["send 200", "timer_l 32"], "Accepted"))
        self.assertEqual(table("receive_request"), ([], "Accepted"))
        self.assertEqual(table("send_2xx", b"200 "), (["send 200"], "Accepted"))
        self.assertEqual(table("receive_ack", ACK), (["deliver ACK"], "Accepted"))
        self.assertEqual(table("transport_error"), (["TransportFailed"], "Accepted"))
        self.assertEqual(table("timer_l"), (["stop timer_g", "Terminated"], "Terminated"))

    def test_transport_error(self) -> None:
        table = invite()
        self.assertEqual(table("transport_error"), (FAIL, "Terminated"))
        table = invite()
        table("send_300_699", b"486 ")
        self.assertEqual(table("transport_error"), (FAIL, "Terminated"))

    def test_second_final_response(self) -> None:
        """Ours to avoid, so it raises."""
        table = invite()
        table("send_300_699", b"486 ")
        self.assertRaises(LocalProtocolError, table, "send_2xx", b"200 ")


class NonInviteServerTests(SynchronousTestCase):
    def test_answer(self) -> None:
        """The request again gets the final response again, for 64*T1; before the answer it gets nothing."""
        table = bye()
        self.assertEqual(table("receive_request"), ([], "Trying"))
        self.assertEqual(table("send_final", b"200 "), (["send 200", "timer_j 32"], "Completed"))
        self.assertEqual(table("receive_request"), (["send 200"], "Completed"))
        self.assertEqual(table("timer_j"), (["Terminated"], "Terminated"))

    def test_provisional(self) -> None:
        table = bye()
        self.assertEqual(table("send_1xx", b"100 "), (["send 100"], "Proceeding"))
        self.assertEqual(table("receive_request"), (["send 100"], "Proceeding"))
        self.assertEqual(table("send_final", b"200 "), (["send 200", "timer_j 32"], "Completed"))

    def test_reliable(self) -> None:
        self.assertEqual(bye(reliable=True)("send_final", b"200 "), (["send 200", "timer_j 0"], "Completed"))

    def test_transport_error(self) -> None:
        self.assertEqual(bye()("transport_error"), (["stop timer_j", "TransportFailed", "Terminated"], "Terminated"))
