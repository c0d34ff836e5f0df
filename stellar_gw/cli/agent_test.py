"""``stellar-gw-agent-test``: the gateway's part in a call with an agent, for its builder's CI."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stellar_gw.agent.link import LinkLimits
from stellar_gw.control.messages import CallContext
from stellar_gw.dialects.registry import UnknownDialectError, dialect_names, find_dialect
from stellar_gw.errors import StellarError
from stellar_gw.loading.references import References
from stellar_gw.media.dtmf import are_digits
from stellar_gw.phone.plan import PlanError, playable
from stellar_gw.rehearsal.findings import EXIT_USAGE
from stellar_gw.rehearsal.plan import Expectations, Plan, spoken_prompt
from stellar_gw.rehearsal.runner import execute
from stellar_gw.sip.offer_answer import CODECS

DESCRIPTION = """Play the gateway against an agent, without any SIP: connect, hear its greeting, speak to it, interrupt
it, press keys, hang up; then cut a second call off, and see whether a third is taken. What it meets is what it
meets in a call: the gateway's own dialects, links, queues and limits."""
EXITS = """exit status: 0 all as it must be; 1 a check failed; 2 wrong usage; 3 the agent could not be reached; 4 the
link failed while the call was up.

In --url, --header and --option the places of an environment can stand ({call_id}, {from}, {header:X-Case-Id}, ...), and
${env:NAME} or ${file:PATH} for what is to be seen by nobody.

examples:
  stellar-gw-agent-test ws://127.0.0.1:7860/ws
  stellar-gw-agent-test wss://agents.example.com/bot --header "Authorization: Bearer ${env:TOKEN}" --max-turn 1200
  stellar-gw-agent-test ws://127.0.0.1:7861/ --dialect native --option rate=16000 --answer agent --expect-clear
  stellar-gw-agent-test audiosocket://127.0.0.1:9092 --play question.wav --record answer.wav --json"""


