"""Who hears whom in one call: each leg's binding, and the relays between legs that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from twisted.logger import Logger

from stellar_gw.control.messages import Binding
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.cadence import cadence
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Piece
from stellar_gw.media.presses import Way
from stellar_gw.media.source import Noise, Recording
from stellar_gw.worker.agent_audio import AgentAudio
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.leg_audio import LegAudio, Sound
from stellar_gw.worker.relay import Relay
from stellar_gw.worker.sounds import FileSource, Prompt, SoundError, Sounds

TONE_RATE = 8000
"""Samples a second; the highest tone has 3800 Hz."""
FILLER_LEVEL = 55
"""-dBov: a line that is alive, and no more."""
_log = Logger()


class Wiring:
    """
    :param legs: of the call, by name; others put them in and take them out.
    :param changed: called where a leg begins or ceases to need our pace.
    :param played: called with a leg and a reason as in :class:`Played` when a file bound ``once`` is over.
    :ivar agent: what the agent says; None without one.
    :ivar hears_agent: the leg that hears the agent, empty for none.
    :ivar heard_by_agent: the leg that the agent hears, empty for none.
    """

    def __init__(
        self,
        legs: Mapping[str, Leg],
        sounds: Sounds,
        now: Callable[[], float],
        changed: Callable[[], None],
        played: Callable[[str, str], None],
    ) -> None:
        self._legs = legs
        self._sounds = sounds
        self._now = now
        self._tell = changed
        self._played = played
        self._bindings: dict[str, Binding] = {}
        self._relays: dict[str, Relay] = {}
        self._rings = False
        self.agent: AgentAudio | None = None
        self.hears_agent = ""
        self.heard_by_agent = ""

    # --- commands -------------------------------------------------------------------------------

    def start_agent(self, leg: str, agent: AgentAudio) -> None:
        """An agent is there: the leg hears it, and is heard by it."""
        self.agent = agent
        self.bind((Binding(leg=leg, source="agent", agent_hears=True),))

    def stop_agent(self) -> None:
        """Whoever heard the agent hears silence from now on."""
        self.agent = None
        changed = []
        for name, binding in self._bindings.items():
            if binding.source == "agent":
                changed.append(Binding(leg=name, source="silence"))
            elif binding.agent_hears:
                changed.append(msgspec.structs.replace(binding, agent_hears=False))
        self.bind(tuple(changed))

    def replace_agent(self, agent: AgentAudio) -> None:
        """The agent was connected anew: whoever heard it hears this."""
        self.agent = agent
        if self.hears_agent and not self._rings:
            self._legs[self.hears_agent].speak(agent)

    def fill(self, file: str | None) -> None:
        """What whoever hears the agent hears while it is away; nothing else while it rings.

        :param file: the path of a WAV file; empty: comfort noise; None: the agent again.
        """
        if not self.hears_agent or self._rings:
            return
        sound: LegAudio | None = self.agent
        if file is not None:
            try:
                sound = Sound(FileSource(self._sounds.open(file)) if file else Noise(TONE_RATE, FILLER_LEVEL))
            except SoundError as reason:
                _log.warn("{reason}; comfort noise takes its place", reason=str(reason))
                sound = Sound(Noise(TONE_RATE, FILLER_LEVEL))
        self._legs[self.hears_agent].speak(sound)

    def ring(self) -> None:
        """Whoever hears the agent hears a ringing tone, until :meth:`answered`."""
        if self.hears_agent:
            self._rings = True
            tone = Recording(cadence("ringback", TONE_RATE), TONE_RATE, repeat=True)
            self._legs[self.hears_agent].speak(Sound(tone))

    def answered(self) -> None:
        """Whoever heard a ringing tone hears the agent."""
        if self._rings:
            self._rings = False
            self.fill(None)

    def bind(self, bindings: Sequence[Binding]) -> None:
        """Change all of these at the same moment; a leg that hears what it shall keeps that as it is.

        :raise StellarError: if it makes no sense, or a sound cannot be had; nothing has changed then.
        """
        wanted = {**self._bindings, **{binding.leg: binding for binding in bindings}}
        if len({binding.leg for binding in bindings}) != len(bindings):
            raise LocalProtocolError("a leg is bound twice")
        self._check(wanted)
        new = {name: binding for name, binding in wanted.items() if not _alike(self._bindings.get(name), binding)}
        sounds = {name: _sound for name, binding in new.items() if (_sound := self._sound(binding)) is not None}
        for name in new:
            self._unbind(name)
        self._bindings = wanted
        for name, binding in new.items():
            self._legs[name].speak(self._audio(name, binding, sounds))
        self._look()

    def _check(self, bindings: Mapping[str, Binding]) -> None:
        for name, binding in bindings.items():
            if name not in self._legs:
                raise LocalProtocolError(f"there is no leg {name}")
            if binding.source == "leg" and (binding.peer not in self._legs or binding.peer == name):
                raise LocalProtocolError(
                    f"leg {name} cannot hear leg {binding.peer}: there is no other leg of that name"
                )
            if self.agent is None and (binding.source == "agent" or binding.agent_hears):
                raise LocalProtocolError(f"leg {name} cannot be bound to the agent: there is none")
        if sum(binding.source == "agent" for binding in bindings.values()) > 1:
            raise LocalProtocolError("the agent can be heard by one leg at a time: bind the other to something else")
        if sum(binding.agent_hears for binding in bindings.values()) > 1:
            raise LocalProtocolError("the agent can hear one leg at a time: bind the other without agent_hears")

    def _sound(self, binding: Binding) -> LegAudio | None:
        """:raise StellarError: if it cannot be had."""
        if binding.source == "tone":
            return Sound(Recording(cadence(binding.tone, TONE_RATE), TONE_RATE, repeat=True))
        if binding.source == "file":
            file = self._sounds.open(binding.file)
            return Prompt(file, partial(self._played, binding.leg)) if binding.once else Sound(FileSource(file))
        return None

    def _audio(self, name: str, binding: Binding, sounds: Mapping[str, LegAudio]) -> LegAudio | None:
        if binding.source == "agent":
            return self.agent
        if binding.source == "leg":
            relay = Relay(self._legs[binding.peer], self._legs[name], self._now, self._look)
            self._relays[name] = relay
            return relay.audio
        return sounds.get(name)

    def _unbind(self, name: str) -> None:
        relay = self._relays.pop(name, None)
        if relay is not None:
            relay.close()

    def remove(self, name: str) -> None:
        """A leg goes: whoever heard it hears silence."""
        self._unbind(name)
        self._bindings.pop(name, None)
        deaf = [each for each, binding in self._bindings.items() if binding.source == "leg" and binding.peer == name]
        for each in deaf:
            self._unbind(each)
            agent_hears = self._bindings[each].agent_hears
            self._bindings[each] = Binding(leg=each, source="silence", agent_hears=agent_hears)
            self._legs[each].speak(None)
        self._look()

    def agreed(self, name: str) -> None:
        """Offer and answer have changed something on a leg."""
        for target, relay in self._relays.items():
            if name in (target, self._bindings[target].peer):
                relay.agreed()

    # --- what the legs hear ---------------------------------------------------------------------

    def heard(self, name: str, pieces: Sequence[Piece]) -> None:
        """A leg's audio, in order: for the legs that need it coded anew."""
        for relay in self._relays.values():
            if relay.source.name == name:
                relay.hear(pieces)

    def noise(self, name: str, payload: bytes) -> None:
        """Comfort noise of a leg's: for the legs that need its audio coded anew."""
        for relay in self._relays.values():
            if relay.source.name == name:
                relay.audio.noise(payload)

    def pressed(self, name: str, digit: Digit, way: Way) -> None:
        for relay in tuple(self._relays.values()):
            if relay.source.name == name:
                relay.pressed(digit, way)

    # --- pace -----------------------------------------------------------------------------------

    @property
    def bridged(self) -> bool:
        """Every leg gets its packets from another as they come: none needs our pace."""
        relays = self._relays
        passing = all(name in relays and relays[name].passing for name in self._legs)
        return bool(relays) and passing and not self._ordered()

    def _ordered(self) -> set[str]:
        """The legs whose audio somebody wants to hear in order."""
        ordered = {relay.source.name for relay in self._relays.values() if relay.audio.active}
        return ordered | {self.heard_by_agent} if self.heard_by_agent else ordered

    def _look(self) -> None:
        """Have audio put in order for those who want it so, and for nobody else."""
        bindings = self._bindings.items()
        self.hears_agent = next((name for name, binding in bindings if binding.source == "agent"), "")
        heard_before = self.heard_by_agent
        self.heard_by_agent = next((name for name, binding in bindings if binding.agent_hears), "")
        if self.heard_by_agent != heard_before and heard_before in self._legs:
            self._legs[heard_before].port.take_the_long_way()
        ordered = self._ordered()
        for name, leg in self._legs.items():
            leg.port.order(name in ordered)
        self._tell()


def _alike(before: Binding | None, after: Binding) -> bool:
    """The leg hears the same, whoever hears it."""
    return before is not None and msgspec.structs.replace(before, agent_hears=after.agent_hears) == after
