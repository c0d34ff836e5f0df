"""What a rehearsal has found: one line for each check, and what to mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from attrs import frozen

State = Literal["ok", "none", "warn", "fail"]

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_LOST = range(5)
"""0 all as it must be; 1 a check failed; 2 wrong usage (argparse's); 3 the agent could not be reached; 4 its link
failed while the call was up."""

UNREACHABLE: Final = "connect"
LOST: Final = "link"
"""The checks that have an exit status of their own."""


@frozen(kw_only=True)
class Finding:
    """One check.

    :ivar check: its name, a word or two.
    :ivar state: ``none`` where there was nothing to judge.
    :ivar said: what was seen, one line.
    :ivar mend: what to do about it; empty where nothing is wrong.
    """

    check: str
    state: State
    said: str
    mend: str = ""


def exit_status(findings: Sequence[Finding], *, strict: bool = False) -> int:
    failed = [each.check for each in findings if each.state == "fail" or (strict and each.state == "warn")]
    if UNREACHABLE in failed:
        return EXIT_UNREACHABLE
    if LOST in failed:
        return EXIT_LOST
    return EXIT_FAILED if failed else EXIT_OK
