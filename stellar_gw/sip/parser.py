"""From octets to messages (RFC 3261 7).

The parser is strict where two readings are possible, for what another element reads differently is how
headers are smuggled: line breaks are CRLF and nothing else, NUL stands only where RFC 3261 allows it,
Content-Length comes once, and so do the headers that say who calls whom. It is lenient where a phone
system's habit has one meaning only: display names without quotes, ``*21#``, Call-IDs with ``=``.

A request that cannot be read is still answered, if it shows how: :attr:`MalformedMessage.salvage`.
"""

from __future__ import annotations

import re

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.grammar import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, QUOTED_STRING, TOKEN, is_token
from stellar_gw.sip.header_names import KNOWN, SINGLE, canonical_name
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import READERS, Message, Request, Response
from stellar_gw.sip.salvage import salvage
from stellar_gw.sip.uri import SipUri, parse_uri


class MalformedMessage(RemoteProtocolError):
    """A message that breaks RFC 3261.

    :ivar salvage: a request that ``response_to`` can answer with ``status``; None where nothing shall be
        sent: a response, an ACK, or too little to route an answer by.
    """

    def __init__(self, reason: str, status: int = 400, salvage: Request | None = None) -> None:
        super().__init__(reason, status)
        self.salvage = salvage


def parse_message(data: bytes, *, stream: bool) -> Request | Response:
    """Parse one message.

    :param data: one datagram, or one message that a ``StreamFramer`` has cut out of a stream. Line breaks
        before it are skipped; of a datagram, what follows Content-Length is ignored (RFC 3261 18.3).
    :param stream: Content-Length must be there, and right.
    :return: a message none of whose typed properties raises.
    :raise MalformedMessage: it is none, or it breaks a limit.
    """
    if data[:1] == b"\r":
        data = data.lstrip(b"\r\n")
    head, blank, body = data.partition(b"\r\n\r\n")
    try:
        if not blank:
            raise RemoteProtocolError("no empty line ends the headers")
        if len(data) > MAX_MESSAGE:
            raise RemoteProtocolError(f"more than {MAX_MESSAGE} octets", 513)
        lines = _lines(head)
        message = _start_line(lines[0])
        message.headers = _headers(lines)
        _check(message)
        message.body = _body(message, body, stream)
    except RemoteProtocolError as error:
        raise MalformedMessage(error.reason, error.status, salvage(head)) from None
    return message


def _lines(head: bytes) -> list[str]:
    """Start line and headers, unfolded.

    :raise RemoteProtocolError: what is no line break but might be taken for one, or too much of anything.
    """
    breaks = head.count(b"\r\n")
    if head.count(b"\r") != breaks or head.count(b"\n") != breaks:
        raise RemoteProtocolError("CR or LF alone")
    text = head.decode("utf-8", "surrogateescape")
    folded = "\r\n " in text or "\r\n\t" in text
    lines = _text_line_break.split(text, MAX_HEADERS + 1) if folded else text.split("\r\n", MAX_HEADERS + 1)
    if len(lines) > MAX_HEADERS + 1:
        raise RemoteProtocolError(f"more than {MAX_HEADERS} headers")
    if len(head) > MAX_LINE and any(len(line) > MAX_LINE for line in _line_break.split(head)):
        raise RemoteProtocolError(f"a line of more than {MAX_LINE} octets")
    if folded:
        lines = [_unfolded(line) if "\n" in line else line for line in lines]
    if "\0" in text:
        lines = [_without_nul(line) if "\0" in line else line for line in lines]
    return lines


_line_break = re.compile(rb"\r\n(?![ \t])")
_text_line_break = re.compile(r"\r\n(?![ \t])")
_quoted = re.compile(rf"{QUOTED_STRING}", re.DOTALL)
_escaped = re.compile(r"\\(.)", re.DOTALL)


def _unfolded(line: str) -> str:
    """A folded line as one: each fold is one space (RFC 3261 7.3.1)."""
    return " ".join([part.strip(" \t") for part in line.split("\r\n")])


