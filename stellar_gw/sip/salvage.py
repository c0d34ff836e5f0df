"""Out of a request that cannot be read: what an answer to it needs (RFC 3261 8.2.6.2)."""

from __future__ import annotations

import re

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.grammar import HOST, LWS, MAX_HEADERS, MAX_ITEMS, MAX_LINE, MAX_MESSAGE, TOKEN, is_token
from stellar_gw.sip.header_names import canonical_name
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request
from stellar_gw.sip.uri import OtherUri, Uri, parse_uri
from stellar_gw.sip.values import parse_cseq, parse_name_addr, parse_via, parse_vias

# Stand-ins that say so: an answer needs all its headers, or its receiver could not read it either.
UNREADABLE_URI = OtherUri("unreadable", "uri")
_UNREADABLE_ADDRESS = "<sip:unreadable.invalid>"
_UNREADABLE_CALL_ID = "unreadable"

_NEEDED = frozenset(("via", "from", "to", "call-id", "cseq"))
_line_break = re.compile(r"\r\n(?![ \t])")
_fold = re.compile(r"\r\n[ \t]+")
_breaks_out = re.compile(r"[\r\n\0]").search
# Of any version: a request of SIP/7.0 is answered too (505).
_hop = re.compile(rf"SIP{LWS}/{LWS}[0-9.]++{LWS}/{LWS}({TOKEN})[ \t]++({HOST})(?:{LWS}:{LWS}([0-9]++))?", re.I).match
_branch = re.compile(rf";{LWS}branch{LWS}={LWS}({TOKEN})", re.I).search
_tag = re.compile(rf";{LWS}tag{LWS}={LWS}({TOKEN})", re.I).search
_is_word = re.compile(r"[^\x00-\x20\x7f]++").fullmatch


def salvage(head: bytes) -> Request | None:
    """A request that ``response_to`` can answer, made of the sound parts of what came.

    Headers that are missing or unsound have stand-ins; nothing of it shall be believed.

    :param head: start line and headers, or what is there of them.
    :return: None where no answer may go out (a response, an ACK) or none could be matched (no Via).
    """
    lines = _line_break.split(head[:MAX_MESSAGE].decode("utf-8", "surrogateescape"), MAX_HEADERS + 1)
    words = lines[0][:MAX_LINE].split()
    if len(words) < 3 or not words[-1].upper().startswith("SIP/"):
        return None
    method = words[0]
    if not is_token(method) or method == "ACK":
        return None
    found = _needed(lines[1 : MAX_HEADERS + 1])
    vias = _sound_vias(found["via"])
    if not vias:
        return None
    items = [
        *[("Via", via) for via in vias],
        ("From", _sound_address(found["from"])),
        ("To", _sound_address(found["to"])),
        ("Call-ID", next(filter(_is_word, found["call-id"][:1]), _UNREADABLE_CALL_ID)),
        ("CSeq", _sound_cseq(found["cseq"], method)),
    ]
    return Request(method, _sound_uri(words), Headers.sound(items))


def _needed(lines: list[str]) -> dict[str, list[str]]:
    """The values of the headers that an answer repeats, in order, those left out that could break out of it."""
    found: dict[str, list[str]] = {key: [] for key in _NEEDED}
    for line in lines:
        name, colon, value = line.partition(":")
        key = canonical_name(name.rstrip(" \t"))[1]
        # A hop that is too long is still the one that an answer goes to: the next one is not.
        if key not in _NEEDED or not colon or (len(value) > MAX_LINE and key != "via"):
            continue
        value = _fold.sub(" ", value).strip(" \t")
        if _breaks_out(value) is None:
            found[key].append(value)
    return found


def _sound_uri(words: list[str]) -> Uri:
    try:
        return parse_uri(words[1])
    except RemoteProtocolError:
        return UNREADABLE_URI


def _sound_vias(values: list[str]) -> list[str]:
    sound: list[str] = []
    hops = 0
    for value in values:
        try:
            if len(value) > MAX_LINE:
                raise RemoteProtocolError("too long")
            hops += (more := len(parse_vias([value])))
            if sound and hops > MAX_ITEMS:
                break
            if more:  # a line may be empty
                sound.append(value)
        except RemoteProtocolError:
            if sound:
                continue  # the hop before us is all that an answer from here needs
            repaired = _repaired_via(value[:MAX_LINE])
            if repaired is None:
                break
            sound.append(repaired)
    return sound


def _repaired_via(value: str) -> str | None:
    """The top hop of a Via line without its parameters but the branch; None where there is no hop to see."""
    hop = _hop(value)
    if hop is None:
        return None
    branch = _branch(value)
    sent_by = f"SIP/2.0/{hop[1]} {hop[2]}" + (f":{hop[3]}" if hop[3] else "")
    for repaired in (f"{sent_by};branch={branch[1]}" if branch else sent_by, sent_by):
        try:
            parse_via(repaired)
            return repaired
        except RemoteProtocolError:
            continue
    return None


def _sound_address(values: list[str]) -> str:
    for value in values[:1]:
        try:
            parse_name_addr(value)
            return value
        except RemoteProtocolError:
            tag = _tag(value)
            return f"{_UNREADABLE_ADDRESS};tag={tag[1]}" if tag else _UNREADABLE_ADDRESS
    return _UNREADABLE_ADDRESS


def _sound_cseq(values: list[str], method: str) -> str:
    for value in values[:1]:
        try:
            parse_cseq(value)
            return value
        except RemoteProtocolError:
            break
    return f"0 {method}"
