"""Keep one address of ours registered at a trunk, so that its calls come to us (RFC 3261 10.2, RFC 5626)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import CancelledError, Deferred

from stellar_gw.call.context.context import user_of
from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.ports import NoWay, Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.call.trunk.registrar import Verdict, refresh_after, verdict, wait_after
from stellar_gw.call.trunk.registration_machine import Effect, Outbox, RegistrationMachine
from stellar_gw.call.trunk.trunk import Trunk
from stellar_gw.call.usages import Usages
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import ResponseReceived
from stellar_gw.sip.flow import Flow, Listener, Way
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.params import NO_PARAMS, Params
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.values import NameAddr

PATIENCE = 8.0
"""Seconds for an answer, before the next way has its turn."""


LEAVING = 2.0
"""Seconds that taking a binding back may take."""
YOUNG = 10.0
"""Seconds within which a flow that is lost again is not replaced at once."""


class Registration:
    """One registration, from :meth:`start` to :meth:`stop`.

    :ivar flow: what the trunk's calls come on; None while we are not registered.
    :ivar leaving: whether it has been stopped, and the binding is still being taken back.
    :param trunk: with its ``register``.
    :param rng: returns that many random octets.
    :param left: called once the binding has been taken back after :meth:`stop`.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        listeners: Mapping[str, Listener],
        signalling: Signalling,
        usages: Usages,
        timers: Timers,
        rng: Callable[[int], bytes],
        tell: Callable[[TrunkChanged], None],
        left: Callable[[], None],
    ) -> None:
        assert trunk.register is not None and trunk.to is not None
        self.trunk, self._register = trunk, trunk.register
        self._listeners, self._signalling, self._usages = listeners, signalling, usages
        self._timers, self._rng, self._tell, self._left = timers, rng, tell, left
        self._outbox = Outbox()
        self._machine = RegistrationMachine(self._outbox)
        self._perform = {
            Effect.ROUTE: self._route,
            Effect.NEXT_WAY: self._next_way,
            Effect.ASK: self._ask,
            Effect.HOLD: self._hold,
            Effect.LOSE: self._lose,
            Effect.WAIT: self._wait,
            Effect.LEAVE: self._leave,
        }
        self.flow: Flow | None = None
        self.leaving = False
        self._domain = self._register.domain or trunk.to.host
        self._address = NameAddr("", SipUri(user=self._register.user or trunk.username, host=self._domain))
        self._call_id = rng(16).hex()
        self._tag = rng(8).hex()
        self._sequence = 1
        self._expires = int(self._register.expires)
        self._ways: list[Way] = []
        self._way: Way | None = None
        self._on: Flow | None = None
        self._seeking: Deferred[None] | None = None
        self._question, self._open, self._stopped = 0, False, False
        self._said = Verdict("unanswered", 0, "no way")
        self._failures = 0

    # --- from outside ---------------------------------------------------------------------------

    @property
    def contact_user(self) -> str:
        """The user part that the trunk sends its calls to, unless it puts what was dialled there."""
        return self._register.contact or self.trunk.username

    def is_for(self, uri: Uri) -> bool:
        """Whether a URI is the address that is registered."""
        return isinstance(uri, SipUri) and (uri.user, uri.host) == (self.trunk.username, self._domain)

    def dialled(self, invite: Request) -> str:
        """What a call that came on the registration has dialled.

        A registrar puts our Contact into the Request-URI (RFC 3261 16.5), so that the number is in To, if anywhere;
        some phone systems put the number there instead.
        """
        user = user_of(invite.uri)
        if user != self.contact_user:
            return user
        return self._register.dials or user_of(invite.to.uri)

    def start(self) -> None:
        self._machine.start()
        self._turn()

    def stop(self) -> None:
        """Take the binding back; nothing is told afterwards."""
        self._stopped = True
        self._timers.stop_all()
        self._give_up_seeking()
        self._machine.stop()
        self._turn()

    def flow_lost(self, flow: Flow) -> None:
        """A connection is gone."""
        if flow == self._on:
            self._said = Verdict("unanswered", 0, "the connection was lost")
            if self._timers.running("young"):
                self._machine.lost_at_once()
            else:
                self._machine.lost()
            self._turn()

    # --- effects --------------------------------------------------------------------------------

    def _turn(self) -> None:
        while self._outbox.effects:
            self._perform[self._outbox.effects.pop(0)]()

    def _route(self) -> None:
        self._let_go()
        self._seek(anew=True)

    def _next_way(self) -> None:
        if self._way is not None:
            self._signalling.mark_failed(self._way)
        self._let_go()
        self._seek(anew=False)

    def _let_go(self) -> None:
        """Nothing more is expected on this flow."""
        self._on = self._way = None
        self._open = False
        self._timers.stop("patience")

    def _seek(self, *, anew: bool) -> None:
        self._give_up_seeking()
        seeking = Deferred.fromCoroutine(self._find(anew))
        seeking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._seeking = seeking

    def _give_up_seeking(self) -> None:
        seeking, self._seeking = self._seeking, None
        if seeking is not None:
            seeking.cancel()

    async def _find(self, anew: bool) -> None:
        trunk = self.trunk
        if anew:
            try:
                found = await self._signalling.route(
                    trunk.next_hop, tls_name=trunk.tls_name, client_certificate=trunk.client_certificate
                )
            except NoWay as error:
                self._said, found = Verdict("unanswered", 0, str(error)), ()
            self._ways = list(found)
        while self._ways:
            self._way = self._ways.pop(0)
            try:
                self._on = await self._signalling.open(self._way)
            except NoWay as error:
                self._said = Verdict("unanswered", 0, str(error))
                continue
            self._machine.opened()
            self._turn()
            return
        self._machine.no_way()
        self._turn()

    def _ask(self) -> None:
        assert self._on is not None
        self._question = number = self._question + 1
        self._open = True
        self._timers.start("patience", PATIENCE, lambda: self._answered(number, None))
        self._send(self._on, self._expires, lambda event: self._answered(number, event.response))

    def _send(self, flow: Flow, expires: int, heard: Callable[[ResponseReceived], None]) -> None:
        trunk, contact = self.trunk, self._contact(flow)
        credentials = None
        if trunk.password:
            credentials = ClientCredentials(
                username=trunk.username, password=trunk.password, realm=trunk.realm or None, host=self._domain
            )
        self._usages.ask_outside(
            "REGISTER",
            SipUri(host=self._domain),
            flow,
            heard,
            from_=self._address.with_tag(self._tag),
            to=self._address,
            headers=[("Contact", str(NameAddr("", contact, Params([("expires", str(expires))]))))],
            credentials=credentials,
            call_id=self._call_id,
            sequence=self._sequence,
        )
        self._sequence += 10  # challenges that are answered below us count, too

    def _contact(self, flow: Flow) -> SipUri:
        host, port = self._listeners[flow.listener].advertise
        params = NO_PARAMS if flow.transport == "udp" else Params([("transport", flow.transport)])
        return SipUri(user=self.contact_user, host=host, port=port, params=params)

    def _answered(self, number: int, response: Response | None) -> None:
        """The first thing that is heard of a question counts, the answer or the end of our patience."""
        if not self._open or number != self._question or self._on is None:
            return
        self._open = False
        self._timers.stop("patience")
        if response is not None:
            self._sequence = max(self._sequence, response.cseq.number + 1)
        self._said = verdict(response, self._contact(self._on), self._expires)
        if self._said.what == "too_brief":
            self._expires = self._said.seconds
        getattr(self._machine, self._said.what)()
        self._turn()

    def _hold(self) -> None:
        first, self.flow, self._failures = self.flow is None, self._on, 0
        seconds = self._said.seconds
        self._timers.start("due", refresh_after(seconds), self._due)
        self._timers.start("young", YOUNG, lambda: None)
        self._keep_alive_later()
        if first:
            self._changed(True, f"registered at {self._way} for {seconds} s")

    def _keep_alive_later(self) -> None:
        if self.trunk.keepalive:
            self._timers.start("keepalive", self.trunk.keepalive, self._keep_alive)

    def _keep_alive(self) -> None:
        if self.flow is not None and self._signalling.keep_alive(self.flow):
            self._keep_alive_later()
        elif self._on is not None:
            self.flow_lost(self._on)

    def _lose(self) -> None:
        if self.flow is None:
            return
        self.flow = None
        self._timers.stop("due")
        self._timers.stop("keepalive")
        if not self._stopped:
            self._changed(False, f"not registered any more: {self._said.why}")

    def _wait(self) -> None:
        self._failures += 1
        self._let_go()
        seconds = wait_after(self._failures, self._rng, self._said.seconds)
        self._timers.start("due", seconds, self._due)
        self._changed(False, f"not registered: {self._said.why}; next try in {seconds:.0f} s")

    def _changed(self, up: bool, message: str) -> None:
        self._tell(TrunkChanged(self.trunk.name, "registration", up, message))

    def _due(self) -> None:
        self._machine.due()
        self._turn()

    def _leave(self) -> None:
        if self._on is not None:
            self.leaving = True
            self._timers.start("leave", LEAVING, self._leaving_ends)
            self._send(self._on, 0, lambda _: self._leaving_ends())

    def _leaving_ends(self) -> None:
        """The registrar has answered, or had its time; answering its challenge is part of it."""
        if self.leaving:
            self.leaving = False
            self._timers.stop("leave")
            self._left()
