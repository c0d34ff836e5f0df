"""What an agent may be told about its call, by name.

The names are the same wherever an agent builder meets them: in a Twilio ``customParameters``, in the start
message of a built-in agent, and in the ``{...}`` of a URL or header template.

===================== ==========================================================================
name                  value
===================== ==========================================================================
``from``              the caller's number where there is one, else the caller's URI
``from_number``       the caller's number, E.164 where the phone system sends it so; may be empty
``from_uri``          the From URI
``from_display``      the From display name
``to``                the dialled number where there is one, else the dialled URI
``to_number``         the dialled number or identifier
``to_uri``            the To URI
``contact``           the Contact URI
``call_id``           the gateway's own id of the call, the same in CDRs and logs
``tenant``            whose call it is
``connector``         the connector that was dialled
``agent``             the agent's name
``environment``       ``development``, ``staging`` or ``production``
``version``           the agent's version
``language``          best language of Accept-Language by q value (RFC 3261 20.3)
``accept_language``   Accept-Language as it came
``user_agent``        User-Agent of the phone system
``p_asserted_identity`` values of P-Asserted-Identity (RFC 3325), ``, `` between them
``remote_party_id``   values of Remote-Party-ID, ``, `` between them
``privacy``           what the caller asked for (RFC 3323, RFC 3325), such as ``id``
``diversion``         values of Diversion (RFC 5806), the last diversion first, ``, `` between them
``history_info``      values of History-Info (RFC 7044), ``, `` between them
``diverted_from``     who had the call before, by either: the number where there is one, else the URI
``diversion_reason``  why it did not stay there: a word of Diversion's, such as ``no-answer``
``user_to_user``      values of User-to-User (RFC 7433), ``, `` between them
``verstat``           what the phone system found of the caller's number (3GPP TS 24.229)
``attestation``       ``A``, ``B`` or ``C``: how far the first carrier stands for the caller
``identity``          values of Identity (RFC 8224), ``, `` between them; not checked by the gateway
``codec``             the caller's codec: ``G722``, ``PCMU``, ``PCMA``
``tls``, ``srtp``     ``true`` or ``false``
===================== ==========================================================================

``resumed`` is there too, and ``true``, where the agent had the call already and its link broke.

Besides, each variable of the environment by its own name, and each ``X-*`` header by its own. Where two names
are equal but for case, the table comes first, then the variable: a caller can overwrite neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Context(Protocol):
    """One call, as :class:`stellar_gw.control.messages.CallContext` has it."""

    @property
    def call_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def connector(self) -> str: ...
    @property
    def agent(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def from_uri(self) -> str: ...
    @property
    def from_display(self) -> str: ...
    @property
    def from_number(self) -> str: ...
    @property
    def to_uri(self) -> str: ...
    @property
    def to_number(self) -> str: ...
    @property
    def contact(self) -> str: ...
    @property
    def user_agent(self) -> str: ...
    @property
    def accept_language(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def p_asserted_identity(self) -> Sequence[str]: ...
    @property
    def remote_party_id(self) -> Sequence[str]: ...
    @property
    def privacy(self) -> str: ...
    @property
    def diversion(self) -> Sequence[str]: ...
    @property
    def history_info(self) -> Sequence[str]: ...
    @property
    def diverted_from(self) -> str: ...
    @property
    def diversion_reason(self) -> str: ...
    @property
    def user_to_user(self) -> Sequence[str]: ...
    @property
    def verstat(self) -> str: ...
    @property
    def attestation(self) -> str: ...
    @property
    def identity(self) -> Sequence[str]: ...
    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...
    @property
    def variables(self) -> Mapping[str, str]: ...
    @property
    def transfers(self) -> Mapping[str, str]:
        """Where the agent may send the caller: name to description."""

    @property
    def codec(self) -> str: ...
    @property
    def tls(self) -> bool: ...
    @property
    def srtp(self) -> bool: ...
    @property
    def resumed(self) -> bool:
        """The agent had this call already, and its link broke."""


def facts(context: Context) -> dict[str, str]:
    """The table of this module, in its order; every name is always there, empty where unknown."""
    values = {
        "from": context.from_number or context.from_uri,
        "from_number": context.from_number,
        "from_uri": context.from_uri,
        "from_display": context.from_display,
        "to": context.to_number or context.to_uri,
        "to_number": context.to_number,
        "to_uri": context.to_uri,
        "contact": context.contact,
        "call_id": context.call_id,
        "tenant": context.tenant,
        "connector": context.connector,
        "agent": context.agent,
        "environment": context.environment,
        "version": context.version,
        "language": context.language,
        "accept_language": context.accept_language,
        "user_agent": context.user_agent,
        "p_asserted_identity": ", ".join(context.p_asserted_identity),
        "remote_party_id": ", ".join(context.remote_party_id),
        "privacy": context.privacy,
        "diversion": ", ".join(context.diversion),
        "history_info": ", ".join(context.history_info),
        "diverted_from": context.diverted_from,
        "diversion_reason": context.diversion_reason,
        "user_to_user": ", ".join(context.user_to_user),
        "verstat": context.verstat,
        "attestation": context.attestation,
        "identity": ", ".join(context.identity),
        "codec": context.codec,
        "tls": "true" if context.tls else "false",
        "srtp": "true" if context.srtp else "false",
    }
    return {name: _scalar_values(value) for name, value in values.items()}


NAMES = (
    "from", "from_number", "from_uri", "from_display", "to", "to_number", "to_uri", "contact", "call_id", "tenant",
    "connector", "agent", "environment", "version", "language", "accept_language", "user_agent",
    "p_asserted_identity", "remote_party_id", "privacy", "diversion", "history_info", "diverted_from",
    "diversion_reason", "user_to_user", "verstat", "attestation", "identity", "codec", "tls", "srtp",
)  # fmt: skip
"""The names of :func:`facts`, in its order."""


def header_values(context: Context) -> dict[str, str]:
    """The ``X-*`` headers by name as first spelled; a repeated one's values with ``, `` between them."""
    spelled: dict[str, str] = {}
    values: dict[str, str] = {}
    for name, value in context.headers:
        key = spelled.setdefault(name.lower(), _scalar_values(name))
        values[key] = f"{values[key]}, {_scalar_values(value)}" if key in values else _scalar_values(value)
    return values


def parameters(context: Context) -> dict[str, str]:
    """Everything, the first of equal names kept: facts, the operator's variables, then what a caller chose to send."""
    values = facts(context)
    for name, value in context.variables.items():
        values.setdefault(_scalar_values(name), _scalar_values(value))
    if context.resumed:
        values["resumed"] = "true"
    taken = {name.lower() for name in values}
    for name, value in header_values(context).items():
        if name.lower() not in taken:
            values[name] = value
    return values


def _scalar_values(text: str) -> str:
    """Text that UTF-8 can carry: octets of a SIP header that were no UTF-8 become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text
