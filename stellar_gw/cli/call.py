"""``stellar-gw-call``: the test phone on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from attrs import evolve

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError, StellarError
from stellar_gw.media.dtmf import are_digits
from stellar_gw.phone.plan import SRTP_WISHES, CallPlan, PlanError, playable
from stellar_gw.phone.report import EXIT_USAGE
from stellar_gw.phone.runner import Load, Run, RunReactor, execute
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.offer_answer import CODECS
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.sip.values import NameAddr, parse_name_addr

DESCRIPTION = "Place a real SIP call, play and hear audio, and report what it was like."
EXITS = """exit status: 0 as expected; 1 another final status than --expect; 2 wrong usage; 3 no final status
(nobody answered, or no connection); 4 the call was up, but its audio was not as it must be.

examples:
  stellar-gw-call sip:600@127.0.0.1 --play tone:440 --expect-echo
  stellar-gw-call "sip:999@sbc.example.com;transport=tls" --user freepbx-hq --password-file pw --duration 20
  stellar-gw-call sip:600@192.0.2.1 --count 100 --rate 10 --duration 10 --json"""


def parser() -> argparse.ArgumentParser:
    """All options; the standard library prints the usage and exits with 2."""
    made = argparse.ArgumentParser(
        "stellar-gw-call", description=DESCRIPTION, epilog=EXITS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("to", help="whom to call: sip:600@host[:port][;transport=tcp|tls]")
    way = made.add_argument_group("the way there")
    way.add_argument("--transport", choices=("udp", "tcp", "tls"), help="instead of the URI's")
    way.add_argument("--proxy", metavar="HOST[:PORT]", help="send the call there, whatever the URI's host is")
    way.add_argument("--bind", metavar="ADDRESS", help="local address to call from")
    way.add_argument("--tls-ca", metavar="FILE", help="PEM file with the authorities to believe; else the system's")
    way.add_argument("--insecure", action="store_true", help="believe any certificate")
    way.add_argument("--tls-name", metavar="NAME", help="what the certificate must carry, if not the URI's host")
    who = made.add_argument_group("who calls")
    who.add_argument("--from", dest="from_", metavar="ADDRESS", help="e.g. '\"Ann\" <sip:+31201234567@example.com>'")
    who.add_argument("--user", default="", help="user name for digest")
    who.add_argument("--password", default="", help="shows in the process list: better --password-file")
    who.add_argument("--password-file", metavar="FILE", help="file whose first line is the password; - for stdin")
    who.add_argument("--header", action="append", default=[], metavar='"X-Foo: bar"', help="in the INVITE; repeatable")
    audio = made.add_argument_group("audio")
    audio.add_argument("--codec", default=",".join(CODECS).lower(), help="offered, best first (%(default)s)")
    audio.add_argument("--ptime", type=int, default=20, help="milliseconds a packet (%(default)s)")
    audio.add_argument(
        "--srtp", choices=SRTP_WISHES, default="off", help="optional: RTP/AVP with keys, required: RTP/SAVP"
    )
    audio.add_argument("--play", default="tone:440", help="tone:HZ, silence or a WAV file (%(default)s)")
    audio.add_argument("--record", default="", metavar="OUT.WAV", help="what is heard")
    audio.add_argument("--record-sent", default="", metavar="OUT.WAV", help="what is sent")
    audio.add_argument("--dtmf", default="", metavar="DIGITS", help="keys to press (RFC 4733)")
    audio.add_argument("--dtmf-after", type=_seconds, default=1.0, metavar="S", help="after the answer (%(default)s)")
    call = made.add_argument_group("the call")
    call.add_argument("--duration", type=_seconds, metavar="S", help="hang up after; 0: never (5, or the WAV's length)")
    call.add_argument("--ring-timeout", type=_seconds, default=60.0, metavar="S", help="give up after (%(default)s)")
    call.add_argument("--delayed-offer", action="store_true", help="INVITE without SDP")
    call.add_argument("--hold", type=_seconds, metavar="S", help="hold so long after the answer, for 2 s")
    many = made.add_argument_group("many calls")
    many.add_argument("--count", type=_whole, default=1, help="calls in all (%(default)s)")
    many.add_argument("--rate", type=_seconds, default=1.0, help="calls started a second (%(default)s)")
    many.add_argument("--concurrent", type=_whole, default=100, help="calls at a time, at most (%(default)s)")
    verdict = made.add_argument_group("verdict")
    verdict.add_argument("--expect", type=int, default=200, metavar="STATUS", help="final status (%(default)s)")
    verdict.add_argument("--expect-tone", type=float, metavar="HZ", help="this tone must be heard")
    verdict.add_argument("--expect-echo", action="store_true", help="what was sent must come back")
    verdict.add_argument("--json", action="store_true", help="one JSON object instead of text")
    verdict.add_argument("--quiet", action="store_true", help="no ladder and no levels while the call goes on")
    verdict.add_argument("--no-colour", action="store_true")
    return made


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400:
        raise ValueError
    return value


def _whole(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100_000:
        raise ValueError
    return value


_seconds.__name__, _whole.__name__ = "number of seconds", "whole number from 1"  # for argparse's messages


def make_run(options: argparse.Namespace) -> Run:
    """What the options ask for.

    :raise PlanError: with one line for people.
    """
    play = playable(options.play)
    duration = options.duration
    if duration is None:
        duration = max(5.0, play.seconds + 1.5)
    if not options.dtmf.strip() == options.dtmf or (options.dtmf and not are_digits(options.dtmf)):
        raise PlanError(f"--dtmf {options.dtmf}: keys are 0-9, *, #, A-D")
    if not 10 <= options.ptime <= 60 or options.ptime % 10:
        raise PlanError(f"--ptime {options.ptime}: it must be 10, 20, 30, 40, 50 or 60")
    if options.count > 1 and (options.record or options.record_sent):
        raise PlanError("--record and --record-sent are for one call, not for --count")
    plan = CallPlan(
        to=_to(options.to, options.transport),
        proxy=_proxy(options.proxy, options.to, options.transport),
        from_=_from(options.from_),
        user=options.user,
        password=_password(options),
        headers=_headers(options.header),
        codecs=_codecs(options.codec),
        ptime=options.ptime,
        srtp=options.srtp,
        play=play,
        digits=options.dtmf,
        digits_after=options.dtmf_after,
        duration=duration,
        ring_timeout=options.ring_timeout,
        delayed_offer=options.delayed_offer,
        hold_after=options.hold,
        record=options.record,
        record_sent=options.record_sent,
        keep=600.0 if options.count == 1 else 15.0,
    )
    return Run(
        plan=plan,
        bind=_address("--bind", options.bind),
        tls_ca=options.tls_ca or "",
        insecure=options.insecure,
        tls_name=options.tls_name or "",
        load=Load(count=options.count, rate=options.rate, concurrent=options.concurrent),
        expect=options.expect,
        expect_tone=options.expect_tone,
        expect_echo=options.expect_echo,
        json=options.json,
        quiet=options.quiet,
        colour=not options.no_colour and sys.stdout.isatty(),
    )


def _to(text: str, transport: str | None) -> SipUri:
    if text.lower().startswith("tel:"):
        raise PlanError(f"{text} says no host: give sip:{text[4:]}@HOST")
    if not text.lower().startswith(("sip:", "sips:")):
        text = f"sip:{text}"
    try:
        uri = parse_uri(text)
    except RemoteProtocolError as error:
        raise PlanError(f"{text} is no SIP URI: {error.reason}") from None
    assert isinstance(uri, SipUri)
    if transport == "udp":
        return _over(uri, None)
    return _over(uri, transport) if transport else uri


def _over(uri: SipUri, transport: str | None) -> SipUri:
    params = uri.params.with_("transport", transport) if transport else uri.params.without("transport")
    return evolve(uri, params=params)


def _proxy(text: str | None, to: str, transport: str | None) -> SipUri | None:
    if text is None:
        return None
    asked = _to(to, transport).params.get("transport")
    proxy = _to(text, None)
    return _over(proxy, asked) if "transport" not in proxy.params and asked else proxy


def _from(text: str | None) -> NameAddr | None:
    if text is None:
        return None
    try:
        return parse_name_addr(text if ":" in text else f"sip:{text}")
    except RemoteProtocolError as error:
        raise PlanError(f"--from {text}: {error.reason}") from None


def _password(options: argparse.Namespace) -> str:
    if options.password_file is None:
        if options.user and not options.password:
            raise PlanError("--user needs --password-file or --password")
        return str(options.password)
    if options.password_file == "-":
        return sys.stdin.readline().rstrip("\r\n")
    try:
        return Path(options.password_file).read_text().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise PlanError(f"--password-file {options.password_file}: {reason}") from None


def _headers(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    checked = Headers()
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            raise PlanError(f'--header {text}: it must be "Name: value"')
        try:
            checked.add(name.strip(), value.strip())
        except LocalProtocolError as error:
            raise PlanError(f"--header {name}: {error}") from None
    return tuple(checked)


def _codecs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().upper() for name in text.split(",") if name.strip()))
    if not names or not set(names) <= set(CODECS):
        raise PlanError(f"--codec {text}: there are {', '.join(CODECS).lower()}")
    return names


def _address(option: str, text: str | None) -> str:
    if text is None:
        return ""
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        raise PlanError(f"{option} {text}: it must be an IP address") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = parser().parse_args(arguments)
    try:
        run = make_run(options)
    except StellarError as error:
        print(f"stellar-gw-call: {error}", file=sys.stderr)
        return EXIT_USAGE
    from twisted.internet import reactor

    return execute(cast(RunReactor, reactor), run, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
