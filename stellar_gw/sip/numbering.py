"""Telephone numbers that cost the caller's side more than a call: what fraud dials (ITU-T E.164, national plans).

The table is not complete and need not be: nothing is dialled that an operator has not allowed by a prefix, and
it only keeps a wide prefix (``+1``, ``+44``) from opening what hides inside it. A range of the table is open to
those who name it, or a part of it.
"""

from __future__ import annotations

from types import MappingProxyType

_CARIBBEAN = (
    "242", "246", "264", "268", "284", "345", "441", "473", "649", "658", "664", "721", "758", "767", "784", "809",
    "829", "849", "868", "869", "876",
)  # fmt: skip
"""Countries within +1 that a call to from the United States or Canada is billed as international."""

_PREMIUM = (
    "+979", "+1900", "+1976", "+3069", "+30901", "+30909", "+3189", "+31900", "+31906", "+31909", "+3290", "+3389",
    "+34803", "+34806", "+34807", "+34905", "+34907", "+35115", "+351601", "+351607", "+351646", "+351760",
    "+351761", "+351762", "+36690", "+36691", "+39166", "+39892", "+39893", "+39894", "+39895", "+39899", "+41900",
    "+41901", "+41906", "+43900", "+43901", "+43930", "+43931", "+43939", "+4470", "+4484", "+4487", "+449",
    "+4590", "+46900", "+46939", "+46944", "+47820", "+47829", "+4870", "+49137", "+49180", "+49900", "+61190",
    "+64900", "+81990", "+35815", "+35819", "+353151", "+353152", "+353153", "+353155", "+353156", "+353157",
    "+353158", "+353159", "+352905", "+420900", "+420906", "+420909", "+421900",
)  # fmt: skip
_SATELLITE = ("+870", "+878", "+881", "+882", "+883", "+888")

_RANGES = MappingProxyType(
    {**dict.fromkeys((f"+1{code}" for code in _CARIBBEAN), "another country within +1")}
    | dict.fromkeys(_PREMIUM, "premium rate")
    | dict.fromkeys(_SATELLITE, "satellite or international network")
)
_LONGEST = max(map(len, _RANGES))


def premium(number: str) -> str:
    """What makes a number expensive, in a few words; empty where nothing is known against it.

    :param number: ``+E.164``.
    """
    return _RANGES.get(_range_of(number), "")


def allowed(number: str, prefixes: tuple[str, ...]) -> bool:
    """Whether one of the prefixes allows a number: a range of this table only if it names the range itself.

    :param number: ``+E.164``.
    :param prefixes: of ``+E.164`` numbers.
    """
    expensive = _range_of(number)
    return any(number.startswith(prefix) and len(prefix) >= len(expensive) for prefix in prefixes)


def _range_of(number: str) -> str:
    """The longest range of the table that holds a number."""
    for length in range(_LONGEST, 3, -1):
        if number[:length] in _RANGES:
            return number[:length]
    return ""
