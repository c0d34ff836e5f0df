"""``stellar-gw-check conf.yaml``: is this configuration right, and what would it do with a call?

With ``--to`` it says what would happen to one call and why, by the very code that decides in the gateway.
Nothing is sent and nothing is opened.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO

from stellar_gw.call.admission.admission import (
    Admitted,
    Attempt,
    DigestResult,
    NoCredentials,
    Refused,
    Unverified,
    Verified,
    fold,
    judge,
)
from stellar_gw.call.context.context import user_of
from stellar_gw.call.leg.srtp import SrtpTerms, srtp_terms
from stellar_gw.cli.transfer_check import foretell_transfer
from stellar_gw.config import Config, load_config
from stellar_gw.config.addresses import own_addresses
from stellar_gw.directory.yaml_directory import YamlDirectory
from stellar_gw.errors import ConfigError, RemoteProtocolError
from stellar_gw.loading import printable
from stellar_gw.loading.rules import wildcard
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.srtp import SrtpRefused
from stellar_gw.sip.uri import SipUri, TelUri, parse_uri
from stellar_gw.terminal import Palette


def main(
    arguments: Sequence[str] | None = None,
    out: TextIO = sys.stdout,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """:return: 0 where the configuration is right and the call, if one was given, is admitted; else 1."""
    options = _parser().parse_args(arguments)
    palette = Palette.of(out)
    try:
        config = load_config(options.config, environ, own_addresses)
    except ConfigError as error:
        for problem in error.problems:
            out.write(f"{palette.red('error')}    {problem}\n")
        return 1
    for warning in (*config.warnings, *unwritable(config)):
        out.write(f"{palette.yellow('warning')}  {warning}\n")
    out.write(f"{palette.green('ok')}       {options.config}: {summary(config)}\n")
    if options.to is None:
        return 0
    try:
        told, good = foretell(config, options)
    except ValueError as error:
        out.write(f"{palette.red('error')}    {error}\n")
        return 1
    out.write("".join(f"{line}\n" for line in told))
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stellar-gw-check",
        description="Check a configuration; with --to, say what would happen to a call and why.",
    )
    parser.add_argument("config", metavar="CONF.YAML")
    call = parser.add_argument_group("a call")
    call.add_argument("--to", metavar="DIALLED", help="what is dialled: 600, +31201234567, or a whole sip: URI")
    call.add_argument("--from", dest="source", metavar="ADDRESS", default="127.0.0.1", help="the caller's IP address")
    call.add_argument("--transport", choices=("udp", "tcp", "tls"), default="udp")
    call.add_argument("--user", metavar="NAME", help="the user name that the phone system logs in with")
    call.add_argument("--wrong-password", action="store_true", help="as if that user's password were wrong")
    call.add_argument(
        "--transfer", metavar="TARGET", action="append", default=[],
        help="what its agent asks to transfer it to: a name, a number or a URI",
    )  # fmt: skip
    call.add_argument("--algorithm", choices=("MD5", "SHA-256"), help="of the digest (default: the best offered)")
    return parser


def summary(config: Config) -> str:
    """As in: 1 tenant, 2 providers, 5 connectors."""
    assert isinstance(config.directory, YamlDirectory)
    held = config.directory.snapshot
    counts = (
        (len(held.tenants), "tenant"),
        (len(held.credentials), "credential"),
        (len(held.providers), "provider"),
        (len(held.agents), "agent"),
        (len(held.connectors), "connector"),
    )
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts)


def unwritable(config: Config) -> Sequence[str]:
    """What is wrong with the folder of recordings, where one is needed; for the user who asks."""
    if not config.recording:
        return ()
    folder = there = Path(config.records.recordings_folder)
    while not there.exists() and there != there.parent:
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ()
    where = config.where("records.recordings")
    return (
        f"{where}: records.recordings: {printable(str(folder), 500)} cannot be written to by this user, so calls are "
        "not recorded; name a folder that the gateway's user may write to",
    )


def foretell(config: Config, options: argparse.Namespace) -> tuple[list[str], bool]:
    """What would happen to a call, in lines, and whether it would be admitted.

    :raise ValueError: if the call itself makes no sense.
    """
    source, transport = _address(options.source), options.transport
    user, host = _dialled(options.to, config.domain)
    if options.wrong_password and not options.user:
        raise ValueError("--wrong-password needs --user")
    call = f"from {source} over {transport.upper()} to {printable(options.to)}"
    listeners = [name for name, each in config.listeners.items() if each.transport == transport]
    if not listeners:
        there = ", ".join(f"{name} ({each.transport})" for name, each in config.listeners.items())
        return [f"{call}: not heard, for there is no {transport} listener; listeners: {there}"], False
    attempt = Attempt(
        source=(source, 5060), transport=transport, user=user, host=host, digest=_digest(config, options, source)
    )
    judgement = judge(attempt, config.directory, config.hosts | _bound_to(config, transport))
    if isinstance(judgement, Admitted):
        terms = srtp_terms(config.media, judgement.caller, judgement.route.connector)
        try:
            terms.check_signalling(transport == "tls")
        except SrtpRefused as error:
            reason, fix = terms.explain(error)
            return [f"{call}: refused with {error.status}: {reason}", f"  fix: {fix}"], False
        lines, good = [f"{call}: {_admitted(judgement)}{_srtp(terms)}"], True
        for wanted in options.transfer:
            line, tried = foretell_transfer(config, judgement, wanted, source, transport)
            lines, good = [*lines, line], good and tried
        return lines, good
    return list(_refused(call, judgement)), False


def _bound_to(config: Config, transport: Transport) -> frozenset[str]:
    """The addresses of this host that a wildcard listener hears, which Request-URIs may name too."""
    binds = [each.bind[0] for each in config.listeners.values() if each.transport == transport]
    return frozenset(own_addresses()) if any(wildcard(bind) for bind in binds) else frozenset()


def _admitted(judgement: Admitted) -> str:
    route = judgement.route
    agent = route.agent
    if not agent.startswith("builtin:"):
        version = f"v{route.version}" if route.version.isdigit() else route.version
        agent = f"{agent} {route.environment.name} {version}"
    return f"{judgement.how}, connector {route.connector.name}, agent {agent}"


def _srtp(terms: SrtpTerms) -> str:
    """Nothing for what is usual: SRTP for whoever offers it."""
    return "" if terms.mode == "opportunistic" else f", SRTP {terms.mode} ({terms.by})"


def _refused(call: str, refused: Refused) -> Sequence[str]:
    verb = "challenged with" if refused.check == "no_credentials" else "refused with"
    return f"{call}: {verb} {refused.status}: {refused.reason}", f"  fix: {refused.fix}"


def _digest(config: Config, options: argparse.Namespace, source: str) -> DigestResult:
    """What verifying the digest would come to, were it sent with the credential's own password."""
    if not options.user:
        return NoCredentials()
    credential = config.directory.credential(options.user)
    if credential is None:
        return Unverified(options.user, "unknown_user")
    if options.wrong_password:
        return Unverified(options.user, "wrong_password")
    offered = _offered(config, options.transport, source)
    held = {"MD5": credential.ha1_md5, "SHA-256": credential.ha1_sha256}
    if options.algorithm is not None:
        usable = options.algorithm in offered and bool(held[options.algorithm])
        return Verified(options.user, options.algorithm) if usable else Unverified(options.user, "algorithm")
    for algorithm in ("SHA-256", "MD5"):
        if algorithm in offered and held[algorithm]:
            return Verified(options.user, algorithm)
    return Unverified(options.user, "algorithm")


def _offered(config: Config, transport: Transport, source: str) -> set[str]:
    """The algorithms that the first listener of a transport would offer to a source."""
    listener = next(each for each in config.listeners.values() if each.transport == transport)
    address = ip_address(source)
    sha256 = any(address in network for network in config.sip.sha256_from)
    return {*listener.digest, *(("SHA-256",) if sha256 else ())}


def _address(text: str) -> str:
    address = fold(text)
    if address is None:
        raise ValueError(f"--from is '{printable(text)}', must be an IP address")
    return str(address)


def _dialled(text: str, domain: str) -> tuple[str, str]:
    """User part without parameters, and host, of what was dialled."""
    try:
        uri = parse_uri(text if ":" in text else f"sip:{text}" if "@" in text else f"sip:{text}@{domain}")
    except RemoteProtocolError as error:
        raise ValueError(f"--to is '{printable(text)}', which cannot be dialled: {error.reason}") from None
    if not isinstance(uri, SipUri | TelUri):
        raise ValueError(f"--to is '{printable(text)}', must be a number, an identifier, or a sip: URI")
    return user_of(uri), uri.host if isinstance(uri, SipUri) else domain


if __name__ == "__main__":
    sys.exit(main())
