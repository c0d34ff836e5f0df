"""What phone systems want: the defaults that ``platform:`` sets for a trunk provider or a credential.

A profile is nothing but keys of the configuration with other defaults; what is written beside ``platform:`` goes
before it, key by key. Only what a vendor documents, or what was seen on the wire, is here, each with its reason;
``docs/platforms/`` has a page for each system, and a test holds pages and table together.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from attrs import field, frozen

from stellar_gw.loading import Place, rules
from stellar_gw.loading.documents import Node, Scalar, Table


@frozen
class Default:
    """One key of a profile.

    :ivar key: of the provider or credential, as ``outbound.redirects`` within another.
    :ivar value: as it would be written in the file.
    :ivar why: one sentence, for people.
    """

    key: str
    value: str
    why: str


@frozen
class Platform:
    """:ivar page: the name of its page in ``docs/platforms/``."""

    name: str
    title: str
    page: str
    defaults: tuple[Default, ...] = field(default=())


_TABLE = (
    Platform("8x8", "8x8", "8x8"),
    Platform("asterisk", "Asterisk (chan_pjsip)", "freepbx"),
    Platform("avaya-ip-office", "Avaya IP Office", "avaya-ip-office"),
    Platform("bandwidth", "Bandwidth", "bandwidth"),
    Platform("cucm", "Cisco Unified Communications Manager", "cucm"),
    Platform("freepbx", "FreePBX", "freepbx"),
    Platform(
        "genesys-cloud",
        "Genesys Cloud (BYOC)",
        "genesys",
        (
            Default(
                "outbound.x_headers_in_refer_to",
                "true",
                "what is to travel with a REFER (User-to-User) is read inside Refer-To only",
            ),
        ),
    ),
    Platform("genesys-sip-server", "Genesys SIP Server", "genesys"),
    Platform("mivoice-business", "Mitel MiVoice Business", "mitel"),
    Platform("mivoice-connect", "Mitel MiVoice Connect", "mitel"),
    Platform("mx-one", "Mitel MX-ONE", "mitel"),
    Platform(
        "ringcentral",
        "RingCentral",
        "ringcentral",
        (
            Default("require_tls", "true", "registered devices signal over TLS (port 5096)"),
            Default("srtp", "required", "media is RTP/SAVP with SDES only"),
            Default("srtp_offer", "savp", "our offers, which answer the empty INVITEs of its queues, must be RTP/SAVP"),
        ),
    ),
    Platform(
        "teams",
        "Microsoft Teams Direct Routing",
        "teams",
        (
            Default("require_tls", "true", "Teams signals over TLS only"),
            Default("srtp", "required", "Teams demands SRTP with SDES on the trunk"),
            Default("srtp_offer", "savp", "it takes RTP/SAVP, and no RTP/AVP with a=crypto"),
            Default("hold", "inactive", "it knows no other form of hold"),
            Default("ice", "true", "media bypass checks its ways to a lite agent"),
        ),
    ),
    Platform("telnyx", "Telnyx", "telnyx"),
    Platform("twilio", "Twilio", "twilio"),
    Platform("vonage", "Vonage", "vonage"),
    Platform("voxbone", "Voxbone", "voxbone"),
    Platform(
        "webex-calling",
        "Cisco Webex Calling",
        "webex-calling",
        (
            Default("require_tls", "true", "Webex Calling signals to a trunk over TLS only"),
            Default("ice", "true", "where media takes the short way, it is found by ICE"),
        ),
    ),
    Platform("other", "any other system", "index"),
)

PLATFORMS: Mapping[str, Platform] = MappingProxyType({each.name: each for each in _TABLE})


class PlatformName(rules.Rule):
    """The name of a profile."""

    must = rules.one_of(tuple(PLATFORMS))

    def read(self, text: str) -> str:
        if text in PLATFORMS:
            return text
        near = difflib.get_close_matches(text[:64].lower(), list(PLATFORMS), 1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(PLATFORMS)}"
        raise ValueError(f"is '{text[:60]}', which is no platform{hint}")


def apply_platforms(document: Table) -> None:
    """Write each profile's defaults into a configuration's nodes, where its keys are not written themselves.

    What then turns out wrong is told at the line of ``platform:``.
    """
    for caller in _callers(document):
        named = caller.entries.get("platform")
        platform = PLATFORMS.get(named.text) if isinstance(named, Scalar) else None
        if platform is None or named is None:
            continue  # not there, or told when it is read
        for default in platform.defaults:
            _set(caller, default.key, default.value, f" (platform {platform.name})", named.place.line)


def _callers(document: Table) -> Iterator[Table]:
    yield from _tables(document.entries.get("trunk_providers"))
    for tenant in _tables(document.entries.get("tenants")):
        yield from _tables(tenant.entries.get("credentials"))


def _tables(node: Node | None) -> Iterator[Table]:
    if isinstance(node, Table):
        yield from (each for each in node.entries.values() if isinstance(each, Table))


def _set(table: Table, key: str, value: str, by: str, line: int) -> None:
    head, _, rest = key.partition(".")
    path = f"{table.place.path}.{head}"
    present = table.entries.get(head)
    if present is not None and isinstance(present, Scalar) and present.absent:
        present = None  # left empty: it has its default
    if rest:
        if present is None:
            present = table.entries[head] = Table(Place(path, line, {}))
        if isinstance(present, Table):
            _set(present, rest, value, by, line)
    elif present is None:
        place = Place(path + by, line)
        table.entries[head] = Scalar(place, value, plain=True)
        keys = table.place.keys
        assert isinstance(keys, dict)
        keys[head] = place


__all__ = ["PLATFORMS", "Default", "Platform", "PlatformName", "apply_platforms"]
