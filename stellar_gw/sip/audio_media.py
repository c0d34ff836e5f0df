"""One audio m-line of SDP, as offer and answer see it: formats, direction, packet times, addresses.

Reading never raises: what makes no sense in a peer's attributes counts as absent. Writing gives the m-lines of
our own descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from attrs import evolve, frozen

from stellar_gw.sip.flow import ip_version
from stellar_gw.sip.ice import Credentials, IceKeys
from stellar_gw.sip.ice import lines as ice_lines
from stellar_gw.sip.sdp import (
    Attribute,
    Connection,
    Direction,
    MediaDescription,
    Rtpmap,
    SessionDescription,
    parse_host,
)
from stellar_gw.sip.srtp import OFF, Srtp

CODECS = ("G722", "PCMU", "PCMA")
"""The audio codecs there are, best first; all with an RTP clock of 8000 Hz (RFC 3551 4.5.2 for G722)."""
CLOCK = 8000
TELEPHONE_EVENT = "TELEPHONE-EVENT"
COMFORT_NOISE = "CN"
EVENTS = "0-15"
"""The digits 0-9, *, #, A-D of RFC 4733 3.2."""
UNKNOWN_HOST = "0.0.0.0"
"""The remote host where the peer named none that we could send to."""

# RFC 3551 6, table 4: names of the payload types that need no rtpmap; all of them are for one channel.
# 19 is reserved since: it was comfort noise in drafts, and some still send it.
_STATIC = {0: "PCMU", 3: "GSM", 4: "G723", 5: "DVI4", 7: "LPC", 8: "PCMA", 9: "G722", 12: "QCELP", 13: "CN",
           15: "G728", 18: "G729", 19: "CN"}  # fmt: skip
_REVERSE: dict[Direction, Direction] = {
    "sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive",
}  # fmt: skip


@frozen(kw_only=True)
class Codec:
    """One payload type; ``name`` in upper case, ``clock`` in Hz."""

    name: str
    payload_type: int
    clock: int = CLOCK


@frozen(kw_only=True)
class LocalMedia:
    """Our end of the audio stream.

    :ivar address: numeric, or a name that peers can resolve: what ``c=`` says.
    :ivar port: where we receive RTP; 0 refuses or removes the stream.
    :ivar rtcp_port: where we receive RTCP; 0 for ``port`` + 1.
    :ivar codecs: names from :data:`CODECS`, the one we want most first.
    :ivar telephone_event: whether digits as RFC 4733 events are wanted.
    :ivar ptime: milliseconds of audio a packet, where the peer wishes nothing else.
    :ivar direction: what we want; an answer never gives more than the offer allows.
    :ivar rtcp_mux: whether our first offer wants RTP and RTCP on one port (RFC 5761); a peer that offers it
        gets it anyway, and later offers of ours keep it.
    :ivar srtp: what we want of SRTP, and our keys.
    :ivar ice: our credentials, where we take part in ICE as a lite agent; None: we do not.
    """

    address: str
    port: int
    rtcp_port: int = 0
    codecs: tuple[str, ...] = CODECS
    telephone_event: bool = True
    ptime: int = 20
    direction: Direction = "sendrecv"
    rtcp_mux: bool = False
    srtp: Srtp = OFF
    ice: IceKeys | None = None


def known_codecs(media: MediaDescription) -> tuple[Codec, ...]:
    """The audio formats of an m-line that we know, in its order, each name once."""
    found: dict[str, Codec] = {}
    for codec in _formats(media, CODECS):
        if codec.clock == CLOCK:
            found.setdefault(codec.name, codec)
    return tuple(found.values())


def telephone_events(media: MediaDescription) -> tuple[Codec, ...]:
    """The telephone-event formats of an m-line, of any clock rate; those that fit our codecs first.

    An event shares its RTP stream with audio, so its clock should be the audio's (RFC 4733 2.1); phone systems
    list one for each rate of their codecs.
    """
    return tuple(sorted(_formats(media, (TELEPHONE_EVENT,)), key=lambda codec: codec.clock != CLOCK))


def comfort_noise(media: MediaDescription) -> tuple[Codec, ...]:
    """The comfort noise formats of an m-line (RFC 3389), of any clock rate."""
    return tuple(_formats(media, (COMFORT_NOISE,)))


def _formats(media: MediaDescription, names: Sequence[str]) -> Iterator[Codec]:
    """Every format of an m-line with one of these names, one channel, and a clock rate that makes sense."""
    rtpmaps = media.rtpmaps
    for payload_type in dict.fromkeys(media.payload_types):
        rtpmap = rtpmaps.get(payload_type) or Rtpmap(payload_type, _STATIC.get(payload_type, ""), CLOCK)
        if rtpmap.name in names and rtpmap.channels == 1 and 1000 <= rtpmap.clock <= 192_000:
            yield Codec(name=rtpmap.name, payload_type=payload_type, clock=rtpmap.clock)


def understood(ours: Iterable[Codec], theirs: Iterable[Codec], audio: Iterable[Codec]) -> tuple[Codec, ...]:
    """Formats of ours, and the peer's of numbers that mean nothing else in what we offered."""
    found = {codec.payload_type: codec for codec in ours}
    taken = found.keys() | {codec.payload_type for codec in audio}
    found.update((codec.payload_type, codec) for codec in theirs if codec.payload_type not in taken)
    return tuple(found.values())


