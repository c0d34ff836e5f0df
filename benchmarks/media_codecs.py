"""What 20 ms of audio cost on the media floor: ``python benchmarks/media_codecs.py``.

Prints microseconds of CPU for each step of a frame's way, and ratios to other ways of doing the same in the
same run: G.711 by numpy tables, G.722 fed numpy arrays, linear interpolation by ``audioop.ratecv``. The best
of several rounds counts, as rounds are disturbed but never sped up.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from itertools import cycle
from time import process_time

import G722
import numpy as np

from stellar_gw.media.codec import CODECS
from stellar_gw.media.concealment import Concealment
from stellar_gw.media.dtmf import DtmfReceiver
from stellar_gw.media.inband import InbandDetector
from stellar_gw.media.jitter import Reorder
from stellar_gw.media.latch import Latch
from stellar_gw.media.playout import Playout
from stellar_gw.media.reception import Reception
from stellar_gw.media.resample import Resampler
from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp
from stellar_gw.media.source import dtmf_tones

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

FRAMES = 1000


def speech_like(rate: int) -> list[bytes]:
    """Different 20 ms frames of tones and noise that come and go, so that adaptive codecs have work to do."""
    places = np.arange(FRAMES * rate // 50) / rate
    noise = np.random.default_rng(1).normal(0.0, 1.0, places.size)
    sound = (np.sin(2 * np.pi * 180 * places) * 6000 + noise * 1500) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * places))
    pcm = np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()
    octets = rate // 25
    return [pcm[at : at + octets] for at in range(0, len(pcm), octets)]


def microseconds(work: Callable[[bytes], object], frames: list[bytes], rounds: int) -> float:
    """CPU of ``work`` on one frame, in the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = process_time()
        for frame in frames:
            work(frame)
        best = min(best, process_time() - began)
    return best / len(frames) * 1e6


def codecs(rounds: int) -> dict[str, float]:
    results = {}
    for name, codec in CODECS.items():
        frames = speech_like(codec.rate)
        encoder, decoder = codec.encoder(), codec.decoder()
        payloads = [encoder.encode(frame) for frame in frames]
        results[f"{name} encode"] = microseconds(encoder.encode, frames, rounds)
        results[f"{name} decode"] = microseconds(decoder.decode, payloads, rounds)
    return results


def other_codecs(rounds: int) -> dict[str, float]:
    """The same by other means."""
    frames = speech_like(8000)
    to_ulaw = np.frombuffer(audioop.lin2ulaw(np.arange(65536, dtype=np.uint16).tobytes(), 2), np.uint8)
    from_ulaw = np.frombuffer(audioop.ulaw2lin(bytes(range(256)), 2), "<i2")
    payloads = [audioop.lin2ulaw(frame, 2) for frame in frames]

    def encode(frame: bytes) -> bytes:
        payload: bytes = to_ulaw[np.frombuffer(frame, "<u2")].tobytes()
        return payload

    def decode(payload: bytes) -> bytes:
        return from_ulaw[np.frombuffer(payload, np.uint8)].tobytes()

    wide = speech_like(16000)
    state = G722.G722(16000, 64000)
    return {
        "PCMU encode": microseconds(encode, frames, rounds),
        "PCMU decode": microseconds(decode, payloads, rounds),
        "G722 encode": microseconds(lambda frame: state.encode(np.frombuffer(frame, "<i2")), wide, rounds),
    }


def rates(rounds: int) -> dict[str, float]:
    pairs = [(8000, 16000), (16000, 8000), (8000, 24000), (24000, 8000), (16000, 24000), (24000, 16000),
             (16000, 48000), (48000, 16000)]  # fmt: skip
    return {
        f"{a // 1000} to {b // 1000} kHz": microseconds(Resampler(a, b).resample, speech_like(a), rounds)
        for a, b in pairs
    }


