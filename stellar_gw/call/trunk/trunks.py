"""All trunks that want more than calls: who is registered, who is there, and whose a flow is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.context.context import user_of
from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.ports import Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.call.trunk.asked import Asked
from stellar_gw.call.trunk.probe import Probe
from stellar_gw.call.trunk.registration import Registration
from stellar_gw.call.trunk.trunk import Trunk, trunk_of
from stellar_gw.call.usages import Usages
from stellar_gw.directory.records import Credential, Directory, TrunkProvider
from stellar_gw.sip.flow import Flow, Listener
from stellar_gw.sip.message import Request

_Key = tuple[type, str]


class Trunks:
    """
    :param listeners: what each listener advertises, by name.
    :param tell: gets what changes.
    :ivar asked: which trunks ask us whether we are there.
    :param left: called when no binding is being taken back any more (:attr:`leaving`).
    """

    def __init__(
        self,
        *,
        listeners: Mapping[str, Listener],
        signalling: Signalling,
        usages: Usages,
        clock: IReactorTime,
        rng: Callable[[int], bytes],
        tell: Callable[[TrunkChanged], None],
        left: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners, self._signalling, self._usages = listeners, signalling, usages
        self._clock, self._rng, self._tell, self._left = clock, rng, tell, left
        self._leaving: set[Registration] = set()
        self.asked = Asked(clock, tell)
        self._kept: dict[_Key, tuple[Trunk, list[Registration | Probe]]] = {}

    def keep(self, directory: Directory) -> None:
        """Keep up what a directory wants, and nothing else; what has not changed goes on."""
        wanted: dict[_Key, Trunk] = {}
        callers: list[Credential | TrunkProvider] = [*directory.providers(), *directory.credentials()]
        for caller in callers:
            trunk = trunk_of(caller)
            if trunk is not None:
                wanted[type(caller), trunk.name] = trunk
        for key, (trunk, _) in list(self._kept.items()):
            if wanted.get(key) != trunk:
                self._end(key)
        for key, trunk in wanted.items():
            if key in self._kept:
                self._renew(key, trunk)
            else:
                self._begin(key, trunk)

    def stop(self) -> None:
        """Take every registration back; for good, or until :meth:`keep`."""
        for key in list(self._kept):
            self._end(key)
        self.asked.stop()

    @property
    def leaving(self) -> bool:
        """Whether a binding is being taken back."""
        return bool(self._leaving)

    def flow_lost(self, flow: Flow) -> None:
        for registration in self._registrations():
            registration.flow_lost(flow)

    def keeps(self, flow: Flow) -> bool:
        """Whether somebody is registered on a flow."""
        return any(each.flow == flow for each in self._registrations())

    def registered_on(self, flow: Flow, invite: Request) -> Registration | None:
        """The registration that a call belongs to.

        Several may live on one flow, and belong to different tenants. Then the call must name its own, by the user part
        that was registered or by the whole address; otherwise it is nobody's.
        """
        here = [each for each in self._registrations() if each.flow == flow]
        if len(here) < 2:
            return here[0] if here else None
        named = [each for each in here if each.contact_user == user_of(invite.uri)]
        meant = [each for each in named or here if each.is_for(invite.to.uri)] if len(named) != 1 else named
        return meant[0] if len(meant) == 1 else None

    def _registrations(self) -> list[Registration]:
        return [each for _, parts in self._kept.values() for each in parts if isinstance(each, Registration)]

    def _begin(self, key: _Key, trunk: Trunk) -> None:
        parts: list[Registration | Probe] = []
        if trunk.register is not None:
            registration = Registration(
                trunk,
                listeners=self._listeners,
                signalling=self._signalling,
                usages=self._usages,
                timers=Timers(self._clock),
                rng=self._rng,
                tell=self._tell,
                left=lambda: self._has_left(registration),
            )
            parts.append(registration)
        if trunk.probe:
            probe = Probe(
                trunk,
                listeners=self._listeners,
                signalling=self._signalling,
                usages=self._usages,
                timers=Timers(self._clock),
                rng=self._rng,
                tell=self._tell,
            )
            parts.append(probe)
        self._kept[key] = trunk, parts
        for part in parts:
            part.start()

    def _renew(self, key: _Key, trunk: Trunk) -> None:
        """The record behind it is a new one that says the same."""
        _, parts = self._kept[key]
        for part in parts:
            part.trunk = trunk
        self._kept[key] = trunk, parts

    def _end(self, key: _Key) -> None:
        _, parts = self._kept.pop(key)
        for part in parts:
            part.stop()
            if isinstance(part, Registration) and part.leaving:
                self._leaving.add(part)

    def _has_left(self, registration: Registration) -> None:
        self._leaving.discard(registration)
        if not self._leaving:
            self._left()
