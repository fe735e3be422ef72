"""A run's own cast in virtual time, at the costs of a calibration, on a host whose cores all processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.cast import STANDINS
from actors.eventlog import Number, Record
from actors.kernel.backend import Clock
from actors.standins import mix
from buffers.errors import UsageError
from policies.batching import BatchingConfig
from policies.card import Share as Card
from policies.engine import EngineEvent
from policies.trainer import TrainerEvent
from rewards.reward import RewardEvent, Scored, ScoreJob
from sim.calibration import Calibration, Window, first_version, measure, read_run
from sim.cluster import cluster, finished
from sim.costs.cost import Install, Parts, Step
from sim.costs.curve import Curve
from sim.doubles.device import Cores, Share
from sim.doubles.engine import EngineDouble, EngineModel
from sim.doubles.meter import Meter
from sim.doubles.sharing import Sharing
from sim.doubles.trainer import TrainerDouble
from sim.network import Link
from sim.world import VirtualWorld, WorldConfig

NS = 1e9
REPORT_S = 1.0
PATIENCE_S = 1e5
FLAT_BASE = 1_000_000


class EngineCosts:
    """An `EngineCost` from a fit: a step, a row, a token that is prefilled."""

    def __init__(self, one: Calibration) -> None:
        self._costs = {name: NS * value for name, value in one.engine.costs.items()}
        self._install = Install(0, round(NS * one.single["install"]), False)

    def decode(self, batch: int) -> Curve:
        """See `EngineCost`; contexts of small models cost nothing that the reports show."""
        return Curve([0], [max(1.0, self._costs["step_s"] + self._costs["row_s"] * batch)], 0.0)

    def mixed(self, step: Step) -> float:
        """See `EngineCost`."""
        filled = sum(chunk.tokens for chunk in step.chunks)
        return self.decode(step.batch).at(0) + self._costs["prefill_s"] * filled

    def install(self, version: int) -> Install:
        """See `EngineCost`."""
        return self._install


class TrainerCosts:
    """A `TrainerCost` from a fit."""

    def __init__(self, one: Calibration) -> None:
        self._one = one

    def update(self, lengths: Sequence[int]) -> Parts:
        """See `TrainerCost`."""
        costs = self._one.trainer.costs
        return Parts({"update": round(NS * (costs["base_s"] + costs["token_s"] * sum(lengths)))})

    def checkpoint(self) -> int:
        """See `TrainerCost`."""
        return round(NS * self._one.single["checkpoint"])

    def expose(self) -> int:
        """See `TrainerCost`."""
        return round(NS * self._one.single["expose"])


class Lengths:
    """A `LengthModel`: the recorded responses in their order, and again from the middle on when they are used up."""

    def __init__(self, one: Calibration) -> None:
        self._one = one

    def response_tokens(self, trajectory: int, cap: int) -> int:
        """See `LengthModel`."""
        lengths = self._one.lengths
        half = len(lengths) // 2
        index = trajectory if trajectory < len(lengths) else half + (trajectory - half) % max(1, len(lengths) - half)
        return max(1, min(cap, lengths[index]))

    def prompt_tokens(self, prompt: int) -> int:
        """See `LengthModel`."""
        return self._one.prompt_tokens


class Rewards:
    """A Reward port: each answer takes its time; a share of groups is flat."""

    def __init__(self, one: Calibration, group: int, emit: Callable[[RewardEvent], None], share: Share) -> None:
        self._one = one
        self._group = group
        self._emit = emit
        self._share = share
        self._under_way = 0

    def score(self, job: ScoreJob) -> None:
        """Score one response."""
        self._under_way += 1
        self._share.busy(True)
        self._share.call_at(self._share.now() + NS * self._one.single["score"], self._scored, job)

    def _scored(self, job: ScoreJob) -> None:
        self._under_way -= 1
        self._share.busy(self._under_way > 0)
        flat = mix(job.trajectory // self._group, 7) % FLAT_BASE < FLAT_BASE * self._one.flat_share
        outcome = 0.0 if flat else float(job.trajectory % 2)
        self._emit(Scored(job.trajectory, job.attempt, {"outcome": outcome}, self._one.single["score"]))

    def close(self) -> None:
        """Stop."""
        self._share.close()


def predict(one: Calibration, settings: dict[str, Any], first: int) -> Window:
    """A run of these settings from version `first` on, as a live run is measured."""
    return observed(played(one, settings), settings, first)


def played(one: Calibration, settings: dict[str, Any]) -> VirtualWorld:
    """The world of a prediction, at its end."""
    world = simulated(one, settings)
    world.run(PATIENCE_S, finished)
    return world


def observed(world: VirtualWorld, settings: dict[str, Any], first: int) -> Window:
    """What is measured of a world, as of a live run."""
    numbers = [Number(*note) for note in world.notes]
    records: list[Record] = sorted([*world.decisions, *numbers], key=lambda record: record.at_ns)
    return measure(records, settings, first)


def simulated(one: Calibration, settings: dict[str, Any]) -> VirtualWorld:
    """The world of a prediction, about to start; without an evaluator."""
    roster = {**settings["roster"], "evaluator": ""}
    sections = {name: settings[name] for name in ("seed", "pace", "schedule", "rule", "sampling", "buffer", "restarts")}
    config = {**sections, "roster": roster, "evaluator": settings["evaluator"]}
    config |= {"prompts": {"count": 2048}, "standins": {}}
    cores, meter = Cores(one.cores), Meter()
    model = EngineModel(EngineCosts(one), Lengths(one), limits(settings["engine"]), False, REPORT_S)
    trainer = TrainerCosts(one)
    group = settings["schedule"]["group"]
    sharing = turns(settings, meter)
    opened: list[str] = []

    def engine(_: dict[str, Any], emit: Callable[[EngineEvent], None], clock: Clock) -> EngineDouble:
        opened.append(f"engine-{len(opened)}")
        double = EngineDouble(model, emit, Share(cores, clock), (meter, opened[-1]))
        if sharing is not None:
            double.share_devices(sharing, clock.now)
        return double

    def learn(_: dict[str, Any], emit: Callable[[TrainerEvent], None], clock: Clock) -> TrainerDouble:
        return TrainerDouble(trainer, emit, clock, Share(cores, clock), meter, sharing)

    def reward(_: dict[str, Any], emit: Callable[[RewardEvent], None], clock: Clock) -> Rewards:
        return Rewards(one, group, emit, Share(cores, clock))

    physics = WorldConfig(link=Link(latency_ns=round(NS * one.single["message"] / 2)), supervisor="supervisor")
    doubles = {STANDINS["engine"]: engine, STANDINS["trainer"]: learn, STANDINS["reward"]: reward}
    return cluster(config, physics, doubles=doubles)


def turns(settings: dict[str, Any], meter: Meter) -> Sharing | None:
    """The turns that a live run's engine and trainer took on one card; None if they took none."""
    card = msgspec.convert(settings.get("card", {}), Card)
    if card.by != "time":
        return None
    return Sharing(0, False, meter, card.cache == "drop", round(NS * card.turn_s))


def limits(engine: dict[str, Any]) -> BatchingConfig:
    """The batching limits of the embedded engine with these settings."""
    slots, rows = engine["slots"], engine["slots"] + engine["cached_rows"]
    return BatchingConfig(
        slots=slots,
        rows=rows,
        kv_tokens=engine.get("kv_tokens") or rows * engine["context_tokens"],
        prefill_tokens=engine["prefill_tokens"],
        refill=engine.get("refill") or max(1, slots // 16),
    )


def measured(folder: Path) -> tuple[dict[str, Any], Window]:
    """Settings of a live run, and what it came to."""
    settings, records = read_run(folder)
    return settings, measure(records, settings, first_version(records))


def load(path: Path) -> Calibration:
    """A cost file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no cost file ({error}); write one with braid calibrate") from None
