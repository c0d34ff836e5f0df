"""``python -m tools.compiled_trial tests.unit.test_...``: trial, with compiled modules in place of their sources."""

from __future__ import annotations

import sys

from stellar_gw.compiled import prefer


def main() -> None:
    runs = prefer()
    if runs != "compiled":
        sys.exit(f"there is nothing to test: {runs}")
    from twisted.scripts.trial import run

    run()


if __name__ == "__main__":
    main()
