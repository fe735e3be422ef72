"""A scenario: a model, accelerators and how they are split, a batch and its lengths, a schedule; and its world.

    Scenario --check--> Plant (costs) --> settings + doubles --> VirtualWorld with the real cast, Meter, Tally

`generator_gpus` = 0 shares all accelerators between generation and training in turns: by default with everything of the
other moved out of the way (`switch_s`), and with `[cluster] placement = "colocated"`, as in a live run of that setting,
side by side in their memory, in turns or at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from actors.cast import STANDINS, RunSettings
from actors.kernel.operations import ns
from actors.roster import Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from buffers.errors import UsageError
from buffers.rows import PromptRow
from buffers.segment import Ghost
from policies.batching import BatchingConfig
from sim.cluster import cluster
from sim.costs.hardware import gpu as find_gpu
from sim.costs.lengths import Lengths, read_lengths
from sim.costs.model import model as find_model
from sim.costs.rewards import Scoring
from sim.costs.roofline import Roofline, Speculation
from sim.costs.training import Layout, Training
from sim.costs.weights import WeightsCost
from sim.doubles.device import Cores, Dedicated, Device
from sim.doubles.device import Share as CoreShare
from sim.doubles.engine import EngineDouble, EngineModel
from sim.doubles.meter import Meter
from sim.doubles.reward import RewardDouble
from sim.doubles.sharing import Sharing
from sim.doubles.trainer import TrainerDouble
from sim.mishaps import Mishap, befall
from sim.network import Link
from sim.tally import Tally
from sim.world import VirtualWorld, WorldConfig

TRAINER_BYTES = 18.0
"""Of each parameter that is trained: weights, gradient, two moments, in mixed precision."""


class LengthSection(msgspec.Struct, frozen=True):
    """Lengths of responses (`sim/costs/lengths.py`); their cap is `schedule.max_response_tokens`."""

    mean: float = 2048.0
    """Mean response in tokens, before growth."""
    sigma: float = 0.8
    """Standard deviation of the logarithm."""
    capped: float = 0.0
    """Share of responses that reach the cap."""
    prompt_share: float = 0.5
    """Share of the spread that belongs to the prompt; the rest lies inside its group."""
    prompt: int = 256
    """Mean prompt in tokens."""
    growth: float = 0.0
    """Relative growth of lengths over one version's batch."""
    csv: str = ""
    """Measured lengths to draw from instead: a CSV or JSONL file as it is, or the folder of a live run."""
    column: str = "output_length"
    """The file's column of lengths in tokens."""


class EngineSection(msgspec.Struct, frozen=True):
    """A generator's engine."""

    slots: int = 64
    """Sequences that a generator runs at once."""
    prefill_tokens: int = 8192
    """Prompt tokens that one step takes in."""
    host_us: float = 1500.0
    """The host's part of every step, in microseconds."""
    memory_share: float = 0.9
    """Share of the memory that weights, keys and values may take."""
    weight_bytes: float = 2.0
    """Bytes of a parameter: 2 is bf16, 1 is fp8."""
    share_prompts: bool = False
    """A group's prompt is prefilled once for all its members."""


class ClusterSection(msgspec.Struct, frozen=True):
    """How one card is shared; the keys of a live run's `[cluster]` (`actors/live/placement.py`)."""

    placement: Literal["", "separate", "colocated"] = ""
    """Empty: as `generator_gpus` says. colocated: nothing is moved out of the way."""
    share: Literal["time", "memory"] = "time"
    """Engine and trainer use the card in turns, or both at once with a part of its memory each."""
    cache: Literal["keep", "drop"] = "keep"
    """With time: what becomes of an engine's keys and values while another has the card."""
    turn_s: float = 0.25
    """With time: how long an engine that still has work keeps the card although others wait for it."""
    engine_memory: float = 0.4
    """With memory: the generator's part of the card's memory."""


