"""``make demo``: the gateway, an example agent and real calls on loopback, with a verdict; ``--stay``: ``make run``.

What is shown is measured where it happens: the test phone's own ladder and report, the gateway's records, and the
recordings of both ends, in which the tone that was sent is looked for.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.wav import WavError, read_wav
from stellar_gw.terminal import Palette
from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.gateway_process import GatewayProcess, wait_until

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "demo"
SIP_PORT, AGENT_PORT = 5060, 7860
HERTZ = 440.0
SHORTEST_TONE = 1500
"""Milliseconds of the tone that each end must have heard, of the five seconds that were sent."""


class DemoFailed(Exception):
    """The demonstration cannot go on; one line for people."""


@frozen
class Place:
    """Where everything is: the usual ports, or others where those are taken."""

    sip: int
    agent: int
    agent_is_ours: bool

    @property
    def tls(self) -> int:
        return self.sip + 1


# --- the parts ----------------------------------------------------------------------------------


def choose_ports(stay: bool) -> Place:
    """The usual ports if they are free. With ``stay`` a bot that already listens on 7860 is the user's own."""
    sip = next((port for port in range(SIP_PORT, SIP_PORT + 1000, 100) if _sip_free(port)), None)
    if sip is None:
        raise DemoFailed("no free ports for SIP between 5060 and 6000")
    if _free(AGENT_PORT, socket.SOCK_STREAM):
        return Place(sip, AGENT_PORT, agent_is_ours=True)
    if stay:
        return Place(sip, AGENT_PORT, agent_is_ours=False)
    return Place(sip, 0, agent_is_ours=True)


def _sip_free(port: int) -> bool:
    return all(
        _free(*each) for each in ((port, socket.SOCK_DGRAM), (port, socket.SOCK_STREAM), (port + 1, socket.SOCK_STREAM))
    )


