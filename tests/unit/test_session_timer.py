"""Session timers as data: what is asked for, what is settled, and what hostile values come to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response, response_to
from stellar_gw.sip.session_timer import (
    LEAST,
    MOST,
    SessionTerms,
    SessionTimer,
    after_422,
    headers_of_request,
    headers_of_success,
    min_se,
    session_expires,
    settle_as_uac,
    settle_as_uas,
    too_small,
)
from tests.messages import invite, parsed

TERMS = SessionTerms(interval=1800, minimum=120)
TIMER = ("Supported", "timer")


def asks(*headers: tuple[str, str]) -> Request:
    return parsed(invite(headers=headers))


def answers(status: int, *headers: tuple[str, str]) -> Response:
    return response_to(parsed(invite()), status, "", headers)


class ValueTests(SynchronousTestCase):
    def test_interval_and_refresher(self) -> None:
        known = {
            "1800": (1800, None),
            " 90 ; refresher=uac": (90, "uac"),
            "1800;Refresher = UAS;x=y": (1800, "uas"),
            "1800;refresher=nobody": (1800, None),
            "999999999": (MOST, None),
            "0": None,
            "-5": None,
            "9999999999": None,
            "soon": None,
            "": None,
        }
        self.assertEqual({value: session_expires(Headers([("x", value)])) for value in known}, known)
        self.assertEqual([min_se(Headers([("Min-SE", value)])) for value in ("90", "90;x", "x", "")], [90, 90, 0, 0])

    @given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=60))
    def test_no_value_raises_and_every_interval_is_in_bounds(self, value: str) -> None:
        headers = Headers.sound([("Session-Expires", value), ("Min-SE", value)])
        found = session_expires(headers)
        self.assertTrue(found is None or (1 <= found[0] <= MOST and found[1] in ("uac", "uas", None)))
        self.assertLessEqual(0, min_se(headers))


class UasTests(SynchronousTestCase):
    def test_who_refreshes_and_when(self) -> None:
        """RFC 4028, table 2; where it is ours to choose, we refresh."""
        cases = {
            (("Session-Expires", "600"), TIMER): SessionTimer(interval=600, ours=True),
            (("Session-Expires", "600;refresher=uac"), TIMER): SessionTimer(interval=600, ours=False),
            (("Session-Expires", "600;refresher=uas"), TIMER): SessionTimer(interval=600, ours=True),
            (("Session-Expires", "600;refresher=uac"),): SessionTimer(interval=600, ours=True),
            (("Session-Expires", "7200"), TIMER): SessionTimer(interval=1800, ours=True),
            (("Session-Expires", "7200"), ("Min-SE", "3600"), TIMER): SessionTimer(interval=3600, ours=True),
            (("Session-Expires", "30"),): SessionTimer(interval=120, ours=True),
            (TIMER,): SessionTimer(interval=1800, ours=True),
            (): None,
        }
        self.assertEqual({headers: settle_as_uas(asks(*headers), TERMS) for headers in cases}, cases)
        self.assertIsNone(settle_as_uas(asks(("Session-Expires", "600"), TIMER), None))

    def test_what_our_200_says(self) -> None:
        self.assertEqual(headers_of_success(None), ())
        self.assertEqual(
            headers_of_success(SessionTimer(interval=600, ours=True)), (("Session-Expires", "600;refresher=uas"),)
        )
        self.assertEqual(
            headers_of_success(SessionTimer(interval=600, ours=False)),
            (("Require", "timer"), ("Session-Expires", "600;refresher=uac")),
        )

    def test_less_than_we_put_up_with_is_refused_to_those_who_can_ask_again(self) -> None:
        least = (("Min-SE", "120"),)
        self.assertEqual(too_small(asks(("Session-Expires", "119"), TIMER), TERMS), least)
        for headers in ([("Session-Expires", "120"), TIMER], [("Session-Expires", "119")], [TIMER]):
            self.assertIsNone(too_small(asks(*headers), TERMS))


class UacTests(SynchronousTestCase):
    def test_what_we_ask_for(self) -> None:
        timer = SessionTimer(interval=3600, ours=False, minimum=3600)
        self.assertEqual(headers_of_request(None, TERMS, first=True), (("Session-Expires", "1800"),))
        self.assertEqual(
            headers_of_request(timer, TERMS, first=True), (("Session-Expires", "3600"), ("Min-SE", "3600"))
        )
        self.assertEqual(
            headers_of_request(timer, TERMS, first=False),
            (("Session-Expires", "3600;refresher=uas"), ("Min-SE", "3600")),
        )

    def test_a_422_is_answered_by_more_and_never_by_the_same_again(self) -> None:
        refused = answers(422, ("Min-SE", "3600"))
        more = SessionTimer(interval=3600, ours=True, minimum=3600)
        self.assertEqual(after_422(refused, None, TERMS), more)
        self.assertIsNone(after_422(refused, more, TERMS))
        self.assertIsNone(after_422(answers(422), None, TERMS))

    def test_what_a_200_settles(self) -> None:
        self.assertIsNone(settle_as_uac(answers(200), None))
        for value, ours in (("600;refresher=uac", True), ("600;refresher=uas", False), ("600", True)):
            timer = settle_as_uac(answers(200, ("Session-Expires", value)), None)
            self.assertEqual(timer, SessionTimer(interval=600, ours=ours))
        self.assertEqual(
            settle_as_uac(answers(200, ("Session-Expires", "1;refresher=uas")), None),
            SessionTimer(interval=LEAST, ours=False),
        )

    def test_when_it_is_due(self) -> None:
        timers = [SessionTimer(interval=interval, ours=True) for interval in (90, 1800)]
        self.assertEqual([(each.refresh_after, each.ends_after) for each in timers], [(45, 60), (900, 1768)])
