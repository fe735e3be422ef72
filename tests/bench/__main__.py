"""`python -m tests.bench NAME [NAME ...]`: runs `tests/bench/NAME.py`'s `run()` and prints one JSON object a line."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
COLUMNS = ("case", "ours", "peer", "theirs", "ratio", "unit", "runs")


def known_benches(folder: Path = FOLDER) -> list[str]:
    """Names of the files that define `run`."""
    return sorted(path.stem for path in folder.glob("[a-z]*.py") if "\ndef run(" in path.read_text(encoding="utf-8"))


def checked(line: dict[str, object]) -> dict[str, object]:
    """The line itself; `ValueError` where a column is missing."""
    missing = [column for column in COLUMNS if column not in line]
    if missing:
        raise ValueError(f"a benchmark's line lacks {', '.join(missing)}: {line}")
    return line


def main(names: Sequence[str]) -> int:
    """Run the named benchmarks; 2 for an unknown name, with one line that names the known ones."""
    known = known_benches()
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        asked = f"no benchmark {unknown[0]!r}" if unknown else "name a benchmark"
        print(f"error: {asked}; there are: {', '.join(known) or 'none yet'}", file=sys.stderr)
        return 2
    for name in names:
        lines: Iterator[dict[str, object]] = importlib.import_module(f"tests.bench.{name}").run()
        for line in lines:
            print(json.dumps(checked(line)), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
