"""Whether a machine's cores halt, told from what its kernel shows."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.worker.halting import cores_halt


class CoresHaltTests(SynchronousTestCase):
    def system(self, driver: str | None, limit: str | None = None) -> Path:
        system = Path(self.mktemp())
        for name, content in (
            ("devices/system/cpu/cpuidle/current_driver", driver),
            ("module/haltpoll/parameters/guest_halt_poll_ns", limit),
        ):
            if content is not None:
                (system / name).parent.mkdir(parents=True)
                (system / name).write_text(content)
        return system

    def test_no_driver(self) -> None:
        """A guest whose kernel has nothing but HLT."""
        self.assertTrue(cores_halt(self.system("none\n")))

    def test_haltpoll_too_short(self) -> None:
        """The kernel's own limit of 200 us is too short for a worker that is not full."""
        self.assertTrue(cores_halt(self.system("haltpoll\n", "200000\n")))
        self.assertTrue(cores_halt(self.system("haltpoll\n", "0\n")))

    def test_haltpoll(self) -> None:
        self.assertFalse(cores_halt(self.system("haltpoll\n", "1000000\n")))

    def test_a_machine_of_metal(self) -> None:
        """It has the parameter where the module is built in, and does not use it."""
        self.assertFalse(cores_halt(self.system("intel_idle\n", "200000\n")))

    def test_not_known(self) -> None:
        self.assertFalse(cores_halt(self.system(None)))
        self.assertFalse(cores_halt(self.system("haltpoll\n")))
        self.assertFalse(cores_halt(self.system("haltpoll\n", "?\n")))
