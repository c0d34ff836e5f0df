"""``stellar-gw-why REF``: what became of a call, and why, with the SIP messages that were exchanged.

REF is the reference of a Warning header (``7K3F2S``), a call id of ours (``c-...``) or a SIP Call-ID.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from stellar_gw.terminal import Palette

FILES = ("refusals.jsonl", "cdr.jsonl")
_MOST_LINE = 1 << 20


def find(folder: Path, wanted: str) -> Iterator[dict[str, Any]]:
    """The records of a folder, rotated files too, that a reference names; the oldest first."""
    for name in FILES:
        for path in sorted(folder.glob(f"{name}*"), key=lambda path: path.stat().st_mtime):
            for line in _lines(path):
                if wanted not in line:  # cheap, and right in nearly every line
                    continue
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # the last line of a file that is being written
                if isinstance(record, dict) and wanted in _names(record):
                    yield record


def _lines(path: Path) -> Iterator[str]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        while line := file.readline(_MOST_LINE):
            yield line


def _names(record: dict[str, Any]) -> set[Any]:
    return {record.get("reference"), record.get("call_id"), record.get("sip_call_id")}


def describe(record: dict[str, Any], palette: Palette) -> Iterator[str]:
    """A record in lines for people."""
    if record.get("kind") == "refusal":
        yield palette.bold(f"{record['reference']}  refused with {record['status']}  {_when(record['at'])}")
        yield f"  {palette.red('why')}   {record['reason']}"
        yield f"  {palette.green('fix')}   {record['fix']}"
        rows: tuple[str, ...] = (
            "source", "transport", "method", "uri", "from", "username", "user_agent", "sip_call_id",
        )  # fmt: skip
    else:
        yield palette.bold(
            f"{record['call_id']}  {record['cause']} by {record['ended_by']}  {_when(record['started'])}"
        )
        if record.get("reason"):
            yield f"  {palette.red('why')}   {record['reason']}"
        yield f"  talked {record['duration']:.1f} s, status {record['status']}"
        rows = (
            "tenant", "connector", "agent", "environment", "version", "admitted", "source", "transport", "from",
            "to", "codec", "user_agent", "sip_call_id", "reason_header",
        )  # fmt: skip
    for row in rows:
        if record.get(row):
            yield f"  {palette.dim(row.replace('_', ' ') + ':')} {_printable(str(record[row]))}"
    for leg in record.get("legs", ()):
        yield (
            f"  {palette.dim('media ' + str(leg.get('leg', '')) + ':')} {leg.get('packets_received', 0)} packets in, "
            f"{leg.get('packets_sent', 0)} out, {leg.get('packets_lost', 0)} lost, jitter {leg.get('jitter_ms', 0)} ms"
        )
    said = record.get("conversation")
    if said and said["turns"]:
        yield (
            f"  {palette.dim('agent:')} {said['turns']} answers, the caller waited {said['p50_ms']} ms (median), "
            f"{said['max_ms']} ms at the most; {said['barge_ins']} barge-ins"
        )
    for line in record.get("ladder", ()):
        yield f"  {palette.cyan(_printable(line)) if ' <- ' in line else _printable(line)}"


def _when(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at).astimezone().isoformat(" ", "milliseconds")


def _printable(text: str) -> str:
    """Nothing that a caller sent may move the terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """:return: 0 where something was found, 1 where not, 2 where the records cannot be read."""
    parser = argparse.ArgumentParser(prog="stellar-gw-why", description=__doc__.partition("\n")[0])
    parser.add_argument("reference", metavar="REF", help="of a Warning header, a call id, or a SIP Call-ID")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", metavar="FILE", help="the gateway's configuration, which names the folder")
    where.add_argument("--records", metavar="DIR", help="the folder of the records (default: /var/lib/stellar-gw)")
    parser.add_argument("--json", action="store_true", help="print the records as they are, one a line")
    options = parser.parse_args(arguments)
    try:
        folder = _folder(options.config, options.records)
        wanted = options.reference.strip().upper() if len(options.reference.strip()) == 6 else options.reference.strip()
        found = list(find(folder, wanted))
    except OSError as error:
        err.write(f"stellar-gw-why: {error.filename}: {error.strerror}\n")
        return 2
    except ValueError as error:
        err.write(f"stellar-gw-why: {error}\n")
        return 2
    if not found:
        err.write(f"stellar-gw-why: nothing about {_printable(options.reference)} in {folder}\n")
        return 1
    palette = Palette.of(out)
    for record in found:
        if options.json:
            out.write(json.dumps(record) + "\n")
        else:
            out.write("\n".join(describe(record, palette)) + "\n")
    return 0


def _folder(config: str | None, records: str | None) -> Path:
    if config is None:
        return _existing(Path(records or "/var/lib/stellar-gw"))
    from stellar_gw.config import records_directory

    return _existing(Path(records_directory(config)))


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name it with --records, or the configuration with -c")
    return folder


if __name__ == "__main__":
    sys.exit(main())
