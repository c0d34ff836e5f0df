"""Session descriptions: reading and writing SDP (RFC 8866), without judging what they offer.

Theory of operation. :func:`parse_sdp` reads hostile octets into frozen records and keeps only what an
offer/answer exchange needs: ``v o s c b t a m``; the other letters of RFC 8866 are checked for shape and
dropped. It is tolerant where phones and RFC 4475 and 5118 need it: LF for CRLF, a last line without a
newline, blank lines, absent ``s=`` and ``t=``, lines of one section in any order, blanks in the user name
of ``o=``, blanks around values. What cannot be understood in exactly one way is refused with 400; what is
sound but beyond our limits with 488. :meth:`SessionDescription.to_bytes` writes strict RFC 8866.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from attrs import define, field, frozen

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError

MAX_OCTETS = 65536
MAX_MEDIA = 16
MAX_FORMATS = 32
"""Per m-line. The longest seen in the wild has 25 (a browser's video line)."""
MAX_ADDRESS = 255
"""Octets of a host in ``c=`` or ``a=rtcp``: the longest domain name (RFC 1035 2.3.4)."""

_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")  # RFC 8866 9, token-char
_PROTOCOL = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+(?:/[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+)*")
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.\-]*[0-9A-Za-z_.])?")
_PORT = re.compile(r"([0-9]{1,5})(?:/([0-9]{1,5}))?")
_RTPMAP = re.compile(r"([0-9]{1,3})\s+([^\s/]{1,64})\s*/\s*([0-9]{1,9})(?:\s*/\s*([0-9]{1,3}))?")
_LETTERS = frozenset("vosiuepcbtrzkam")
_MEDIA_LETTERS = frozenset("micbka")

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")

Attribute = tuple[str, str | None]
"""A name, and a value; ``None`` for a property attribute such as ``a=sendrecv``."""


def _without_keys(attributes: Iterable[Attribute]) -> str:
    """For a repr: SRTP keys (RFC 4568) and ICE passwords are left out."""
    return repr(tuple((name, "..." if name in ("crypto", "ice-pwd") else value) for name, value in attributes))


@frozen
class Connection:
    """A ``c=`` line, or the address of an ``o=`` line: network type IN only (RFC 8866 5.7).

    :ivar address: a numeric address, IPv4-mapped IPv6 folded to IPv4; or a domain name.
    """

    address: str

    @property
    def numeric(self) -> IPv4Address | IPv6Address | None:
        """``None`` where the address is a domain name."""
        return _numeric(self.address)

    @property
    def unspecified(self) -> bool:
        """``0.0.0.0`` or ``::``: the peer wants nothing sent (RFC 3264 8.4, RFC 6157 5.1)."""
        numeric = self.numeric
        return numeric is not None and numeric.is_unspecified

    def __str__(self) -> str:
        numeric = self.numeric
        return f"IN IP{6 if isinstance(numeric, IPv6Address) else 4} {self.address}"


@frozen
class Origin:
    """An ``o=`` line (RFC 8866 5.2). The numbers stay text: peers send any length, and none are calculated with."""

    username: str
    session_id: str
    version: str
    connection: Connection

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.connection}"


@frozen
class Rtpmap:
    """An ``a=rtpmap`` line (RFC 8866 6.6); ``name`` in upper case, ``clock`` in Hz."""

    payload_type: int
    name: str
    clock: int
    channels: int = 1


