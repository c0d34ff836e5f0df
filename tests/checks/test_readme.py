"""README.rst shows what is really there."""

from __future__ import annotations

import re
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.rst").read_text(encoding="utf-8")


class ReadmeTests(SynchronousTestCase):
    def test_its_configuration_is_the_example_file(self) -> None:
        example = (ROOT / "conf" / "stellar-gw.example.yaml").read_text(encoding="utf-8")
        shown = "".join(f"    {line}\n" if line else "\n" for line in example.rstrip("\n").split("\n"))
        self.assertIn(shown, README)
        self.assertLess(len(example.splitlines()), 60)

    def test_the_files_it_names_are_there(self) -> None:
        named = re.findall(r"``((?:conf|docs|examples|benchmarks)/[\w./-]*)``", README)
        self.assertGreater(len(named), 8)
        self.assertEqual([name for name in named if not (ROOT / name).exists()], [])

    def test_the_pipecat_lines_are_the_examples(self) -> None:
        """What docs/agents.rst shows of Pipecat is what the suite runs."""
        page = (ROOT / "docs" / "agents.rst").read_text(encoding="utf-8")
        example = (ROOT / "examples" / "pipecat_agent.py").read_text(encoding="utf-8")
        shown = page[page.index("    @app.websocket") :].partition("\n\nThe gateway's side")[0]
        self.assertIn("".join(f"{line[4:]}\n" for line in shown.split("\n")), example)

    def test_pages_can_be_rendered(self) -> None:
        """Every page is sound reStructuredText."""
        for page in (ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))):
            settings = {"report_level": 2, "halt_level": 2, "warning_stream": False, "syntax_highlight": "none"}
            publish_doctree(page.read_text(encoding="utf-8"), str(page), settings_overrides=settings)
