"""The media plane for agents whose URL is a voice webhook: asks it where the stream is, before a worker connects.

To a call nothing differs: it starts its agent, and one event follows, that it is ready or that it failed; or the
agent asks to reject the call. What the webhook may take is part of the agent's ``connect_timeout``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from stellar_gw.call.ports import MediaListener, MediaPlane, WorkerFailed
from stellar_gw.control.messages import (
    AgentAsked,
    AgentFailed,
    CallContext,
    Done,
    Release,
    Reply,
    Request,
    Secret,
    StartAgent,
    StopAgent,
)
from stellar_gw.dialects.twilio_webhook import Answer, Rejected, as_options, form, read_answer, signature
from stellar_gw.dialects.twiml import Stream, TwimlError
from stellar_gw.directory.records import Environment
from stellar_gw.directory.twilio_account import account_of, token_of
from stellar_gw.gateway.http_client import HttpAnswer, HttpFailed, shown_origin

SCHEMES: Final = ("http://", "https://")
LEAST: Final = 0.05
"""Seconds that are left for the stream, however late the webhook answered."""
_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_log = Logger()

Post = Callable[[str, list[tuple[str, str]], bytes, float], "Deferred[HttpAnswer]"]
"""URL, headers, body and seconds, as :meth:`stellar_gw.gateway.http_client.HttpClient.post`."""


class WebhookPlane:
    """A :class:`~stellar_gw.call.ports.MediaPlane` before another.

    :param environment: the directory's record of the agent that a context names, None where it is gone.
    :param listener: told what the webhook has come to, as by a worker.
    """

    def __init__(
        self,
        plane: MediaPlane,
        *,
        post: Post,
        environment: Callable[[CallContext], Environment | None],
        listener: MediaListener,
        clock: IReactorTime,
    ) -> None:
        self._plane, self._post, self._environment = plane, post, environment
        self._listener, self._clock = listener, clock
        self._asking: dict[str, Deferred[None]] = {}

    def ask(self, request: Request) -> Deferred[Reply]:
        """As the other's; only the start of an agent that is behind a webhook waits for it."""
        if isinstance(request, StartAgent) and request.url.value.startswith(SCHEMES):
            if request.call not in self._asking:
                self._begin(request)
            return succeed(Done(request=0))
        if isinstance(request, StopAgent) or (isinstance(request, Release) and not request.leg):
            asking = self._asking.pop(request.call, None)
            if asking is not None:
                asking.cancel()
        return self._plane.ask(request)

    def _begin(self, request: StartAgent) -> None:
        asking = self._asking[request.call] = Deferred.fromCoroutine(self._start(request))
        asking.addErrback(self._failed, request.call)

    async def _start(self, request: StartAgent) -> None:
        began = self._clock.seconds()
        answer = await self._ask_webhook(request)
        if answer.passed_over:
            _log.info(
                "{call}: <{verbs}> of the webhook's TwiML is passed over: the gateway does not speak",
                call=request.call,
                verbs=">, <".join(dict.fromkeys(answer.passed_over)),
            )
        self._asking.pop(request.call, None)
        decision = answer.decision
        if isinstance(decision, Rejected):
            parameters = {"status": str(decision.status), "reason": decision.reason}
            self._listener(AgentAsked(generation=0, call=request.call, ask="", verb="reject", parameters=parameters))
            return
        left = max(LEAST, request.connect_timeout - (self._clock.seconds() - began))
        await self._plane.ask(_toward(decision, request, left))

    async def _ask_webhook(self, request: StartAgent) -> Answer:
        """:raise HttpFailed: if there is no answer that can be used."""
        environment = self._environment(request.context)
        token = token_of(environment) if environment is not None else ""
        if environment is None or not token:
            raise HttpFailed("internal", "the agent is no longer in the configuration, or has no auth_token")
        url = request.url.value
        fields = form(request.context, account_of(request.context.tenant, environment))
        headers = [(name, value.value) for name, value in request.headers]
        headers.append(("X-Twilio-Signature", signature(token, url, fields)))
        answered = await self._post(url, headers, urlencode(fields).encode("ascii"), request.connect_timeout)
        origin = shown_origin(url)
        if answered.status != 200:
            hint = "; redirects are not followed" if 300 <= answered.status < 400 else ""
            raise HttpFailed(f"http_{answered.status}", f"webhook {origin} answered {answered.status}{hint}")
        try:
            return read_answer(answered.body)
        except TwimlError as error:
            raise HttpFailed("protocol", f"webhook {origin}: {error}") from None

    def _failed(self, failure: Failure, call: str) -> None:
        error = failure.value
        self._asking.pop(call, None)
        if isinstance(error, CancelledError):
            return  # the call is over
        if isinstance(error, HttpFailed):
            code, message = error.code, error.message
        else:
            code, message = "internal", f"the agent could not be started: {error}"
            if not isinstance(error, WorkerFailed):
                _log.failure("{call}: the webhook of an agent could not be asked", failure, call=call)
        self._listener(AgentFailed(generation=0, call=call, code=code, message=message))


def _toward(stream: Stream, request: StartAgent, seconds: float) -> StartAgent:
    """The start of an agent whose webhook gave its stream."""
    same = _same_place(request.url.value, stream.url)
    return replace(
        request,
        url=Secret(stream.url),
        # The headers may hold the webhook's password: another host is not shown it.
        headers=request.headers if same else (),
        options={**request.options, **dict(as_options(stream))},
        connect_timeout=seconds,
    )


def _same_place(webhook: str, stream: str) -> bool:
    """Whether both are the same host and port, and equally safe on the way."""
    try:
        one, other = urlsplit(webhook), urlsplit(stream)
        return (one.hostname, _port(one)) == (other.hostname, _port(other)) and (
            {one.scheme, other.scheme} in ({"http", "ws"}, {"https", "wss"})
        )
    except ValueError:
        return False


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)
