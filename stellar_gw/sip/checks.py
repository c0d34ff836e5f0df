"""What a request is refused for before anybody is asked (RFC 3261 8.2): cheap, static, stateless."""

from __future__ import annotations

from attrs import evolve, frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.body import SDP, accepts_sdp, is_identity, is_readable
from stellar_gw.sip.message import Request
from stellar_gw.sip.session_timer import SessionTerms, too_small
from stellar_gw.sip.uri import SipUri, TelUri

KNOWN_METHODS = frozenset(
    (
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "REGISTER",
        "OPTIONS",  # RFC 3261
        # RFC 6086, 3262, 3311, 6665, 3515, 3428, 3903
        "INFO",
        "PRACK",
        "UPDATE",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "MESSAGE",
        "PUBLISH",
    )
)
# Never outside a dialog, so that one without a To tag, or for a dialog that is not, gets 481 (12.2.2).
ONLY_IN_DIALOGS = frozenset(("BYE", "INFO", "PRACK", "UPDATE", "NOTIFY"))
_INITIAL = ("INVITE", "OPTIONS")

# What an answer names of the extensions that we lack: one with all that a request can hold would fit no datagram.
_MOST_TAGS = 16
_LONGEST_TAG = 64

Items = tuple[tuple[str, str], ...]


@frozen
class Refusal:
    """A final response other than 2xx; the reason phrase says what is wrong where it is not the usual one."""

    status: int
    reason: str = ""
    headers: Items = ()


@frozen
class Besides:
    """What one peer may besides what all may, in the dialogs with it.

    :ivar methods: that are served, and named in Allow.
    :ivar tags: option tags.
    """

    methods: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


NOTHING_BESIDES = Besides()


@frozen
class Capabilities:
    """What this user agent does (RFC 3261 20.5, 20.37).

    :ivar allow: every method that is served.
    :ivar supported: option tags.
    :ivar session: what we want of session timers (RFC 4028); None: none. Its tag is among the supported ones then.
    :ivar judged: option tags that the floor above knows, some peers may demand, and nobody is told of.
    """

    allow: tuple[str, ...] = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "NOTIFY")
    supported: tuple[str, ...] = ()
    session: SessionTerms | None = None
    judged: tuple[str, ...] = ()

    def and_(self, besides: Besides) -> Capabilities:
        """Those toward one peer."""
        if not besides.methods and not besides.tags:
            return self
        return evolve(
            self, allow=(*self.allow, *besides.methods), supported=(*self.supported, *besides.tags), judged=()
        )

    @property
    def allow_header(self) -> tuple[str, str]:
        return "Allow", ", ".join(self.allow)

    @property
    def supported_header(self) -> tuple[str, str]:
        return "Supported", ", ".join(self.supported)

    @property
    def options_headers(self) -> Items:
        """What an OPTIONS is answered with (11.2)."""
        return (
            self.allow_header,
            ("Accept", SDP),
            ("Accept-Encoding", "identity"),
            ("Accept-Language", "en"),
            self.supported_header,
        )


def check_initial(request: Request, able: Capabilities) -> Refusal | None:
    """Check a request outside any dialog."""
    refusal = check_method(request, able)
    if refusal is not None:
        return refusal
    if request.method in ONLY_IN_DIALOGS:
        return Refusal(481)
    if request.method not in _INITIAL:
        return Refusal(405, headers=(able.allow_header,))
    if not isinstance(request.uri, SipUri | TelUri):
        return Refusal(416)
    return check_content(request, able)


def check_method(request: Request, able: Capabilities) -> Refusal | None:
    """8.2.1: 501 for a method that nobody knows, 405 for one that we do not do."""
    if request.method in able.allow or (request.method in ONLY_IN_DIALOGS and request.to.tag is None):
        return None
    if request.method in KNOWN_METHODS:
        return Refusal(405, headers=(able.allow_header,))
    return Refusal(501, headers=(able.allow_header,))


def check_content(request: Request, able: Capabilities) -> Refusal | None:
    """8.2.2.3 and 8.2.3: extensions and bodies; for INVITE what a dialog needs as well."""
    lacking = [tag for tag in request.require if tag.lower() not in (*able.supported, *able.judged)]
    if lacking:
        named = [tag for tag in lacking if len(tag) <= _LONGEST_TAG][:_MOST_TAGS]
        return Refusal(420, headers=(("Unsupported", ", ".join(named)),) if named else ())
    if not is_identity(request):
        return Refusal(415, headers=(("Accept-Encoding", "identity"),))
    if request.method in ("INVITE", "UPDATE") and (least := too_small(request, able.session)) is not None:
        return Refusal(422, headers=least)
    if request.method != "INVITE":
        return None
    if not is_readable(request):
        return Refusal(415, headers=(("Accept", SDP),))
    try:
        if not accepts_sdp(request):
            return Refusal(406)
    except RemoteProtocolError as error:
        return Refusal(400, f"Accept: {error.reason}")
    # 8.1.1.8; RFC 2543 did without (RFC 4475 3.4.1).
    if "Contact" in request.headers and [type(each.uri) for each in request.contacts] != [SipUri]:
        return Refusal(400, "INVITE must carry one Contact with a SIP URI")
    return None
