"""CPU that the SIP core takes for one whole call as UAS, and what a state machine's step costs.

A call is INVITE, 401, ACK, INVITE, 100, 180, 200, ACK, BYE, 200: parsing and writing included, sockets and
digest arithmetic not. Run it as ``python -m benchmarks.sip_core``.
"""

from __future__ import annotations

import gc
import time
from random import Random
from typing import Protocol

from automat import TypeMachineBuilder

from stellar_gw.fsm import seal
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import RequestReceived
from stellar_gw.sip.flow import Flow, Listener
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr
from stellar_gw.testing.sip_peer import ANSWER, OFFER

CALLER, CALLEE = ("192.0.2.1", 5060), ("198.51.100.2", 5060)
CHALLENGE = ("WWW-Authenticate", 'Digest realm="acme", nonce="n1", algorithm=MD5, qop="auth"')


class Pair:
    """Two cores; the time spent in the called one is taken.

    :ivar spent: seconds of CPU.
    """

    def __init__(self) -> None:
        rng = Random(1).randbytes
        self.caller, self.callee = (
            SipCore(
                {"udp": Listener(name="udp", transport="udp", bind=at, advertise=at, media_advertise=at[0])},
                user_agent="benchmark",
                rng=rng,
            )
            for at in (CALLER, CALLEE)
        )
        self.out, self.back = Flow(1, "udp", "udp", CALLER, CALLEE), Flow(2, "udp", "udp", CALLEE, CALLER)
        self.uri = SipUri(user="600", host=CALLEE[0])
        self.me, self.you = NameAddr("", SipUri(user="me", host=CALLER[0])), NameAddr("", self.uri)
        self.spent = self.now = 0.0

    def to_callee(self) -> None:
        packets = self.caller.to_send()
        begun = time.thread_time()
        for data, _ in packets:
            self.callee.receive(data, self.back, self.now)
        self.spent += time.thread_time() - begun

    def to_caller(self) -> None:
        for data, _ in self.callee.to_send():
            self.caller.receive(data, self.out, self.now)

    def ask(self) -> tuple[str, RequestReceived]:
        usage = self.caller.invite(self.uri, self.out, self.now, from_=self.me, to=self.you, body=OFFER)
        self.to_callee()
        event = self.callee.next_event()
        assert isinstance(event, RequestReceived)
        return usage, event

    def call(self) -> None:
        _, event = self.ask()
        begun = time.thread_time()
        self.callee.respond(event.request, event.flow, 401, headers=[CHALLENGE])
        self.spent += time.thread_time() - begun
        self.to_caller()
        self.to_callee()
        usage, event = self.ask()
        begun = time.thread_time()
        theirs = self.callee.accept(event.request, event.flow, self.now)
        assert theirs is not None
        self.callee.ring(theirs, self.now)
        self.callee.answer(theirs, ANSWER, self.now)
        self.spent += time.thread_time() - begun
        self.to_caller()
        self.to_callee()
        self.caller.bye(usage, self.now)
        self.to_callee()
        self.to_caller()
        for core in (self.caller, self.callee):
            while core.next_event() is not None:
                pass
        self.now += 0.02
        self.caller.advance(self.now)
        begun = time.thread_time()
        self.callee.advance(self.now)
        self.spent += time.thread_time() - begun


class Lamp(Protocol):
    def turn(self) -> None: ...


def step_cost(*, sealed: bool, steps: int = 50_000) -> float:
    """Seconds for one step of a machine with 16 rows."""
    builder = TypeMachineBuilder[Lamp, list[int]](Lamp, list)
    states = [builder.state(str(number)) for number in range(16)]
    for state, following in zip(states, states[1:] + states[:1], strict=True):
        state.upon(Lamp.turn).to(following).returns(None)
    lamp = seal(builder, name="Lamp")([]) if sealed else builder.build()([])
    begun = time.thread_time()
    for _ in range(steps):
        lamp.turn()
    return (time.thread_time() - begun) / steps


def whole_call(calls: int = 3000) -> float:
    """Seconds of the called core's CPU for one call, with as many behind it as 50 a second leave."""
    pair = Pair()
    for _ in range(1600):
        pair.call()
    pair.spent = 0.0
    for _ in range(calls):
        pair.call()
    return pair.spent / calls


def main() -> None:
    print(f"whole call                        {whole_call() * 1e6:7.0f} us")
    gc.disable()
    print(f"whole call, no cyclic collection  {whole_call() * 1e6:7.0f} us")
    gc.enable()
    plain, sealed = step_cost(sealed=False), step_cost(sealed=True)
    print(f"step of a machine: Automat {plain * 1e6:.2f} us, sealed {sealed * 1e6:.2f} us, ratio {plain / sealed:.1f}")


if __name__ == "__main__":
    main()