@frozen(kw_only=True)
class MediaDescription:
    """One m-line and the lines below it (RFC 8866 5.14).

    :ivar kind: ``audio``, ``video``, ``application``, ``image``, ..., in lower case.
    :ivar port: 0 means that the stream is refused or removed (RFC 3264 6, 8.2).
    :ivar port_count: of ``port/count``; 1 where absent.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    port_count: int = 1
    connection: Connection | None = None
    bandwidths: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = field(default=(), repr=_without_keys)

    def values(self, name: str) -> Iterator[str]:
        """The values of every attribute ``name`` of this m-line; ``""`` for a property attribute."""
        return _values(self.attributes, name)

    def first(self, name: str) -> str | None:
        """The first value of attribute ``name``, ``""`` where it has none, ``None`` where it is absent."""
        return next(self.values(name), None)

    @cached_property
    def rtpmaps(self) -> dict[int, Rtpmap]:
        """By payload type; the first of two for the same one holds, malformed ones are left out."""
        found: dict[int, Rtpmap] = {}
        for value in self.values("rtpmap"):
            match = _RTPMAP.fullmatch(value)
            if match and int(match[1]) <= 127:
                rtpmap = Rtpmap(int(match[1]), match[2].upper(), int(match[3]), int(match[4] or 1))
                found.setdefault(rtpmap.payload_type, rtpmap)
        return found

    @cached_property
    def payload_types(self) -> tuple[int, ...]:
        """The formats that are RTP payload types, in order, each once (RFC 3551 6: 0 to 127)."""
        numbers = (int(text) for text in self.formats if text.isascii() and text.isdigit() and len(text) <= 3)
        return tuple(dict.fromkeys(number for number in numbers if number <= 127))

    def lines(self) -> Iterator[str]:
        port = str(self.port) if self.port_count == 1 else f"{self.port}/{self.port_count}"
        yield f"m={self.kind} {port} {self.protocol} {' '.join(self.formats)}"
        if self.connection is not None:
            yield f"c={self.connection}"
        yield from (f"b={bandwidth}" for bandwidth in self.bandwidths)
        yield from _attribute_lines(self.attributes)


@frozen(kw_only=True)
class SessionDescription:
    """A whole session description (RFC 8866 5)."""

    origin: Origin
    name: str = "-"
    connection: Connection | None = None
    bandwidths: tuple[str, ...] = ()
    times: tuple[str, ...] = ("0 0",)
    attributes: tuple[Attribute, ...] = ()
    media: tuple[MediaDescription, ...] = field(default=())

    def values(self, name: str) -> Iterator[str]:
        """The values of every session level attribute ``name``; ``""`` for a property attribute."""
        return _values(self.attributes, name)

    def connection_of(self, media: MediaDescription) -> Connection | None:
        """The ``c=`` that holds for an m-line: its own, else the session's (RFC 8866 5.7)."""
        return media.connection or self.connection

    def direction_of(self, media: MediaDescription) -> Direction:
        """The direction that holds for an m-line: its own, else the session's, else sendrecv (RFC 8866 6.7)."""
        for attributes in (media.attributes, self.attributes):
            for name, _ in attributes:
                for direction in DIRECTIONS:
                    if name == direction:
                        return direction
        return "sendrecv"

    def to_bytes(self) -> bytes:
        """Strict RFC 8866 text, each line ended by CRLF.

        :raise LocalProtocolError: if a value would break out of its line.
        """
        lines = list(self._lines())
        for line in lines:
            if "\r" in line or "\n" in line or "\0" in line:
                raise LocalProtocolError(f"a line break or NUL inside the SDP line {line!r}")
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")

    def _lines(self) -> Iterator[str]:
        yield "v=0"
        yield f"o={self.origin}"
        yield f"s={self.name or '-'}"
        if self.connection is not None:
            yield f"c={self.connection}"
        yield from (f"b={bandwidth}" for bandwidth in self.bandwidths)
        yield from (f"t={time}" for time in self.times)
        yield from _attribute_lines(self.attributes)
        for media in self.media:
            yield from media.lines()


def parse_sdp(data: bytes) -> SessionDescription:
    """Read a session description.

    :raise RemoteProtocolError: with status 400 where it is malformed (the reason names the line), 488 where
        it is sound but exceeds :data:`MAX_OCTETS`, :data:`MAX_MEDIA` or :data:`MAX_FORMATS`.
    """
    if len(data) > MAX_OCTETS:
        raise RemoteProtocolError(f"SDP longer than {MAX_OCTETS} octets", 488)
    session: list[_Line] = []
    media: list[list[_Line]] = []
    for line in _split(data):
        if line.letter == "m":
            if len(media) == MAX_MEDIA:
                raise RemoteProtocolError(f"SDP with more than {MAX_MEDIA} media lines", 488)
            media.append([line])
        elif media:
            if line.letter not in _MEDIA_LETTERS:
                raise line.error("does not belong below a media line")
            media[-1].append(line)
        else:
            session.append(line)
    return _session(session, tuple(_media(lines) for lines in media))


def parse_host(text: str) -> str | None:
    """A numeric address in canonical form (mapped IPv4 unfolded, zone and multicast scope cut), a domain name
    as it is, or ``None`` where it is neither."""
    text = text.partition("/")[0].strip("[]")
    if len(text) > MAX_ADDRESS:
        return None
    numeric = _numeric(text)
    if isinstance(numeric, IPv6Address):
        return str(numeric.ipv4_mapped or IPv6Address(int(numeric)))
    if numeric is not None:
        return str(numeric)
    # Digits and dots alone are a mistyped address, and no top level domain is a number (RFC 1123 2.1).
    if text.replace(".", "").isdigit() or not _HOST.fullmatch(text):
        return None
    return text


@define
class _Line:
    letter: str
    value: str
    number: int

    def error(self, what: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"SDP line {self.number}: {self.letter}= {what}")


