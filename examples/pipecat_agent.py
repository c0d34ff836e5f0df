"""An example agent in Pipecat, unmodified, behind its FastAPI websocket transport and its own serializers.

    pip install 'pipecat-ai[websocket]' uvicorn
    GATEWAY=http://127.0.0.1:8080 ACCOUNT_SID=AC... AUTH_TOKEN=... python pipecat_agent.py --port 7860

It says back what it hears; ``1`` has it hum for ten seconds, ``*`` interrupts it, ``#`` has it hang up. What
stellar-gw's configuration must say is in docs/agents.rst.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import struct

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import EndWorkerFrame, Frame, InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

HUM = b"".join(struct.pack("<h", round(8000 * math.sin(2 * math.pi * 660 * n / 16000))) for n in range(16000))
app = FastAPI()


class Parrot(FrameProcessor):
    """In the place of speech recognition, a model, and a voice."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels))
        elif not isinstance(frame, InputDTMFFrame):
            await self.push_frame(frame, direction)
        elif frame.button.value == "1":
            await self.push_frame(OutputAudioRawFrame(HUM * 10, 16000, 1))
        elif frame.button.value == "*":
            await self.broadcast_interruption()
        elif frame.button.value == "#":
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


async def talk(websocket: WebSocket, serializer: FrameSerializer) -> None:
    """One call, until either side hangs up."""
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket, params)
    pipeline = Pipeline([transport.input(), Parrot(), transport.output()])
    rates = PipelineParams(audio_in_sample_rate=16000, audio_out_sample_rate=16000)
    worker = PipelineWorker(pipeline, params=rates)

    @transport.event_handler("on_client_disconnected")
    async def gone(transport: FastAPIWebsocketTransport, websocket: WebSocket) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


@app.websocket("/twilio")
async def twilio(websocket: WebSocket) -> None:
    await websocket.accept()
    _, call = await parse_telephony_websocket(websocket)
    print(f"call {call['call_id']} from {call.from_number} to {call.to_number}", flush=True)
    gateway, account, token = map(os.environ.get, ("GATEWAY", "ACCOUNT_SID", "AUTH_TOKEN"))
    # Without base_url it would send the token to Twilio's own host.
    params = TwilioFrameSerializer.InputParams(auto_hang_up=bool(gateway and account and token))
    serializer = TwilioFrameSerializer(
        call["stream_id"], call["call_id"], account, token, base_url=gateway, params=params
    )
    await talk(websocket, serializer)


@app.websocket("/vonage")
async def vonage(websocket: WebSocket) -> None:
    await websocket.accept()
    await talk(websocket, VonageFrameSerializer())


def main() -> None:
    parser = argparse.ArgumentParser(description="A Pipecat agent that says back what it hears; # hangs up.")
    parser.add_argument("--port", type=int, default=7860, help="0: any free one (default: 7860)")
    listening = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print(f"listening on ws://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main()