@dataclass(frozen=True)
class Scenario:
    """What `braid simulate SCENARIO.toml` reads."""

    model: str = ""
    """A name of the list in `sim/costs/model.py`, or a Hugging Face config.json."""
    gpu: str = "H100"
    """A name of the list in `sim/costs/hardware.py`."""
    gpus: int = 8
    """Accelerators in all."""
    generator_gpus: int = 0
    """Accelerators that generate; the others train. 0: all do both in turns."""
    generator_tp: int = 1
    """Accelerators of one generator (tensor parallelism)."""
    seed: int = 0
    """Of everything that is drawn."""
    rewarders: int = 4
    """Rewarder processes."""
    solved: float = 0.5
    """Success rate."""
    switch_s: float = 15.0
    """From generation to training on the same accelerators, or back."""
    price_per_gpu_hour: float = 0.0
    """In any money; 0: costs are not shown."""
    rule: str = "actors.schedules.schedule:Schedule"
    """The class that schedules (`module:name`)."""
    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(
            batch=512, segment_tokens=2048, max_response_tokens=8192, versions=8, checkpoint_every=8
        )
    )
    engine: EngineSection = field(default_factory=EngineSection)
    lengths: LengthSection = field(default_factory=LengthSection)
    cluster: ClusterSection = field(default_factory=ClusterSection)
    layout: Layout = field(default_factory=Layout)
    speculation: Speculation = field(default_factory=Speculation)
    weights: WeightsCost = field(default_factory=WeightsCost)
    reward: Scoring = field(default_factory=Scoring)
    pace: Pace = field(
        default_factory=lambda: Pace(heartbeat_s=10.0, ask_timeout_s=60.0, lease_s=7200.0, hang_s=600.0, stop_s=60.0)
    )
    link: Link = field(default_factory=Link)
    faults: tuple[Mishap, ...] = ()
    """What befalls the cast (`sim/mishaps.py`)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming key, value and remedy."""
        positive = (
            ("gpus", self.gpus),
            ("generator_tp", self.generator_tp),
            ("rewarders", self.rewarders),
            ("engine.slots", self.engine.slots),
            ("lengths.mean", self.lengths.mean),
            ("lengths.prompt", self.lengths.prompt),
            ("weights.bytes_per_s", self.weights.bytes_per_s),
            ("layout.tensor", self.layout.tensor),
            ("layout.pipeline", self.layout.pipeline),
            ("layout.microbatches", self.layout.microbatches),
        )
        for key, value in positive:
            if not value > 0:
                raise UsageError(f"{key} = {value}: must be above 0")
        for key, number in (("switch_s", self.switch_s), ("weights.base_s", self.weights.base_s)):
            if not number >= 0:
                raise UsageError(f"{key} = {number}: must be 0 or more")
        if not 0 <= self.lengths.capped < 1:
            raise UsageError(f"lengths.capped = {self.lengths.capped} must be a share in [0, 1)")
        if not 0 <= self.generator_gpus < self.gpus:
            raise UsageError(
                f"generator_gpus = {self.generator_gpus} of gpus = {self.gpus}: leave at least one to train, or 0 to "
                "share all in turns"
            )
        self._check_cluster()
        if self.generating % self.generator_tp:
            raise UsageError(
                f"generator_tp = {self.generator_tp}: {self.generating} generating accelerators must be a multiple"
            )
        if self.lengths.mean > self.schedule.max_response_tokens:
            raise UsageError(
                f"lengths.mean = {self.lengths.mean} exceeds schedule.max_response_tokens = "
                f"{self.schedule.max_response_tokens}"
            )

        roster = cast(self)
        devices = (*roster.generators, roster.learner, *roster.rewarders)
        for number, fault in enumerate(self.faults):
            fault.check(number, (*devices, roster.controller, roster.replay), devices)

    def _check_cluster(self) -> None:
        """Where the roles stand must agree with how the accelerators are split."""
        cluster = self.cluster
        if cluster.placement and (cluster.placement == "colocated") == bool(self.generator_gpus):
            raise UsageError(
                f"cluster.placement = {cluster.placement!r} with generator_gpus = {self.generator_gpus}: set the "
                "latter to 0 for colocated, above 0 for separate"
            )
        if not 0 < cluster.engine_memory < 1:
            raise UsageError(f"cluster.engine_memory = {cluster.engine_memory}: give a fraction between 0 and 1")
        if not cluster.turn_s >= 0:
            raise UsageError(f"cluster.turn_s = {cluster.turn_s}: must be 0 or more")
        if self.colocated and cluster.share == "memory" and self.gpus != self.generator_tp:
            raise UsageError(
                f"cluster.share = 'memory' with gpus = {self.gpus}, generator_tp = {self.generator_tp}: at once is "
                "predicted for one generator only; make them equal, or set cluster.share = 'time'"
            )

        if self.colocated and cluster.share == "memory" and any(fault.verb == "slow" for fault in self.faults):
            raise UsageError(
                "[[faults]] verb = 'slow' with cluster.share = 'memory': a slow half of a card is not predicted; set "
                "cluster.share = 'time', or leave that fault out"
            )

    @property
    def colocated(self) -> bool:
        """Whether generation and training share the accelerators with the memory of both in place."""
        return self.cluster.placement == "colocated"

    @property
    def generating(self) -> int:
        """Accelerators that generate."""
        return self.generator_gpus or self.gpus

    @property
    def generators(self) -> int:
        """Replicas."""
        return self.generating // self.generator_tp


