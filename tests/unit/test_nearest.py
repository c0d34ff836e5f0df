"""Mistyped numbers and names, and the connector that was perhaps meant."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.directory.nearest import Nearest
from stellar_gw.directory.records import Connector


def connector(name: str, identifier: str = "", number: str = "") -> Connector:
    return Connector(
        tenant="acme", name=name, type="phone" if number else "sip", identifier=identifier, number=number,
        agent="builtin:echo",
    )  # fmt: skip


NEAREST = Nearest((connector("echo", "600"), connector("front", number="+31201230000"), connector("lab", "lab.desk")))


def near(user: str) -> str:
    found = NEAREST(user)
    return "" if found is None else found.name


class NearestTests(SynchronousTestCase):
    def test_slips(self) -> None:
        """One character missing, added, wrong or swapped with its neighbour; case and the plus do not matter."""
        slips = {
            "60": "echo", "6000": "echo", "601": "echo", "060": "echo", "31201230001": "front", "3120123000": "front",
            "+312012300000": "front", "32101230000": "front", "Lab.Desk": "lab", "lab-desk": "lab", "labdesk": "lab",
        }  # fmt: skip
        self.assertEqual({user: near(user) for user in slips}, slips)

    def test_others(self) -> None:
        """Nothing is near to what is two slips away, to next to nothing, or to what is far too long."""
        others = ("", "6", "0", "+", "999", "31201231111", "desk", "6" * 100, "600" * 5000)
        self.assertEqual([near(user) for user in others], [""] * len(others))

    @given(st.text(max_size=80))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_anything(self, user: str) -> None:
        """Whatever is dialled is found or not; what is known is found by itself."""
        self.assertIn(near(user), ("", "echo", "front", "lab"))
        own = Nearest((connector("x", user),))(user)
        self.assertEqual(own is not None, len(user.removeprefix("+").lower()) > 1)