def _without_nul(line: str) -> str:
    r"""A line whose NULs stand in quoted pairs, the one place for them: ``\NUL`` becomes U+FFFD.

    We echo headers, and never write NUL.

    :raise RemoteProtocolError: a NUL elsewhere.
    """
    line = _quoted.sub(lambda quoted: _escaped.sub(_replaced_nul, quoted[0]), line)
    if "\0" in line:
        raise RemoteProtocolError("NUL")
    return line


def _replaced_nul(pair: re.Match[str]) -> str:
    return "\ufffd" if pair[1] == "\0" else pair[0]


# The method is looked at first: a line that is broken later on can still be answered.
_request_line = re.compile(rf"({TOKEN}) ([^ ]++) [Ss][Ii][Pp]/([0-9]++\.[0-9]++)").fullmatch
_status_line = re.compile(r"[Ss][Ii][Pp]/([0-9]++\.[0-9]++) ([0-9]++)(?: (.*))?", re.DOTALL).fullmatch


def _start_line(line: str) -> Request | Response:
    match = _request_line(line)
    if match is not None:
        if match[3] != "2.0":
            raise RemoteProtocolError("only SIP/2.0 is spoken here", 505)
        try:
            uri = parse_uri(match[2])
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"Request-URI: {error.reason}") from None
        if isinstance(uri, SipUri) and uri.headers:
            raise RemoteProtocolError("Request-URI: headers are not allowed in it")  # RFC 3261 19.1.1
        return Request(match[1], uri)
    match = _status_line(line)
    if match is None:
        raise RemoteProtocolError("malformed start line")
    if match[1] != "2.0":
        raise RemoteProtocolError("only SIP/2.0 is spoken here", 505)
    if len(match[2]) != 3 or not "100" <= match[2] <= "699":
        raise RemoteProtocolError("a status outside 100 to 699")
    return Response(int(match[2]), match[3] or "")


def _headers(lines: list[str]) -> Headers:
    items: list[tuple[str, str]] = []
    index: dict[str, list[str]] = {}
    known_names, append = KNOWN, items.append
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = known_names.get(name)
        if known is None or not colon:
            known = _name(name, colon)
        value = value.strip(" \t")
        append((known[0], value))
        key = known[1]
        if key in index:
            if key in SINGLE:
                raise RemoteProtocolError(f"{known[0]}: comes more than once")
            index[key].append(value)
        else:
            index[key] = [value]
    return Headers.sound(items, index)


def _name(name: str, colon: str) -> tuple[str, str]:
    name = name.rstrip(" \t")
    if not colon or not is_token(name):
        raise RemoteProtocolError("a header line without a name")
    return canonical_name(name)


def _check(message: Request | Response) -> None:
    """Parse all that could raise later.

    :raise RemoteProtocolError: a header that must be there is not, or one that will be used is unsound.
    """
    key, parsed = "", message.headers.parsed
    try:
        for key, parse in READERS:
            parsed(key, parse)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{canonical_name(key)[0]}: {error.reason}") from None
    if not message.vias:
        raise RemoteProtocolError("Via: missing")
    if isinstance(message, Request) and message.cseq.method != message.method:
        raise RemoteProtocolError("CSeq: not the method of the request")


_length = re.compile(r"0*([0-9]{1,7})").fullmatch


def content_length(values: list[str]) -> int | None:
    """What the Content-Length lines of a message say; None where there is none.

    :raise RemoteProtocolError: more than one, or no number that could be meant.
    """
    if not values:
        return None
    if len(values) > 1:
        raise RemoteProtocolError("Content-Length: comes more than once")
    match = _length(values[0])
    if match is None:
        raise RemoteProtocolError("Content-Length: must be a number of octets")
    return int(match[1])


def _body(message: Message, rest: bytes, stream: bool) -> bytes:
    length = content_length(message.headers.all("Content-Length"))
    if length is None:
        if stream:
            raise RemoteProtocolError("Content-Length: missing on a stream")
        return rest
    if length > len(rest):
        raise RemoteProtocolError("Content-Length: more than there is")
    if stream and length < len(rest):
        raise RemoteProtocolError("Content-Length: less than there is")
    return rest[:length] if length < len(rest) else rest


__all__ = ["MAX_HEADERS", "MAX_LINE", "MAX_MESSAGE", "MalformedMessage", "content_length", "parse_message"]
