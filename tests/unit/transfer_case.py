"""One transfer on a table: its call and its target's leg are fakes that write down what they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.dial_failure import DialFailure
from stellar_gw.call.leg.listener import LegListener
from stellar_gw.call.machine import Ending
from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.outcome import Outcome
from stellar_gw.call.transfer.ports import Headers
from stellar_gw.call.transfer.transfer import Surroundings, Transfer
from stellar_gw.control import messages
from stellar_gw.control.messages import Direction, Reply, Request
from stellar_gw.sip.message import Response
from stellar_gw.sip.reasons import REASONS
from stellar_gw.sip.refer import Progress
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.sip.values import NameAddr

HOUSE = parse_uri("sip:200@pbx.example")
assert isinstance(HOUSE, SipUri)
TARGET = Target(
    name="support",
    told="support",
    uri=HOUSE,
    refer_to=HOUSE,
    method="refer",
    fallback=True,
    from_=NameAddr("", parse_uri("sip:main@gw.example")),
)
BY_INVITE = evolve(TARGET, method="invite")


class FakeCaller:
    """Writes down what a transfer asks of its call.

    :ivar did: one line each.
    """

    call_id = "c-1"

    def __init__(self, did: list[str]) -> None:
        self.did = did
        self.agent_listens = True
        self.far: Direction = "sendrecv"
        self.local_uri = parse_uri("sip:600@gw.example")
        self.heard: Callable[[Response | None], None] | None = None
        self.refer_headers: Headers = ()
        self.offers: list[Deferred[bool]] = []
        self.refuses: set[type] = set()

    def refer(self, headers: Headers, heard: Callable[[Response | None], None]) -> None:
        self.did.append("REFER")
        self.refer_headers, self.heard = headers, heard

    def unsubscribe(self) -> None:
        self.did.append("unsubscribe")

    def end(self, ending: Ending) -> None:
        self.did.append(f"end {ending.cause} by {ending.by}")

    def offer(self, direction: Direction) -> Deferred[bool]:
        self.did.append(f"offer {direction}")
        self.offers.append(Deferred())
        return self.offers[-1]

    def dismiss_agent(self) -> None:
        self.did.append("dismiss agent")
        self.agent_listens = False

    def keep_leg(self, numbers: messages.LegStatistics) -> None:
        self.did.append(f"keep {numbers.leg}")

    def ask(self, request: Request) -> Deferred[Reply]:
        self.did.append(_shown(request))
        if type(request) in self.refuses:
            failed: Deferred[Reply] = Deferred()
            failed.errback(RuntimeError("no such file"))
            return failed
        return succeed(messages.Done(request=0))


class FakeLeg:
    """A target's leg.

    :ivar listener: the transfer; a test plays the target by it.
    """

    def __init__(self, did: list[str], headers: Headers, listener: LegListener) -> None:
        self._did, self.headers, self.listener = did, headers, listener
        self.sip_call_id = "leg-1"

    def dial(self) -> None:
        self._did.append("dial")

    def give_up(self, reason_header: str) -> None:
        self._did.append("drop target")

    def heard(self, event: messages.Event) -> None:
        if isinstance(event, messages.DigitReceived):
            self.listener.digit(event)

    def hold(self, direction: Direction) -> Deferred[bool]:
        self._did.append(f"hold target {direction}")
        return succeed(True)


def _shown(request: Request) -> str:
    if isinstance(request, messages.Rebind):
        bound = (f"{each.leg}<-{each.peer or each.file or each.source}" for each in request.bindings)
        return "bind " + ", ".join(bound)
    if isinstance(request, messages.SendDigits):
        return f"digits {request.digits} to {request.leg}"
    return type(request).__name__


class TransferCase(SynchronousTestCase):
    target = TARGET
    hold: Direction = "sendonly"

    def setUp(self) -> None:
        self.clock = Clock()
        self.did: list[str] = []
        self.told: list[str] = []
        self.notes: list[str] = []
        self.legs: list[FakeLeg] = []
        self.outcomes: list[Outcome] = []
        self.caller = FakeCaller(self.did)

    def begin(self, target: Target | None = None, headers: Headers = (), **changes: Any) -> Transfer:
        """Start a transfer; its outcome is added to ``outcomes``, and must come at most once."""
        around = Surroundings(
            caller=self.caller,
            make_leg=self.make_leg,
            clock=self.clock,
            wall=lambda: 1000.0 + self.clock.seconds(),
            note=lambda kind, line: self.notes.append(line),
            hold=self.hold,
        )
        whole = evolve(target or self.target, **changes)
        self.transfer = Transfer(whole, headers, around, lambda state, detail: self.told.append(state))
        self.transfer.outcome.addCallback(self.outcomes.append)
        self.transfer.start()
        return self.transfer

    def make_leg(self, target: Target, headers: Headers, listener: LegListener) -> FakeLeg:
        self.legs.append(FakeLeg(self.did, headers, listener))
        return self.legs[-1]

    # What the others do

    def answer(self, status: int, *headers: tuple[str, str]) -> None:
        """To the REFER."""
        assert self.caller.heard is not None
        self.caller.heard(Response(status, "", [("CSeq", "3 REFER"), *headers]))

    def notify(self, status: int, ended: bool = False, event_id: int | None = None) -> None:
        self.transfer.notified(Progress(status=status, ended=ended, event_id=event_id))

    def target_fails(self, status: int, reason: str) -> None:
        self.transfer.failed(
            DialFailure(status=status, reason=reason, phrase=f"{status} {REASONS.get(status, 'no way')}")
        )

    def target_presses(self, digit: str) -> None:
        self.transfer.heard(
            messages.DigitReceived(generation=1, call="c-1", leg="target", digit=digit, duration_ms=100)
        )

    # What it came to

    @property
    def result(self) -> str:
        """The one outcome: its result, and the code of its failure."""
        [outcome] = self.outcomes
        return outcome.result + (f" {outcome.failure.code}" if outcome.failure else "")

    def took(self) -> list[str]:
        """What was done since the last look."""
        did = self.did[:]
        self.did.clear()
        return did
