"""The metrics file: every number of a run, one JSON object a line (`t` seconds, `actor`, `name`, `value`).

Times are seconds of the world's clock, which goes on in a resumed run. A line is written whole; a file that a crash cut
short loses at most its last line, which readers skip and a later start removes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

NAME = "metrics.jsonl"


class Row(msgspec.Struct, frozen=True):
    """One number."""

    t: float
    actor: str
    name: str
    value: float


class MetricsFile:
    """Appends to `metrics.jsonl` in the run's folder (`config["run_dir"]`)."""

    def __init__(self, config: dict[str, Any], emit: object, clock: object) -> None:
        self._path = Path(config["run_dir"]) / NAME
        mend(self._path)
        self._file: TextIO = self._path.open("a", encoding="utf-8")

    def write(self, actor: str, rows: tuple[tuple[str, int, float], ...]) -> None:
        """Take (name, time ns, value) rows of one actor."""
        for name, at_ns, value in rows:
            row = {"t": round(at_ns / 1e9, 3), "actor": actor, "name": name, "value": value}
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read_metrics(run_dir: Path) -> Iterator[Row]:
    """All numbers of a run, in order of writing; a torn last line is skipped."""
    path = run_dir / NAME
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Row)
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield decoder.decode(line)


def mend(path: Path) -> None:
    """Cut off a torn last line, so that what is appended begins a line of its own."""
    if path.exists():
        whole = path.read_bytes()
        if whole and not whole.endswith(b"\n"):
            path.write_bytes(whole[: whole.rfind(b"\n") + 1])
