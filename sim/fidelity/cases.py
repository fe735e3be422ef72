"""Published systems as scenarios: what their publication says of the setup, what it does not, and which row gave that.

Everything else is a default of the cost models (`sim/scenario.py`), the same for every case. A case is simulated with
the real cast; its step is the time between versions once the pipeline has filled, checkpoints not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import msgspec

from actors.schedules.schedule import ScheduleConfig
from sim.costs.training import Layout
from sim.costs.weights import WeightsCost
from sim.outcome import run
from sim.scenario import EngineSection, LengthSection, Scenario, Simulation

FILLED = 3
"""Versions that are simulated behind the eta of which nothing is taken."""


@dataclass(frozen=True)
class Transfer:
    """A weight update by itself: so many bytes, over what bandwidth was fitted on another row."""

    size: float
    weights: WeightsCost


@dataclass(frozen=True)
class Case:
    """One published row as a scenario."""

    source: str
    model: str
    schedule: str
    """As the row names it: with source, model and accelerators, the key of the row."""
    scenario: Scenario | Transfer
    base: str
    """The schedule of the row that ratios are taken to; its own for that row."""
    unpublished: str
    """Inputs that the publication does not give: fitted, with the row that they were chosen on, or assumed."""
    steps: int = 0
    """Of a row that gives the hours of a whole run."""
    why: str = ""
    """Why it misses, where that is understood."""

    @property
    def fitted(self) -> bool:
        """Whether something was chosen on this very row, which is then no prediction."""
        return f"fitted on {self.schedule}" in self.unpublished or "fitted on this row" in self.unpublished


@dataclass(frozen=True)
class Said:
    """What a simulated case came to."""

    step_s: float
    k_tokens_per_s: float
    bottleneck: str
    rollout_s: float = 0.0
    """From the beginning to the last token of the first batch."""


def said(case: Case) -> Said:
    """Simulate a case."""
    one = case.scenario
    if isinstance(one, Transfer):
        install = one.weights.install(one.size)
        return Said((install.fetch_ns + install.stall_ns) / 1e9, 0.0, "weights")
    simulation = Simulation(one, codec=False)
    found = run(simulation, lambda: 0.0)
    first = simulation.tally.leased[0] / 1e9 if simulation.tally.leased else 0.0
    return Said(found.step_s, found.tokens_per_s / 1e3, found.bottleneck, first)


def every(notes: Path | None = None) -> Iterator[Said]:
    """What all cases came to; with a file of notes, which takes one at a time and is not asked for the same twice.

    Notes are told apart by the scenario, not by the cost models: begin a new file when those have changed.
    """
    known = msgspec.json.decode(notes.read_bytes(), type=dict[str, Said]) if notes and notes.is_file() else {}
    for case in CASES:
        key = f"{case.source} {case.model} {case.schedule} {crc32(repr(case.scenario).encode()):08x}"
        if key not in known:
            known[key] = said(case)
            if notes:
                notes.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1))
        yield known[key]


def value(case: Case, found: Said, metric: str) -> float:
    """What the simulator says of a row's metric."""
    if metric == "k_tokens_per_s":
        return found.k_tokens_per_s
    if metric == "hours":
        return found.step_s * case.steps / 3600
    return found.rollout_s if metric == "rollout_s" else found.step_s


def schedule(batch: int, eta: int, cap: int, segment: int, updates: int) -> ScheduleConfig:
    """Whole responses where eta = 0, segments otherwise; no checkpoints."""
    return ScheduleConfig(
        batch=batch,
        group=16,
        eta=eta,
        updates_per_version=updates,
        partial=eta > 0,
        segment_tokens=segment if eta else cap,
        max_response_tokens=cap,
        versions=eta + FILLED,
        checkpoint_every=1000,
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


def nemo_32b() -> Scenario:
    """Qwen3-32B on four machines; most responses reach the cap."""
    return Scenario(
        model="qwen3-32b",
        gpu="H100",
        gpus=32,
        generator_tp=4,
        schedule=schedule(2048, 0, 4096, 4096, 1),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=3251, sigma=0.8, capped=0.4),
        layout=Layout(tensor=4, pipeline=4),
    )


def verl(eta: int, generates: int) -> Scenario:
    """Qwen2.5-Math-7B on sixteen machines with eight H20 each; where it is split, the engine's log-probabilities do."""
    return Scenario(
        model="qwen2.5-7b",
        gpu="H20",
        gpus=128,
        generator_gpus=generates,
        rewarders=16,
        schedule=schedule(8192, eta, 28672, 28672, 4),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=1000.0, sigma=1.0, capped=0.001),
        layout=Layout(logprob_pass=not generates),
    )


def verl_moe() -> Scenario:
    """Qwen3-30B-A3B on the same machines."""
    return Scenario(
        model="qwen3-30b-a3b",
        gpu="H20",
        gpus=128,
        generator_tp=4,
        rewarders=16,
        schedule=schedule(8192, 0, 8192, 8192, 4),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=3500.0, sigma=0.9, capped=0.1),
        layout=Layout(tensor=4, reference_pass=True),
    )


