"""The course of a call: its machine turned, one effect after the other, whoever has an input for it.

Whoever ends or answers a call need not know the call for that. What the call is made of calls back here, also when all
is over, and then to no effect.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from stellar_gw.call.endings import media_ending
from stellar_gw.call.machine import Effect, Ending, InboundCallMachine, Outbox


class Course:
    """Of one call.

    :param perform: carries out one effect; called no more, and let go, after the last, :attr:`Effect.CLOSE`.
    """

    def __init__(self, perform: Callable[[Effect], None]) -> None:
        self._perform: Callable[[Effect], None] | None = perform
        self._outbox = Outbox()
        self._machine = InboundCallMachine(self._outbox)
        self._running = False

    @property
    def state(self) -> str:
        return InboundCallMachine.state(self._machine)

    @property
    def closed(self) -> bool:
        """Its record is written, and nothing of it is left."""
        return self.state == "Closed"

    @property
    def ending(self) -> Ending:
        """How the call ends, once that is known; or will, if its fallback comes to nothing."""
        assert self._outbox.ending is not None, "asked for by effects that follow on it"
        return self._outbox.ending

    # --- inputs: see the machine ----------------------------------------------------------------

    def allocated(self) -> None:
        self._machine.allocated()
        self._run()

    def ready(self) -> None:
        self._machine.ready()
        self._run()

    def asked(self) -> None:
        self._machine.asked()
        self._run()

    def answer(self) -> bool:
        """The agent answers; False where that is not its to decide, or decided already."""
        if self.state != "Deciding":
            return False
        self._machine.answer()
        self._run()
        return True

    def reject(self, ending: Ending) -> bool:
        """The agent rejects; False where the call is answered already."""
        # An agent that is asked by webhook rejects while it is being connected.
        if self.state not in ("Connecting", "Deciding"):
            return False
        self.give_up(ending)
        return True

    def confirmed(self) -> None:
        self._machine.confirmed()
        self._run()

    def fall_back(self, ending: Ending) -> None:
        self._machine.fall_back(ending)
        self._run()

    def give_up(self, ending: Ending) -> None:
        """End the call from our side; without effect where it is ending already."""
        self._machine.give_up(ending)
        self._run()

    def media_failed(self, failure: Failure) -> None:
        """No worker can carry it: the whole gateway's affair, so 503 (upstream tries the next one)."""
        self.give_up(media_ending(failure.value))

    def gone(self, ending: Ending) -> None:
        self._machine.gone(ending)
        self._run()

    def released(self) -> None:
        self._machine.released()
        self._run()

    def _run(self) -> None:
        """Carry out what the machine has asked for; what happens meanwhile waits its turn."""
        if self._running:
            return
        self._running = True
        try:
            while self._outbox.effects and self._perform is not None:
                effect, perform = self._outbox.effects.pop(0), self._perform
                if effect is Effect.CLOSE:
                    self._perform = None
                perform(effect)
        finally:
            self._running = False
