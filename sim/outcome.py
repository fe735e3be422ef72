"""What a simulated run came to, and why: the numbers of `braid simulate`, `compare` and `plan`.

Rates are those of the steady part: behind the eta + 1 versions whose batches were all begun at the start (as far as
there are further ones), to the last, with checkpoints as often as they fall due and not the one that ends every run.
Idle shares are of the whole run's time of all generators, or of the trainer; the bottleneck is named from them.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import msgspec

from actors.cast import RunSettings, buffer_config
from buffers.buffer import Buffer
from sim.disk import Platter
from sim.doubles.meter import Meter
from sim.scenario import Scenario, Simulation, settings

PATIENCE_S = 1e7
"""Virtual seconds after which a run that does not end is given up."""

WHY = {
    "training": "the trainer is at work and admission is closed: training is the bottleneck, or raise eta",
    "tail": "few long responses are left on other generators: the tail; cut into segments, or raise eta or oversample",
    "reward": "scores are waited for: more rewarders, or faster ones",
    "protocol": "messages and leases are on their way",
    "switch": "the devices change between generation and training",
    "weights": "new weights go in: the update is the cost",
    "generation": "the batch is not complete: generation is the bottleneck",
}
"""What a reason for standing still means."""


@dataclass(frozen=True)
class Outcome:
    """Everything about one run."""

    outcome: str
    step_s: float
    """Seconds per version."""
    tokens_per_s: float
    """Response tokens per second, cluster-wide."""
    tokens_per_gpu_s: float
    idle_share: dict[str, float]
    """Of the generators' and the trainer's time."""
    idle_why: dict[str, dict[str, float]]
    bottleneck: str
    staleness: dict[str, float]
    """Ages in versions of leased groups, lags in versions of their tokens."""
    tail: dict[str, float]
    """Response lengths: quantiles, and the share that reached the cap."""
    buffer: dict[str, float]
    """Trajectories alive and eligible, sampled at heartbeats."""
    training_s: dict[str, float]
    """Seconds per version by part."""
    batch: float
    """Mean sequences at work on a busy generator."""
    preemptions: int
    ledger: dict[str, int]
    """Trajectories ever opened, and where they are: opened = trained + evicted + failed + in_flight."""
    deaths: int
    """Actors that died and were started again."""
    gpu_hours: float
    cost: float
    versions: int
    segments: int
    simulated_s: float
    wall_s: float
    events: int
    digest: str


def run(simulation: Simulation, wall: Any) -> Outcome:
    """Run to the end; `wall()` gives seconds."""
    begun = wall()
    with few_collections():
        ended = simulation.world.run_to_end(PATIENCE_S)
    return outcome(simulation, ended, wall() - begun)


def ledger(simulation: Simulation) -> dict[str, int]:
    """The account of what is stored, as a replay that is started anew would read it."""
    shared = settings(simulation.scenario)
    platter: Platter = simulation.world.place(shared["roster"]["replay"]).disk["store"]
    account = Buffer.recover(buffer_config(msgspec.convert(shared, RunSettings)), platter.memory.rows()).ledger()
    return {name: getattr(account, name) for name in ("opened", "trained", "evicted", "failed", "in_flight")}


def simulated(one: Scenario) -> Outcome:
    """What a scenario comes to, wall time left out; for searches, in processes of their own."""
    return run(Simulation(one, codec=False), lambda: 0.0)


@contextmanager
def few_collections() -> Iterator[None]:
    """Look for cycles a thousand times less often: a simulation makes next to none, and looking takes a tenth of it."""
    before = gc.get_threshold()
    gc.set_threshold(1000 * before[0], *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def outcome(simulation: Simulation, ended: bool, wall_s: float) -> Outcome:
    """The figures of a run as far as it came."""
    one, world, tally, meter = simulation.scenario, simulation.world, simulation.tally, simulation.meter
    meter.close(world.now)
    seconds = world.now / 1e9
    versions = max(0, len(tally.published) - 1)
    step_s = seconds_per_version(simulation, ended)
    per_version = one.schedule.batch * trained_tokens(simulation)
    rate = per_version / step_s if step_s else 0.0
    shares, why = idle(meter, world.now)
    hours = one.gpus * seconds / 3600
    ordered = sorted(tally.lengths)
    return Outcome(
        outcome=tally.reason if ended and tally.reason else "not finished",
        step_s=round(step_s, 4),
        tokens_per_s=round(rate, 1),
        tokens_per_gpu_s=round(rate / one.gpus, 2),
        idle_share=shares,
        idle_why=why,
        bottleneck=bottleneck(shares, why),
        staleness={
            "age_mean": round(tally.mean("age_mean"), 3),
            "age_max": tally.greatest.get("age_max", 0.0),
            "lag_mean": round(tally.mean("lag_mean"), 3),
            "lag_max": tally.greatest.get("lag_max", 0.0),
        },
        tail=quantiles(ordered, one),
        buffer={name: round(tally.mean(name), 1) for name in ("live", "eligible")},
        training_s={
            name: round(took / 1e9 / max(1, versions), 3) for name, took in sorted(meter.training.items()) if took
        },
        batch=round(
            sum(spell.rows for spell in meter.engines.values())
            / max(1.0, sum(spell.busy for spell in meter.engines.values())),
            2,
        ),
        preemptions=sum(spell.preempted for spell in meter.engines.values()),
        ledger=ledger(simulation),
        deaths=tally.kinds["died"],
        gpu_hours=round(hours, 3),
        cost=round(hours * one.price_per_gpu_hour, 2),
        versions=versions,
        segments=tally.kinds["store"],
        simulated_s=round(seconds, 3),
        wall_s=round(wall_s, 3),
        events=world.kernel.ordered,
        digest=world.digest,
    )


def steady(simulation: Simulation) -> tuple[int, int]:
    """The two publications between which rates are taken: behind the first eta + 1 versions, if two more follow."""
    last = len(simulation.tally.published) - 1
    return (0 if last < 2 else max(1, min(simulation.scenario.schedule.eta + 1, last - 2))), last


def trained_tokens(simulation: Simulation) -> float:
    """Mean length of the responses trained between these two publications."""
    trained = simulation.tally.trained
    if len(trained) < 2:
        return simulation.tally.mean("response_tokens")
    first, last = steady(simulation)
    tokens, count = (after - before for before, after in zip(trained[first], trained[last], strict=True))
    return tokens / count if count else 0.0


def seconds_per_version(simulation: Simulation, ended: bool) -> float:
    """Seconds between two publications; of a single version from the start, 0 of none.

    The last publication of a run that ended waits for a checkpoint, due or not: it is taken out, and what is then short
    of a checkpoint every `checkpoint_every` versions is put back in proportion.
    """
    published, every = simulation.tally.published, simulation.scenario.schedule.checkpoint_every
    if len(published) < 2:
        return 0.0
    first, last = steady(simulation)
    spans = last - first
    took = published[last] - published[first]
    if ended:
        within = (last - 1) // every - first // every
        took -= round((1 - spans / every + within) * simulation.plant.training.checkpoint())
    return took / 1e9 / spans


def idle(meter: Meter, now: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """(idle shares, shares by reason) of generators and trainer."""
    span = max(1, now) * max(1, len(meter.engines))
    reasons: Counter[str] = Counter()
    for spell in meter.engines.values():
        reasons.update(spell.idle)
        reasons["weights"] += spell.stalled  # type: ignore[assignment]
    generators = {reason: round(took / span, 4) for reason, took in sorted(reasons.items()) if took}
    trainer = {reason: round(took / max(1, now), 4) for reason, took in sorted(meter.trainer_idle.items()) if took}
    shares = {"generators": round(sum(generators.values()), 4), "trainer": round(sum(trainer.values()), 4)}
    return shares, {"generators": generators, "trainer": trainer}


def bottleneck(shares: dict[str, float], why: dict[str, dict[str, float]]) -> str:
    """What a faster part would have to be, in a word."""
    generators, trainer = why["generators"], why["trainer"]
    if max((*generators.values(), 0.0)) == generators.get("weights", -1.0) and generators["weights"] > 0.1:
        return "weights"
    if trainer.get("generation", 0.0) >= generators.get("training", 0.0):
        return "tail" if generators.get("tail", 0.0) > 0.25 else "generation"
    return "training"


def quantiles(ordered: list[int], one: Scenario) -> dict[str, float]:
    """Response lengths."""
    if not ordered:
        return {}
    last = len(ordered) - 1
    cap = one.schedule.max_response_tokens
    found = {name: float(ordered[round(share * last)]) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
    return {
        "mean": round(fmean(ordered), 1),
        **found,
        "max": float(ordered[-1]),
        "capped": round(sum(length >= cap for length in ordered) / len(ordered), 4),
    }
