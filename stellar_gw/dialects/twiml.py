"""TwiML, as far as a gateway to agents has a use for it.

A document is one ``<Response>`` with verbs in it, carried out in order. Known are ``<Connect><Stream>``,
``<Dial>`` with a number or ``<Sip>``, ``<Refer><Sip>``, ``<Play digits>``, ``<Hangup>`` and ``<Reject>``. ``<Say>``
and ``<Pause>`` are passed over and said to be: the gateway does not speak. Everything else is an error, since what
a caller was to hear or to be asked would silently not happen.

The parser is expat without any document type: there are no entities to expand and nothing is ever fetched.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn
from urllib.parse import unquote
from xml.parsers import expat

from attrs import define, field, frozen

from stellar_gw.errors import StellarError

MAX_OCTETS: Final = 65536
MAX_ELEMENTS: Final = 200
MAX_PARAMETERS: Final = 64
MAX_DIGITS: Final = 64

_DIGITS: Final = re.compile(r"[0-9*#A-DwW]{1,64}")
_NUMBER: Final = re.compile(r"\+?[0-9][0-9 ().-]{1,40}")
_SIP: Final = re.compile(r"sips?:[^\s?<>\x00-\x1f\x7f]{1,512}", re.IGNORECASE)
_HEADER: Final = re.compile(r"[Xx]-[A-Za-z0-9-]{1,64}")
_PASSED_OVER: Final = ("Say", "Pause")
_KNOWN: Final = "Connect, Dial, Hangup, Play, Refer and Reject"


class TwimlError(StellarError):
    """A document that cannot be carried out; one line that says why, without what a caller said."""


@frozen
class Stream:
    """``<Connect><Stream>``: the agent's WebSocket, and the parameters its start message shall have."""

    url: str = field(repr=False)
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@frozen
class Dial:
    """Send the caller on by an INVITE of ours.

    :ivar to: a number or a SIP URI without headers.
    :ivar timeout: seconds that it may ring.
    :ivar headers: X-* headers that the URI asked for.
    """

    to: str
    timeout: int = 30
    headers: tuple[tuple[str, str], ...] = ()


@frozen
class Refer:
    """Send the caller on by REFER."""

    to: str
    headers: tuple[tuple[str, str], ...] = ()


@frozen
class Play:
    """Digits to the caller; ``w`` is a pause of half a second, ``W`` one of a second."""

    digits: str


@frozen
class Hangup:
    """End the call."""


@frozen
class Reject:
    """Do not take the call; ``busy`` or not."""

    busy: bool = False


@frozen
class PassedOver:
    """A verb that has no effect here, by its name."""

    name: str


Verb = Stream | Dial | Refer | Play | Hangup | Reject | PassedOver


@define
class _Element:
    name: str
    attributes: dict[str, str]
    children: list[_Element] = field(factory=list)
    text: str = ""


def parse(document: bytes | str) -> tuple[Verb, ...]:
    """The verbs of a document, in order.

    :raise TwimlError: if it is no TwiML, or asks for what is not done here.
    """
    octets = document.encode("utf-8", "replace") if isinstance(document, str) else document
    if len(octets) > MAX_OCTETS:
        raise TwimlError(f"the TwiML is longer than {MAX_OCTETS} octets")
    root = _Tree().read(octets, "utf-8" if isinstance(document, str) else None)
    if root.name != "Response":
        raise TwimlError(f"the TwiML's outermost element is <{_shown(root.name)}>, must be <Response>")
    if root.text.strip():
        raise TwimlError("there is text in <Response> outside of any verb")
    return tuple(_verb(element) for element in root.children)


