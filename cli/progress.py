"""The progress of a run, from the recorder's numbers: a sink that lives in the launcher's process.

On a terminal a live view (`cli/view.py`); elsewhere plain lines: one for each evaluation, one for each new alarm, and
otherwise one about every two seconds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from actors.recorder import Rows
from cli.alarms import alarms
from cli.board import Board
from cli.view import line, panel

EVERY_S = 2.0
REFRESH_S = 0.25
"""Between two pictures of the live view."""


class Progress:
    """Shows a run while it goes on."""

    def __init__(self, config: dict[str, Any], emit: object, clock: Any) -> None:
        schedule = config["schedule"]
        self._clock = clock
        self._title = Path(config.get("run_dir", "run")).name
        self._board = Board(int(schedule["versions"]), int(schedule["eta"]))
        self._shown_ns: int = clock.now()
        self._told: set[str] = set()
        self._live: Live | None = None
        if sys.stdout.isatty():
            self._live = Live(console=Console(), auto_refresh=False, transient=False)
            self._live.start()

    def write(self, actor: str, rows: Rows) -> None:
        """Take (name, time ns, value) rows of one actor."""
        for name, at_ns, value in rows:
            self._board.take(actor, name, at_ns / 1e9, value)
        evaluated = any(name == "eval_sampled" for name, _, _ in rows)
        waited_s = (self._clock.now() - self._shown_ns) / 1e9
        if self._live is not None:
            if waited_s > REFRESH_S:
                self._shown_ns = self._clock.now()
                self._live.update(panel(self._board, self._title), refresh=True)
        elif evaluated or waited_s > EVERY_S:
            self._shown_ns = self._clock.now()
            print(line(self._board, evaluated), flush=True)
            self._warn()

    def _warn(self) -> None:
        for sentence in alarms(self._board):
            kind = re.sub(r"[\d.%]+", "", sentence)
            if kind not in self._told:
                self._told.add(kind)
                print(f"alarm: {sentence}", flush=True)

    def close(self) -> None:
        """Show the end."""
        if self._live is not None:
            self._live.update(panel(self._board, self._title), refresh=True)
            self._live.stop()
            self._live = None
