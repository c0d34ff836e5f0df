"""``/2010-04-01/Accounts/{AC}/Calls/{CA}.json``: what agents that were made for Twilio do to their calls by HTTP.

The user name is an account's sid, the password the token of one of its agents; a wrong one is answered after a
second. What is not the account's own does not exist.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from stellar_gw.call.record import CallRecord
from stellar_gw.console.twilio_record import CallIndex, call_resource
from stellar_gw.console.twilio_verbs import LiveCall, VerbRefused, carry_out, hang_up
from stellar_gw.console.web import Page, answer_json
from stellar_gw.dialects.twiml import TwimlError, parse
from stellar_gw.directory.records import Directory
from stellar_gw.directory.twilio_account import Account, find_account
from stellar_gw.errors import StellarError

DELAY: Final = 1.0
"""Seconds until a wrong password is answered."""
MOST_FIELDS: Final = 64
_CALL: Final = re.compile(r"(CA[0-9a-f]{32})\.json")
_log = Logger()


class RestError(StellarError):
    """An answer of Twilio's shape.

    :ivar status: of HTTP.
    :ivar code: one of Twilio's.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> dict[str, Any]:
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        return {"code": self.code, "message": self.message, "more_info": more, "status": self.status}


class NotAuthenticated(RestError):
    """Nobody whom we know."""

    def __init__(self) -> None:
        super().__init__(401, 20003, "Authenticate: user name is the account's sid, password the agent's auth_token")


class TwilioCalls(Page):
    """
    :param directory: as it is now.
    :param find: a call that is up, by our own id.
    """

    methods = (b"GET", b"HEAD", b"POST")

    def __init__(
        self,
        *,
        directory: Callable[[], Directory],
        index: CallIndex,
        find: Callable[[str], LiveCall | None],
        clock: IReactorTime,
    ) -> None:
        self._directory, self._index, self._find, self._clock = directory, index, find, clock

    def show(self, request: Request) -> None:
        gone = request.notifyFinish()
        working = Deferred.fromCoroutine(self._answer(request))
        gone.addErrback(lambda _: working.cancel())
        working.addErrback(_ended, request)

    async def _answer(self, request: Request) -> None:
        try:
            account, record = self._place(request)
            if request.method == b"POST":
                await self._act(record, account, _form(request))
        except NotAuthenticated as error:
            await deferLater(self._clock, DELAY)
            request.setHeader(b"www-authenticate", b'Basic realm="stellar-gw", charset="UTF-8"')
            answer_json(request, error.status, error.body)
        except RestError as error:
            answer_json(request, error.status, error.body)
        else:
            answer_json(request, 200, call_resource(record, account.sid))

    def _place(self, request: Request) -> tuple[Account, CallRecord]:
        """Who asks, and of which call.

        :raise RestError: if it is nobody we know, or no call of theirs.
        """
        path = [part.decode("ascii", "replace") for part in request.postpath or ()]
        account = self._authenticate(request)
        found = _CALL.fullmatch(path[3]) if len(path) == 4 and path[::2] == ["Accounts", "Calls"] else None
        record = self._index.find(found[1], account.tenant) if found and path[1] == account.sid else None
        if record is None:
            shown = "/".join(path)[:200]
            raise RestError(404, 20404, f"The requested resource /2010-04-01/{shown} was not found")
        return account, record

    def _authenticate(self, request: Request) -> Account:
        scheme, _, encoded = (request.getHeader("authorization") or "").partition(" ")
        try:
            given = b64decode(encoded.strip(), validate=True).decode("utf-8") if scheme.lower() == "basic" else ""
        except (binascii.Error, ValueError):
            given = ""
        sid, _, token = given.partition(":")
        account = find_account(self._directory(), sid, token) if token else None
        if account is None:
            if given:
                _log.warn("REST: wrong account or token from {source}", source=request.getClientAddress().host)
            raise NotAuthenticated
        return account

    async def _act(self, record: CallRecord, account: Account, form: Mapping[str, str]) -> None:
        status, twiml = form.get("Status", ""), form.get("Twiml", "")
        if form.get("Url"):
            raise RestError(400, 21205, "Url is not fetched here; send the TwiML itself, as Twiml")
        if status and twiml:
            raise RestError(400, 20001, "Send Status or Twiml, not both")
        if status not in ("", "completed", "canceled"):
            raise RestError(400, 20001, "Status can only become completed or canceled")
        if not status and not twiml:
            raise RestError(400, 20001, "Status=completed or Twiml=<Response>... is missing")
        call = self._find(record.call_id)
        if call is None or record.ended is not None:
            if twiml:
                raise RestError(400, 21220, "Call is not in-progress. Cannot redirect.")
            return  # asked to end what has ended: as it is
        _log.info(
            "call {call_id}: agent {agent} asks for {what} by HTTP",
            call_id=record.call_id,
            agent=account.agent,
            what=status or "TwiML",
        )
        if status:
            hang_up(call)
            return
        try:
            await carry_out(call, parse(twiml), self._clock)
        except TwimlError as error:
            raise RestError(400, 12100, str(error)) from None
        except VerbRefused as error:
            raise RestError(error.status, error.code, str(error)) from None


def _form(request: Request) -> dict[str, str]:
    """The fields of the body; of several with one name the last."""
    kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RestError(415, 20001, "The body must be application/x-www-form-urlencoded")
    body = request.content.read() if request.content is not None else b""
    try:
        text = body.decode("utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except ValueError:
        raise RestError(400, 20001, f"The body must be at most {MOST_FIELDS} fields in UTF-8") from None


def _ended(failure: Failure, request: Request) -> None:
    """The asker has left, or something of ours broke."""
    if failure.check(CancelledError) is None:
        request.processingFailed(failure)