@dataclass(frozen=True)
class Plant:
    """The cost models of a scenario."""

    engine: EngineModel
    training: Training
    scoring: Scoring
    lengths: Lengths


def plant(one: Scenario) -> Plant:
    """The cost models; `UsageError` for an unknown model or accelerator, or a model that does not fit."""
    if not one.model:
        raise UsageError("model is missing: name a model of the list or a Hugging Face config.json")
    model, gpu = find_model(one.model), find_gpu(one.gpu)
    cost = Roofline(
        model, gpu, one.weights, one.generator_tp, one.engine.host_us, one.engine.weight_bytes, one.speculation
    )
    room = cost.kv_tokens(memory_share(one, gpu.memory_bytes * one.gpus, model.total))
    cap = one.schedule.max_response_tokens
    longest = cap + round(1.5 * one.lengths.prompt)
    if room < longest:
        raise UsageError(
            f"model = {one.model!r} leaves room for {max(0, room)} tokens on generator_tp = {one.generator_tp} x "
            f"{one.gpu}, one response needs {longest}: raise generator_tp or lower schedule.max_response_tokens"
        )
    trainers = one.gpus - one.generator_gpus
    part = 1 - one.cluster.engine_memory if one.colocated and one.cluster.share == "memory" else 0.9
    needed, held = TRAINER_BYTES * model.total, part * trainers * gpu.memory_bytes
    if needed > held:
        raise UsageError(
            f"model = {one.model!r} needs {needed / 1e9:.0f} GB to be trained, {trainers} x {one.gpu} hold "
            f"{held / 1e9:.0f} GB: give the trainer more accelerators"
            + (", or lower cluster.engine_memory" if one.colocated else "")
        )
    split = one.layout.tensor * one.layout.pipeline
    if trainers % split:
        raise UsageError(
            f"layout.tensor x layout.pipeline = {split}: {trainers} training accelerators must be a multiple"
        )
    if one.generator_tp > gpu.per_machine or model.heads % one.generator_tp:
        raise UsageError(
            f"generator_tp = {one.generator_tp}: a replica stands in one machine ({gpu.per_machine} x {gpu.name}) and "
            f"divides {model.heads} heads; make it smaller"
        )
    schedule = one.schedule
    section = one.lengths
    lengths = Lengths(
        mean=section.mean,
        cap=cap,
        seed=one.seed,
        sigma=section.sigma,
        capped=section.capped,
        prompt_share=section.prompt_share,
        group=schedule.group,
        prompt=section.prompt,
        growth=section.growth,
        period=schedule.batch if section.growth else 0,
        measured=read_lengths(Path(section.csv), section.column) if section.csv else (),
    )
    batching = BatchingConfig(
        slots=one.engine.slots,
        rows=1 << 20,
        kv_tokens=room,
        prefill_tokens=one.engine.prefill_tokens,
    )
    engine = EngineModel(cost, lengths, batching, one.engine.share_prompts)
    return Plant(engine, Training(model, gpu, trainers, one.layout), one.reward, lengths)


