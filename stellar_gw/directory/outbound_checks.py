"""What must hold of transfers and of the ways they take, beyond what each value must be."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from stellar_gw.directory.outbound_shapes import E164, OutboundShape, TransferShape
from stellar_gw.directory.shapes import CredentialShape, ProviderShape, TenantShape
from stellar_gw.directory.words import choice
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.loading import NOWHERE, Place, Problems, printable, rules
from stellar_gw.sip.hosts import is_private
from stellar_gw.sip.numbering import premium
from stellar_gw.sip.uri import SipUri, TelUri, parse_uri

_WAV_HEAD = 12
LEAST_PROBE = 5.0
"""Seconds: a round takes a few by itself."""


def check_outbound(caller: CredentialShape | ProviderShape, problems: Problems) -> None:
    """Note what is wrong with a caller's ``outbound``."""
    outbound = caller.outbound
    place = outbound.place
    if bool(outbound.username) != bool(outbound.password):
        missing = "username" if outbound.password else "password"
        problems.error(place.key(missing), "is missing; username and password go together")
    if outbound.username and outbound.to is None:
        problems.error(place.key("to"), "is missing: username and password are shown to this host only")
    if outbound.realm and not outbound.username:
        problems.error(place.key("realm"), "is set, but there is no username to answer it with")
    if outbound.register.place is not NOWHERE and not outbound.username:
        problems.error(place.key("username"), "is missing: outbound.register needs to know as whom")
    if outbound.probe and outbound.to is None:
        problems.error(place.key("to"), "is missing: outbound.probe needs to know whom to ask")
    if 0 < outbound.probe < LEAST_PROBE:
        problems.error(
            place.key("probe"), f"is {rules.duration(outbound.probe)}, must be 0s or at least {LEAST_PROBE:g}s"
        )
    secure = _secure(outbound)
    if outbound.tls_name and not secure:
        problems.error(place.key("tls_name"), "is set, but calls do not go over TLS; add ;transport=tls to outbound.to")
    if outbound.srtp == "required" and not secure and not caller.srtp_without_tls:
        problems.error(
            place.key("srtp"),
            "is required, and its keys need TLS: add ;transport=tls to outbound.to, or allow them in clear by "
            "srtp_without_tls: true",
        )
    if outbound.client_certificate:
        _certificate(place.key("client_certificate"), outbound.client_certificate, problems)
        if not secure:
            problems.error(
                place.key("client_certificate"),
                "is set, but calls do not go over TLS; add ;transport=tls to outbound.to",
            )


def _secure(outbound: OutboundShape) -> bool:
    hop = outbound.proxy or outbound.to
    return hop is not None and (hop.secure or (hop.params.get("transport") or "").lower() == "tls")


def _certificate(place: Place, path: str, problems: Problems) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(path, password=_no_password)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").lower().replace("_", " ")
    except OSError as error:
        reason = error.strerror or "unreadable"
    except ValueError as error:
        reason = str(error)
    else:
        return
    problems.error(
        place, f"cannot be used: {reason}; {printable(path, 200)} must hold the certificate and its key in PEM"
    )


def _no_password() -> str:
    raise ValueError("its key is encrypted, and nobody is there to type a password")


def check_transfers(
    tenant: str, shape: TenantShape, providers: Mapping[str, ProviderShape], names: frozenset[str], problems: Problems
) -> None:
    """Note what is wrong with a tenant's transfers.

    :param names: ours, lower-case.
    """
    ways: dict[str, ProviderShape | CredentialShape] = {
        name: provider for name, provider in providers.items() if tenant in provider.tenants
    }
    for transfer in shape.transfers.values():
        if transfer.via in ways and transfer.via in shape.credentials:
            problems.error(
                transfer.place.key("via"), f"{transfer.via} is a trunk provider and a credential; rename one of them"
            )
    ways |= shape.credentials
    for transfer in shape.transfers.values():
        uri = _target(transfer, problems)
        _way(transfer, ways, problems)
        if uri is not None:
            _place(transfer, uri, shape.private_targets, names, problems)
        _sounds(transfer, problems)


def _target(transfer: TransferShape, problems: Problems) -> SipUri | None:
    """:return: its SIP URI, where that is what it is."""
    place = transfer.place.key("to")
    number, uri = transfer.to if E164.fullmatch(transfer.to) else "", None
    if not number:
        try:
            uri = parse_uri(transfer.to)
        except RemoteProtocolError:
            uri = None
        if isinstance(uri, TelUri):
            number = uri.number
            if not E164.fullmatch(number):
                problems.error(place, "must be a global number, such as tel:+31201234567")
        elif not isinstance(uri, SipUri):
            problems.error(place, "must be a sip: or sips: URI, or a phone number such as +31201234567")
        elif uri.headers or uri.password is not None:
            problems.error(place, "must carry neither ?headers nor a password")
    if number and premium(number):
        problems.warn(place, f"{number} looks like a number that costs more than a call ({premium(number)})")
    return uri if not number and isinstance(uri, SipUri) else None


def _place(transfer: TransferShape, uri: SipUri, private: bool, names: frozenset[str], problems: Problems) -> None:
    """Places that will be refused when the time comes."""
    place = transfer.place.key("to")
    if uri.port is None and uri.host in names:
        problems.warn(place, f"leads back to this gateway, whose name {uri.host} is, and will be refused")
    elif transfer.method == "invite" and not transfer.via and not private and is_private(uri.host):
        problems.warn(
            place,
            f"{uri.host} is private, where INVITEs go only if it is the phone system that calls; set "
            "private_targets: true of the tenant",
        )


def _way(transfer: TransferShape, ways: Mapping[str, ProviderShape | CredentialShape], problems: Problems) -> None:
    place = transfer.place
    if not transfer.via:
        return
    way = ways.get(transfer.via)
    if way is None:
        problems.error(place.key("via"), f"is '{printable(transfer.via)}', must be {choice(ways)}")
    elif way.outbound.to is None and not transfer.to.lower().startswith(("sip:", "sips:")):
        text = (
            f'{transfer.via} has no outbound.to, where the INVITE would go: add outbound: {{to: "sip:..."}} in line '
            f"{way.place.line}"
        )
        if transfer.method == "invite":
            problems.error(place.key("via"), text)
        else:
            problems.warn(place.key("via"), f"{text}, or it is for calls from {transfer.via} only")


def _sounds(transfer: TransferShape, problems: Problems) -> None:
    place, confirm = transfer.place, transfer.confirm
    if confirm.play:
        check_wav(confirm.place.key("play"), confirm.play, problems)
    elif confirm.place is not NOWHERE:
        problems.error(confirm.place.key("play"), "is missing: a WAV file that asks the target to press the key")
    if transfer.music:
        check_wav(place.key("music"), transfer.music, problems)
    elif transfer.while_ringing == "music":
        problems.error(place.key("music"), "is missing: name a WAV file, or set while_ringing: ringback")


def check_wav(place: Place, path: str, problems: Problems) -> None:
    """Whether a file is there and begins as WAV files do; what follows is read when it is played."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_WAV_HEAD)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not usable"
        problems.error(place, f"{printable(path, 200)} cannot be read: {reason}")
        return
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        problems.error(place, f"{printable(path, 200)} is no WAV file")
