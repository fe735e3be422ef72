"""Whole runs of `braid train` for benchmarks: an example with some keys changed, in a folder of its own.

Seconds and memory are those of the whole command, with all its processes. Memory is their proportional set size (a page
that n processes share counts as 1/n in each), read once a second. The folders are removed when the benchmark ends,
unless `BRAID_BENCH_RUNS` names one to keep them in: there a run that two benchmarks ask for, or a benchmark that is
started once more, is not made twice (it is known by its config and settings, not by the code that ran it; its seconds
are those of the hour in which it was made).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from actors.sinks.metrics_file import Row, read_metrics

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = tempfile.TemporaryDirectory(prefix="braid-bench-")
RUNS = Path(os.environ.get("BRAID_BENCH_RUNS", SCRATCH.name)).absolute()
EXAMPLE = "examples/cpu_reasoning.toml"
COST = "cost.json"
"""Beside a run: what its command cost."""


class Run:
    """A finished run: its summary, its numbers, and what the command cost."""

    def __init__(self, folder: Path) -> None:
        cost = json.loads((folder.parent / COST).read_text())
        self.folder = folder
        self.wall_s: float = cost["wall_s"]
        self.prepare_s: float = cost["prepare_s"]
        """Until the cast started: config, warm-up (or its cached result), prompts."""
        self.peak_bytes: int = cost["peak_bytes"]
        self.training_cpu_s: float = cost["training_cpu_s"]
        """Of all processes since then, read once a second."""
        self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        self.rows: list[Row] = list(read_metrics(folder))

    def values(self, name: str) -> list[float]:
        return [row.value for row in self.rows if row.name == name]

    @property
    def training_s(self) -> float:
        """From the first version that could be pulled to the last."""
        times = [row.t for row in self.rows if row.name == "version"]
        return times[-1] - times[0]

    @property
    def model(self) -> Path:
        """The folder of the last version."""
        return max((self.folder / "versions").glob("v*"))


def train(seed: int, settings: Mapping[str, object], config: str = EXAMPLE, turn: int = 0) -> Run:
    """Run a config to its end; raises with the tail of its output if it fails.

    The same in another `turn` is a run of its own.
    """
    words = [config, "--seed", str(seed)]
    for key, value in settings.items():
        words += ["--set", f"{key}={json.dumps(value) if isinstance(value, bool) else value}"]
    name = hashlib.sha256("\0".join([*words, str(turn), (ROOT / config).read_text()]).encode()).hexdigest()[:12]
    parent = RUNS / name if "BRAID_BENCH_RUNS" in os.environ else Path(tempfile.mkdtemp(dir=RUNS))
    folder = parent / "run"
    if (parent / COST).exists():
        return Run(folder)
    shutil.rmtree(folder, ignore_errors=True)
    parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "cli", "train", *words, "--run-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began, prepared, peak = time.monotonic(), 0.0, 0
    cpu_s: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            if not prepared and (folder / "run.json").exists():
                prepared = time.monotonic() - began
            if prepared:
                cpu_s |= tree_cpu_s(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        wall_s = time.monotonic() - began
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}:\n{output.read()[-2000:]}")
    cost = {"wall_s": wall_s, "prepare_s": prepared, "peak_bytes": peak, "training_cpu_s": sum(cpu_s.values())}
    (parent / COST).write_text(json.dumps(cost))
    return Run(folder)


def tree_cpu_s(pid: int) -> dict[int, float]:
    """Processor seconds of a process and each below it, by process."""
    found: dict[int, float] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
    return found


def tree_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_full_info().pss
    return total