def keep_payload_types(codecs: Sequence[Codec], media: MediaDescription) -> list[Codec]:
    """A payload type never changes its meaning within a session (RFC 3264 8.3.2), so those in use stay."""
    used = {(codec.name, codec.clock): codec.payload_type for codec in (*known_codecs(media), *telephone_events(media))}
    taken = set(used.values())
    kept: list[Codec] = []
    for codec in codecs:
        known = used.get((codec.name, codec.clock))
        if known is None:
            known = next(number for number in (codec.payload_type, *range(96, 128)) if number not in taken)
            taken.add(known)
        kept.append(evolve(codec, payload_type=known))
    return kept


def versions(offer: SessionDescription) -> frozenset[int]:
    """The IP versions, 4 or 6, of the addresses that audio is offered at; names may be of either, and do not count."""
    audio = [media for media in offer.media if media.kind == "audio" and media.port]
    connections = [offer.connection_of(media) for media in audio]
    numeric = [connection.numeric for connection in connections if connection is not None]
    return frozenset(address.version for address in numeric if address is not None)


def format_names(media: MediaDescription) -> str:
    """For people: the formats of an m-line by name, bounded."""
    rtpmaps = media.rtpmaps
    names: list[str] = []
    for payload_type in media.payload_types:
        rtpmap = rtpmaps.get(payload_type)
        name = f"{rtpmap.name[:24]}/{rtpmap.clock}" if rtpmap else _STATIC.get(payload_type, f"type {payload_type}")
        names.append(name.encode("ascii", "replace").decode())
    more = len(names) - 8
    return (", ".join(names[:8]) or "none") + (f" and {more} more" if more > 0 else "")


def our_direction(theirs: SessionDescription, media: MediaDescription, wanted: Direction) -> Direction:
    """Ours: what we want, as far as the peer's description allows (RFC 3264 6.1, 8.4)."""
    allowed = _REVERSE[theirs.direction_of(media)]
    connection = theirs.connection_of(media)
    unreachable = connection is None or connection.unspecified
    send = "send" in allowed and "send" in wanted and not unreachable
    receive = "recv" in allowed and "recv" in wanted
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"


def packet_time(theirs: MediaDescription, ours: int) -> int:
    """The peer's ptime, else ours, within its maxptime, in whole steps of 10 ms from 10 to 60."""
    ptime = _milliseconds(theirs.first("ptime")) or ours
    maximum = _milliseconds(theirs.first("maxptime")) or 60
    return max(10, min(ptime, maximum, 60) // 10 * 10)


def _milliseconds(text: str | None) -> int:
    """0 where there is none or it makes no sense; some write 20.0."""
    whole = (text or "").partition(".")[0]
    return int(whole) if whole.isascii() and whole.isdigit() and len(whole) <= 5 else 0


def remote_rtp(theirs: SessionDescription, media: MediaDescription) -> tuple[str, int]:
    return _sendable(theirs.connection_of(media)), media.port


def remote_rtcp(theirs: SessionDescription, media: MediaDescription, mux: bool) -> tuple[str, int]:
    """RFC 5761 5.1.1 under mux; else a=rtcp (RFC 3605 2.1), else the next port (RFC 3550 11)."""
    host, port = remote_rtp(theirs, media)
    if mux or port == 0:
        return host, port
    fields = (media.first("rtcp") or "").split()
    if fields and fields[0].isascii() and fields[0].isdigit() and len(fields[0]) <= 5 and 0 < int(fields[0]) < 65536:
        if len(fields) == 4 and (named := parse_host(fields[3])) and host != UNKNOWN_HOST:
            apart = _sendable(Connection(named))
            host = apart if ip_version(apart) == ip_version(host) else host
        return host, int(fields[0])
    return (host, port + 1) if port < 65535 else (host, 0)


def _sendable(connection: Connection | None) -> str:
    if connection is None or connection.numeric is None or connection.unspecified:
        return UNKNOWN_HOST
    return str(ip_address(connection.address))


def audio_line(
    local: LocalMedia,
    codecs: Sequence[Codec],
    protocol: str,
    mux: bool,
    crypto: Sequence[Attribute] = (),
    ice: Credentials | None = None,
) -> MediaDescription:
    """An audio m-line of ours, its formats in the order of ``codecs``."""
    attributes: list[Attribute] = list(crypto)
    for codec in codecs:
        name = codec.name.lower() if codec.name == TELEPHONE_EVENT else codec.name
        attributes.append(("rtpmap", f"{codec.payload_type} {name}/{codec.clock}"))
        if codec.name == TELEPHONE_EVENT:
            attributes.append(("fmtp", f"{codec.payload_type} {EVENTS}"))
    attributes.append(("ptime", str(local.ptime)))
    if local.rtcp_port and local.rtcp_port != local.port + 1:
        attributes.append(("rtcp", str(local.rtcp_port)))
    if mux:
        attributes.append(("rtcp-mux", None))
    if ice is not None:
        rtcp_port = 0 if mux else local.rtcp_port or local.port + 1
        attributes += ice_lines(ice, local.address, local.port, rtcp_port)
    attributes.append((local.direction, None))
    return MediaDescription(
        kind="audio",
        port=local.port,
        protocol=protocol,
        formats=tuple(str(codec.payload_type) for codec in codecs),
        attributes=tuple(attributes),
    )


def redirected_line(media: MediaDescription, direction: Direction) -> MediaDescription:
    """The same m-line in another direction."""
    kept = tuple(attribute for attribute in media.attributes if attribute[0] not in _REVERSE)
    return evolve(media, attributes=(*kept, (direction, None)))


def refused_line(media: MediaDescription) -> MediaDescription:
    """RFC 3264 6: the same media, protocol and formats in the same place, with port 0."""
    return MediaDescription(kind=media.kind, port=0, protocol=media.protocol, formats=media.formats)