class _Tree:
    """Builds elements from expat's events; at most 4 deep, which is deeper than any verb."""

    def __init__(self) -> None:
        self._open: list[_Element] = []
        self._root: _Element | None = None
        self._count = 0

    def read(self, octets: bytes, encoding: str | None) -> _Element:
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._said
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.EntityDeclHandler = _refuse_doctype
        try:
            parser.Parse(octets, True)
        except expat.ExpatError as error:
            raise TwimlError(
                f"the TwiML is not XML: {expat.errors.messages[error.code]}, line {error.lineno}"
            ) from None
        except (LookupError, ValueError):
            raise TwimlError("the TwiML names an encoding that is not known; write UTF-8") from None
        assert self._root is not None  # expat wants one element
        return self._root

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise TwimlError(f"the TwiML has more than {MAX_ELEMENTS} elements")
        if len(self._open) >= 4:
            raise TwimlError(f"<{_shown(name)}> is nested deeper than any verb needs")
        element = _Element(name, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _ended(self, _: str) -> None:
        self._open.pop()

    def _said(self, text: str) -> None:
        self._open[-1].text += text


def _refuse_doctype(*_: object) -> NoReturn:
    raise TwimlError("the TwiML has a document type, which is not allowed")


def _verb(element: _Element) -> Verb:
    match element.name:
        case "Connect":
            return _stream(_only_child(element, "Stream"))
        case "Dial":
            return _dial(element)
        case "Refer":
            to, headers = _sip_uri(_only_child(element, "Sip"))
            return Refer(to, headers)
        case "Play":
            return _play(element)
        case "Hangup":
            return Hangup()
        case "Reject":
            reason = element.attributes.get("reason", "rejected")
            if reason not in ("rejected", "busy"):
                raise TwimlError("reason of <Reject> must be rejected or busy")
            return Reject(reason == "busy")
        case name if name in _PASSED_OVER:
            return PassedOver(name)
        case name:
            raise TwimlError(f"<{_shown(name)}> is not done here; there are {_KNOWN}")


def _only_child(element: _Element, name: str) -> _Element:
    children = element.children
    if len(children) != 1 or children[0].name != name:
        found = ", ".join(f"<{_shown(each.name)}>" for each in children[:4]) or "nothing"
        raise TwimlError(f"<{element.name}> must hold one <{name}>, and holds {found}")
    return children[0]


def _stream(element: _Element) -> Stream:
    url = element.attributes.get("url", "").strip()
    if not url.startswith(("ws://", "wss://")):
        raise TwimlError("url of <Stream> must begin with wss:// or ws://")
    if element.attributes.get("track", "inbound_track") != "inbound_track":
        raise TwimlError("track of a <Stream> in <Connect> can only be inbound_track")
    parameters: dict[str, str] = {}
    for child in element.children:
        if child.name != "Parameter" or "name" not in child.attributes:
            raise TwimlError("<Stream> holds <Parameter name value> and nothing else")
        parameters[child.attributes["name"]] = child.attributes.get("value", "")
    if len(parameters) > MAX_PARAMETERS:
        raise TwimlError(f"<Stream> has more than {MAX_PARAMETERS} parameters")
    return Stream(url, tuple(parameters.items()))


def _dial(element: _Element) -> Dial:
    written = element.attributes.get("timeout", "30")
    if not (written.isascii() and written.isdigit() and len(written) <= 3 and 1 <= int(written) <= 600):
        raise TwimlError("timeout of <Dial> must be 1 to 600 seconds")
    timeout = int(written)
    if not element.children:
        return Dial(_number(element), timeout)
    if len(element.children) > 1:
        raise TwimlError("<Dial> can call one number or <Sip> here, not several")
    noun = element.children[0]
    if noun.name == "Number":
        return Dial(_number(noun), timeout)
    to, headers = _sip_uri(_only_child(element, "Sip"))
    return Dial(to, timeout, headers)


def _number(element: _Element) -> str:
    text = element.text.strip()
    if not _NUMBER.fullmatch(text):
        raise TwimlError(f"<{element.name}> must hold a phone number such as +31201234567, or <Sip>")
    return re.sub(r"[ ().-]", "", text)


def _sip_uri(element: _Element) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The URI and the X-* headers it asks for (RFC 3261 19.1.1)."""
    text, _, asked = element.text.strip().partition("?")
    if not _SIP.fullmatch(text):
        raise TwimlError("<Sip> must hold a URI such as sip:name@host")
    headers = []
    for part in asked.split("&") if asked else ():
        name, _, value = part.partition("=")
        value = unquote(value)
        if not _HEADER.fullmatch(name) or not value.isprintable() or len(value) > 1024:
            raise TwimlError("the URI in <Sip> can only ask for X-* headers with printable values")
        headers.append((name, value))
    if len(headers) > 32:
        raise TwimlError("the URI in <Sip> asks for more than 32 headers")
    return text, tuple(headers)


def _play(element: _Element) -> Play:
    digits = element.attributes.get("digits", "")
    if not digits or element.text.strip():
        raise TwimlError("<Play> knows digits here, and no files")
    if not _DIGITS.fullmatch(digits):
        raise TwimlError(f"digits of <Play> are 0-9, *, #, A-D, w and W, at most {MAX_DIGITS}")
    return Play(digits)


def _shown(name: str) -> str:
    return name[:40].encode("ascii", "backslashreplace").decode()