def _free(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def agent(place: Place) -> Iterator[int]:
    """The example agent in a process of its own; gives its port."""
    if not place.agent_is_ours:
        yield place.agent
        return
    log = FOLDER / "agent.log"
    command = [sys.executable, "-u", str(ROOT / "examples" / "twilio_echo_agent.py"), "--port", str(place.agent)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--record", str(FOLDER / "agent")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if not wait_until(lambda: "listening on" in log.read_text() or process.poll() is not None, 15.0):
            raise DemoFailed(f"the example agent did not start; see {log}")
        if process.poll() is not None:
            raise DemoFailed(f"the example agent ended at once: {log.read_text().strip()[-300:]}")
        yield int(log.read_text().partition("listening on ws://127.0.0.1:")[2].partition("/")[0])
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def configuration(place: Place, agent_port: int) -> str:
    """conf/demo.yaml with this run's places in it."""
    text = (ROOT / "conf" / "demo.yaml").read_text(encoding="utf-8")
    changes = {
        "../var/demo/": f"{FOLDER}/",
        "directory: ../var/demo": "directory: {records}",
        f"127.0.0.1:{SIP_PORT}": f"127.0.0.1:{place.sip}",
        f"127.0.0.1:{SIP_PORT + 1}": f"127.0.0.1:{place.tls}",
        f"127.0.0.1:{AGENT_PORT}": f"127.0.0.1:{agent_port}",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


# --- the calls ----------------------------------------------------------------------------------


@frozen(kw_only=True)
class Scene:
    """One call of the demonstration.

    :ivar options: of ``stellar-gw-call``; it says by its exit status whether the call was as expected.
    """

    title: str
    name: str
    options: tuple[str, ...]
    refused: bool = False

    @property
    def heard(self) -> Path:
        return FOLDER / f"{self.name}-phone-heard.wav"


def scenes(place: Place) -> list[Scene]:
    password = FOLDER / "password"
    wrong = FOLDER / "wrong-password"
    for path, text in ((password, "demo-password\n"), (wrong, "guessed-password\n")):
        path.touch(mode=0o600)
        path.write_text(text)
    tls = ("--transport", "tls", "--tls-ca", str(FOLDER / "ca.pem"), "--user", "demo-secure")
    guess = ("--user", "demo-phone", "--password-file", str(wrong))
    talk = ("--play", f"tone:{HERTZ:g}", "--duration", "6", "--expect-tone", f"{HERTZ:g}")
    return [
        Scene(
            title="1. by user name and password, over TLS, to the example agent (999)",
            name="tls",
            options=(f"sip:999@127.0.0.1:{place.tls}", *tls, "--password-file", str(password), *talk),
        ),
        Scene(
            title="2. by source address 127.0.0.2, over UDP, to the same agent by its telephone number",
            name="udp",
            options=(f"sip:+31201230000@127.0.0.1:{place.sip}", "--bind", "127.0.0.2", *talk),
        ),
        Scene(
            title="3. with a wrong password: refused, and the operator told why",
            name="refused",
            options=(f"sip:600@127.0.0.1:{place.sip}", *guess, "--expect", "401"),
            refused=True,
        ),
    ]  # fmt: skip


def play(scene: Scene) -> bool:
    """Place the call, its ladder and levels live on this terminal; whether it was as expected."""
    command = [sys.executable, "-m", "stellar_gw.cli.call", *scene.options]
    if not scene.refused:
        command += ["--record", str(scene.heard), "--record-sent", str(FOLDER / f"{scene.name}-phone-sent.wav")]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=90).returncode == 0


def tone_heard(path: Path | None) -> int:
    """Milliseconds of the tone in a recording; 0 where there is none."""
    if path is None:
        return 0
    try:
        wav = read_wav(path.read_bytes())
    except (OSError, WavError):
        return 0
    return tone_ms(wav.pcm, wav.rate, HERTZ)


# --- the verdict --------------------------------------------------------------------------------


@frozen
class Outcome:
    """One line of the verdict."""

    good: bool
    text: str


def judge_call(
    scene: Scene, phone_agrees: bool, record: dict[str, Any] | None, recording: Path | None
) -> list[Outcome]:
    """What the gateway, the agent and the phone say of an answered call."""
    if record is None:
        return [Outcome(False, "the gateway has no record of the call")]
    leg: dict[str, Any] = next(iter(record.get("legs") or [{}]))
    sent, received = leg.get("packets_sent", 0), leg.get("packets_received", 0)
    agent_ms, phone_ms = tone_heard(recording), tone_heard(scene.heard)
    return [
        Outcome(
            phone_agrees and record.get("status") == 200,
            f"{record.get('codec')}, signalling over {str(record.get('transport')).upper()}, {record.get('admitted')}",
        ),
        Outcome(sent > 200 and received > 200, f"RTP: {received} packets from the phone, {sent} to it"),
        Outcome(
            agent_ms >= SHORTEST_TONE,
            f"the agent heard {agent_ms / 1000:.1f} s of the {HERTZ:g} Hz tone: {_shown(recording)}",
        ),
        Outcome(
            phone_ms >= SHORTEST_TONE, f"the phone heard {phone_ms / 1000:.1f} s of it come back: {_shown(scene.heard)}"
        ),
    ]


def judge_refusal(phone_agrees: bool, refusal: dict[str, Any] | None) -> list[Outcome]:
    if refusal is None:
        return [Outcome(False, "the gateway has no record of the refusal")]
    return [
        Outcome(phone_agrees and refusal.get("status") == 401, f"refused with {refusal.get('status')}"),
        Outcome(bool(refusal.get("fix")), f"{refusal.get('reference')}: {refusal.get('reason')}. {refusal.get('fix')}"),
    ]


def _shown(path: Path | None) -> str:
    return str(path.relative_to(ROOT)) if path is not None else "no recording"


def recordings() -> set[Path]:
    return set((FOLDER / "agent").glob("*.wav"))


def new_recording(before: set[Path]) -> Path | None:
    """The agent's recording of the call just over; it is written when the agent has seen the end."""
    wait_until(lambda: recordings() - before, 3.0)
    return next(iter(recordings() - before), None)


def demonstrate(gateway: GatewayProcess, place: Place, palette: Palette) -> bool:
    """All calls, then the verdict."""
    verdict: list[tuple[Scene, list[Outcome]]] = []
    calls = 0
    for scene in scenes(place):
        print(f"\n{palette.bold(scene.title)}", flush=True)
        before = recordings()
        agrees = play(scene)
        if scene.refused:
            refusals = gateway.wait_for_records(1, "refusals", timeout=3.0)
            verdict.append((scene, judge_refusal(agrees, refusals[-1] if refusals else None)))
            if refusals:
                print(palette.bold(f"\nWhat the operator sees: stellar-gw-why {refusals[-1]['reference']}"), flush=True)
                why = [sys.executable, "-m", "stellar_gw.cli.why", refusals[-1]["reference"], "--records"]
                subprocess.run([*why, str(gateway.records_folder)], cwd=ROOT, timeout=30)
            continue
        records = gateway.wait_for_records(calls + 1, timeout=5.0)
        record = records[calls] if len(records) > calls else None
        calls = len(records)
        verdict.append((scene, judge_call(scene, agrees, record, new_recording(before))))
    return show(verdict, palette)


def show(verdict: Sequence[tuple[Scene, list[Outcome]]], palette: Palette) -> bool:
    print(f"\n{palette.bold('Verdict')}")
    for scene, outcomes in verdict:
        print(f"  {scene.title}")
        for outcome in outcomes:
            mark = palette.green("ok  ") if outcome.good else palette.red("FAIL")
            print(f"    {mark} {outcome.text}")
    good = all(outcome.good for _, outcomes in verdict for outcome in outcomes)
    print(f"  records, logs and WAV files: {FOLDER.relative_to(ROOT)}/")
    print(
        palette.green("\nEverything as it should be.") if good else palette.red("\nSomething is wrong; see above."),
        flush=True,
    )
    return good


def stay(gateway: GatewayProcess, place: Place, palette: Palette) -> bool:
    """Say what to dial and wait for Ctrl-C, or for the gateway's end."""
    ca = (FOLDER / "ca.pem").relative_to(ROOT)
    bot = "the example agent" if place.agent_is_ours else "your own bot"
    print(
        f"""
{palette.bold("Up. Point a softphone on this machine at it:")}
  server    127.0.0.1:{place.sip} over UDP or TCP, 127.0.0.1:{place.tls} over TLS (CA: {ca})
  user      demo-phone        password  demo-password      (no registration)
  dial      600 echo, 601 tone, 602 your digits, 603 a greeting, 999 {bot} at ws://127.0.0.1:{place.agent}/ws
or call from here:
  .venv/bin/stellar-gw-call sip:600@127.0.0.1:{place.sip} --user demo-phone --password demo-password --expect-echo
Your own bot: stop this, start it on port {AGENT_PORT}, and run the same again.
Log: {gateway.log_path.relative_to(ROOT)}. Ctrl-C stops everything.""",
        flush=True,
    )
    try:
        while gateway.running:
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nstopping")
        return True
    print(palette.red(f"the gateway ended by itself; see {gateway.log_path}"))
    return False


# --- all together -------------------------------------------------------------------------------


def prepare() -> None:
    """An empty folder with a fresh certificate; records of earlier runs are not evidence of this one."""
    for folder in (FOLDER, FOLDER / "agent"):
        folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.wav", "agent/*.wav", "*.log", "records/*.jsonl*"):
        for path in FOLDER.glob(pattern):
            path.unlink()
    Authority.create().write(FOLDER, "127.0.0.1", "localhost", "demo.localhost")


def run(staying: bool, palette: Palette) -> bool:
    prepare()
    place = choose_ports(staying)
    if place.sip != SIP_PORT:
        print(f"port {SIP_PORT} or {SIP_PORT + 1} is taken on this machine: using {place.sip} and {place.tls}")
    with ExitStack() as stack:
        print("starting the example agent and the gateway ...", flush=True)
        agent_port = stack.enter_context(agent(place))
        place = Place(place.sip, agent_port, place.agent_is_ours)
        try:
            gateway = stack.enter_context(GatewayProcess(configuration(place, agent_port), FOLDER))
        except RuntimeError as error:
            raise DemoFailed(str(error)) from error
        return stay(gateway, place, palette) if staying else demonstrate(gateway, place, palette)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("make demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="start the same and stay up (make run)")
    options = parser.parse_args(argv)
    palette = Palette.of(sys.stdout)
    # SIGTERM ends the children too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        return 0 if run(options.stay, palette) else 1
    except DemoFailed as error:
        print(f"{palette.red('demo:')} {error}", file=sys.stderr)
    except subprocess.TimeoutExpired as error:
        print(f"{palette.red('demo:')} {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped")
    return 1


if __name__ == "__main__":
    sys.exit(main())
