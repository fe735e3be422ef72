"""Which files may import which third parties and which parts of the standard library.

Third parties have one door each; pure rooms (the cast, the kernel, the buffer, the batching scheduler) take clock,
randomness and names from their context. Every import statement counts, also inside functions and under TYPE_CHECKING.
Who may import whom inside the house is in pyproject.toml (import-linter); the kernel's own rule is here.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("actors", "buffers", "cli", "policies", "rewards", "sim")

DOORS: dict[str, tuple[str, ...]] = {
    "zmq": ("actors/live/*",),
    "asyncio": ("actors/live/*", "policies/engines/*", "policies/trainers/*"),
    "ray": ("actors/live/ray_placement.py",),
    "sglang": ("policies/engines/sglang/serve.py",),
    "aiohttp": ("policies/engines/sglang/client.py",),
    "torch": ("policies/*",),
    "transformers": ("policies/*",),
    "tokenizers": ("policies/*",),
    "safetensors": ("policies/*",),
    "tensorboard": ("actors/sinks/tensorboard_sink.py",),
    "wandb": ("actors/sinks/wandb_sink.py",),
    "msgpack": ("actors/eventlog.py",),
    "lmdb": ("buffers/*",),
    "xxhash": ("buffers/sealed.py",),
    "numba": ("buffers/priority_tree.py",),
    "hypothesis": ("buffers/testing/*",),
    "math_verify": ("rewards/math_equal.py",),
    "sympy": ("rewards/math_equal.py",),
    "latex2sympy2_extended": ("rewards/math_equal.py",),
    "reasoning_gym": ("rewards/tasks/gym.py",),
    "rich": ("cli/*",),
    "matplotlib": ("cli/plots.py", "cli/simulation_plots.py"),
    "tomli_w": ("cli/configuration.py",),
    "pyarrow": ("sim/costs/condense.py",),
    "optuna": ("sim/search.py",),
    "simpy": (),
}
"""Third party (and asyncio): the files that may import it; `*` crosses folders."""

PURE = ("actors/*", "buffers/*", "policies/batching.py", "policies/length_reward.py")
RANDOM = ("actors/kernel/streams.py", "actors/kernel/cell.py", "actors/kernel/context.py")
"""Where named random streams are made and handed on."""
IMPURE = (
    "actors/live/*",
    *RANDOM,
    "actors/standins.py",
    "actors/sinks/*",
    "buffers/lmdb_store.py",
    "buffers/lmdb_files.py",
    "buffers/lmdb_reader.py",
    "buffers/testing/*",
)
"""`PURE` less `IMPURE`: files that decide, and whose clock, randomness and names are given to them."""
WORLDLY = {"zmq", "asyncio", "ray", "time", "datetime", "random", "secrets", "threading", "uuid", "socket", "select"}
WORLDLY |= {"selectors", "signal", "subprocess", "multiprocessing", "concurrent", "tempfile"}

KERNEL = ("actors/kernel/*",)
KERNEL_MAY = ("actors.kernel", "buffers.errors")


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import; `from a import b` counts as `a.b`, since b may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def violations(path: str, source: str) -> list[str]:
    """One line for each import in this file (path relative to the root) that the rules above forbid."""
    found = []
    for line, module in imports_of(source):
        top = module.partition(".")[0]
        if not top:
            found.append(f"{path}:{line}: relative import {module}; write the full name")
        if top in DOORS and not matches(path, DOORS[top]):
            found.append(f"{path}:{line}: {top} is allowed in {', '.join(DOORS[top]) or 'no room yet'} only")
        if top in WORLDLY and matches(path, PURE) and not matches(path, IMPURE):
            found.append(f"{path}:{line}: {module} in a pure file; the context has what it needs")
        if matches(path, KERNEL) and top in ROOMS and not any(f"{module}.".startswith(f"{may}.") for may in KERNEL_MAY):
            found.append(f"{path}:{line}: {module} in the kernel, which knows nothing of the house but its errors")
    return found


def test_every_import_of_the_house_keeps_the_contract():
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > len(ROOMS)
    found = [text for path in files for text in violations(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("actors/controller.py", "import time"),
        ("actors/controller.py", "def receive(self):\n    from random import choice"),
        ("actors/replay.py", "import zmq.asyncio as zmq"),
        ("actors/replay.py", "from . import messages"),
        ("actors/schedules/one_step_off.py", "import uuid"),
        ("actors/kernel/codec.py", "from buffers.segment import Segment"),
        ("actors/kernel/codec.py", "from actors import messages"),
        ("actors/live/placement.py", "import ray"),
        ("cli/train.py", "import ray"),
        ("actors/recorder.py", "from tensorboard.compat import proto"),
        ("buffers/admission.py", "import threading"),
        ("buffers/buffer.py", "from hypothesis import given"),
        ("cli/check_buffer.py", "import hypothesis"),
        ("policies/batching.py", "import torch, time"),
        ("rewards/scorer.py", "from transformers import AutoTokenizer"),
        ("rewards/exact.py", "import asyncio"),
        ("sim/world.py", "import asyncio"),
        ("cli/train.py", "def main(args):\n    import torch"),
    ],
)
def test_a_planted_violation_is_found(path, source):
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("actors/live/loop.py", "import asyncio, zmq, time, threading"),
        ("actors/kernel/codec.py", "from buffers.errors import WireError\nfrom actors.kernel import limits"),
        ("actors/controller.py", "import heapq\nfrom actors import messages"),
        ("policies/engines/torch_engine.py", "import torch, threading, asyncio"),
        ("buffers/lmdb_store.py", "import lmdb, threading"),
    ],
)
def test_what_the_rules_allow_is_not_reported(path, source):
    assert violations(path, source) == []
