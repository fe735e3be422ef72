"""A plan: a cluster, a schedule, stand-ins and the faults that befall them; drawn from one seed, or saved.

    draw(seed, mode) --> Plan --run_plan--> Outcome(events, violation, digest ...)
                          | ^
                      to_json from_json        a plan that failed is kept as a file and run for ever

Each part is drawn from a labelled stream of its own, swarm style: a plan has only a few kinds of faults, so that rare
combinations are not drowned. Three modes: in `repairable` every fault ends and the supervisor lives, so the run must
finish (invariant 11); in `anything` faults may stay and the supervisor may die, and only safety is asked for; in
`still` nothing befalls the cast, so nothing may have to be healed, in half of the plans not even by a heartbeat.

Two profiles say how large a plan is; a seed, a mode and a profile always mean the same plan.

A `Strike` is a fault tied to what is being decided ("0.4 ms after the third `complete`"), which hits the gaps between
two steps of a protocol far more often than one tied to the clock.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Any, Literal

import msgspec

from actors.cast import STANDINS, RunSettings
from actors.kernel.asks import Window
from actors.kernel.backend import Decision
from actors.kernel.operations import NS
from actors.kernel.streams import stream
from actors.roster import Roster
from buffers.errors import BraidError
from sim.cluster import cluster, finished
from sim.faults import DRAWN_VERBS, Act, FaultPlan, Verb, draw_plan, perform
from sim.invariants import Invariants
from sim.line_trainer import LineTrainer
from sim.network import Link
from sim.sittings import Sittings, Stop
from sim.story import about, lines
from sim.violation import InvariantViolated
from sim.world import VirtualWorld, WorldConfig

Mode = Literal["repairable", "anything", "still"]

Profile = Literal["small", "standard"]
"""`small`: one to four generators, two to six versions. `standard`: a cast of twelve, five to seven versions; some are
stopped and resumed."""

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

HEALING = {"lost", "silent", "hang", "expire", "give_up", "superseded", "refused", "kill", "install_failed"}
"""Decisions that a run has no need of in which nothing breaks; nor of deaths before its stop."""

PATIENCE_S = 60.0
"""Virtual seconds after the last fault, or after the last update since, within which a repairable plan must finish."""

PATIENCE_EVENTS = 300_000
"""Events within which it must finish, so that actors that only chatter are found out early."""


class Strike(msgspec.Struct, frozen=True):
    """An act that follows a decision; `act.at_ns` counts from it."""

    kind: str
    count: int
    """1: the first such decision of the run."""
    act: Act


class Plan(msgspec.Struct, frozen=True):
    """Everything that a run follows from."""

    seed: int
    mode: Mode
    config: dict[str, Any]
    """`RunSettings` as plain data, with the sections of the ports."""
    link: Link = Link()
    window: Window = Window()
    acts: tuple[Act, ...] = ()
    strikes: tuple[Strike, ...] = ()
    stops: tuple[Stop, ...] = ()
    """Ends of sittings; the run is resumed after each."""
    codec: bool = True

    @property
    def limit_s(self) -> float:
        """Virtual seconds after which the run is over, finished or not."""
        last = max((act.at_ns + act.for_ns for act in self.acts), default=0)
        last = max([last, *(stop.at_ns + stop.pause_ns for stop in self.stops)])
        late = sum(one.act.at_ns + one.act.for_ns for one in self.strikes)
        return (last + late) / NS + (6.0 if self.mode == "anything" else PATIENCE_S)


class Outcome(msgspec.Struct, frozen=True):
    """What came of a plan."""

    seed: int
    violation: str
    """"" if every invariant held."""
    invariant: int
    """Number of the one that did not; 0 if all held, -1 if an actor failed by itself."""
    finished: bool
    virtual_s: float
    events: int
    """Executed, and each followed by the checks."""
    checks: int
    deaths: int
    versions: int
    """Published, without the initial weights."""
    digest: str


def run_plan(plan: Plan, check: bool = True) -> Outcome:
    """Run a plan to its end, under the invariants; never raises for what the run does."""
    return run_world(plan, *build(plan, check))


def run_world(plan: Plan, world: VirtualWorld, watch: Invariants | None) -> Outcome:
    """Run the world that `build` has made of a plan; the world is left as it ended."""
    events, done, violation, number = 0, False, "", 0

    def over(world: VirtualWorld) -> bool:
        nonlocal events
        events += 1
        return sittings.over() or world.kernel.ordered > PATIENCE_EVENTS

    sittings = Sittings(world, plan.config, plan.stops)
    try:
        world.run(plan.limit_s, over)
        while plan.mode != "anything" and not finished(world) and _goes_on(world):
            world.run(PATIENCE_S, over)
        done = finished(world)
        if plan.mode != "anything":
            _ask_for_progress(world, done)
        if plan.mode == "still":
            _ask_for_quiet(world)
        if watch is not None and done:
            watch.check_store(still=plan.mode == "still")
    except InvariantViolated as error:
        violation, number = _told(str(error), () if error.recent else about(world.decisions, str(error))), error.number
    except BraidError as error:
        words = f"{type(error).__name__}: {error}"
        violation, number = _told(words, about(world.decisions, words)), -1
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, AssertionError, RuntimeError) as error:
        running = world.kernel.running
        name = world.kernel.names[running] if running >= 0 else "?"
        words = f"at {world.now / NS:.6f} s in {name}: {type(error).__name__}: {error}"
        violation, number = _told(words, about(world.decisions, words)), -1
    deaths = sum(one.kind == "died" for one in world.decisions)
    versions = len({one.fields[0] for one in world.decisions if one.kind == "publish"} - {0})
    checks = watch.checks if watch is not None else 0
    return Outcome(plan.seed, violation, number, done, world.now / NS, events, checks, deaths, versions, world.digest)


def _told(words: str, recent: tuple[Decision, ...]) -> str:
    return "\n".join([words, *lines(recent)])


def build(plan: Plan, check: bool = True) -> tuple[VirtualWorld, Invariants | None]:
    """The world of a plan with its faults ordered and (by default) its invariants attached, before its first event."""
    settings = msgspec.convert(plan.config, RunSettings)
    supervisor = settings.roster.supervisor
    physics = WorldConfig(link=plan.link, window=plan.window, codec=plan.codec, supervisor=supervisor)
    world = cluster(plan.config, physics, doubles={STANDINS["trainer"]: LineTrainer})
    watch = Invariants(world, settings) if check else None
    FaultPlan(plan.acts).apply(world)
    if plan.strikes:
        _Striker(world, plan.strikes)
    return world, watch


class _Striker:
    """Counts decisions and orders the acts that follow them."""

    def __init__(self, world: VirtualWorld, strikes: tuple[Strike, ...]) -> None:
        self._left = list(strikes)
        self._counts: dict[str, int] = {}
        self._seen = 0
        self._before = world.after_event
        world.after_event = self._after_event

    def _after_event(self, world: VirtualWorld) -> None:
        if self._before is not None:
            self._before(world)
        decisions = world.decisions
        while self._seen < len(decisions):
            kind = decisions[self._seen].kind
            self._seen += 1
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            for strike in [one for one in self._left if one.kind == kind and one.count == count]:
                self._left.remove(strike)
                act = msgspec.structs.replace(strike.act, at_ns=world.now + strike.act.at_ns)
                kernel = world.kernel
                kernel.call_at(act.at_ns, kernel.code(f"strike {act.verb} {act.target}"), partial(perform, world), act)


def _goes_on(world: VirtualWorld) -> bool:
    """Whether an update was completed lately and the run may take more events: some plans are merely slow."""
    if world.kernel.ordered > PATIENCE_EVENTS:
        return False
    last = next((one.at_ns for one in reversed(world.decisions) if one.kind == "complete"), 0)
    return last > world.now - PATIENCE_S * NS


def _ask_for_progress(world: VirtualWorld, done: bool) -> None:
    """Invariant 11: the run came to its end, and the end was the goal."""
    stops = [str(one.fields[0]) for one in world.decisions if one.kind == "stop"]
    if done and stops[-1:] == ["finished"]:
        return
    words = f"the run ended with {stops[-1]!r}" if stops else "the run did not finish"
    raise InvariantViolated(11, f"{words} after {world.now / NS:.3f} s", tuple(world.decisions[-20:]))


def _ask_for_quiet(world: VirtualWorld) -> None:
    """Where nothing broke, nothing was healed."""
    for one in world.decisions:
        if one.kind == "stop":
            return
        if one.kind in HEALING or one.kind == "died":
            words = f"{one.actor} decides {one.kind} {' '.join(map(str, one.fields))} where nothing is broken"
            raise InvariantViolated(11, f"{words} at {one.at_ns / NS:.3f} s")


def to_json(plan: Plan) -> bytes:
    """A plan as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1)


def from_json(data: bytes) -> Plan:
    """A saved plan."""
    return msgspec.json.decode(data, type=Plan)


# ---- drawing ------------------------------------------------------------------------------------------------


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
    if mode == "still":
        _quieten(config, stream(seed, "still"))
        return Plan(seed, mode, config, link, window, codec=physics.random() < 0.8)
    return Plan(seed, mode, config, link, window, acts, strikes, stops, codec=physics.random() < 0.8)


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
    """Nothing fails, no ask times out, no lease runs out; in half of the plans nothing beats either."""
    config["standins"].update(fail_score_every=0, fail_job_every=0)
    config["pace"].update(ask_timeout_s=NEVER_S, lease_s=NEVER_S)
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