def linear(rounds: int) -> dict[str, float]:
    """Linear interpolation: no filter, so images and aliases stay."""

    def convert(rate_in: int, rate_out: int) -> Callable[[bytes], object]:
        return lambda frame: audioop.ratecv(frame, 2, 1, rate_in, rate_out, None)

    return {
        "8 to 16 kHz": microseconds(convert(8000, 16000), speech_like(8000), rounds),
        "16 to 8 kHz": microseconds(convert(16000, 8000), speech_like(16000), rounds),
    }


def packets(rounds: int) -> dict[str, float]:
    """The steps of a packet that are not audio."""
    payloads = speech_like(8000)
    sender = RtpSender(7, 1, 1, 0)
    datagrams = [sender.packet(payload[:160], 160) for payload in payloads]
    parsed = [packet for data in datagrams if (packet := parse_rtp(data))]
    source = ("203.0.113.7", 40000)
    latch, reception, reorder = Latch(source, source[0], (0,), 0.0), Reception(), Reorder()
    playout, dtmf, turn = Playout("pcm", 8000), DtmfReceiver(), cycle(parsed)
    event = RtpPacket(101, False, 1, 1, 7, b"\x01\x0a\x00\xa0")
    latch.accepts(source, parsed[0], 0.0)

    def queue(frame: bytes) -> None:
        playout.push(frame)
        playout.take(320)
        playout.reached()

    return {
        "RTP parse": microseconds(parse_rtp, datagrams, rounds),
        "RTP build": microseconds(lambda frame: sender.packet(frame, 160), payloads, rounds),
        "latch": microseconds(lambda _: latch.accepts(source, next(turn), 5.0), payloads, rounds),
        "statistics": microseconds(lambda _: reception.received(next(turn), 5.0), payloads, rounds),
        "order": microseconds(lambda _: reorder.put(next(turn), 160, 5.0), payloads, rounds),
        "playout": microseconds(queue, payloads, rounds),
        "event": microseconds(lambda _: dtmf.received(event, 5.0), payloads, rounds),
    }


def losses(rounds: int) -> dict[str, float]:
    """Concealment: what a packet that came costs more, and a lost one with the joint after it."""
    results = {}
    for name in ("PCMU", "G722"):
        codec = CODECS[name]
        payloads = [codec.encoder().encode(frame) for frame in speech_like(codec.rate)]
        concealment, decoder = Concealment(codec.decoder()), codec.decoder()

        def lose(payload: bytes, concealment: Concealment = concealment) -> None:
            concealment.decode(payload)
            concealment.conceal(160)

        came = microseconds(concealment.decode, payloads, rounds)
        results[f"{name} kept"] = came - microseconds(decoder.decode, payloads, rounds)
        results[f"{name} lost"] = microseconds(lose, payloads, rounds) - came
    return results


def tones(rounds: int) -> dict[str, float]:
    """The search for digits in the audio."""
    silence = [bytes(320)] * FRAMES
    pressed = dtmf_tones("5" * (FRAMES // 10), 8000, 120, 80)
    keys = [pressed[at : at + 320] for at in range(0, len(pressed), 320)]
    kinds = {"8 kHz": speech_like(8000), "16 kHz": speech_like(16000), "silence": silence, "keys": keys}
    return {
        f"tones, {kind}": microseconds(InbandDetector(16000 if kind == "16 kHz" else 8000).heard, frames, rounds)
        for kind, frames in kinds.items()
    }


def main() -> None:
    """Measure, print, and with ``--json`` print for a program."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    ours = codecs(chosen.rounds) | rates(chosen.rounds) | packets(chosen.rounds)
    ours |= losses(chosen.rounds) | tones(chosen.rounds)
    peers = other_codecs(chosen.rounds) | linear(chosen.rounds)
    if chosen.json:
        print(json.dumps({"us": ours, "peer_us": peers}))
        return
    for name, cost in ours.items():
        peer = f"   other way {peers[name]:6.2f} us, ratio {cost / peers[name]:.2f}" if name in peers else ""
        print(f"{name:16} {cost:6.2f} us{peer}")


if __name__ == "__main__":
    main()