def _split(data: bytes) -> Iterator[_Line]:
    """The lines of an SDP body but v=0, which must be the first."""
    text = data.decode("utf-8", "replace")
    sound = "\0" not in text and text.count("\r") == text.count("\r\n")
    first = True
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or line.isspace():
            continue
        if not sound and ("\0" in line or "\r" in line):
            raise RemoteProtocolError(f"SDP line {number}: a NUL or a bare carriage return")
        letter = line[0]
        if line[1:2] != "=" or letter not in _LETTERS:
            # RFC 8866 5: a description with an unknown letter is to be rejected whole.
            raise RemoteProtocolError(f"SDP line {number}: not of the form letter=value with a known letter")
        if first:
            if letter != "v" or line[2:].strip() != "0":
                raise RemoteProtocolError("SDP must begin with v=0")
            first = False
        elif letter == "v":
            raise RemoteProtocolError(f"SDP line {number}: a second v=")
        else:
            yield _Line(letter, line[2:].strip(), number)
    if first:
        raise RemoteProtocolError("SDP body is empty")


def _session(lines: Iterable[_Line], media: tuple[MediaDescription, ...]) -> SessionDescription:
    single: dict[str, _Line] = {}
    bandwidths: list[str] = []
    times: list[str] = []
    attributes: list[Attribute] = []
    for line in lines:
        match line.letter:
            case "o" | "s" | "c":
                if line.letter in single:
                    raise line.error("comes twice")
                single[line.letter] = line
            case "b":
                bandwidths.append(line.value)
            case "t":
                times.append(line.value)
            case "a":
                attributes.append(_attribute(line))
            case _:
                pass
    if "o" not in single:
        raise RemoteProtocolError("SDP has no o= line")
    return SessionDescription(
        origin=_origin(single["o"]),
        name=single["s"].value if "s" in single else "",
        connection=_connection(single["c"]) if "c" in single else None,
        bandwidths=tuple(bandwidths),
        times=tuple(times),
        attributes=tuple(attributes),
        media=media,
    )


def _media(lines: list[_Line]) -> MediaDescription:
    head, connection = lines[0], None
    bandwidths: list[str] = []
    attributes: list[Attribute] = []
    for line in lines[1:]:
        match line.letter:
            case "c":
                # Several are legal for layered multicast only (RFC 8866 5.7): the first one is the base layer.
                connection = connection or _connection(line)
            case "b":
                bandwidths.append(line.value)
            case "a":
                attributes.append(_attribute(line))
            case _:
                pass
    fields = head.value.split()
    if len(fields) < 3:
        raise head.error("must be: media port protocol format ...")
    kind, port, protocol, *formats = fields
    ports = _PORT.fullmatch(port)
    if not ports or int(ports[1]) > 65535 or not _TOKEN.fullmatch(kind) or not _PROTOCOL.fullmatch(protocol):
        raise head.error("must be: media port protocol format ...")
    if len(formats) > MAX_FORMATS:
        raise RemoteProtocolError(f"SDP line {head.number}: more than {MAX_FORMATS} formats", 488)
    if not all(_TOKEN.fullmatch(text) for text in formats):
        raise head.error("has a malformed format")
    if not formats:
        if int(ports[1]) != 0:
            raise head.error("names no format")
        formats = ["0"]  # some refuse a stream without naming one; the grammar wants one when we echo it
    return MediaDescription(
        kind=kind.lower(),
        port=int(ports[1]),
        port_count=int(ports[2] or 1),
        protocol=protocol,
        formats=tuple(formats),
        connection=connection,
        bandwidths=tuple(bandwidths),
        attributes=tuple(attributes),
    )


def _origin(line: _Line) -> Origin:
    # From the right, because some user names hold blanks.
    fields = line.value.rsplit(maxsplit=5)
    if len(fields) == 5:
        fields.insert(0, "-")
    if len(fields) != 6:
        raise line.error("must be: username session-id version IN IP4|IP6 address")
    username, session_id, version, _, _, address = fields
    # Nothing is ever sent to this address, so a bogus one does no harm (RFC 8866 5.2 only wants it unique).
    return Origin(username, session_id, version, Connection(parse_host(address) or "0.0.0.0"))


def _connection(line: _Line) -> Connection:
    fields = line.value.split()
    if len(fields) != 3 or fields[0].upper() != "IN" or fields[1].upper() not in ("IP4", "IP6"):
        raise line.error("must be: IN IP4|IP6 address")
    # The address itself tells its family; a wrong IP4/IP6 beside it is seen and harmless.
    host = parse_host(fields[2])
    if host is None:
        raise line.error("has no address or domain name")
    return Connection(host)


def _attribute(line: _Line) -> Attribute:
    name, colon, value = line.value.partition(":")
    name = name.strip()
    if not _TOKEN.fullmatch(name):
        raise line.error("has a malformed attribute name")
    # Names are case-sensitive (RFC 8866 5.13), but Rtpmap and SendRecv have been seen, and no two differ by case.
    return name.lower(), value.strip() if colon else None


def _attribute_lines(attributes: Iterable[Attribute]) -> Iterator[str]:
    return (f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes)


def _values(attributes: Iterable[Attribute], name: str) -> Iterator[str]:
    return (value or "" for key, value in attributes if key == name)


@lru_cache(maxsize=1024)  # each address of an exchange is asked for a dozen times, and one costs 2.5 us
def _numeric(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
