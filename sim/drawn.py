"""Plans drawn from one seed: cluster, schedule, stand-ins, faults, each part from a labelled stream of its own.

    draw(seed, mode, profile) --> Plan        a seed, a mode and a profile always mean the same plan

Swarm style: a plan has only a few kinds of faults, so that rare combinations are not drowned; what is rare among
settings (`_draw_rare`, `_make_late`) comes in a small share of the plans, and there with what it needs to matter.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from actors.cast import RunSettings
from actors.kernel.asks import Window
from actors.kernel.operations import NS
from actors.kernel.streams import stream
from actors.roster import Roster
from sim.faults import DRAWN_VERBS, Act, Verb, draw_plan
from sim.network import Link
from sim.plan import Mode, Plan, Profile, Strike
from sim.sittings import Stop

PARTIES = {
    "snapshot": ("controller", "replay"),
    "admit": ("controller", "replay"),
    "dispatch": ("controller", "generator"),
    "store": ("replay", "generator"),
    "score": ("controller", "rewarder", "replay"),
    "lease": ("replay", "learner"),
    "update": ("learner", "replay"),
    "checkpoint": ("learner", "replay"),
    "complete": ("learner", "replay"),
    "publish": ("learner", "generator"),
    "hello": ("learner", "replay"),
    "installed": ("generator", "learner"),
    "lost": ("controller", "replay"),
}
"""Decisions that a strike may follow, and whose next step they are."""

NEVER_S = 100_000.0
"""Longer than any run."""


def draw(seed: int, mode: Mode = "repairable", profile: Profile = "small") -> Plan:
    """Draw a plan; the same seed, mode and profile give the same plan."""
    config = {"seed": seed, **_draw_shape(stream(seed, "shape"))}
    config["schedule"] = _draw_schedule(stream(seed, "schedule"))
    if profile == "standard":
        _enlarge(config, stream(seed, "standard"))
    config["standins"] = _draw_standins(stream(seed, "standins"), seed)
    config["buffer"] = _draw_buffer(stream(seed, "buffer"), config["schedule"])
    if config["standins"]["fail_job_every"] or config["standins"]["fail_score_every"]:
        config["buffer"]["max_attempts"] = max(2, config["buffer"]["max_attempts"])
    config["prompts"] = {"count": stream(seed, "prompts").choice([16, 64])}
    config["store"] = {"sync_s": stream(seed, "store").choice([0.0001, 0.002, 0.02])}
    physics = stream(seed, "physics")
    link = Link(physics.choice([20_000, 100_000, 1_000_000, 10_000_000]), physics.choice([0, 0, 50_000, 5_000_000]))
    window = Window(physics.choice([1, 1, 2, 256]))
    roster = msgspec.convert(config, RunSettings).roster
    names = [roster.controller, roster.replay, roster.learner, *roster.generators, *roster.rewarders]
    names += [name for name in (roster.evaluator, roster.recorder) if name]
    acts = _draw_acts(seed, mode, names, roster.supervisor)
    strikes = _draw_strikes(stream(seed, "strikes"), roster, names)
    stops = _draw_stops(stream(seed, "stops")) if profile == "standard" else ()
    rare = stream(seed, "rare")
    more_strikes = _draw_rare(config, rare, roster.learner)
    tight, wild = rare.random() < 0.25, rare.random() < 0.25
    if stops and (late := stream(seed, "late")).random() < 0.4:
        stops, more = _make_late(config, stops, late)
        acts += more
    if mode == "still":
        _quieten(config, stream(seed, "still"))
        return Plan(seed, mode, config, link, window, codec=physics.random() < 0.8, tight=tight, wild=wild)
    strikes += more_strikes
    return Plan(seed, mode, config, link, window, acts, strikes, stops, physics.random() < 0.8, tight, wild)


def _draw_shape(draw: random.Random) -> dict[str, Any]:
    evaluator = draw.choice(["", "evaluator"])
    return {
        "roster": {
            "generators": [f"g{number}" for number in range(draw.randint(1, 4))],
            "rewarders": [f"r{number}" for number in range(draw.randint(1, 2))],
            "evaluator": evaluator,
            "recorder": draw.choice(["", "recorder"]),
            "supervisor": "supervisor",
        },
        "pace": {
            "heartbeat_s": 0.1,
            "ask_timeout_s": draw.choice([0.1, 0.4]),
            "lease_s": draw.choice([0.4, 2.0]),
            "hang_s": 1.5,
            "start_s": 0.0,
            "stop_s": 1.0,
        },
        "restarts": {"backoff_s": 0.02, "max_backoff_s": 0.5, "budget": 60},
        "evaluator": {"every": draw.randint(1, 3), "samples": draw.randint(1, 2), "max_response_tokens": 32},
    }


def _draw_schedule(draw: random.Random) -> dict[str, Any]:
    group = draw.randint(2, 4)
    updates = draw.randint(1, 2)
    install = draw.choice(["in_flight", "drain"])
    return {
        "group": group,
        "updates_per_version": updates,
        "batch": group * updates * draw.randint(1, 3),
        "eta": draw.choice([0, 0, 1, 1, 2, 4]),
        "oversample": draw.choice([1.0, 1.0, 2.0]),
        "reuse": 1 if install == "drain" else draw.choice([1, 1, 2]),
        "partial": draw.random() < 0.7,
        "segment_tokens": draw.choice([4, 8, 16, 64]),
        "max_response_tokens": draw.choice([8, 48, 96]),
        "install": install,
        "backlog": draw.choice([0, 2, 8]),
        "versions": draw.randint(2, 6),
        "checkpoint_every": draw.randint(1, 3),
    }


def _enlarge(config: dict[str, Any], draw: random.Random) -> None:
    """Twelve actors and five to seven versions; what else was drawn stays."""
    config["roster"].update(
        generators=[f"g{number}" for number in range(4)],
        rewarders=["r0", "r1"],
        evaluator="evaluator",
        recorder="recorder",
    )
    config["schedule"]["versions"] = draw.randint(5, 7)


def _quieten(config: dict[str, Any], draw: random.Random) -> None:
    """Nothing fails, nothing times out, whoever stops may finish; in half of the plans nothing beats either."""
    config["standins"].update(fail_score_every=0, fail_job_every=0, break_every=0, fail_install_every=0)
    config["pace"].update(ask_timeout_s=NEVER_S, lease_s=NEVER_S, stop_s=60.0)
    if draw.random() < 0.5:
        config["pace"].update(heartbeat_s=NEVER_S, hang_s=NEVER_S)
        config["roster"]["evaluator"] = ""  # it hears of versions by heartbeat


def _draw_standins(draw: random.Random, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "payload": "arrays" if draw.random() < 0.15 else "ghost",
        "token_s": draw.choice([0.0002, 0.001, 0.004]),
        "slots": draw.choice([1, 4, 8]),
        "mean_tokens": draw.choice([4, 24, 48]),
        "install_s": draw.choice([0.0, 0.002, 0.05, 0.3]),
        "step_s": draw.choice([0.001, 0.02, 0.2]),
        "checkpoint_s": draw.choice([0.0, 0.005, 0.1]),
        "report_s": draw.choice([0.0, 0.02]),
        "score_s": draw.choice([0.0005, 0.02]),
        "solve_share": draw.choice([0.3, 0.5]),
        "fail_score_every": draw.choice([0, 0, 7, 20]),
        "fail_job_every": draw.choice([0, 0, 60, 150]),
        "flat_every": draw.choice([0, 0, 2, 3]),
    }


def _draw_buffer(draw: random.Random, schedule: dict[str, Any]) -> dict[str, Any]:
    longest_prompt = 19
    least = schedule["checkpoint_every"] * schedule["batch"] * (longest_prompt + schedule["max_response_tokens"])
    return {
        "max_attempts": draw.choice([1, 2, 3]),
        "no_signal": draw.choice(["train", "train", "evict"]),
        "capacity_tokens": draw.choice([0, 0, least, 2 * least]),
        "priority": draw.choice(["spread_freshness", "fifo", "uniform", "freshest"]),
    }


def _draw_acts(seed: int, mode: Mode, names: list[str], supervisor: str) -> tuple[Act, ...]:
    """Faults by the clock; a crash is repaired by the supervisor alone, so it has no end of its own."""
    draw = stream(seed, "acts")
    verbs: list[Verb] = draw.sample(DRAWN_VERBS, draw.randint(1, 3))
    horizon_ns = draw.choice([NS // 2, 2 * NS, 5 * NS])
    count = draw.choice([0, 1, 2, 4, 8])
    actors = [*names, supervisor] if mode == "anything" else names
    acts = []
    for act in draw_plan(seed, actors, horizon_ns, count, verbs).acts:
        endless = mode == "anything" and draw.random() < 0.3
        for_ns = 0 if act.verb == "crash" or endless else act.for_ns
        acts.append(msgspec.structs.replace(act, for_ns=for_ns))
    return tuple(acts)


def _draw_strikes(draw: random.Random, roster: Roster, names: list[str]) -> tuple[Strike, ...]:
    """Faults by what is decided: mostly deaths of those whose next step it is, mostly within a few messages' time."""
    parts = {"generator": roster.generators, "rewarder": roster.rewarders}
    strikes = []
    for _ in range(draw.choice([0, 1, 2, 3, 5])):
        verb: Verb = draw.choice(["crash", "crash", "crash", "pause", "partition"])
        kind = draw.choice(list(PARTIES))
        party = draw.choice(PARTIES[kind])
        target = draw.choice(parts.get(party, (party,))) if draw.random() < 0.8 else draw.choice(names)
        delay_ns = draw.choice([0, 1, draw.randrange(300_000), draw.randrange(3_000_000), draw.randrange(50_000_000)])
        for_ns = 0 if verb == "crash" else draw.choice([NS // 4, NS, 3 * NS])
        strikes.append(Strike(kind, draw.choice([1, 2, 3, 5, 9]), Act(delay_ns, verb, target, for_ns=for_ns)))
    return tuple(strikes)


def _draw_stops(draw: random.Random) -> tuple[Stop, ...]:
    """In one plan of four the run is stopped, or killed whole, and resumed, once or twice."""
    count = draw.choice([0, 0, 0, 0, 0, 0, 1, 2])
    times = sorted(draw.randrange(10_000_000, draw.choice([NS // 2, 3 * NS])) for _ in range(count))
    return tuple(Stop(at_ns, draw.random() < 0.5, draw.choice([1, 50_000_000, NS])) for at_ns in times)


def _draw_rare(config: dict[str, Any], draw: random.Random, learner: str) -> tuple[Strike, ...]:
    """Settings that few runs have, each in a few plans; strikes that hit what they make possible."""
    schedule, standins, buffer = config["schedule"], config["standins"], config["buffer"]
    rare = draw.choice(["", "", "", "", "break", "install", "fail", "age", "epochs", "keep", "torn"])
    if rare == "break":
        standins["break_every"] = draw.choice([15, 40])
        buffer["max_attempts"] = draw.choice([1, 2, 3])
    elif rare == "install":
        standins["fail_install_every"] = draw.choice([2, 3, 5])
    elif rare == "fail":
        standins["fail_score_every"] = 2 * schedule["group"] + 1
        buffer["max_attempts"] = 1
    elif rare == "age":
        schedule.update(eta=0, oversample=2.0, reuse=2, install="in_flight", checkpoint_every=4)
        buffer.update(capacity_tokens=0, priority=draw.choice(["freshest", "fifo", "uniform"]))
    elif rare == "epochs":
        buffer["prompts"] = {"epochs": draw.choice([1, 2]), "order": draw.choice(["success", "passes"])}
    elif rare == "keep":
        buffer["keep_closed"] = True
    elif rare == "torn":  # a checkpoint is on the disk, and its learner dies before it knows
        schedule.update(checkpoint_every=2, updates_per_version=1)
        standins.update(report_s=0.02, checkpoint_s=0.005)
        buffer["capacity_tokens"] = 0
        crash = Act(15_000_000, "crash", learner)
        return tuple(Strike("update", count, crash) for count in draw.sample([2, 4, 6], 2))
    standins["late_end"] = draw.random() < 0.3
    return ()


def _make_late(config: dict[str, Any], stops: tuple[Stop, ...], draw: random.Random) -> Any:
    """Words of the dead where they do most: before the controller has taken stock, of failures that end groups."""
    slow = {"token_s": 0.004, "mean_tokens": 48, "slots": 4, "step_s": 0.001, "score_s": 0.1}
    config["standins"].update(fail_score_every=config["schedule"]["group"] + 1, **slow)
    config["schedule"].update(eta=4, partial=True, segment_tokens=draw.choice([8, 96]), max_response_tokens=96)
    config["buffer"].update(max_attempts=draw.choice([1, 1, 1, 2]), capacity_tokens=0)
    stops = tuple(msgspec.structs.replace(stop, orderly=False, pause_ns=1, late=True) for stop in stops)
    acts = []
    for stop in stops:
        before_ns = min(stop.at_ns, draw.choice([NS // 10, NS // 3]))
        for name in config["roster"]["rewarders"]:
            late = Act(stop.at_ns - before_ns, "delay", f"{name}->replay", 1.0, before_ns, before_ns)
            acts.append(late)
        acts.append(Act(stop.at_ns, "partition", "controller", for_ns=draw.choice([NS // 10, NS // 2])))
    return stops, tuple(acts)
