"""A call as Twilio's REST interface tells it, and the index of calls by their Twilio sids."""

from __future__ import annotations

from collections import OrderedDict
from email.utils import formatdate
from typing import Any, Final

from stellar_gw.call.events import CallEnded, CallEvent, CallStarted
from stellar_gw.call.record import CallRecord
from stellar_gw.dialects.twilio import call_sid

MOST_ENDED: Final = 1000
"""Calls that are remembered after their end."""


class CallIndex:
    """Records by call sid: of calls that are up, and of the last ones that ended."""

    def __init__(self) -> None:
        self._up: dict[str, CallRecord] = {}
        self._ended: OrderedDict[str, CallRecord] = OrderedDict()

    def tell(self, event: CallEvent) -> None:
        """Take one call event."""
        if isinstance(event, CallStarted):
            self._up[call_sid(event.record.call_id)] = event.record
        elif isinstance(event, CallEnded):
            sid = call_sid(event.record.call_id)
            self._up.pop(sid, None)
            self._ended[sid] = event.record
            if len(self._ended) > MOST_ENDED:
                self._ended.popitem(last=False)

    def find(self, sid: str, tenant: str) -> CallRecord | None:
        """A tenant's call; another tenant's does not exist."""
        record = self._up.get(sid) or self._ended.get(sid)
        return record if record is not None and record.tenant == tenant else None


def call_resource(record: CallRecord, account_sid: str) -> dict[str, Any]:
    """Twilio's JSON of a call; what we do not know, or do not charge for, is null."""
    sid = call_sid(record.call_id)
    uri = f"/2010-04-01/Accounts/{account_sid}/Calls/{sid}"
    return {
        "sid": sid,
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "answered_by": None,
        "annotation": None,
        "caller_name": None,
        "date_created": _date(record.started),
        "date_updated": _date(record.ended or record.answered or record.started),
        "direction": "inbound",
        "duration": None if record.ended is None else str(round(record.duration)),
        "end_time": _date(record.ended),
        "forwarded_from": None,
        "from": record.from_uri,
        "from_formatted": record.from_uri,
        "group_sid": None,
        "parent_call_sid": None,
        "phone_number_sid": None,
        "price": None,
        "price_unit": None,
        "queue_time": "0",
        "start_time": _date(record.answered),
        "status": status_of(record),
        "subresource_uris": {},
        "to": record.to_uri,
        "to_formatted": record.to_uri,
        "trunk_sid": None,
        "uri": f"{uri}.json",
    }


def status_of(record: CallRecord) -> str:
    """Twilio's word for where a call is."""
    if record.ended is None:
        return "ringing" if record.answered is None else "in-progress"
    if record.answered is not None:
        return "completed"
    return {"cancelled": "canceled"}.get(record.cause, "busy" if record.status == 486 else "failed")


def _date(at: float | None) -> str | None:
    """RFC 2822, in UTC, as Twilio has it."""
    return None if at is None else formatdate(at).replace("-0000", "+0000")
