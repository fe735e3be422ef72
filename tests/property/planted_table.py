"""`python -m tests.property.planted_table`: each planted fault, what found it, and after how many examples."""

from __future__ import annotations

from buffers.testing import BrokenBuffer, check
from tests.property.planted_buffers import FAULTS, Sound


def main() -> None:
    report = check(Sound)
    print(f"The sound buffer holds over {report.examples} examples of up to 30 steps and both laws.\n")
    print("| planted fault | invariant that found it | examples needed | steps after shrinking |\n|---|---|---|---|")
    for name, kind in FAULTS.items():
        try:
            check(kind)
        except BrokenBuffer as broken:
            print(f"| {name} | {broken.law} | {broken.examples} | {len(broken.steps)} |", flush=True)
        else:
            print(f"| {name} | NOT FOUND | | |", flush=True)


if __name__ == "__main__":
    main()
