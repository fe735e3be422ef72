"""`python -m tests.simulation.faults_page [--keep]`: write docs/faults.md from what is known.

The planted faults are run anew, or (`--keep`) their table stays as it is. The mutants' verdicts come from
`mutants/results.jsonl` (`python -m tests.simulation.mutants` goes on with the sample), what is said of survivors from
`mutants/judged.toml`, the defects from the plans in `regressions/`, whose names say what is right.
"""

import sys
import textwrap
import tomllib

from cli.explore import REGRESSIONS
from sim.plan import from_json
from tests.simulation.mutants.__main__ import BASELINE, RESULTS, read
from tests.simulation.planted_table import BEGIN, END, PAGE, table

JUDGED = RESULTS.with_name("judged.toml")
OPEN = "no plan reaches what it changes"
ELSEWHERE = "plans decide otherwise, and no invariant breaks"


def judged() -> tuple[dict[str, str], dict[str, str]]:
    """Reasons by mutant: of the equivalent ones, and of the others that live."""
    found = tomllib.loads(JUDGED.read_text(encoding="utf-8"))
    kinds = [{one["name"]: one["reason"] for one in found.get(kind, ())} for kind in ("equivalent", "lives")]
    return kinds[0], kinds[1]


def mutants() -> str:
    """Score and survivors."""
    equivalent, lives = judged()
    verdicts = [one for one in read().values() if one.name != BASELINE]
    survivors = [one for one in verdicts if one.verdict == "survived"]
    same = [one for one in survivors if one.name in equivalent]
    others = [one for one in survivors if one.name not in equivalent]
    count, killed = len(verdicts), len(verdicts) - len(survivors)
    by = ", ".join(
        f"{sum(one.verdict == kind for one in verdicts)} {said}"
        for kind, said in (
            ("killed", "by an invariant or a failing actor"),
            ("hangs", "as a plan did not come back"),
            ("does not start", "as the module could not be imported"),
        )
    )
    plans = max((one.plans for one in verdicts), default=0)
    score = (
        f"{count} mutants judged by up to {plans} plans each: {killed} killed ({by}), {len(survivors)} survived, of"
        f" which {len(same)} are equivalent. **{100 * killed / max(1, count - len(same)):.1f} % of the"
        f" {count - len(same)} that are not equivalent are killed.**"
    )
    lines = [
        textwrap.fill(score, 120, break_long_words=False, break_on_hyphens=False),
        "",
        "Survivors that a run could tell from the protocol:",
        "",
        "| survivor | plans decided otherwise | why it lives |",
        "|---|---|---|",
    ]
    for one in others:
        why = lives.get(one.name, ELSEWHERE if one.changed else OPEN)
        lines.append(f"| `{escaped(one.name)}` | {one.changed} of {one.plans} | {why} |")
    lines += ["", "Survivors that no run of the cast can tell from it:", "", "| survivor | why |", "|---|---|"]
    lines += [f"| `{escaped(one.name)}` | {equivalent[one.name]} |" for one in same]
    return "\n".join(lines)


def escaped(name: str) -> str:
    """A name that a cell of a table can hold."""
    return name.replace("|", "&#124;")


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
in `sim/invariants.py` and `sim/acknowledged.py`, beside it `sim/reference.py` (replay decides as a second, plain
statement of the design), `sim/books.py` (an actor's book agrees with itself) and `sim/thrift.py` (nothing is done
twice); the live counterpart is `sim/live.py`.

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

One small change of the protocol's source at a time (`tests/simulation/mutants`), judged by plans alone (no unit tests).
The sample is the first so many of all mutants in the order of a hash of their names.

{mutants()}
"""


def kept() -> str:
    """The table of planted faults that the page has."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


if __name__ == "__main__":
    made = kept() if "--keep" in sys.argv[1:] else table()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(made), encoding="utf-8")