def memory_share(one: Scenario, memory: float, parameters: int) -> float:
    """The share of the accelerators' memory that engines may fill: all but the trainer's, where that stays in place."""
    if not one.colocated:
        return one.engine.memory_share
    if one.cluster.share == "memory":
        return one.cluster.engine_memory
    return one.engine.memory_share - TRAINER_BYTES * parameters / memory


class Simulation:
    """A scenario's world, about to start, with what it is measured by."""

    def __init__(self, one: Scenario, *, codec: bool = True, keep: bool = False) -> None:
        self.scenario = one
        self.plant = built = plant(one)
        self.meter = meter = Meter()
        sharing = None
        at_once = one.colocated and one.cluster.share == "memory"
        if not one.generator_gpus and not at_once:
            drops = not one.colocated or one.cluster.cache == "drop"
            turn_ns = round(1e9 * one.cluster.turn_s) if one.colocated else 0
            sharing = Sharing(round(1e9 * one.switch_s), one.schedule.eta == 0, meter, drops, turn_ns)
        card = Cores(1) if at_once else None
        hosts = {fault.target: Cores(1) for fault in one.faults if fault.verb == "slow"}
        hosts |= {name: Cores(one.reward.cores) for name in cast(one).rewarders if name in hosts}

        def device(clock: Any) -> Device:
            host = hosts.get(clock.name, card)
            return Dedicated(clock) if host is None else CoreShare(host, clock)

        def engine(config: dict[str, Any], emit: Any, clock: Any) -> EngineDouble:
            double = EngineDouble(built.engine, emit, device(clock), (meter, clock.name))
            if sharing is not None:
                double.share_devices(sharing, clock.now)
            return double

        def trainer(config: dict[str, Any], emit: Any, clock: Any) -> TrainerDouble:
            return TrainerDouble(built.training, emit, clock, device(clock), meter, sharing)

        def reward(config: dict[str, Any], emit: Any, clock: Any) -> RewardDouble:
            return RewardDouble(built.scoring, emit, clock, meter, one.seed, one.solved, hosts.get(clock.name))

        def prompts(config: dict[str, Any], emit: Any, clock: Any) -> tuple[PromptRow, ...]:
            count = max(64, one.schedule.batch // one.schedule.group * 2)
            return tuple(PromptRow(n, Ghost(built.lengths.prompt_tokens(n), n), str(n)) for n in range(count))

        doubles = {"engine": engine, "trainer": trainer, "reward": reward, "prompts": prompts}
        physics = WorldConfig(
            link=one.link, codec=codec, supervisor="supervisor", patience_ns=ns(one.pace.ask_timeout_s), keep=keep
        )
        self.world: VirtualWorld = cluster(
            settings(one), physics, doubles={STANDINS[port]: maker for port, maker in doubles.items()}
        )
        befall(self.world, one.faults, hosts)
        self.tally = Tally()
        self.world.watch = self.tally.watch
        self.world.measure = self.tally.measure


def cast(one: Scenario) -> Roster:
    """Who takes part."""
    return Roster(
        generators=tuple(f"generator-{number:04d}" for number in range(one.generators)),
        rewarders=tuple(f"rewarder-{number:02d}" for number in range(one.rewarders)),
        supervisor="supervisor",
    )


def settings(one: Scenario) -> dict[str, Any]:
    """The settings that every actor gets."""
    shared = RunSettings(seed=one.seed, roster=cast(one), pace=one.pace, schedule=one.schedule, rule=one.rule)
    return dict(msgspec.to_builtins(shared))
