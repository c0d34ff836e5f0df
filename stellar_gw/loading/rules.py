"""What one value must be. A field says it by its type: ``ports: Annotated[int, Whole(0, 63)]``.

Each rule has ``must``, the words that follow "must be", and ``read``, which turns a text into the value and
raises ValueError where it is none; a message in that error stands for the usual one and quotes no secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NetmaskValueError,
    ip_address,
    ip_network,
)
from typing import Any

from attrs import frozen

_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)s)?(?:([0-9]{1,9})ms)?"
)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.?")
"""RFC 3261 25.1: the last label begins with a letter, so that no address in four parts is a name."""


class Rule:
    """The base of all rules."""

    @property
    def must(self) -> str:
        """What follows "must be" in an error."""
        raise NotImplementedError

    @property
    def secret(self) -> bool:
        """Whether the value's own text must not be told."""
        return False

    @property
    def redacted(self) -> bool:
        """Whether logs leave the text out even where it stands in the file itself."""
        return False

    @property
    def alter(self) -> Callable[[str], str] | None:
        """What a reference's text goes through before it becomes part of the value."""
        return None

    def read(self, text: str) -> Any:
        """:raise ValueError: if the text is no such value."""
        raise NotImplementedError


@frozen
class Whole(Rule):
    """A whole number, digits only."""

    minimum: int
    maximum: int

    @property
    def must(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, text: str) -> int:
        if not _WHOLE.fullmatch(text) or not self.minimum <= int(text) <= self.maximum:
            raise ValueError
        return int(text)


@frozen
class Seconds(Rule):
    """A duration: ``90s``, ``2h``, ``1h30m``, ``500ms``, or a bare number of seconds."""

    minimum: float
    maximum: float

    @property
    def must(self) -> str:
        return f"a duration from {duration(self.minimum)} to {duration(self.maximum)}, such as 90s or 1h30m"

    def read(self, text: str) -> float:
        if _SECONDS.fullmatch(text):
            seconds = float(text)
        elif found := _DURATION.fullmatch(text):
            units = (86400, 3600, 60, 1, 0.001)
            seconds = sum(float(part) * unit for part, unit in zip(found.groups(default="0"), units, strict=True))
        else:
            raise ValueError
        if not self.minimum <= seconds <= self.maximum:
            raise ValueError
        return seconds


def duration(seconds: float) -> str:
    """A duration as :class:`Seconds` reads it, in the largest unit that leaves no fraction."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    if seconds and seconds < 1:
        return f"{round(seconds * 1000)}ms"
    return f"{seconds:g}s"


@frozen
class Text(Rule):
    """A text of a certain form.

    :ivar pattern: what it must match as a whole.
    """

    pattern: re.Pattern[str]
    must: str
    secret: bool = False
    redacted: bool = False
    alter: Callable[[str], str] | None = None

    def read(self, text: str) -> str:
        if not self.pattern.fullmatch(text):
            raise ValueError
        return text


@frozen
class Password(Rule):
    """A password of at least ``shortest`` characters."""

    shortest: int = 8
    secret = True
    redacted = True

    @property
    def must(self) -> str:
        return f"a text of {self.shortest} characters or more"

    def read(self, text: str) -> str:
        if len(text) < self.shortest:
            raise ValueError(f"is {len(text)} characters long, must be {self.shortest} or more")
        if not text.isprintable():
            raise ValueError("holds a control character or line break, which no phone system can send")
        return text


@frozen
class FilePath(Rule):
    """The path of a file, made absolute: relative ones begin at the configuration file's folder."""

    must = "the path of a file"

    def read(self, text: str) -> str:
        if not text or "\0" in text:
            raise ValueError
        return text


@frozen
class Host(Rule):
    """A numeric address in canonical form, without a scope; a host name too where ``names``, in lower case."""

    names: bool = False

    @property
    def must(self) -> str:
        return "a host name or an IP address" if self.names else "an IP address"

    def read(self, text: str) -> str:
        try:
            if "%" in text:  # means nothing to a peer, and everything that is bound is told to one
                raise ValueError
            return str(fold(ip_address(text.removeprefix("[").removesuffix("]"))))
        except ValueError:
            if self.names and _HOST_NAME.fullmatch(text):
                return text.lower().rstrip(".")
            raise ValueError from None


@frozen
class HostPort(Rule):
    """``host:port``, an IPv6 address in brackets; the port may be left out where ``port`` has a default."""

    names: bool = False
    port: int | None = None

    @property
    def must(self) -> str:
        kind = "a host name or an IP address" if self.names else "an IP address"
        if self.port is not None:
            return f"{kind}, with :port where it differs, such as 203.0.113.10 or [2001:db8::1]:5060"
        return f"{kind} and a port, such as 0.0.0.0:5060 or [::]:5060"

    def read(self, text: str) -> tuple[str, int]:
        host, colon, port = text.rpartition(":")
        if self.port is not None and (not colon or text.endswith("]") or (text.count(":") > 1 and text[0] != "[")):
            return Host(self.names).read(text), self.port
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError
        return Host(self.names).read(host), Whole(0, 65535).read(port)


@frozen
class Network(Rule):
    """An address or a range in CIDR notation, IPv4-mapped IPv6 folded; never the whole internet."""

    must = "an IP address or a range such as 198.51.100.0/24"

    def read(self, text: str) -> IPv4Network | IPv6Network:
        try:
            network = ip_network(text)
        except (AddressValueError, NetmaskValueError, ValueError):
            raise ValueError(self._advice(text)) from None
        if isinstance(network, IPv6Network) and network.prefixlen >= 96:
            mapped = network.network_address.ipv4_mapped
            network = ip_network((mapped, network.prefixlen - 96)) if mapped is not None else network
        if network.prefixlen == 0:
            raise ValueError(f"is '{text}', which is everybody; list the addresses that calls come from")
        return network

    def _advice(self, text: str) -> str:
        try:
            meant = ip_network(text, strict=False)
        except (AddressValueError, NetmaskValueError, ValueError):
            return ""
        address = text.partition("/")[0]
        return f"is '{text}', which begins inside its range; write {meant} for the range or {address} for the address"


@frozen
class Ports(Rule):
    """A range of ports, as RTP uses them: pairs, so an even first and an odd last port (RFC 3550 11)."""

    must = "a range of UDP ports from 1024 to 65535, such as 10000-20000"

    def read(self, text: str) -> tuple[int, int]:
        first, dash, last = text.partition("-")
        low, high = Whole(1024, 65535).read(first.strip()), Whole(1024, 65535).read(last.strip()) if dash else 0
        low += low % 2
        high -= 1 - high % 2
        if high <= low:
            raise ValueError
        return low, high


def fold(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address of an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2); any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def one_of(values: Sequence[str]) -> str:
    """``a, b or c``."""
    named = [value for value in values if value]
    return " or ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))


def wildcard(host: str) -> bool:
    """Whether a host stands for every address of the machine."""
    return host in ("0.0.0.0", "::")


def loopback(host: str) -> bool:
    """Whether a host is this machine and nobody else's."""
    return host in ("localhost", "::1") or host.startswith("127.")
