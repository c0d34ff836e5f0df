"""``make run``: the same gateway and agent stay up; what to dial, and what happens meanwhile."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from tools.demo_screen import Screen
from tools.demo_stage import DOMAIN, HOST, SIGNALS, Stage, shown

_LOOK = 0.2
_SHOWN = ("stellar_gw.gateway.report",)
"""Loggers whose every line is shown; of the others, errors."""
_MOST_LINE = 300


@define
class Tail:
    """The whole lines that were added to a file since the last look."""

    path: Path
    _read: int = field(default=0, init=False)

    def lines(self) -> Iterator[str]:
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                yield line.decode("utf-8", "replace").rstrip("\n")

    def skip(self) -> None:
        for _ in self.lines():
            pass


def stay(stage: Stage, screen: Screen) -> int:
    """Until Ctrl-C, SIGTERM or the gateway's own end; the exit status."""
    assert stage.gateway is not None
    stopped: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _: stopped.append(number))
    what_to_dial(stage, screen)
    log, agent_log = Tail(stage.gateway.log_path), Tail(stage.folder / "agent.log")
    log.skip()
    agent_log.skip()
    agent_up = stage.agent is not None
    while not stopped:
        for line in log.lines():
            _tell(line, stage, screen)
        for line in agent_log.lines():
            screen.line(f"          {screen.palette.yellow('agent: ' + _printable(line))}")
        if not stage.gateway.running:
            screen.line(screen.palette.red(f"the gateway has ended by itself; its log: {shown(log.path)}"))
            return 1
        if agent_up and stage.agent is not None and not stage.agent.running:
            agent_up = False
            screen.line(
                screen.palette.red("the example agent has ended: 999 answers once a bot of yours listens there")
            )
        time.sleep(_LOOK)
    screen.line()
    screen.line("stopping")
    return 0


def what_to_dial(stage: Stage, screen: Screen) -> None:
    """The card for a softphone's account page."""
    bold, dim = screen.palette.bold, screen.palette.dim
    sip, tls, bot = stage.port("udp"), stage.port("tls"), f"ws://{HOST}:{stage.agent_port}/ws"
    tcp = f"UDP and TCP {sip}" if stage.port("tcp") == sip else f"UDP {sip}, TCP {stage.port('tcp')}"
    answers = "your own bot answers 999: something listens there already"
    if stage.agent is not None:
        answers = "the example agent answers now, by a beep and an echo; to use yours, start it first, then make run"
    command = f".venv/bin/stellar-gw-call sip:600@{HOST}:{sip} --user demo-phone --password demo-password --expect-echo"
    screen.title("Up. Point a softphone on this machine at it:")
    rows = [
        ("server", f"{bold(HOST)}   {tcp}; TLS {tls} (authority: {shown(stage.authority)})"),
        ("user", f"{bold('demo-phone')}  password {bold('demo-password')}   (domain {DOMAIN}; registration off)"),
        ("dial", f"{bold('600')}  echo: hear yourself"),
        ("", f"{bold('601')}  a tone   {bold('602')}  your digits read back   {bold('603')}  a greeting, then echo"),
        (
            "",
            f"{bold('605')}  an agent that puts you through to sip:desk@{HOST}:{stage.person_port}, another softphone",
        ),
        ("", f"{bold('999')}  your own bot at {bold(bot)}, which speaks Twilio Media Streams"),
        ("", dim(f"     ({answers})")),
        ("or call", command),
    ]
    screen.line()
    for name, text in rows:
        screen.line(f"  {dim(f'{name:8}')} {text}")
    screen.line()
    screen.line("Calls show up below. Ctrl-C stops everything.")


def _tell(line: str, stage: Stage, screen: Screen) -> None:
    """One line of the gateway's log, where it is about a call or a trouble."""
    try:
        event: dict[str, Any] = json.loads(line)
        logger, level, message = event["logger"], event["level"], _printable(event["message"])
    except (ValueError, KeyError, TypeError):
        return
    clock = time.strftime("%H:%M:%S")
    if level in ("error", "critical") or "reference" in event:
        screen.line(f"{clock}  {screen.palette.red(message)}")
        if "reference" in event:
            why = f"stellar-gw-why {_printable(str(event['reference']))} -c {shown(stage.configuration)}"
            screen.line(f"          {screen.palette.dim(f'more: .venv/bin/{why}')}")
    elif logger in _SHOWN and level == "info":
        screen.line(f"{clock}  {message}")


def _printable(text: str) -> str:
    """Nothing that a caller sent may move the terminal's cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)[:_MOST_LINE]
