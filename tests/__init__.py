"""The tests; what holds for all that draw their examples is set here."""

from __future__ import annotations

from pathlib import Path

from hypothesis import configuration, settings

# Before the first example hypothesis reads every module of ours that is loaded, for constants worth trying. That takes
# seconds, which count as the first test's, and which each process of ``trial -j`` would spend again in a folder of its
# own that is thrown away. In one place they are spent once.
configuration.set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis")

# A machine that has other work may take any time over an example. Without a deadline the first ten may take 30 s before
# a test counts as too slow, instead of one: that is a generator that is dear in itself.
settings.register_profile("stellar-gw", deadline=None)
settings.load_profile("stellar-gw")
