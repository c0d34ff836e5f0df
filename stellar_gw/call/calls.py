"""All calls of the gateway: judges new requests, and hands each event to the call it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from stellar_gw.call.admission.admission import Admitted, Attempt, Over, Refused, Verified, fold, judge
from stellar_gw.call.admission.authentication import Authentication, Presented
from stellar_gw.call.admission.capacity import Capacity
from stellar_gw.call.admission.guard import Guard, GuardLimits
from stellar_gw.call.admission.refusals import Refusal, Refusals
from stellar_gw.call.call import Call
from stellar_gw.call.context.context import bounded, user_of
from stellar_gw.call.events import AuthenticationFailed, CallAnswered, CallConfirmed, CallEvent
from stellar_gw.call.machine import Ending
from stellar_gw.call.opening import Opening
from stellar_gw.call.ports import MediaPlane, Signalling, WorkerLost
from stellar_gw.call.record import make_call_id
from stellar_gw.call.replacing import Replacing, demanded
from stellar_gw.call.target.facts import besides_of
from stellar_gw.call.transfer.transferring import Transferring
from stellar_gw.call.trunk.trunks import Trunks
from stellar_gw.call.usages import Usages
from stellar_gw.config import Config
from stellar_gw.control.messages import Event as MediaEvent
from stellar_gw.directory.records import Route, TrunkProvider
from stellar_gw.sip.events import Event, Pinged, RequestReceived, UsageId
from stellar_gw.sip.flow import Flow, Listener, TlsTerms
from stellar_gw.sip.message import Request
from stellar_gw.sip.replaces import TAG
from stellar_gw.sip.uri import SipUri

DRAINING = Refusal(
    status=503,
    check="draining",
    reason="the gateway is shutting down",
    fix="Nothing to do: the phone system tries its next route, or the gateway is back soon",
)
RETRY_AFTER = ("Retry-After", "5")


class Calls:
    """
    :param listeners: what each listener advertises, by name, once all are bound.
    :param rng: returns that many random octets.
    :param tell: gets every :data:`~stellar_gw.call.events.CallEvent`.
    """

    def __init__(
        self,
        config: Config,
        *,
        listeners: Mapping[str, Listener],
        signalling: Signalling,
        plane: MediaPlane,
        clock: IReactorTime,
        wall: Callable[[], float],
        rng: Callable[[int], bytes],
        tell: Callable[[CallEvent], None],
    ) -> None:
        self._config = config
        self._signalling = signalling
        self._clock, self._wall, self._rng, self._tell = clock, wall, rng, tell
        self._guard = Guard(_guard_limits(config))
        self._authentication = Authentication(config.domain, rng, life=config.sip.nonce_life)
        self._refusals = Refusals(
            key=rng(16),
            agent=config.domain,
            wall=wall,
            ladder=signalling.ladder,
            tell=tell,
            later=lambda act: clock.callLater(0, act),
        )
        self.usages = Usages(signalling)
        self._transferring = Transferring(
            config=lambda: self._config,
            listeners=listeners,
            signalling=signalling,
            plane=plane,
            usages=self.usages,
            clock=clock,
            wall=wall,
            rng=rng,
        )
        self._opening = Opening(
            listeners=listeners,
            signalling=signalling,
            plane=plane,
            usages=self.usages,
            clock=clock,
            wall=wall,
            rng=rng,
            transferring=self._transferring,
            refuse=self._refuse_ending,
            closed=self._closed,
        )
        self._replacing = Replacing(signalling=signalling, opening=self._opening, call_of=self._call_of)
        self._trunks = Trunks(
            listeners=listeners,
            signalling=signalling,
            usages=self.usages,
            clock=clock,
            rng=rng,
            tell=tell,
            left=self._perhaps_drained,
        )
        self._by_id: dict[str, Call] = {}
        self._capacity = Capacity()
        self._draining: Deferred[None] | None = None
        self._sweep = LoopingCall(lambda: self._refusals.advance(clock.seconds()))
        self._sweep.clock = clock

    def start(self) -> None:
        """Begin to age what waits, and to register where that is wanted."""
        self._sweep.start(4.0, now=False).addErrback(lambda _: None)
        self._trunks.keep(self._config.directory)

    def stop(self) -> None:
        self._trunks.stop()
        if self._sweep.running:
            self._sweep.stop()

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def config(self) -> Config:
        return self._config

    def replace(self, config: Config) -> None:
        """Take a new configuration; calls that are up keep what they were admitted with."""
        self._config = config
        self._guard.limits = _guard_limits(config)
        if self._draining is None:
            self._trunks.keep(config.directory)

    def find(self, call_id: str) -> Call | None:
        """A call that is up, or on its way; by our own id."""
        return self._by_id.get(call_id)

    def _call_of(self, usage: UsageId) -> Call | None:
        owner = self.usages.owner(usage)
        call = self._by_id.get(getattr(owner, "call_id", ""))
        return call if call is not None and call.usage == usage else None

    def banned(self, source: str) -> bool:
        """Whether nothing of this source is to be looked at."""
        return self._guard.banned(source, self._clock.seconds())

    # --- SIP ------------------------------------------------------------------------------------

    def flow_lost(self, flow: Flow) -> None:
        """A connection is gone; a call does not care, a registration does."""
        self._trunks.flow_lost(flow)

    def keeps(self, flow: Flow) -> bool:
        """Whether calls may come on a flow at any time, since we are registered on it."""
        return self._trunks.keeps(flow)

    def handle(self, event: Event) -> None:
        """Take one event of the SIP core."""
        if isinstance(event, RequestReceived):
            self._received(event.request, event.flow)
        elif isinstance(event, Pinged):
            provider = self._config.directory.provider_at(event.flow.remote[0])
            if provider is not None:
                self._trunks.asked.heard(provider.name)
        else:
            self.usages.handle(event)

    def _received(self, request: Request, flow: Flow) -> None:
        now, source = self._clock.seconds(), flow.remote[0]
        if not self._guard.admits(source, self._trusted(source), now):
            return
        if request.method != "INVITE":
            self._signalling.respond(request, flow, 405)
            return
        if self._draining is not None:
            headers = self._refusals.keep(DRAINING, request, flow)
            self._signalling.respond(request, flow, 503, "", [*headers, RETRY_AFTER])
            return
        replaced = self._replacing.find(request)
        judgement = self._judge(request, flow, replaced.route if isinstance(replaced, Call) else replaced)
        if isinstance(judgement, Refused):
            self._refuse(judgement, request, flow)
        elif judgement.replaces and isinstance(replaced, Call):
            hindered = self._replacing.hindered(replaced, request)
            if hindered is not None:
                self._refuse(hindered, request, flow)
                return
            usage = self._accept(judgement, request, flow)
            if usage is not None:
                self._replacing.begin(replaced, usage, judgement, request, flow, self._config)
        elif (full := self._capacity.full(judgement, flow, self._config.limits.calls)) is not None:
            self._refuse_usage(full, request, flow)
        else:
            self._open(judgement, request, flow)

    def _judge(self, request: Request, flow: Flow, replaced: Route | Over | Refused | None) -> Admitted | Refused:
        source, now = flow.remote[0], self._clock.seconds()
        presented = self._authentication.check(
            request, self._config.directory, source, self._wall(), reliable=flow.reliable
        )
        if isinstance(presented.result, Verified):
            self._guard.authenticated(source, now)
        uri, registration = request.uri, self._trunks.registered_on(flow, request)
        judgement = judge(
            Attempt(
                source=flow.remote,
                transport=flow.transport,
                user=user_of(uri) if registration is None else registration.dialled(request),
                trunk=None if registration is None else registration.trunk.caller,
                host=uri.host if isinstance(uri, SipUri) else self._config.domain,
                digest=presented.result,
                replaced=replaced,
                demands_replaces=demanded(request),
            ),
            self._config.directory,
            self._config.hosts | {flow.local[0]},
        )
        if isinstance(judgement, Refused) and judgement.guessed and presented.nonce:
            return self._count_failure(judgement, request, flow, presented)
        return judgement

    def _count_failure(self, refused: Refused, request: Request, flow: Flow, shown: Presented) -> Refused:
        source = flow.remote[0]
        trusted = self._trusted(source) or self._allowed(source, refused.username)
        count, banned = self._guard.failed(source, shown.nonce, shown.guess, trusted, self._clock.seconds())
        if count == 0:
            return refused
        self._tell(
            AuthenticationFailed(
                source=source,
                port=flow.remote[1],
                transport=flow.transport,
                reason=refused.check,
                sip_call_id=bounded(request.call_id),
                username=bounded(refused.username),
                failures=count,
                banned=banned,
            )
        )
        most = self._guard.limits.failures
        return evolve(refused, reason=f"{refused.reason} ({count} of {most})")

    def _refuse(self, refused: Refused, request: Request, flow: Flow) -> None:
        """Statelessly while we do not know who calls, within a transaction afterwards."""
        refusal = Refusal(
            status=refused.status,
            check=refused.check,
            reason=refused.reason,
            fix=refused.fix,
            username=bounded(refused.username),
        )
        if not refused.challenge:
            self._refuse_usage(refusal, request, flow)
            return
        if refused.check == "no_credentials":
            headers = self._refusals.challenge(refusal, request, flow, self._clock.seconds())
        elif refused.stale:
            headers = []
        else:
            headers = self._refusals.keep(refusal, request, flow)
        challenge = self._authentication.challenge(
            self._algorithms(flow), flow.remote[0], self._wall(), stale=refused.stale
        )
        self._signalling.respond(request, flow, 401, "", [*challenge, *headers])

    def _refuse_usage(self, refusal: Refusal, request: Request, flow: Flow) -> None:
        usage = self._signalling.accept(request, flow)
        if usage is None:
            return
        headers = self._refusals.keep(refusal, request, flow)
        if refusal.status == 503:
            headers.append(RETRY_AFTER)
        if refusal.status == 420:
            headers.append(("Unsupported", TAG))
        self._signalling.reject(usage, refusal.status, "", headers)

    def _accept(self, admitted: Admitted, request: Request, flow: Flow) -> UsageId | None:
        self._refusals.answered(request.call_id)
        caller = admitted.caller
        provider = caller if isinstance(caller, TrunkProvider) else None
        large = provider is not None and provider.large_over_tcp
        tls = TlsTerms(caller.outbound.peer_name, caller.outbound.client_certificate)
        mtu = self._config.sip.udp_mtu if large else 0
        return self._signalling.accept(request, flow, mtu, tls, besides_of(caller))

    def _open(self, admitted: Admitted, request: Request, flow: Flow) -> None:
        usage = self._accept(admitted, request, flow)
        if usage is None:
            return
        call_id = make_call_id(self._rng(8))

        def tell(event: CallEvent) -> None:
            if isinstance(event, CallAnswered):
                self._capacity.answered(call_id, admitted, flow)
            elif isinstance(event, CallConfirmed):
                self._capacity.confirmed(call_id)
            self._tell(event)

        call = self._opening.open(call_id, usage, admitted, request, flow, self._config, tell)
        self.usages.own(usage, call.leg)
        self._by_id[call_id] = call
        self._capacity.take(call_id, admitted)
        call.start()

    def _refuse_ending(self, ending: Ending, request: Request, flow: Flow) -> list[tuple[str, str]]:
        refusal = Refusal(status=ending.status, check=ending.check, reason=ending.reason, fix=ending.fix)
        headers = self._refusals.keep(refusal, request, flow)
        if ending.retry_after:
            headers.append(("Retry-After", str(ending.retry_after)))
        return headers

    # --- limits ---------------------------------------------------------------------------------

    def _trusted(self, source: str) -> bool:
        return self._config.directory.provider_at(source) is not None

    def _allowed(self, source: str, username: str) -> bool:
        credential = self._config.directory.credential(username) if username else None
        address = fold(source)
        return (
            credential is not None
            and address is not None
            and any(address in network for network in credential.allowed_ips)
        )

    def _algorithms(self, flow: Flow) -> tuple[str, ...]:
        """MD5 alone by default: some phone systems give up at a challenge they do not know (RFC 8760 2.4)."""
        listener = self._config.listeners.get(flow.listener)
        offered = listener.digest if listener is not None else ("MD5",)
        address = fold(flow.remote[0])
        if address is not None and any(address in network for network in self._config.sip.sha256_from):
            return tuple(dict.fromkeys(("SHA-256", *offered)))
        return offered

    # --- media ----------------------------------------------------------------------------------

    def heard(self, event: MediaEvent | WorkerLost) -> None:
        """Take one event of the media workers."""
        if isinstance(event, WorkerLost):
            for call_id in event.calls:
                if (lost := self._by_id.get(call_id)) is not None:
                    lost.give_up(Ending(status=503, retry_after=5, cause="worker_lost", by="gateway",
                                        reason=event.message, check="worker_lost",
                                        fix="See the media worker's lines in the log"))  # fmt: skip
            return
        if (call := self._by_id.get(getattr(event, "call", ""))) is not None:
            call.heard(event)

    # --- the end --------------------------------------------------------------------------------

    def drain(self) -> Deferred[None]:
        """Take no more calls; fires when the last has ended, and trunks know that we are gone."""
        if self._draining is None:
            self._draining = Deferred()
            self._signalling.set_available(False)
            self._trunks.stop()
            self._perhaps_drained()
        return self._draining

    def end_all(self, cause: str, reason: str) -> None:
        """End every call from our side."""
        for call in list(self._by_id.values()):
            call.give_up(Ending(status=503, cause=cause, by="gateway", reason=reason, check=cause, fix=""))

    def _closed(self, call_id: str) -> None:
        call = self._by_id.pop(call_id)
        self._replacing.closed(call)
        self._capacity.release(call_id)
        self._transferring.forget(call_id)
        self.usages.disown(call.usage)
        self._perhaps_drained()

    def _perhaps_drained(self) -> None:
        busy = self._by_id or self._trunks.leaving
        if self._draining is not None and not busy and not self._draining.called:
            self._draining.callback(None)


def _guard_limits(config: Config) -> GuardLimits:
    limits = config.limits
    return GuardLimits(
        requests_per_second=float(limits.requests),
        burst=float(limits.burst),
        failures=limits.auth_failures,
        failure_window=limits.auth_window,
        ban=limits.ban,
        trust=limits.trusted_for,
    )
