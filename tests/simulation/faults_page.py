"""`python -m tests.simulation.faults_page`: write docs/faults.md from what is known; the planted faults are run anew.

The mutants' verdicts come from `mutants/results.jsonl` (`python -m tests.simulation.mutants` goes on with the sample),
the defects from the plans in `regressions/`, whose names say what is right.
"""

import sys
from pathlib import Path

from cli.explore import REGRESSIONS
from sim.plan import from_json
from tests.simulation.mutants.__main__ import BASELINE, read
from tests.simulation.planted_table import BEGIN, END, PAGE, table


def mutants() -> str:
    """Score and survivors."""
    verdicts = [one for one in read().values() if one.name != BASELINE]
    survivors = [one for one in verdicts if one.verdict == "survived"]
    silent = [one for one in survivors if one.changed == 0]
    judged = len(verdicts)
    killed = judged - len(survivors)
    lines = [
        f"{judged} mutants judged, {killed} killed ({100 * killed / max(1, judged):.0f} %); of the {len(survivors)}"
        f" that live, {len(silent)} change no decision of any plan (equivalent, or not reached), so that"
        f" {100 * killed / max(1, judged - len(silent)):.0f} % of the others are killed.",
        "",
        "| survivor | plans | why it lives |",
        "|---|---|---|",
    ]
    for one in survivors:
        why = f"{one.changed} plans decide otherwise, and no invariant breaks" if one.changed else "no decision differs"
        lines.append(f"| `{one.name.replace('|', '&#124;')}` | {one.plans} | {why} |")
    return "\n".join(lines)


def defects() -> str:
    """A line for each plan that failed once."""
    lines = ["| what holds now | seed | mode |", "|---|---|---|"]
    for path in sorted(REGRESSIONS.glob("*.json")):
        plan = from_json(path.read_bytes())
        lines.append(f"| {path.stem.replace('_', ' ')} | {plan.seed} | {plan.mode} |")
    return "\n".join(lines)


def page(planted: str) -> str:
    """The whole page."""
    return f"""# Faults

Made by `python -m tests.simulation.faults_page`. Plans are drawn in `sim/drawn.py`; what is checked after each event is
in `sim/invariants.py` and `sim/acknowledged.py`; the live counterpart is `sim/live.py`.

## Defects found and mended

Each was found in the real actors (or in the checker) by a drawn plan, which runs for ever in
`tests/simulation/regressions/`.

{defects()}

## Planted faults

{BEGIN}
{planted}
{END}

A fault marked * is planted in plans in which the event that it needs is frequent.

## Mutants

One small change of the protocol's source at a time, judged by plans alone (no unit tests).

{mutants()}
"""


if __name__ == "__main__":
    made = Path(sys.argv[1]).read_text(encoding="utf-8").strip() if len(sys.argv) > 1 else table()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(made), encoding="utf-8")
