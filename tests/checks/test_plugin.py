"""Installed as it should be: found from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.application.reactors import IReactorInstaller
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase


class PluginTests(SynchronousTestCase):
    def test_twistd_finds_the_gateway_from_another_folder(self) -> None:
        """``twistd --help`` anywhere lists stellar-gw."""
        twistd = Path(sys.executable).parent / "twistd"
        self.assertTrue(twistd.exists(), f"{twistd} is missing: run make venv")
        elsewhere = self.mktemp()
        Path(elsewhere).mkdir()
        done = subprocess.run([twistd, "--help"], cwd=elsewhere, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("stellar-gw", [line.split()[0] for line in done.stdout.splitlines() if line.strip()])

    def test_trial_finds_the_workers_reactor(self) -> None:
        """The workers' reactor is there for ``trial --reactor=stellar-uvloop``."""
        names = [plugin.shortName for plugin in getPlugins(IReactorInstaller)]
        self.assertEqual(names.count("stellar-uvloop"), 1)

    def test_there_is_one_gateway(self) -> None:
        """The plugin is found once, and names the module that makes the service."""
        found = [
            getattr(plugin, "module", None) for plugin in getPlugins(IServiceMaker) if plugin.tapname == "stellar-gw"
        ]
        self.assertEqual(found, ["stellar_gw.tap"])
