"""A configuration read again while calls are up: what may change, and what a bad file does (nothing)."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.config import Config, reload_config
from stellar_gw.errors import ConfigError
from tests.unit.test_config import FILE, load


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = str(Path(self.mktemp()))

    def reload(self, old: str, new: str) -> Config:
        running = load(old, self.path)
        Path(self.path).write_text(new)
        return reload_config(running, self.path, {})

    def test_what_may_change(self) -> None:
        """Tenants, limits, timers and the like take effect at once."""
        new = (
            FILE.replace("calls: 40", "calls: 60").replace("drain: 300s", "drain: 10s").replace('"700"', '"701"')
            .replace("connect_timeout: 3s", "connect_timeout: 2s").replace("pbx.example.com", "b.example.com")
        )  # fmt: skip
        config = self.reload(FILE, new)
        self.assertEqual(
            (config.limits.calls, config.timers.drain, config.agent.connect_timeout, config.aliases),
            (60, 10.0, 2.0, ("b.example.com",)),
        )

    def test_what_may_not(self) -> None:
        """Sockets, ports and processes are made once; every such change is told, with both values."""
        new = (
            FILE.replace("bind: 127.0.0.1:5060", "bind: 127.0.0.1:5062").replace("10000-20000", "10000-11000")
            .replace("transport: tcp", "transport: udp").replace("calls: 40", "connections: 5")
            .replace("media:", "  new: {transport: udp, bind: '127.0.0.1:9'}\nmedia:")
            .replace("level: info", "level: warn")
        )  # fmt: skip
        error: ConfigError = self.assertRaises(ConfigError, self.reload, FILE, new)
        end = "; only a restart can change it"
        self.assertEqual(
            [problem.removeprefix(f"{self.path}:") for problem in error.problems],
            [
                "5: listeners.udp.bind: was 127.0.0.1:5060, is 127.0.0.1:5062" + end,
                "4: listeners.udp.advertise: was 127.0.0.1:5060, is 127.0.0.1:5062" + end,
                "6: listeners.office.transport: was tcp, is udp" + end,
                "7: listeners.new: was not there, is a listener" + end,
                "8: media.ports: was 10000-19999, is 10000-10999" + end,
                "14: log.level: was info, is warn" + end,
                "10: limits.connections: was 600, is 5" + end,
            ],
        )

    def test_the_realm_is_held_by_stored_ha1s(self) -> None:
        """With passwords the domain may change; an HA1 that was stored without its password holds the old one."""
        new = FILE.replace("sip.example.com", "new.example.com")
        error: ConfigError = self.assertRaises(ConfigError, self.reload, FILE, new)
        self.assertEqual(
            error.problems,
            (
                f"{self.path}:1: domain: was sip.example.com, is new.example.com; the stored HA1 of acme-stored holds "
                "the old one, so give passwords or new HA1s, and restart",
            ),
        )
        stored = "{ha1_md5: 0123456789abcdef0123456789abcdef}"
        config = self.reload(FILE, new.replace(stored, "{password: letmein99}"))
        self.assertEqual(config.directory.domain, "new.example.com")

    def test_a_bad_file_is_refused_whole(self) -> None:
        """The running configuration is not touched, whatever the file holds."""
        running = load(FILE, self.path)
        before = evolve(running)
        for text in ("", "domain: [", FILE.replace("agent: reception,", "agent: nobody,")):
            Path(self.path).write_text(text)
            self.assertRaises(ConfigError, reload_config, running, self.path, {})
        self.assertEqual(running, before)
        Path(self.path).unlink()
        self.assertRaises(ConfigError, reload_config, running, self.path, {})

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.data())
    def test_mutated_files(self, data: st.DataObject) -> None:
        """A good file with lines lost, doubled or moved, or characters changed: a configuration or a ConfigError."""
        lines = FILE.splitlines()
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(lines) - 1))
            to = data.draw(st.integers(0, len(lines) - 1))
            match data.draw(st.sampled_from(["lose", "double", "move", "indent", "change"])):
                case "lose":
                    lines[at] = ""
                case "double":
                    lines.insert(to, lines[at])
                case "move":
                    lines.insert(to, lines.pop(at))
                case "indent":
                    lines[at] = "  " + lines[at]
                case _:
                    where = data.draw(st.integers(0, len(lines[at])))
                    lines[at] = lines[at][:where] + data.draw(st.text(max_size=3)) + lines[at][where + 1 :]
        try:
            config = load("\n".join(lines), "conf.yaml")
        except ConfigError as error:
            for problem in error.problems:
                self.assertTrue(re.match("conf.yaml:[0-9]+: |conf.yaml: and ", problem), problem)
        else:
            self.assertTrue(config.listeners)
