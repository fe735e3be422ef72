"""Published systems as scenarios: what their publication says of the setup, what it does not, and which row gave that.

Everything else is a default of the cost models (`sim/scenario.py`), the same for every case. A case is simulated with
the real cast; its step is the time between versions once the pipeline has filled, checkpoints not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.kernel.backend import Decision
from actors.schedules.schedule import ScheduleConfig
from sim.costs.training import Layout
from sim.outcome import run
from sim.scenario import EngineSection, LengthSection, Scenario, Simulation

VERSIONS = 6


@dataclass(frozen=True)
class Case:
    """One published row as a scenario."""

    source: str
    model: str
    schedule: str
    """As the row names it: with source and model, the key of the row."""
    scenario: Scenario
    base: str
    """The schedule of the row that ratios are taken to; its own for that row."""
    unpublished: str
    """Inputs that the publication does not give: fitted, with the row that they were chosen on, or assumed."""


@dataclass(frozen=True)
class Said:
    """What a simulated case came to."""

    step_s: float
    k_tokens_per_s: float
    bottleneck: str


def said(case: Case) -> Said:
    """Simulate a case."""
    one = case.scenario
    simulation = Simulation(one, codec=False, keep=True)
    found = run(simulation, lambda: 0.0)
    decided = simulation.world.decisions
    published = [record.at_ns / 1e9 for record in decided if isinstance(record, Decision) and record.kind == "publish"]
    step_s = (published[-2] - published[1]) / (len(published) - 3)
    return Said(step_s, one.schedule.batch * found.tail["mean"] / step_s / 1e3, found.bottleneck)


def schedule(batch: int, eta: int, cap: int, segment: int, updates: int) -> ScheduleConfig:
    """Whole responses where eta = 0, segments otherwise."""
    return ScheduleConfig(
        batch=batch,
        group=16,
        eta=eta,
        updates_per_version=updates,
        partial=eta > 0,
        segment_tokens=segment if eta else cap,
        max_response_tokens=cap,
        versions=VERSIONS,
        checkpoint_every=VERSIONS,
    )


def nemo(eta: int, generates: int, mean: float) -> Scenario:
    """Llama-3.1-8B on two machines with eight H100 each."""
    return Scenario(
        model="llama-3.1-8b",
        gpu="H100",
        gpus=16,
        generator_gpus=generates,
        schedule=schedule(2048, eta, 4096, 1024, 1),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=mean, sigma=1.0),
        layout=Layout(pipeline=2),
    )


def areal(eta: int) -> Scenario:
    """A 1.5B model on one machine with eight H800, three quarters of which generate (as in the paper's large runs)."""
    return Scenario(
        model="qwen2.5-1.5b",
        gpu="H800",
        gpus=8,
        generator_gpus=6,
        schedule=schedule(1024, eta, 8192, 2048, 4),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=3500.0, sigma=0.9, capped=0.1),
    )


NEMO = "assumed: spread of lengths 1.0, prompts of 256, 256 slots, switch 15 s"
AREAL = "fitted on eta 0: mean length 3,500, a tenth at the cap; assumed: 6 + 2 accelerators, spread 0.9, 256 slots"
CASES = (
    Case("nemo_rl_v0.5", "llama-3.1-8b", "sync", nemo(0, 0, 1019), "sync", NEMO),
    Case("nemo_rl_v0.5", "llama-3.1-8b", "1-step-off with in-flight update", nemo(1, 8, 1123), "sync", NEMO),
    *(Case("areal_table7", "r1-distill-qwen-1.5b", f"eta {eta}", areal(eta), "eta 0", AREAL) for eta in (0, 1, 4)),
)
