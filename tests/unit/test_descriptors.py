"""Connections leave room for everything else that takes a descriptor."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = """
import resource, sys
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from stellar_gw.net.descriptors import connections_within, raise_limit
raise_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE), connections_within(wanted))
"""


def run(soft: int, hard: int, wanted: int) -> tuple[tuple[int, int], int]:
    """The limits, and the connections taken, in a process with these limits."""
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(wanted)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    limits, _, connections = printed.strip().rpartition(" ")
    low, high = (int(word.strip("()")) for word in limits.split(","))
    return (low, high), int(connections)


class DescriptorsTests(SynchronousTestCase):
    def test_soft_limit_is_raised(self) -> None:
        """The soft limit rises to the hard one, and what is wanted is taken where it fits."""
        self.assertEqual(run(64, 2000, 1000), ((2000, 2000), 1000))

    def test_a_fifth_is_left(self) -> None:
        """Where it does not fit, four fifths are for connections, less what is open already."""
        limits, connections = run(100, 100, 1000)
        self.assertEqual(limits, (100, 100))
        self.assertTrue(70 <= connections < 80, connections)