def verl_v1() -> Scenario:
    """A mixture of experts of 35B, 3B of them active, on four machines; its shape is taken for Qwen3-30B-A3B's."""
    return Scenario(
        model="qwen3-30b-a3b",
        gpu="H100",
        gpus=32,
        generator_tp=4,
        schedule=schedule(1024, 0, 32768, 32768, 1),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=12720.0, sigma=0.8, capped=0.1),
        layout=Layout(tensor=4),
    )


def areal_large(model: str, gpus: int, generates: int, eta: int) -> Scenario:
    """The paper's large runs: a batch of 512 prompts, 16 responses each."""
    return Scenario(
        model=model,
        gpu="H800",
        gpus=gpus,
        generator_gpus=generates,
        rewarders=16,
        schedule=schedule(8192, eta, 27648, 27648, 4),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=9000.0, sigma=0.9, capped=0.1),
    )


def seer() -> Scenario:
    """One rollout phase: 400 prompts, 8 responses each."""
    one = schedule(3200, 0, 65536, 65536, 1)
    return Scenario(
        model="moonlight",
        gpu="H800",
        gpus=32,
        schedule=msgspec.structs.replace(one, group=8, versions=1),
        engine=EngineSection(slots=256, share_prompts=True),
        lengths=LengthSection(mean=22386.0, sigma=0.9, capped=0.05),
    )


ENGINE = "neither lengths nor the time of a step of its engine are published; its ratio asks for a far slower engine"
ROLLOUT = (
    "no kernel table here covers latent attention; requests are spread evenly over replicas, published ones are not"
)
STAGED = WeightsCost(base_s=0.0, bytes_per_s=75.6e9)
"""Every rank gets the whole model through a staging buffer."""

NEMO = "assumed: spread of lengths 1.0, prompts of 256, 256 slots, switch 15 s"
NEMO_32B = "assumed: spread .8, 4 of 10 at the cap, prompts of 256, 256 slots, switch 15 s, 8 micro-batches"
AREAL = "fitted on eta 0: mean length 3,500, a tenth at the cap; assumed: 6 + 2 accelerators, spread 0.9, 256 slots"
VERL = "fitted on sync: mean length 1,000, one in a thousand at the cap; assumed: spread 1.0, 4 updates, 256 slots"
VERL_MOE = "assumed: mean length 3,500, a tenth at the cap, generation and training TP4, 4 updates, 256 slots"
VERL_V1 = "assumed: the shape of Qwen3-30B-A3B, 16 responses a prompt, spread .8, a tenth at the cap, TP4"
LARGE = "assumed: mean length 9,000, a tenth at the cap, spread .9, 4 updates, 256 slots"
SEER = "assumed: spread .9, one in twenty at the cap, prompts of 256, 256 slots, one accelerator a replica"
STREAM = "stream off-policy staleness 0"
BROADCAST = "broadcast weight update"
SMALL, BIG = "r1-distill-qwen-1.5b", "r1-distill-qwen-7b"
CASES = (
    Case("nemo_rl_v0.5", "llama-3.1-8b", "sync", nemo(0, 0, 1019), "sync", NEMO),
    Case("nemo_rl_v0.5", "llama-3.1-8b", "1-step-off with in-flight update", nemo(1, 8, 1123), "sync", NEMO),
    Case("nemo_rl_v0.5", "qwen3-32b", "sync", nemo_32b(), "sync", NEMO_32B),
    Case("verl_fully_async", "qwen2.5-math-7b", "sync", verl(0, 0), "sync", VERL),
    Case("verl_fully_async", "qwen2.5-math-7b", STREAM, verl(0, 64), "sync", VERL),
    Case("verl_fully_async", "qwen2.5-math-7b", "staleness 0.1", verl(1, 64), "sync", VERL),
    Case("verl_fully_async", "qwen3-30b-a3b", "sync", verl_moe(), "sync", VERL_MOE),
    Case("verl_v1", "qwen3.5-35b-a3b", "sync", verl_v1(), "sync", VERL_V1, steps=150),
    *(Case("areal_table7", SMALL, f"eta {eta}", areal(eta), "eta 0", AREAL) for eta in (0, 1, 4)),
    Case("areal_table1", SMALL, "sync", areal_large("qwen2.5-1.5b", 128, 0, 0), "sync", LARGE, 250, ENGINE),
    Case("areal_table1", SMALL, "async eta 8", areal_large("qwen2.5-1.5b", 128, 96, 8), "sync", LARGE, 250, ENGINE),
    Case("areal_table1", BIG, "sync", areal_large("qwen2.5-7b", 192, 0, 0), "sync", LARGE, 250, ENGINE),
    Case("seer_table", "moonlight", "sync rollout phase", seer(), "sync rollout phase", SEER, why=ROLLOUT),
    Case(
        "checkpoint_engine_readme", "qwen3-235b bf16", BROADCAST, Transfer(470e9, STAGED), BROADCAST,
        "fitted on this row: 75.6 GB/s",
    ),
    Case(
        "checkpoint_engine_readme", "kimi-k2 fp8", BROADCAST, Transfer(1.03e12, STAGED), BROADCAST,
        "fitted on Qwen3-235B: 75.6 GB/s, whatever the links; assumed: 1.03 TB",
    ),
)  # fmt: skip
