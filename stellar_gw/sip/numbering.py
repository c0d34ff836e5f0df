"""Telephone numbers that cost the caller's side more than a call: what fraud dials.

The table is not complete and need not be: nothing is dialled that an operator has not allowed by a prefix, and
it only keeps a wide prefix (``+1``, ``+44``) from opening what hides inside it. A range of the table is open to
those who name it, or a part of it.

International codes are those of the ITU's list of assigned country codes (E.164D, an annex to its Operational
Bulletin). National ranges are what Google's libphonenumber 9.0.43 has for premium rate, which follows each regulator's
published plan; a range is rounded up where nothing else is assigned beside it. Added to them are ranges that pay
whoever is called without being called premium: Britain's personal numbers (070), Germany's 0137 and 0180.
"""

from __future__ import annotations

from types import MappingProxyType

_CARIBBEAN = (
    "242", "246", "264", "268", "284", "345", "441", "473", "649", "658", "664", "721", "758", "767", "784", "809",
    "829", "849", "868", "869", "876",
)  # fmt: skip
"""Countries within +1 that a call to from the United States or Canada is billed as international."""

_PREMIUM = MappingProxyType(
    {
        "1": "900", "20": "900", "212": "89", "213": "8031 8041 8051 8061 8081 8091", "216": "88",
        "221": "884 886 888 889", "227": "09", "230": "30", "231": "33202 3323 3324", "236": "8776", "240": "90",
        "242": "800 801 802", "248": "85", "250": "900", "254": "900", "255": "90", "256": "901 902 903",
        "262": "891 892 893 897 898 899", "264": "8701", "267": "90", "268": "900", "269": "8",
        "27": "862 863 864 865 866 867 868 869 90 91 92", "297": "900",
        "298": "90", "30": "901 909",
        "31": "900 906 909", "32": "702 703 7044 706 7070 7075 7077 7079 90", "33": "81 82 83 85 86 88 89",
        "34": "803 806 807", "351": "601 607 608 646 648 760 7612 7613 7614 7617 7621 7622 7623 7627",
        "352": "900 901 905", "353": "151 152 153 154 155 156 157 158 159", "354": "90", "355": "900",
        "356": "5004 506 507 509 51 52", "357": "900 909", "358": "600 700", "359": "90", "36": "90 91",
        "370": "900 902 903 909 910", "371": "90", "372": "40 900", "373": "900 905 906", "374": "900 901 906",
        "375": "810 902", "376": "1 9", "378": "71 77 78", "380": "9002 9003 9009", "381": "78 900 901 906 909",
        "382": "941 945 946 948 951 957 958", "383": "900", "385": "60 61 64 65 69", "386": "891 892 893 90",
        "387": "90 92 94 96", "389": "5", "39": "0878 144 163 164 166 892 8930 8934 8938 894 895 899",
        "40": "900 901 903 906", "41": "900 901 906", "420": "90 976", "421": "900 97 98",
        "423": "90", "43": "86 89 900 901 930 931 939",
        "44": "70 84 87 9", "45": "90", "46": "649 900 939 944 99", "47": "820 829", "48": "70", "49": "137 180 900",
        "502": "19", "503": "900", "506": "900 905 909", "507": "822 855 860 877 878 886 900 981", "508": "81 82 89",
        "51": "805", "52": "900", "54": "60", "55": "500 900", "57": "1900 1901 1947 1948 901", "58": "900 901",
        "590": "81 82 89", "592": "9008", "594": "81 82 89", "596": "81 82 89", "597": "90", "598": "90", "60": "1600",
        "61": "190", "62": "809", "64": "1 5000 5008 5030 5066 5077 5088 90", "65": "1900", "66": "1900",
        "670": "90", "687": "36", "7": "803 809", "81": "990", "82": "60", "84": "1900", "852": "900",
        "855": "19001 19002", "86": "160 168", "886": "20", "90": "888 898 900", "91": "1861 1862", "92": "900",
        "960": "900", "961": "90 91", "962": "9", "966": "925", "968": "900", "971": "9000 9002",
        "972": "1200 1212 1900 1901 1902 1919 199", "973": "87 9", "994": "90020",
    }
)  # fmt: skip
"""By country code: the first digits of national numbers, their trunk prefix left out."""

_WORLDWIDE = MappingProxyType(
    {
        "+808": "international shared cost",
        "+870": "satellite or international network",
        "+878": "satellite or international network",
        "+881": "satellite or international network",
        "+882": "satellite or international network",
        "+883": "satellite or international network",
        "+888": "satellite or international network",
        "+979": "premium rate",
    }
)
"""Inmarsat, personal telecommunications, mobile satellites, networks of no country (882, 883), relief in disasters."""

_RANGES = MappingProxyType(
    dict.fromkeys((f"+1{code}" for code in _CARIBBEAN), "another country within +1")
    | {f"+{country}{begin}": "premium rate" for country, begins in _PREMIUM.items() for begin in begins.split()}
    | dict(_WORLDWIDE)
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
    for length in range(_LONGEST, 1, -1):
        if number[:length] in _RANGES:
            return number[:length]
    return ""
