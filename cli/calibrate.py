"""`braid calibrate RUN_DIR`: fits what a live run's parts take, and writes a cost file with residuals."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from buffers.errors import UsageError

NAME = "calibrate"
HELP = "fit the costs of a live run's parts to its event log"
COSTS = "costs.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run", help="folder of a run of braid train")
    parser.add_argument("--cores", type=int, default=2, help="cores that the run's processes shared (default: 2)")
    parser.add_argument("--output", help=f"cost file (default: RUN/{COSTS})")


def main(args: argparse.Namespace) -> int:
    """Fit, print and write; the exit status."""
    from sim.calibration import calibrate

    if args.cores < 1:
        raise UsageError(f"--cores = {args.cores}: must be at least 1")
    folder = Path(args.run)
    found = calibrate(folder, args.cores)
    output = Path(args.output or folder / COSTS)
    output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    for part, one in (("engine", found.engine), ("trainer", found.trainer)):
        costs = ", ".join(f"{name} = {1e3 * value:.4g} ms" for name, value in one.costs.items())
        print(f"{part:>9}  {costs}; {one.rows} rows, mean residual {100 * one.residual:.0f} %")
    for name, seconds in found.single.items():
        print(f"{name:>9}  {1e3 * seconds:.3g} ms")
    print(f"cost file: {output}")
    return 0
