"""`python -m tests.property.peers_table`: what the kit finds in the samplers of others, as far as they can be imported.

Beside it stands what 1,000 draws from four items give once one of them was given a priority that is none. cpprb is in
the extra `bench`; torchrl is seen by the interpreter that BRAID_TORCHRL_PYTHON names, which needs numpy, msgspec and
hypothesis beside it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter

from buffers.testing import items

SAMPLERS = {
    "tree": "Braid's tree",
    "cpprb": "cpprb",
    "cpprb_guarded": "cpprb, asked with good priorities only",
    "torchrl": "torchrl",
    "torchrl_guarded": "torchrl, asked with good priorities only",
}
FOUND = {0: "holds", 1: "is broken"}


def after(name: str) -> str:
    """What is drawn after -1, nan and inf were given, each to a fresh sampler."""
    told = []
    for bad in (-1.0, math.nan, math.inf):
        sampler = getattr(items, name)()
        for trajectory in range(4):
            sampler.append(trajectory, 0, 0, (trajectory,), True)
        taken = sampler.set_priority(1, bad)
        try:
            drawn, weights = sampler.sample(1000, 0)
            broken = " with weights that are no numbers" if any(map(math.isnan, weights)) else ""
            told.append(f"{bad:g} {'taken' if taken else 'refused'}, {len(Counter(drawn))} of 4 drawn{broken}")
        except Exception as error:
            told.append(f"{bad:g} {'taken' if taken else 'refused'}, then {type(error).__name__}: {error}")
    return "; ".join(told)


def asked(python: str, *words: str) -> tuple[int, list[str]]:
    """Status and lines of a command, without what torchrl logs."""
    done = subprocess.run([python, "-m", *words], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if "INFO" not in line]
    return done.returncode, lines or done.stderr.strip().splitlines()[-1:]


def main() -> int:
    """Ask the command for each; print a table."""
    print("| sampler | the kit says | after a priority that is none |\n|---|---|---|")
    for name, called in SAMPLERS.items():
        python = os.environ.get("BRAID_TORCHRL_PYTHON", "") if name.startswith("torchrl") else sys.executable
        if not python:
            print(f"| {called} | not asked: BRAID_TORCHRL_PYTHON names no environment that has it | |")
            continue
        status, lines = asked(python, "cli", "check-buffer", f"buffers.testing.items:{name}")
        if status not in FOUND:
            print(f"| {called} | not asked: {lines[0]} | |")
            continue
        told = lines[0].partition(" ")[2] if status == 0 else f"{lines[0].partition(' ')[2]}: {lines[1]}"
        print(f"| {called} | {told} | {asked(python, 'tests.property.peers_table', name)[1][-1]} |", flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(after(sys.argv[1]))
        sys.exit(0)
    sys.exit(main())
