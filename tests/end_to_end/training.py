"""Runs `braid train` as a person would, in processes of its own, and looks at its folder while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from actors.eventlog import read_events
from actors.kernel.backend import Decision

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "model.warmup.pass_mark=0.75",
    "model.warmup.pass_mark_b=0.5",
    "model.warmup.rounds=1",
    "schedule.versions=36",
    "task.held_out=96",
    "task.train_prompts=512",
    "evaluator.every=1000",
    "evaluator.samples=2",
    "restarts.backoff_s=0.1",
    "pace.lease_s=5",
    "pace.ask_timeout_s=1",
)
"""The CPU example, shorter, and more impatient with what has died."""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "cli", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def train(folder: Path, cache: Path, *settings: str, seed: int = 11) -> subprocess.Popen[str]:
    """Start a small run of the CPU example in `folder`."""
    words = ["train", "--seed", str(seed), "--run-dir", str(folder), "--set", f"model.cache={cache}"]
    for setting in (*SMALL, *settings):
        words += ["--set", setting]
    return start(*words)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str], seconds: float = 400) -> tuple[int, str]:
    """Exit status and output."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"still running after {seconds} s:\n{output[-3000:]}") from None
    return process.returncode, output


def decisions(folder: Path) -> list[Decision]:
    """Everything that was decided in a run so far, by its event logs."""
    return [one for one in read_events(sorted((folder / "events").glob("*"))) if isinstance(one, Decision)]


def trained_uses(folder: Path) -> Counter[int]:
    """How often each group went into durable weights, as far as the event logs tell.

    A lease counts once: when replay completed it, or when the learner that applied it made a checkpoint after that.
    What a killed process had not written yet is missing, so these are lower bounds.
    """
    groups: dict[int, tuple[int, ...]] = {}
    applied: defaultdict[int, list[int]] = defaultdict(list)
    counted: set[int] = set()
    uses: Counter[int] = Counter()
    for one in decisions(folder):
        leases: list[int] = []
        if one.kind == "lease":  # a number that was not durable when replay died is given out again
            groups[int(one.fields[0])] = tuple(int(group) for group in one.fields[1:])
        elif one.kind == "update":
            applied[one.incarnation].append(int(one.fields[0]))
        elif one.kind == "checkpoint":
            leases = applied.pop(one.incarnation, [])
        elif one.kind == "complete":
            leases = [int(one.fields[0])]
        for lease in leases:
            if lease in groups and lease not in counted:
                counted.add(lease)
                uses.update(groups[lease])
    return uses


def version(folder: Path) -> int:
    """The newest version that was published so far; -1 before the first."""
    return max((int(one.fields[0]) for one in decisions(folder) if one.kind == "publish"), default=-1)


def wait_for_version(process: subprocess.Popen[str], folder: Path, at_least: int, seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while version(folder) < at_least:
        assert process.poll() is None, f"the run ended before version {at_least}:\n{process.communicate()[0][-3000:]}"
        assert time.monotonic() < deadline, f"version {at_least} was not reached in {seconds} s"
        time.sleep(0.2)


def processes_of(folder: Path) -> dict[str, int]:
    """Actors of a run that live in processes of their own: name to process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in words:
            if word.startswith(str(folder.resolve()).encode()) and b"/processes/" in word:
                found[Path(word.decode()).name.split(".")[0]] = int(entry.name)
    return found


def kill(folder: Path, name: str) -> None:
    """`kill -9` of one actor's process."""
    os.kill(processes_of(folder)[name], signal.SIGKILL)


def summary(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return result
