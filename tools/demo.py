"""``make demo``: the gateway, an example agent and four real calls on loopback, with a verdict from the audio itself.

``--stay`` (``make run``): the same gateway and agent stay up for a softphone and for your own bot.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from stellar_gw.cli import why
from stellar_gw.phone.runner import RunReactor
from tools.demo_calls import SCENES, Player, run
from tools.demo_screen import Screen
from tools.demo_stage import FOLDER, HOST, SIGNALS, DemoError, Ports, Stage, shown
from tools.demo_stay import stay
from tools.demo_verdict import Finding, find_out, show

EXIT_HELD, EXIT_NOT_HELD, EXIT_INTERRUPTED = 0, 1, 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m tools.demo", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--stay", action="store_true", help="place no calls, stay up for yours (make run)")
    made.add_argument(
        "--ports",
        type=_ports,
        default=(5060, 5061, 7860),
        metavar="SIP,TLS,AGENT",
        help="instead of 5060,5061,7860; 0 is any that is free",
    )
    made.add_argument("--media-ports", default="30000-30999", metavar="FIRST-LAST", help="for RTP (%(default)s)")
    made.add_argument("--folder", type=Path, default=FOLDER, help="for everything that is made (var/demo)")
    return made


def _ports(text: str) -> tuple[int, int, int]:
    sip, tls, agent = (int(word) for word in text.split(","))
    if not all(0 <= port <= 65535 for port in (sip, tls, agent)):
        raise ValueError
    return sip, tls, agent


_ports.__name__ = "three ports"  # for argparse's messages


def main(arguments: Sequence[str] | None = None) -> int:
    """:return: 0: everything held; 1: something did not, or could not start; 130: interrupted."""
    options = parser().parse_args(arguments)
    screen = Screen(sys.stdout)
    for number in SIGNALS:  # everything that was started ends with us
        signal.signal(number, signal.default_int_handler)
    sip, tls, agent = options.ports
    # The person's is the one after 5061, where these are the usual ones.
    person = Ports().person if (sip, tls) == (Ports().sip, Ports().tls) else 0
    ports = Ports(sip=sip, tls=tls, agent=agent, person=person, media=options.media_ports)
    try:
        own_agent = _check(ports, options.stay)
        began = time.monotonic()
        screen.line("Starting the gateway" + (" and the example agent" if own_agent else "") + " ...")
        with Stage(options.folder, ports, own_agent=own_agent, record=not options.stay) as stage:
            screen.line(_started(stage, time.monotonic() - began))
            return stay(stage, screen) if options.stay else demonstrate(stage, screen)
    except DemoError as error:
        sys.stdout.flush()
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_NOT_HELD
    except KeyboardInterrupt:
        screen.status("")
        screen.line("interrupted; everything that was started has been stopped")
        return EXIT_INTERRUPTED


def _check(ports: Ports, staying: bool) -> bool:
    """Whether the agent's port is ours to take.

    :raise DemoError: others listen where we must.
    """
    taken = ports.taken()
    bot = f"{ports.agent}/tcp"
    own_agent = True
    if staying and bot in taken:
        taken.remove(bot)
        own_agent = False
    if taken:
        again = "python -m tools.demo" + (" --stay" if staying else "") + " --ports 0,0,0"
        ss = " or ".join(f"sport = :{place.partition('/')[0]}" for place in dict.fromkeys(taken))
        raise DemoError(
            f"{', '.join(taken)} on {HOST} {'is' if len(taken) == 1 else 'are'} in use by another program "
            f"(which: ss -lntup '{ss}'). End it, or take any free ports: .venv/bin/{again}"
        )
    return own_agent


def _started(stage: Stage, seconds: float) -> str:
    assert stage.gateway is not None
    agent = f"; example agent at ws://{HOST}:{stage.agent_port}/ws" if stage.agent is not None else ""
    places = ", ".join(f"{HOST}:{port}/{transport}" for transport, port in stage.gateway.ports.items())
    return f"up in {seconds:.1f} s: {shown(stage.configuration)} on {places}{agent}"


def demonstrate(stage: Stage, screen: Screen) -> int:
    """All calls, what the gateway says of the refused one, and the verdict; the exit status."""
    from twisted.internet import reactor as installed

    reactor = cast(RunReactor, installed)
    player = Player(reactor, stage, screen)
    findings: list[Finding] = []

    async def play() -> None:
        for scene in SCENES:
            report = await player.place(scene)
            if player.interrupted:
                return
            findings.append(find_out(scene, report, stage))
            player.tell_agent()
            if report.reference:
                _explain(report.reference, stage, screen)

    run(reactor, player, play)
    if player.interrupted:
        raise KeyboardInterrupt
    held = show(findings, screen, stage.folder)
    if held:
        screen.line(
            screen.palette.green(f"{screen.sign('ok')} Everything held.") + "  Now with your own phone: make run"
        )
    return EXIT_HELD if held else EXIT_NOT_HELD


def _explain(reference: str, stage: Stage, screen: Screen) -> None:
    """What an operator does with the reference that the caller was given."""
    screen.line()
    screen.line(f"$ {screen.palette.bold(f'.venv/bin/stellar-gw-why {reference} -c {shown(stage.configuration)}')}")
    why.main([reference, "-c", os.fspath(stage.configuration)], screen.stream, screen.stream)


if __name__ == "__main__":
    sys.exit(main())
