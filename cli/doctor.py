"""`braid doctor`: what this machine has, what is missing, and what each example needs."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from buffers.errors import UsageError
from cli.train import EXAMPLES

NAME = "doctor"
HELP = "check this machine, and say what each example needs"

SHARED = Path("/dev/shm")
GIB = 1 << 30


class Finding(NamedTuple):
    """One line of the check-up."""

    good: bool
    what: str
    says: str
    """What was found; where it is not good, what to do."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--run-dir", default=".", help="where runs would lie (their disk is checked)")


def main(args: argparse.Namespace) -> int:
    """Check and print; 0 if the CPU example can run, else 1."""
    findings = [check() for check in CHECKS] + [disk(Path(args.run_dir))]
    for one in findings:
        print(f"{'ok  ' if one.good else 'MEND'}  {one.what:<14} {one.says}")
    print("\nexamples")
    gpu = cards()
    for path in sorted(EXAMPLES.glob("*.toml")):
        config = tomllib.loads(path.read_text(encoding="utf-8"))
        print(f"  {path.name:<22} {'; '.join([*needs(config, gpu), *card(path, config)])}")
    return 0 if all(one.good for one in findings) else 1


def python() -> Finding:
    """The interpreter."""
    good = sys.version_info >= (3, 11)
    return Finding(good, "python", platform.python_version() + ("" if good else ": Braid needs 3.11 or newer"))


def processors() -> Finding:
    """Cores of this process."""
    count = len(os.sched_getaffinity(0))
    return Finding(count >= 2, "cores", f"{count}" + ("" if count >= 2 else ": the examples want 2; runs will be slow"))


def memory() -> Finding:
    """Memory that is free."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
            hint = "" if free > 4 * GIB else ": the CPU example wants 4 GiB; close other programs"
            return Finding(free > 4 * GIB, "memory", f"{free / GIB:.1f} GiB free{hint}")
    return Finding(False, "memory", "unknown: /proc/meminfo has no MemAvailable; Braid runs on Linux")


def shared_memory() -> Finding:
    """Where weights are handed over."""
    if not SHARED.is_dir():
        return Finding(False, "shared memory", f"no {SHARED}: mount a tmpfs there (docker: --shm-size 1g)")
    free = shutil.disk_usage(SHARED).free
    good = free > 64 << 20
    hint = "" if good else ": weights need twice the model's size; enlarge it (docker: --shm-size 1g)"
    return Finding(good, "shared memory", f"{free / GIB:.2f} GiB free{hint}")


def disk(folder: Path) -> Finding:
    """Where runs lie."""
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    good = free > GIB
    return Finding(
        good, "disk", f"{free / GIB:.1f} GiB free" + ("" if good else ": a run wants 1 GiB; name another --run-dir")
    )


def ports() -> Finding:
    """Whether this machine's loopback takes listeners (TensorBoard, several machines on one)."""
    try:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            return Finding(True, "ports", "loopback can be listened on")
    except OSError as error:
        return Finding(False, "ports", f"loopback cannot be listened on ({error}); allow 127.0.0.1 in this sandbox")


def packages() -> Finding:
    """Whether the core packages are there, in the versions that the distribution asks for."""
    wrong, seen = [], []
    for name, least in required():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        seen.append(f"{name} {found}")
        if numbers(found) < numbers(least):
            wrong.append(f"{name} {found} is older than {least}")
    if wrong:
        return Finding(False, "packages", f"{'; '.join(wrong)}: run `make env`, or pip install -c constraints.txt -e .")
    return Finding(True, "packages", ", ".join(seen))


def required() -> list[tuple[str, str]]:
    """(package, least version) of the core dependencies."""
    try:
        lines = importlib.metadata.requires("braid-rl") or []
    except importlib.metadata.PackageNotFoundError:
        lines = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"][
            "dependencies"
        ]
    matches = [re.match(r"([\w.-]+)>=([\d.]+)$", line) for line in lines]
    return [(found[1], found[2]) for found in matches if found]


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def cards() -> list[str]:
    """Names and memory of the GPUs that the driver shows."""
    try:
        words = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        answer = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.splitlines() if line.strip()]


def gpu() -> Finding:
    """GPUs; none is no fault."""
    return Finding(True, "gpu", ", ".join(cards()) or "none: the CPU examples need none")


def needs(config: dict[str, Any], gpus: list[str]) -> list[str]:
    """What a config needs, in words; what this machine lacks of it begins with MISSING."""
    found = [f"{6 + config.get('generators', 1)} processes"]
    devices = {str(config.get(part, {}).get("device", "cpu")) for part in ("engine", "trainer")}
    if any(device.startswith("cuda") for device in devices):
        found.append("a GPU" if gpus else "MISSING a GPU: set engine.device and trainer.device to cpu")
    model = config.get("model", {}).get("path", "")
    if model:
        found.append(f"the model folder {model}" if Path(model).is_dir() else f"MISSING the model folder {model}")
    else:
        found.append("no model: a tiny one is warmed up")
    if config.get("task", {}).get("name") == "gym" and not importlib.util.find_spec("reasoning_gym"):
        found.append('MISSING reasoning-gym: pip install "braid-rl[tasks]"')
    return found


def card(path: Path, config: dict[str, Any]) -> list[str]:
    """What one card has to hold for a config that shares it; a model that is not there yet cannot be counted."""
    if config.get("cluster", {}).get("placement") != "colocated":
        return []
    if not Path(config.get("model", {}).get("path", "")).is_dir():
        return ["one card for all roles: braid train --check says what of it, once the model is there"]
    from cli import configuration
    from cli.one_card import plan_card
    from cli.run_config import RunConfig

    try:
        plan = plan_card(configuration.load(RunConfig, path), config["model"]["path"])
    except UsageError as problem:
        return [f"MISSING room on one card: {problem}"]
    return [plan.words]


CHECKS: tuple[Callable[[], Finding], ...] = (python, processors, memory, shared_memory, ports, packages, gpu)
