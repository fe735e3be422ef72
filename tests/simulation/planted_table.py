"""The table of planted faults in docs/faults.md: for each, the first seed that finds it and how many of 40 plans do.

python -m tests.simulation.planted_table [--write]        prints the table, or puts it into docs/faults.md

Plans of the small profile, in repairable mode; a fault that needs an event that is drawn rarely is planted in plans in
which the event is frequent (marked *).
"""

import sys
from pathlib import Path

import pytest

from sim.plan import run_plan
from sim.violation import WORDS
from tests.simulation.planted_faults import FAULTS, Planted

COUNTED = 40
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- planted faults: begin -->", "<!-- planted faults: end -->"


def line(planted: Planted) -> str:
    """One row of the table."""
    first, words, found = None, "", 0
    for seed in range(max(planted.seeds, COUNTED)):
        if seed >= COUNTED and first is not None:
            break
        outcome = run_plan(planted.plan(seed))
        if outcome.violation:
            found += seed < COUNTED
            if first is None:
                first = seed
                words = WORDS.get(outcome.invariant, "an actor fails by itself")
    name = planted.plant.__name__.replace("_", " ") + (" *" if planted.settings or planted.deaths else "")
    return f"| {name} | {'not found' if first is None else first} | {found} of {COUNTED} | {words} |"


def table() -> str:
    """The whole table."""
    rows = []
    for planted in FAULTS:
        with pytest.MonkeyPatch.context() as monkeypatch:
            planted.plant(monkeypatch)
            rows.append(line(planted))
            print(rows[-1], file=sys.stderr, flush=True)
    head = ["| planted fault | first seed that finds it | plans that find it | invariant |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    made = table()
    if "--write" in sys.argv[1:]:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(f"{text[:before]}\n{made}\n{text[after:]}", encoding="utf-8")
    else:
        print(made)
