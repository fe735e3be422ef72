"""`python -m tests.property.peers_table`: what the kit finds in the samplers of others, as far as they can be imported.

cpprb is in the extra `bench`; torchrl is seen by the interpreter that BRAID_TORCHRL_PYTHON names, which needs numpy,
msgspec and hypothesis beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys

SAMPLERS = {
    "tree": "Braid's tree",
    "cpprb": "cpprb",
    "cpprb_guarded": "cpprb, asked with good priorities only",
    "torchrl": "torchrl",
    "torchrl_guarded": "torchrl, asked with good priorities only",
}
FOUND = {0: "holds", 1: "is broken"}


def main() -> int:
    """Ask the command for each; print a table."""
    print("| sampler | the kit says |\n|---|---|")
    for name, called in SAMPLERS.items():
        python = os.environ.get("BRAID_TORCHRL_PYTHON", "") if name.startswith("torchrl") else sys.executable
        if not python:
            print(f"| {called} | not asked: BRAID_TORCHRL_PYTHON names no environment that has it |")
            continue
        words = [python, "-m", "cli", "check-buffer", f"buffers.testing.items:{name}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode not in FOUND:
            print(f"| {called} | not asked: {done.stderr.strip().splitlines()[-1]} |")
            continue
        lines = [line.strip() for line in done.stdout.splitlines() if "INFO" not in line]
        told = lines[0].partition(" ")[2] if done.returncode == 0 else f"{lines[0].partition(' ')[2]}: {lines[1]}"
        print(f"| {called} | {told} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
