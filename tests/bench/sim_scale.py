"""How large a cluster one core simulates: 1,024 and 128 accelerators, the real cast on doubles, Ghost payloads.

A few steps are measured and stated per step and per segment; `theirs` is the target, so a ratio above 1 is below it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from sim.outcome import Outcome
from sim.outcome import run as simulate
from sim.scenario import EngineSection, LengthSection, Scenario, Simulation
from tests.bench.alternate import Row, row

LARGE = Scenario(model="qwen2.5-7b", gpus=1024, generator_gpus=512, rewarders=8, lengths=LengthSection(mean=2400.0))
SMALL = Scenario(model="qwen3-8b", gpus=128, generator_gpus=64, lengths=LengthSection(mean=3000.0))
STEPS = 3
STEPS_ASKED = 100


def large(segments: int) -> Scenario:
    """8,192 trajectories a step, mean 2 (or 4) segments."""
    schedule = msgspec.structs.replace(
        LARGE.schedule, batch=8192, max_response_tokens=16384, segment_tokens=4096 // segments,
        versions=STEPS, checkpoint_every=100, updates_per_version=1,
    )  # fmt: skip
    return replace(LARGE, schedule=schedule, pace=msgspec.structs.replace(LARGE.pace, heartbeat_s=30.0))


def small() -> Scenario:
    """64 generators of 64 sequences, segments of 2,048 tokens."""
    schedule = msgspec.structs.replace(
        SMALL.schedule, batch=2048, max_response_tokens=16384, segment_tokens=2048, versions=STEPS, eta=2
    )
    return replace(SMALL, schedule=schedule, engine=EngineSection(slots=64))


def measured(one: Scenario) -> Outcome:
    return simulate(Simulation(one, codec=False), time.process_time)


def run() -> Iterator[Row]:
    for segments in (2, 4):
        found = measured(large(segments))
        mean = round(found.segments / (STEPS * 8192), 2)
        name = f"1,024 GPUs, {mean} segments, 100 steps (from {found.versions})"
        yield row(name, round(found.wall_s / found.versions * STEPS_ASKED, 1), "target", 300.0, "s", 1, "less")
    found = measured(small())
    rate = round(found.simulated_s / found.wall_s, 1)
    yield row("128 GPUs, 64 generate", rate, "target", 20.0, "simulated s per s", 1, "more")
