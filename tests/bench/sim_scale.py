"""How large a cluster one core simulates: 1,024 and 128 accelerators, the real cast on doubles, Ghost payloads.

A run of 100 steps is taken from two shorter ones: what a further step takes is the difference of their times by that of
their steps, so the beginning and the end of a run count once. `theirs` is the target, so a ratio above 1 is below it.

`python -m tests.bench.sim_scale docs/pictures/sim_scale.png` measures cost against size and draws it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

from sim.outcome import Outcome
from sim.outcome import run as simulate
from sim.scenario import EngineSection, LengthSection, Scenario, Simulation
from tests.bench.alternate import Row, row

LARGE = Scenario(model="qwen2.5-7b", gpus=1024, generator_gpus=512, rewarders=8, lengths=LengthSection(mean=2400.0))
SMALL = Scenario(model="qwen3-8b", gpus=128, generator_gpus=64, lengths=LengthSection(mean=3000.0))
STEPS = (2, 5)
STEPS_ASKED = 100
SIZES = (64, 128, 256, 512, 1024)
TOKENS = {2: 1600, 4: 690}
"""Mean segments of a response to the segment length that gives them."""


def large(segments: int, steps: int, gpus: int = 1024) -> Scenario:
    """Eight trajectories a step for each accelerator: 8,192 on 1,024."""
    schedule = msgspec.structs.replace(
        LARGE.schedule, batch=8 * gpus, max_response_tokens=16384, segment_tokens=TOKENS[segments],
        versions=steps, checkpoint_every=100, updates_per_version=1,
    )  # fmt: skip
    pace = msgspec.structs.replace(LARGE.pace, heartbeat_s=30.0)
    return replace(LARGE, gpus=gpus, generator_gpus=gpus // 2, schedule=schedule, pace=pace)


def small() -> Scenario:
    """64 generators of 64 sequences, segments of 2,048 tokens."""
    schedule = msgspec.structs.replace(
        SMALL.schedule, batch=2048, max_response_tokens=16384, segment_tokens=2048, versions=3, eta=2
    )
    return replace(SMALL, schedule=schedule, engine=EngineSection(slots=64))


def measured(one: Scenario) -> Outcome:
    return simulate(Simulation(one, codec=False), time.process_time)


def hundred(segments: int, gpus: int = 1024) -> tuple[float, float]:
    """(seconds of 100 steps, segments of a response) from two runs."""
    few, many = (measured(large(segments, steps, gpus)) for steps in STEPS)
    between = STEPS[1] - STEPS[0]
    step_s = (many.wall_s - few.wall_s) / between
    each = (many.segments - few.segments) / between / (8 * gpus)
    return few.wall_s + (STEPS_ASKED - STEPS[0]) * step_s, each


def run() -> Iterator[Row]:
    for segments in TOKENS:
        took, each = hundred(segments)
        name = f"1,024 GPUs, {each:.2f} segments, 100 steps (from {STEPS[0]} and {STEPS[1]})"
        yield row(name, round(took, 1), "target", 300.0, "s", 1, "less")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    yield row("memory of these", round(memory, 3), "target", 2.0, "GB", 1, "less")
    found = measured(small())
    rate = round(found.simulated_s / found.wall_s, 1)
    yield row("128 GPUs, 64 generate", rate, "target", 20.0, "simulated s per s", 1, "more")


def draw(path: Path) -> None:
    """Cost against size: seconds of one core for 100 steps, by accelerators."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    plot = figure.subplots()
    for segments, sizes in ((2, SIZES), (4, SIZES[:-1])):
        found = []
        for gpus in sizes:
            took, each = hundred(segments, gpus)
            found.append((took, each))
            print(json.dumps({"gpus": gpus, "segments": round(each, 2), "seconds": round(took, 1)}), flush=True)
        plot.plot(sizes, [took for took, _ in found], marker="o", label=f"{found[-1][1]:.1f} segments a response")
    plot.axhline(300.0, linestyle="--", color="tab:gray", linewidth=1)
    plot.set(xscale="log", yscale="log", xlabel="accelerators (8 trajectories each a step)", ylabel="s for 100 steps")
    plot.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    plot.legend(fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
