"""Symmetric latching: which source a leg listens to, and where its audio goes (RFC 4961; RFC 7362 4).

Peers behind NAT name an address in SDP that they do not send from, so the leg learns the address from
what arrives; strangers who spray packets at the port must not be learnt (RTP Bleed). The rules:

- Sources have a rank: the SDP address itself; the SDP's or the signalling flow's host on another port;
  any other. The first second, counted from the first plausible packet, belongs to the first two ranks.
- The SDP address locks the leg with its first packet. Any other source needs four packets in sequence of
  one SSRC, all with a negotiated payload type (comfort noise counts).
- Within that second the SDP address takes the lock over from another source. After it the lock is final, until
  :meth:`Latch.fresh`, or until the locked source has been silent for 500 ms and its SSRC goes on in
  sequence, four packets long, from elsewhere (the peer's NAT binding has changed).
- Strict: only the first two ranks, for ever.
- Audio goes to the SDP address until a source is locked.
- What ICE has nominated is locked, and nothing else until ICE nominates anew.
- What SRTP has authenticated needs no such proof: its source locks the leg at once, and again when it moves; but not
  the source that a new SDP address has just moved it from, whose last packets may still come.

Before the lock at most four packets of sources other than the SDP address are accepted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from attrs import define

from stellar_gw.media.rtp import RtpPacket, sequence_delta

Address = tuple[str, int]

PREFERENCE = 1.0
"""Seconds for which only preferred sources may lock."""
IN_SEQUENCE = 4
SILENCE = 0.5
"""Seconds of silence of the locked source after which its SSRC may go on from elsewhere."""
MAX_DROPOUT = 3000
"""How far a sequence number may have gone on unseen (RFC 3550 A.1)."""
UNSEEN_LOST = 20
"""One in so many packets that went by without being looked at may have been lost before it could."""
COMFORT_NOISE = 13
"""Payload type of comfort noise (RFC 3389 4); sent without being negotiated, too."""

_MAX_RUNS = 64
_SDP, _HOST, _OTHER, _NEVER = range(4)


@define
class _Run:
    """Packets in sequence from one source."""

    ssrc: int
    sequence_number: int
    length: int


class _Runs:
    """Runs by source, the least recently grown forgotten first, so that a spray cannot fill memory."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Address, _Run] = OrderedDict()

    def grow(self, source: Address, packet: RtpPacket) -> int:
        """The length of the source's run with this packet; a duplicate leaves it as it is."""
        run = self._runs.get(source)
        if run is None or run.ssrc != packet.ssrc:
            run = self._runs[source] = _Run(packet.ssrc, packet.sequence_number, 1)
        else:
            step = sequence_delta(packet.sequence_number, run.sequence_number)
            if step:
                run.length = run.length + 1 if step == 1 else 1
                run.sequence_number = packet.sequence_number
        self._runs.move_to_end(source)
        if len(self._runs) > _MAX_RUNS:
            self._runs.popitem(last=False)
        return run.length

    def clear(self) -> None:
        self._runs.clear()


def _canonical(host: str) -> str:
    """A host as sockets write it; empty where it is a name, or no address to send to."""
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "" if address.is_unspecified else str(address)


