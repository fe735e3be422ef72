"""`braid top RUN_DIR`: the live view of a run, from another terminal. It reads its files; the run never notices."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from actors.sinks.metrics_file import NAME as METRICS
from actors.sinks.metrics_file import Row
from buffers.errors import UsageError
from cli.board import Board
from cli.summary import SUMMARY
from cli.view import line, panel

NAME = "top"
HELP = "watch a run from another terminal"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_dir", help="folder of the run")
    parser.add_argument("--once", action="store_true", help="show it as it is now and leave")
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS", help="between two looks")


def main(args: argparse.Namespace) -> int:
    """Watch until the run has ended or the person leaves; the exit status."""
    folder = Path(args.run_dir)
    if args.every <= 0:
        raise UsageError(f"--every {args.every}: give seconds above 0")
    board = board_of(folder)
    reader = Tail(folder / METRICS)
    reader.feed(board)
    terminal = sys.stdout.isatty()
    if args.once or ended(folder):
        Console(width=None if terminal else 120).print(panel(board, folder.name))
        return 0
    if not terminal:
        return follow(folder, board, reader, args.every)
    with Live(console=Console(), auto_refresh=False) as live:
        while not ended(folder):
            reader.feed(board)
            live.update(panel(board, folder.name), refresh=True)
            time.sleep(args.every)
    return 0


def follow(folder: Path, board: Board, reader: Tail, every_s: float) -> int:
    """The same as plain lines."""
    while not ended(folder):
        if reader.feed(board):
            print(line(board, bool(board.evaluations)), flush=True)
        time.sleep(max(every_s, 2.0))
    return 0


def ended(folder: Path) -> bool:
    """Whether the run's last start has written its summary."""
    summary, metrics = folder / SUMMARY, folder / METRICS
    return summary.exists() and (not metrics.exists() or summary.stat().st_mtime_ns >= metrics.stat().st_mtime_ns)


def board_of(folder: Path) -> Board:
    """An empty board for a prepared run; `UsageError` if the folder holds none."""
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(f"{folder} holds no run (no run.json); name the folder that `braid train` printed")
    schedule = json.loads(path.read_bytes())["schedule"]
    return Board(int(schedule["versions"]), int(schedule["eta"]))


class Tail:
    """Reads a metrics file as far as it is written, again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._decode = msgspec.json.Decoder(Row).decode

    def feed(self, board: Board) -> int:
        """Give a board the whole lines that were written since; how many."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._place += len(whole)
        rows = [self._decode(text) for text in whole.splitlines()]
        for row in rows:
            board.take(row.actor, row.name, row.t, row.value)
        return len(rows)
