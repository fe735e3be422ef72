"""`braid condense DATA`: makes the shipped efficiencies of accelerators again from the original kernel tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

NAME = "condense"
HELP = "condense measured kernel tables into the efficiencies that cost models use"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("data", help="folder with aiconfigurator/ and llmservingsim/ in it, or with sim/ in it")
    parser.add_argument("--output", help="where the file goes (default: the one that is shipped)")


def main(args: argparse.Namespace) -> int:
    """Condense and write; the exit status."""
    from sim.costs.condense import condense, lines
    from sim.costs.hardware import SHIPPED

    given = Path(args.data)
    found = condense(given / "sim" if (given / "sim").is_dir() else given)
    output = Path(args.output or SHIPPED)
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines(found)))
    print(f"wrote {output}")
    return 0
