"""A call that came in and is over: nothing of it waits in the core for the collector of circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.circles import circles
from tests.unit.sip_case import CoreCase, invite, request


class OverTests(CoreCase):
    def assert_nothing_left(self, call: Callable[[], object]) -> None:
        def whole() -> None:
            call()
            self.pass_time(64.0)
            self.events()

        whole()  # what is made once stays
        self.now += 1.0
        self.assertEqual((circles(whole), self.core.idle), (Counter(), True))

    def test_the_caller_hangs_up(self) -> None:
        def call() -> None:
            _, tag = self.confirmed()
            self.receive(request("BYE", cseq=2, to_tag=tag))

        self.assert_nothing_left(call)

    def test_we_hang_up(self) -> None:
        """Whether the BYE is answered or not."""

        def call(answered: bool) -> None:
            usage, _ = self.confirmed()
            (bye,) = self.do(self.core.bye, usage, self.now)
            if answered:
                via, cseq = bye.headers.first("Via"), bye.headers.first("CSeq")
                names = [f"{name}: {bye.headers.first(name)}" for name in ("From", "To", "Call-ID")]
                lines = ["SIP/2.0 200 OK", f"Via: {via}", *names, f"CSeq: {cseq}", "Content-Length: 0", "", ""]
                self.receive("\r\n".join(lines).encode())

        self.assert_nothing_left(lambda: call(True))
        self.assert_nothing_left(lambda: call(False))

    def test_the_caller_gives_up(self) -> None:
        def call() -> None:
            self.accepted()
            self.receive(request("CANCEL", branch="z9hG4bK-c1-INVITE-1"))

        self.assert_nothing_left(call)

    def test_refused(self) -> None:
        def call() -> None:
            self.do(self.core.reject, self.accepted(), 486, self.now)

        self.assert_nothing_left(call)

    def test_never_acknowledged(self) -> None:
        self.assert_nothing_left(self.answered)

    def test_a_reinvite(self) -> None:
        """The caller's, answered; then it hangs up."""

        def call() -> None:
            usage, tag = self.confirmed()
            self.receive(invite(cseq=2, to_tag=tag))
            self.do(self.core.answer, usage, b"v=0\r\n", self.now)
            self.receive(request("ACK", cseq=2, to_tag=tag, branch="z9hG4bK-ack2"))
            self.receive(request("BYE", cseq=3, to_tag=tag))

        self.assert_nothing_left(call)