class Latch:
    """The latch of one leg; times are seconds of any one clock that does not run backwards.

    :ivar rejected: packets refused so far, RTP and RTCP.
    :ivar destination: where audio goes; None where nothing is known yet, so that nothing can be sent.
    """

    def __init__(
        self,
        sdp_address: Address,
        signalling_host: str,
        payload_types: Iterable[int],
        now: float,
        strict: bool = False,
        sdp_rtcp: Address | None = None,
    ) -> None:
        """See :meth:`fresh` for the parameters."""
        self.rejected = 0
        self._locked: Address | None = None
        self._kept: Address | None = None
        self._moved_from: Address | None = None
        self._sdp: Address = ("", 0)
        self._last: RtpPacket | None = None
        self._reckoned: RtpPacket | None = None
        self._unseen = 0
        self._heard = now
        self._preferred = _Runs()
        self._others = _Runs()
        self.fresh(sdp_address, signalling_host, payload_types, now, strict, sdp_rtcp)

    def fresh(
        self,
        sdp_address: Address,
        signalling_host: str,
        payload_types: Iterable[int],
        now: float,
        strict: bool = False,
        sdp_rtcp: Address | None = None,
    ) -> None:
        """A new offer/answer exchange: the leg may latch again.

        Where the SDP address stays as it was, audio keeps going where it went until another source locks,
        and the old source locks again with its first packet: a peer behind NAT has not moved by repeating
        itself. Where it changes, audio goes to the new address, and the old source, whose last
        packets may still come, loses its rank for a second.

        :param sdp_address: the peer's RTP address; port 0, 0.0.0.0 and names mean that it is unknown.
        :param signalling_host: the signalling flow's peer address, empty where it says nothing.
        :param payload_types: those the peer may send; comfort noise is added.
        :param strict: only the SDP address and the two hosts may ever lock.
        :param sdp_rtcp: the peer's RTCP address (RFC 3605); by default the port above (RFC 3550 11).
        """
        sdp = (_canonical(sdp_address[0]), sdp_address[1])
        source = self._locked or self._kept
        self._hosts = {host for host in (sdp[0], _canonical(signalling_host)) if host}
        moved = sdp != self._sdp or (strict and source is not None and source[0] not in self._hosts)
        self._moved_from = source if moved else None
        self._kept = None if moved else source
        self._locked = None
        self._nominated = False
        self._rank = _NEVER
        self._sdp = sdp
        self.destination = self._kept or (sdp if sdp[0] and sdp[1] else None)
        self._sdp_rtcp = (_canonical(sdp_rtcp[0]), sdp_rtcp[1]) if sdp_rtcp else (sdp[0], sdp[1] + 1 if sdp[1] else 0)
        self._payload_types = frozenset(payload_types) | {COMFORT_NOISE}
        self.strict = strict
        self._preference_ends: float | None = None
        self._accepted_early = 0
        self._rtcp_source: Address | None = None
        self._heard = now
        self._last = None
        self._preferred.clear()
        self._others.clear()

    @property
    def locked(self) -> Address | None:
        """The source the leg listens to, None while it still looks for one."""
        return self._locked

    def is_final(self, now: float) -> bool:
        """Whether the lock holds until :meth:`fresh`, or until its source falls silent."""
        return self._locked is not None and (self._rank == _SDP or now >= (self._preference_ends or 0.0))

    @property
    def heard_at(self) -> float:
        """When the locked source was last heard, or the leg began to look for one."""
        return self._heard

    def heard(self, packet: RtpPacket, now: float) -> None:
        """Packets of the locked source came without being shown, ``packet`` the last of them."""
        self._last = packet
        self._heard = now

    def passed(self, packets: int, now: float) -> None:
        """So many packets of the locked source went by without being looked at, the last of them a moment ago."""
        self._heard = now
        last = self._last
        if last is not None:
            self._unseen = packets + (self._unseen if last is self._reckoned else 0)
            number = (last.sequence_number + packets) & 0xFFFF
            self._last = self._reckoned = RtpPacket(last.payload_type, False, number, last.timestamp, last.ssrc, b"")

    def accepts(self, source: Address, packet: RtpPacket, now: float) -> bool:
        """Whether a packet is the leg's peer's; may lock the leg.

        :param source: the datagram's (host, port), as the socket gives it.
        """
        if source == self._locked and (self._rank == _SDP or now >= (self._preference_ends or 0.0)):
            self._last = packet
            self._heard = now
            return True
        if packet.payload_type in self._payload_types and self._plausible(source, packet, now):
            return True
        self.rejected += 1
        return False

    def nominate(self, source: Address, now: float) -> None:
        """ICE has chosen this source (RFC 8445 8.1.1): it holds until it chooses another, or until :meth:`fresh`."""
        self._nominated = True
        self._rank = _SDP
        if source != self._locked:
            self._locked = self.destination = source
            self._rtcp_source = self._last = None
            self._heard = now

    def authentic(self, source: Address, packet: RtpPacket, now: float) -> bool:
        """A packet that SRTP has authenticated: whoever sent it has the key, so that wherever it comes from is where
        the peer is now; unless it is one that was overtaken, or the latch is strict.

        :param source: the datagram's (host, port), as the socket gives it.
        """
        if self.strict and source != self._sdp and source[0] not in self._hosts:
            self.rejected += 1
            return False
        last = self._last
        overtaken = (
            last is not None
            and packet.ssrc == last.ssrc
            and sequence_delta(packet.sequence_number, last.sequence_number) <= 0
        )
        if overtaken or (source == self._moved_from != self._sdp and self._preference(now)):
            self._heard = now
        elif source == self._locked or self._nominated:
            self._keep(source, packet, now)
        else:
            self._lock(source, packet, now, _SDP)
        return True

    def _preference(self, now: float) -> bool:
        """Whether this is the first second, which begins with the first packet."""
        if self._preference_ends is None:
            self._preference_ends = now + PREFERENCE
        return now < self._preference_ends

    def _plausible(self, source: Address, packet: RtpPacket, now: float) -> bool:
        preference = self._preference(now)
        if source == self._locked:
            return self._keep(source, packet, now)
        if self._nominated:
            return False
        rank = self._rank_of(source, preference)
        if self._locked is None:
            return self._candidate(source, packet, now, rank, preference)
        if preference and rank == _SDP:
            return self._lock(source, packet, now, rank)
        return self._goes_on(source, packet, now)

    def _rank_of(self, source: Address, preference: bool) -> int:
        if source == self._sdp:
            return _SDP
        if source == self._moved_from and preference:
            return _OTHER
        if source[0] in self._hosts or source == self._kept:
            return _HOST
        return _NEVER if self.strict else _OTHER

    def _in_sequence(self, source: Address, packet: RtpPacket, rank: int) -> bool:
        if rank == _SDP or source == self._kept:
            return True
        return (self._preferred if rank == _HOST else self._others).grow(source, packet) >= IN_SEQUENCE

    def _candidate(self, source: Address, packet: RtpPacket, now: float, rank: int, preference: bool) -> bool:
        """No source is locked yet."""
        if rank == _NEVER:
            return False
        if self._in_sequence(source, packet, rank) and (rank != _OTHER or not preference):
            return self._lock(source, packet, now, rank)
        if rank == _HOST and self._accepted_early < IN_SEQUENCE - 1:
            self._accepted_early += 1
            return True
        return False

    def _goes_on(self, source: Address, packet: RtpPacket, now: float) -> bool:
        """The locked source's SSRC, in sequence, from elsewhere, after silence."""
        last = self._last
        if last is None or packet.ssrc != last.ssrc or now - self._heard < SILENCE:
            return False
        # Of those that went by unseen some were lost, so that the peer's numbers are further on than was reckoned.
        lost = self._unseen // UNSEEN_LOST if last is self._reckoned else 0
        if not 0 < sequence_delta(packet.sequence_number, last.sequence_number) <= MAX_DROPOUT + lost:
            return False
        if self.strict and source != self._sdp and source[0] not in self._hosts:
            return False
        if self._others.grow(source, packet) < IN_SEQUENCE:
            return False
        return self._lock(source, packet, now, self._rank)

    def _keep(self, source: Address, packet: RtpPacket, now: float) -> bool:
        self._last = packet
        self._heard = now
        return True

    def _lock(self, source: Address, packet: RtpPacket, now: float, rank: int) -> bool:
        if self._locked is not None and self._locked[0] != source[0]:
            self._rtcp_source = None
        self._locked = self.destination = source
        self._rank = rank
        self._preferred.clear()
        self._others.clear()
        return self._keep(source, packet, now)

    # --- RTCP on a port of its own ----------------------------------------------------------------

    def accepts_rtcp(self, source: Address) -> bool:
        """Whether an RTCP datagram on the RTCP port is the peer's: from its SDP's RTCP address, or from the
        host that RTP is latched to (before the lock: from the SDP's or the signalling flow's host)."""
        locked = self._locked
        if source == self._sdp_rtcp or (source[0] == locked[0] if locked else source[0] in self._hosts):
            self._rtcp_source = source
            return True
        self.rejected += 1
        return False

    def authentic_rtcp(self, source: Address) -> bool:
        """The same of RTCP, on a port of its own."""
        if self.strict and source != self._sdp_rtcp and source[0] not in self._hosts:
            self.rejected += 1
            return False
        self._rtcp_source = source
        return True

    def nominate_rtcp(self, source: Address) -> None:
        """ICE has chosen where RTCP on a port of its own goes."""
        self._rtcp_source = source

    @property
    def rtcp_destination(self) -> Address | None:
        """Where RTCP goes when it is not multiplexed: where the peer's came from, else what its SDP says."""
        if self._rtcp_source is not None:
            return self._rtcp_source
        return self._sdp_rtcp if self._sdp_rtcp[0] and self._sdp_rtcp[1] else None
