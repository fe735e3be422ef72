"""`braid fidelity DATA`: predicts what was recorded and published in a folder of data, and writes the report."""

from __future__ import annotations

import argparse
from pathlib import Path

from buffers.errors import UsageError

NAME = "fidelity"
HELP = "compare predictions with recorded and published runs; write the report"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("data", help="folder with llmservingsim/ in it, or a folder with sim/ in it")
    parser.add_argument("--live", nargs="*", default=[], metavar="RUN", help="live runs: costs are fitted on the first")
    parser.add_argument("--cores", type=int, default=2, help="cores that the live runs shared (default: 2)")
    parser.add_argument("--notes", help="file that keeps what was simulated, so that a report can be made in pieces")
    parser.add_argument("--output", default="docs/fidelity.md", help="where the report goes")


def main(args: argparse.Namespace) -> int:
    """Predict, compare, write; the exit status."""
    from sim.fidelity import cases, published, report, serving

    given = Path(args.data)
    folder = given / "sim" if (given / "sim").is_dir() else given
    if not (folder / "llmservingsim").is_dir():
        raise UsageError(
            f"data = {given}: no llmservingsim folder there; name the folder of the data sets (DATA=FOLDER)"
        )
    runs = serving.served(folder / "llmservingsim")
    rows = published.targets(folder / "published" / "targets.csv")
    found = list(cases.every(Path(args.notes) if args.notes else None))
    output = Path(args.output)
    live = predicted([Path(run) for run in args.live], args.cores) if args.live else kept(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report.document(runs, rows, found, live), "utf-8")
    print(report.serving(runs))
    print(live)
    print(report.simulated(rows, found))
    print(report.published(rows))
    print(f"report: {output}")
    return 0


LIVE = "| run | tokens/s |"
"""How the table of live runs begins."""


def kept(output: Path) -> str:
    """The table of live runs of the last report, since those take long to make; or what would make one."""
    lines = output.read_text("utf-8").splitlines() if output.is_file() else []
    begins = [number for number, line in enumerate(lines) if line.startswith(LIVE)]
    if not begins:
        return "No live runs were given (`braid fidelity DATA --live RUN RUN ...`)."
    table = lines[begins[0] :]
    return "\n".join(table[: table.index("")])


def predicted(folders: list[Path], cores: int) -> str:
    """The table of live runs, at costs fitted on the first."""
    from sim.calibration import calibrate
    from sim.calibration_world import measured, predict
    from sim.fidelity import report

    costs = calibrate(folders[0], cores)
    rows = []
    for folder in folders:
        settings, seen = measured(folder)
        rows.append((folder.name, predict(costs, settings, seen.first), seen))
    return report.live(folders[0].name, rows)
