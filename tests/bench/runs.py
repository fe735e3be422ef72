"""Whole runs of `braid train` for benchmarks: the CPU example with some keys changed, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.sinks.metrics_file import Row, read_metrics

ROOT = Path(__file__).resolve().parents[2]


class Run:
    """A finished run: its summary and its numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        self.rows: list[Row] = list(read_metrics(folder))

    def values(self, name: str) -> list[float]:
        return [row.value for row in self.rows if row.name == name]

    @property
    def training_s(self) -> float:
        """From the first version that could be pulled to the last."""
        times = [row.t for row in self.rows if row.name == "version"]
        return times[-1] - times[0]


def train(seed: int, settings: Mapping[str, object], config: str = "examples/cpu_reasoning.toml") -> Run:
    """Run the example to its end; raises with the tail of its output if it fails."""
    folder = Path(tempfile.mkdtemp(prefix="braid-bench-")) / "run"
    words = [sys.executable, "-m", "cli", "train", config, "--seed", str(seed), "--run-dir", str(folder)]
    for key, value in settings.items():
        words += ["--set", f"{key}={json.dumps(value) if isinstance(value, bool) else value}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return Run(folder)
