"""A call that the phone places."""

from __future__ import annotations

from twisted.internet.task import deferLater

from stellar_gw.errors import LocalProtocolError, StellarError
from stellar_gw.net.flows import FlowFailed
from stellar_gw.phone.call import PhoneCall, Surroundings
from stellar_gw.phone.plan import CallPlan
from stellar_gw.phone.report import explain
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import Answered, Ended
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Response
from stellar_gw.sip.offer_answer import OfferAnswer
from stellar_gw.sip.params import NO_PARAMS
from stellar_gw.sip.uri import SipUri, in_to
from stellar_gw.sip.values import NameAddr


class OutgoingCall(PhoneCall):
    """INVITE, its answers and forks, CANCEL."""

    def __init__(self, around: Surroundings, plan: CallPlan) -> None:
        super().__init__(around, plan, str(plan.to), plan.transport)
        self._plan = plan
        self.call_id = f"{around.random(12).hex()}@{around.endpoint.host}"
        # Each To tag is a dialog of its own (RFC 3261 12.1), which answers the one offer for itself.
        self._offered = self.offers
        self._forks: dict[str, OfferAnswer] = {}
        self._given_up = False

    async def start(self) -> None:
        """Find the way and send the INVITE; what fails is in the report."""
        plan = self._plan
        try:
            flow = await self._endpoint.flow_to(plan.proxy or plan.to)
        except FlowFailed as error:
            self.problem, self.fix = self._no_flow(str(error))
            # The flow table is still telling of the loss, and whoever waits for the report may stop it.
            await deferLater(self._around.reactor, 0)
            self.finish("transport", "")
            return
        if self._over is not None:
            return
        self._signalling_host = flow.remote[0]
        self.protection = self._endpoint.protection(flow)
        self._began = self._now
        try:
            self._invite(flow)
        except LocalProtocolError as error:
            self.problem = f"the INVITE cannot be made: {error}"
            self.finish("transport", "")
            return
        self._later(plan.ring_timeout, self._give_up)
        self._endpoint.turn()

    def _invite(self, flow: Flow) -> None:
        plan = self._plan
        self.usage = self._core.invite(
            plan.to,
            flow,
            self._now,
            from_=plan.from_ or self._from(),
            to=NameAddr("", in_to(plan.to), NO_PARAMS),
            headers=plan.headers,
            body=b"" if plan.delayed_offer else self.offers.make_offer(self.local),
            credentials=self._credentials,
            call_id=self.call_id,
        )

    @property
    def _credentials(self) -> ClientCredentials | None:
        plan = self._plan
        if not plan.user:
            return None
        return ClientCredentials(username=plan.user, password=plan.password, host=plan.to.host)

    def _from(self) -> NameAddr:
        host = self._plan.to.host if self._plan.user else self._endpoint.host
        return NameAddr("", SipUri(scheme="sip", user=self._plan.user or "stellar-gw-call", host=host), NO_PARAMS)

    def hang_up(self) -> None:
        if not self.usage:
            self.finish("cancelled", "local")
        elif "ringing" in self._times and "answered" not in self._times:
            self._core.cancel(self.usage, self._now)  # waits for the 487, unlike bye()
            self._endpoint.turn()
        else:
            super().hang_up()

    def _give_up(self) -> None:
        if "answered" not in self._times:
            self._given_up = True
            self.hang_up()

    def _provisional(self, response: Response) -> None:
        self._times.setdefault("ringing", self._since_began_ms)
        body = sdp_body(response)
        if not body or self._plan.delayed_offer:
            return
        offers = self._fork(response)
        if offers.pending == "local":
            # Early media. What makes no sense here is judged when the 200 comes.
            try:
                offers.receive_answer(body)
            except StellarError:
                return
            self.offers = offers
            self._update()

    def _answered(self, event: Answered) -> None:
        if event.reinvite:
            super()._answered(event)
            return
        answered_ms = self._since_began_ms
        self.final(event.response)
        body = sdp_body(event.response)
        if self._plan.delayed_offer:
            if not self._agree(lambda: self._answer(body)):
                return
        else:
            self.offers = self._fork(event.response)
            # The first description of a dialog is the answer; later ones repeat it (RFC 3261 13.2.1).
            if self.offers.pending == "local" and not self._agree(lambda: self.offers.receive_answer(body)):
                return
            self._update()
        self.up(answered_ms)

    def _answer(self, body: bytes) -> None:
        """The 200 carried the offer: our ACK answers it, or is empty and a BYE follows."""
        answer = b""
        try:
            self.offers.receive_offer(body, self.local)
            answer = self.offers.answer(self.local).answer
        finally:
            self._core.ack(self.usage, answer, self._now)

    def _fork(self, response: Response) -> OfferAnswer:
        tag = response.to.tag or ""
        if tag not in self._forks:
            self._forks[tag] = self._offered.fork()
        return self._forks[tag]

    def _ended(self, event: Ended) -> None:
        if event.response is not None:
            self.final(event.response)
        if "answered" not in self._times and not self.problem:
            self.problem, self.fix = self._no_call(event)
        self.finish(event.cause, event.by)

    def _no_call(self, event: Ended) -> tuple[str, str]:
        plan, where = self._plan, f"{(self._plan.proxy or self._plan.to).host} over {self._plan.transport.upper()}"
        if self._given_up:
            fix = "look at whom it rang, or wait longer by --ring-timeout"
            return f"nobody answered within {plan.ring_timeout:g} s", fix
        if self._status >= 300:
            return explain(self._status, self._reason, self._reference, credentials=bool(plan.user), user=plan.user)
        if event.cause == "timeout" and "trying" not in self._times:
            return (
                f"no answer from {where} within {self._since_began_ms / 1000:.0f} s",
                "is anything listening there, and does a firewall let it through?",
            )
        if event.cause == "timeout":
            return f"{where} said that it tries, then nothing more", "look at its log"
        if event.cause == "transport":
            return f"the connection to {where} was lost", "look at the other side's log"
        return "", ""

    def _no_flow(self, why: str) -> tuple[str, str]:
        if "certificate verify failed" in why:
            return why, "give its CA by --tls-ca FILE, or trust anybody by --insecure"
        if "certificate is not for" in why:
            return why, "call it by a name in its certificate (--proxy says where it is), or use --insecure"
        if "refused" in why:
            return why, "is it running, and is the port right?"
        return why, "check the address, the port and the transport"
