"""The errors that cross floors; each says whose fault it is and what to do about it."""

from __future__ import annotations

from attrs import frozen


class StellarError(Exception):
    """Anything the gateway raises on purpose."""


class LocalProtocolError(StellarError):
    """Our own code asked a protocol core for something that the protocol forbids: a bug of ours."""


class RemoteProtocolError(StellarError):
    """A peer broke a protocol.

    :ivar status: the SIP status that answers it (RFC 3261 21.4), where one can be sent.
    :ivar reason: one line, safe to send: no data of other parties, no line breaks.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@frozen
class Where:
    """A place in a configuration file; both parts are for people."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class ConfigError(StellarError):
    """A configuration that cannot be used: ``file:line: key: what it is, what it must be``.

    :ivar problems: one printable line for each problem found, in file order; never a secret's text.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