def parser() -> argparse.ArgumentParser:
    """All options; the standard library prints the usage and exits with 2."""
    made = argparse.ArgumentParser(
        "stellar-gw-agent-test",
        description=DESCRIPTION,
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("url", help="where the agent listens: ws://, wss://, audiosocket:// or builtin:")
    agent = made.add_argument_group("the agent")
    agent.add_argument("--dialect", help="one of: " + ", ".join(dialect_names()) + " (by the URL, else twilio)")
    agent.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the dialect; repeatable")
    agent.add_argument("--header", action="append", default=[], metavar='"NAME: VALUE"', help="of the request to it")
    agent.add_argument("--answer", choices=("gateway", "agent"), default="gateway", help="who answers the call")
    agent.add_argument("--barge-in", choices=("off", "tell", "clear"), default="off", help="when the caller speaks")
    call = made.add_argument_group("the call")
    call.add_argument("--from", dest="from_", default="+12025550123", metavar="NUMBER", help="the caller (%(default)s)")
    call.add_argument("--to", default="+12025550199", metavar="NUMBER", help="what was dialled (%(default)s)")
    call.add_argument("--sip-header", action="append", default=[], metavar='"X-NAME: VALUE"', help="of the caller's")
    call.add_argument("--variable", action="append", default=[], metavar="NAME=VALUE", help="of the environment")
    call.add_argument(
        "--transfer-to", action="append", default=[], metavar="NAME[=ABOUT]", help="a transfer it may ask"
    )
    call.add_argument("--transfer", choices=("done", "failed"), default="failed", help="what comes of a transfer")
    audio = made.add_argument_group("what the caller does")
    audio.add_argument("--play", action="append", metavar="WHAT", help="say a WAV file or tone:HZ; again: another turn")
    audio.add_argument("--codec", choices=[name.lower() for name in CODECS], default=CODECS[0].lower())
    audio.add_argument("--dtmf", default="5", metavar="DIGITS", help="keys to press; empty for none (%(default)s)")
    audio.add_argument("--no-interrupt", action="store_true", help="do not speak while the agent does")
    audio.add_argument("--no-drop", action="store_true", help="do not cut a second call off")
    audio.add_argument("--record", default="", metavar="OUT.WAV", help="what the agent said")
    waits = made.add_argument_group("how long to wait, in seconds")
    waits.add_argument("--greeting", type=_seconds, default=3.0, metavar="S", help="for a greeting (%(default)s)")
    waits.add_argument("--patience", type=_seconds, default=10.0, metavar="S", help="for each answer (%(default)s)")
    waits.add_argument("--longest", type=_seconds, default=8.0, metavar="S", help="to hear it out (%(default)s)")
    waits.add_argument(
        "--quiet", type=_seconds, default=1.0, metavar="S", help="without a sound: it has had its say (%(default)s)"
    )
    waits.add_argument("--ping", type=_seconds, default=5.0, metavar="S", help="to a ping, for its pong (%(default)s)")
    waits.add_argument("--connect-timeout", type=_seconds, default=3.0, metavar="S", help="for the link (%(default)s)")
    waits.add_argument("--timeout", type=_seconds, default=180.0, metavar="S", help="for all of it (%(default)s)")
    verdict = made.add_argument_group("verdict")
    verdict.add_argument("--expect-greeting", action="store_true", help="the agent must speak first")
    verdict.add_argument("--max-turn", type=int, default=0, metavar="MS", help="no answer may take longer")
    verdict.add_argument("--expect-clear", action="store_true", help="it must fall silent when it is interrupted")
    verdict.add_argument("--expect-hangup", action="store_true", help="it must end the call")
    verdict.add_argument("--expect-echo", action="store_true", help="what the caller says must come back")
    verdict.add_argument("--expect-tone", type=float, metavar="HZ", help="this tone must be heard")
    verdict.add_argument("--strict", action="store_true", help="a warning is a failure")
    verdict.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return made


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise ValueError
    return value


_seconds.__name__ = "number of seconds from 0.1 to 3600"  # for argparse's message


def make_plan(options: argparse.Namespace) -> Plan:
    """What the options ask for.

    :raise StellarError: with one line for people.
    """
    expand = _expander()
    url = expand("URL", options.url)
    dialect = options.dialect or _dialect_of(url)
    _check_dialect(dialect, url)
    if options.dtmf and not (are_digits(options.dtmf) and len(options.dtmf) <= 32):
        raise PlanError(f"--dtmf {options.dtmf}: keys are 0-9, *, #, A-D, at most 32")
    if any(text == "silence" for text in options.play or ()):
        raise PlanError("--play silence: there must be something to answer")
    return Plan(
        url=url,
        dialect=dialect,
        context=_context(options, expand),
        headers=tuple(_field("--header", text, ":", expand) for text in options.header),
        options=_options(dialect, options.option, expand),
        codec=options.codec.upper(),
        answer=options.answer,
        barge_in=options.barge_in,
        prompts=tuple(playable(text) for text in options.play) if options.play else (spoken_prompt(),),
        digits=options.dtmf,
        interrupt=not options.no_interrupt,
        drop=not options.no_drop,
        greeting=options.greeting,
        patience=options.patience,
        longest=options.longest,
        quiet=options.quiet,
        transfer=options.transfer,
        record=options.record,
        limits=LinkLimits(
            connect_timeout=options.connect_timeout, ping_interval=options.ping, ping_timeout=options.ping
        ),
        expect=Expectations(
            greeting=options.expect_greeting,
            turn_ms=options.max_turn,
            clear=options.expect_clear,
            hangup=options.expect_hangup,
            echo=options.expect_echo,
            tone=options.expect_tone,
            strict=options.strict,
        ),
    )


Expand = Callable[[str, str], str]


def _expander() -> Expand:
    references = References(Path.cwd(), os.environ)

    def expand(option: str, text: str) -> str:
        try:
            return references.expand(text, secret=True)
        except ValueError as error:
            raise PlanError(f"{option}: {error}") from None

    return expand


def _dialect_of(url: str) -> str:
    scheme = url.partition(":")[0]
    return scheme if scheme in ("audiosocket", "builtin") else "twilio"


def _check_dialect(name: str, url: str) -> None:
    try:
        plugin = find_dialect(name)
    except UnknownDialectError as error:
        raise PlanError(f"--dialect: {error}") from None
    scheme = url.partition(":")[0].lower()
    if scheme in ("http", "https"):
        raise PlanError("a voice webhook is not followed here: give the URL of its <Stream>, ws:// or wss://")
    if scheme not in plugin.schemes:
        wanted = ", ".join(f"{each}:" for each in plugin.schemes if each not in ("http", "https"))
        raise PlanError(f"the URL of an agent with --dialect {name} begins with {wanted}")


def _field(option: str, text: str, sign: str, expand: Expand) -> tuple[str, str]:
    name, found, value = text.partition(sign)
    if not found or not name.strip():
        raise PlanError(
            f"{option} {name[:40]}: it must be NAME{sign} VALUE" if sign == ":" else f"{option}: NAME=VALUE"
        )
    return name.strip(), expand(option, value.strip())


def _options(dialect: str, texts: Sequence[str], expand: Expand) -> dict[str, str]:
    known = find_dialect(dialect).options
    options = dict(_field("--option", text, "=", expand) for text in texts)
    for name in options:
        if name not in known and dialect != "builtin":
            there = f"there are: {', '.join(known)}" if known else "it has none"
            raise PlanError(f"--option {name[:40]}: {dialect} knows no such option; {there}")
    return options


def _context(options: argparse.Namespace, expand: Expand) -> CallContext:
    host = "rehearsal.invalid"
    transfers = (text.partition("=") for text in options.transfer_to)
    return CallContext(
        call_id="c-rehearsal-0",
        tenant="rehearsal",
        connector="rehearsal",
        agent="rehearsal",
        environment="development",
        version="draft",
        from_uri=f"sip:{options.from_}@{host}",
        from_number=options.from_,
        to_uri=f"sip:{options.to}@{host}",
        to_number=options.to,
        user_agent="stellar-gw-agent-test",
        headers=tuple(_field("--sip-header", text, ":", expand) for text in options.sip_header),
        variables=dict(_field("--variable", text, "=", expand) for text in options.variable),
        transfers={name: about for name, _, about in transfers},
        codec=options.codec.upper(),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = parser().parse_args(arguments)
    try:
        return execute(make_plan(options), sys.stdout, options.timeout, json=options.json)
    except StellarError as error:
        print(f"stellar-gw-agent-test: {error}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
