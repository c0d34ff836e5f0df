"""Ways to write an INVITE that mean the same: what lies between one phone system and the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from stellar_gw.sip.grammar import split_list
from stellar_gw.sip.header_names import COMPACT

Lines = list[tuple[str, str]]
Mutation = Callable[[Lines, Random], Lines]

_SHORT = {long.lower(): short for short, long in COMPACT.items()}
_LISTS = ("via", "record-route", "allow", "supported", "diversion")
_PARAMETERS = ("via", "from", "to")


def order(lines: Lines, random: Random) -> Lines:
    """Headers in any order; those of one name keep theirs (RFC 3261 7.3.1)."""
    names = [_key(name) for name, _ in lines]
    random.shuffle(names)
    waiting: dict[str, Lines] = {}
    for line in lines:
        waiting.setdefault(_key(line[0]), []).append(line)
    return [waiting[name].pop(0) for name in names]


def case(lines: Lines, random: Random) -> Lines:
    """Names in any case (7.3.1)."""
    return [
        ("".join(random.choice((letter.lower(), letter.upper())) for letter in name), value) for name, value in lines
    ]


def compact(lines: Lines, random: Random) -> Lines:
    """Short names where there are any (7.3.3)."""
    return [(_SHORT.get(name.lower(), name) if random.random() < 0.5 else name, value) for name, value in lines]


def spaces(lines: Lines, random: Random) -> Lines:
    """White space before and after the colon, and at the end (7.3.1, 25.1: HCOLON)."""
    return [
        (name + random.choice(("", " ", "\t")), random.choice(("", " ", "  \t ")) + value + random.choice(("", " ")))
        for name, value in lines
    ]


def fold(lines: Lines, random: Random) -> Lines:
    """A line break wherever a space is (7.3.1: LWS)."""

    def folded(value: str) -> str:
        parts = value.split(" ")
        return "".join(part + random.choice((" ", " ", "\r\n ", "\r\n\t", " \r\n ")) for part in parts[:-1]) + parts[-1]

    return [(name, folded(value)) for name, value in lines]


def lists(lines: Lines, random: Random) -> Lines:
    """One line for each item of a list, or one for all of them (7.3.1)."""
    found: Lines = []
    for name, value in lines:
        key = _key(name)
        if key in _LISTS and random.random() < 0.5:
            found += [(name, item) for item in split_list(value)] or [(name, value)]
        elif key in _LISTS and found and _key(found[-1][0]) == key and value and found[-1][1]:
            found[-1] = (found[-1][0], f"{found[-1][1]}, {value}")
        else:
            found.append((name, value))
    return found


def parameters(lines: Lines, random: Random) -> Lines:
    """Parameters of a header in any order."""

    def shuffled(name: str, value: str) -> str:
        head, bracket, rest = value.rpartition(">")
        if _key(name) not in _PARAMETERS or "," in rest or '"' in rest or (not bracket and _key(name) != "via"):
            return value
        first, *others = rest.split(";")
        random.shuffle(others)
        return head + bracket + ";".join([first, *others])

    return [(name, shuffled(name, value)) for name, value in lines]


def strangers(lines: Lines, random: Random) -> Lines:
    """Headers that nobody knows (8.2.2: ignored)."""
    added = [("Foo-Bar", "baz;q=1"), ("P-Unheard-Of", '"a, b" <c>'), ("Priority", "normal"), ("Zz", "")]
    for line in random.sample(added, random.randint(0, len(added))):
        lines = [*lines]
        lines.insert(random.randint(0, len(lines)), line)
    return lines


ALL: tuple[Mutation, ...] = (order, compact, case, lists, parameters, strangers, fold, spaces)


def mutated(head: str, body: str, random: Random) -> bytes:
    """The same INVITE, written another way.

    :param head: start line and headers, without the empty line.
    """
    start, *rest = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
    lines = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    lines = [line for line in lines if _key(line[0]) != "content-length"]
    body = description(body, random)
    for mutation in ALL:
        if random.random() < 0.6:
            lines = mutation(lines, random)
    lines.insert(
        random.randint(0, len(lines)), (random.choice(("Content-Length", "l", "CONTENT-LENGTH")), str(len(body)))
    )
    return "\r\n".join([start, *(f"{name}:{value}" for name, value in lines), "", body]).encode()


def description(body: str, random: Random) -> str:
    """SDP with its attributes in another order, further ones, and m-lines that nobody here wants."""
    if not body:
        return ""
    *before, audio = body.partition("m=audio")
    lines = audio.rstrip("\r\n").split("\r\n")
    attributes = [line for line in lines[1:] if line.startswith("a=")]
    keys = iter([line for line in attributes if line.startswith("a=crypto")])
    attributes += random.sample(["a=x-unheard-of", "a=label:7", "a=foo:bar baz"], random.randint(0, 3))
    random.shuffle(attributes)
    attributes = [next(keys) if line.startswith("a=crypto") else line for line in attributes]
    others = [line for line in lines[1:] if not line.startswith("a=")]
    more = ["m=video 0 RTP/AVP 31", "m=application 0 UDP/BFCP *", "m=image 0 udptl t38"]
    random.shuffle(more)
    written = [lines[0], *others, *attributes, *more[: random.randint(0, 3)]]
    return "".join(before) + "\r\n".join(written) + "\r\n"


def _key(name: str) -> str:
    return COMPACT.get(name.strip().lower(), name.strip()).lower()
