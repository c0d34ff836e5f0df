"""What a message's body is, and where its SDP is: alone, or as a part of a multipart (RFC 2046 5.1, RFC 5621)."""

from __future__ import annotations

import re

from stellar_gw.sip.grammar import QUOTED_STRING, TOKEN, unquote
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Message
from stellar_gw.sip.values import split_list

SDP = "application/sdp"
MULTIPARTS = ("multipart/mixed", "multipart/alternative", "multipart/related")
MAX_PARTS = 16
MAX_DEPTH = 2

_boundary = re.compile(rf";[ \t]*boundary[ \t]*=[ \t]*({QUOTED_STRING}|{TOKEN})", re.IGNORECASE | re.DOTALL).search
_is_boundary = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]").fullmatch


def sdp_body(message: Message) -> bytes:
    """The session description that a message carries; empty where it carries none."""
    if not message.body:
        return b""
    content_type = message.headers.first("Content-Type") or ""
    return _sdp_in(content_type, message.body, 0) or b""


def is_readable(message: Message) -> bool:
    """Whether a message has no body, or one that is or holds SDP, or one that may be ignored (RFC 3261 8.2.3)."""
    if not message.body or is_optional(message):
        return True
    return _sdp_in(message.headers.first("Content-Type") or "", message.body, 0) is not None


def is_optional(message: Message) -> bool:
    """Whether a body that we cannot read may be ignored (RFC 3261 20.11)."""
    disposition = (message.headers.first("Content-Disposition") or "").lower()
    return "handling=optional" in disposition.replace(" ", "")


def accepts_sdp(message: Message) -> bool:
    """Whether a request's Accept, if it has one, lets SDP in (RFC 3261 20.1); an empty one lets nothing in.

    :raise RemoteProtocolError: it cannot be read.
    """
    values = message.headers.all("Accept")
    if not values:
        return True
    for value in values:
        for item in split_list(value):
            media, *params = [part.strip().lower() for part in item.split(";")]
            refused = any(re.fullmatch(r"q[ \t]*=[ \t]*0(\.0*)?", param) for param in params)
            if media in (SDP, "application/*", "*/*") and not refused:
                return True
    return False


def is_identity(message: Message) -> bool:
    """Whether the body is not compressed (RFC 3261 20.12)."""
    values = message.headers.all("Content-Encoding")
    return all(token.strip(" \t").lower() in ("identity", "") for value in values for token in value.split(","))


def _sdp_in(content_type: str, body: bytes, depth: int) -> bytes | None:
    media = content_type.partition(";")[0].strip(" \t").lower()
    if media == SDP:
        return body
    if media not in MULTIPARTS or depth >= MAX_DEPTH:
        return None
    for headers, part in _parts(content_type, body):
        found = _sdp_in(headers.first("Content-Type") or "text/plain", part, depth + 1)
        if found is not None:
            return found
    return None


def _parts(content_type: str, body: bytes) -> list[tuple[Headers, bytes]]:
    """The parts of a multipart body, at most MAX_PARTS; none where its boundary is missing."""
    match = _boundary(content_type)
    boundary = "" if match is None else unquote(match[1]) if match[1].startswith('"') else match[1]
    if not _is_boundary(boundary):
        return []
    # Delimiters stand at the beginning of a line; the line break before one belongs to it.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii"), MAX_PARTS + 1)
    parts = []
    for piece in pieces[1 : MAX_PARTS + 1]:
        if piece.startswith(b"--"):
            break
        piece = piece.lstrip(b" \t")
        if not piece.startswith(b"\r\n"):
            continue
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank:
            continue
        parts.append((_part_headers(head), content))
    return parts


def _part_headers(head: bytes) -> Headers:
    text = head.decode("utf-8", "replace").replace("\0", "\ufffd")
    headers = Headers()
    for line in re.sub(r"\r\n[ \t]+", " ", text).split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.strip(" \t").lower() == "content-type":
            headers.add("Content-Type", re.sub(r"[\r\n]", " ", value))
    return headers
