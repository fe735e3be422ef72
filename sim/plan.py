"""A plan: a cluster, a schedule, stand-ins and the faults that befall them; drawn from one seed, or saved.

    draw(seed, mode) --> Plan --run_plan--> Outcome(events, violation, digest ...)
      sim/drawn.py        | ^
                      to_json from_json        a plan that failed is kept as a file and run for ever

Three modes: in `repairable` every fault ends and the supervisor lives, so the run must finish (invariant 11); in
`anything` faults may stay and the supervisor may die, and only safety is asked for; in `still` nothing befalls the
cast, so nothing may have to be healed, in half of the plans not even by a heartbeat.

Two profiles say how large a plan is; a seed, a mode and a profile always mean the same plan.

A `Strike` is a fault tied to what is being decided ("0.4 ms after the third `complete`"), which hits the gaps between
two steps of a protocol far more often than one tied to the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any, Literal

import msgspec

import actors.generator
import actors.learner
import actors.responses
import actors.rewarder
import buffers.buffer
from actors.cast import STANDINS, RunSettings
from actors.kernel.asks import Window
from actors.kernel.backend import Decision
from actors.kernel.operations import NS
from actors.supervisor import is_finished
from buffers.errors import BraidError
from sim.cluster import cluster, finished
from sim.faults import Act, FaultPlan, perform
from sim.invariants import Invariants
from sim.line_trainer import LineTrainer
from sim.network import Link
from sim.sittings import Sittings, Stop
from sim.story import about, lines
from sim.strangers import Strangers
from sim.thrift import Calm
from sim.violation import InvariantViolated
from sim.world import VirtualWorld, WorldConfig

Mode = Literal["repairable", "anything", "still"]

Profile = Literal["small", "standard"]
"""`small`: one to four generators, two to six versions. `standard`: a cast of twelve, five to seven versions; some are
stopped and resumed."""

HEALING = {"lost", "silent", "hang", "expire", "give_up", "superseded", "refused", "kill", "install_failed"}
"""Decisions that a run has no need of in which nothing breaks; nor of deaths before its stop."""

PATIENCE_S = 60.0
"""Virtual seconds after the last fault, or after the last update since, within which a repairable plan must finish."""

PATIENCE_EVENTS = 300_000
"""Events within which it must finish, so that actors that only chatter are found out early."""


TIGHT: tuple[tuple[ModuleType, str, int], ...] = (
    (buffers.buffer, "ORDINALS_KEPT", 2),
    (actors.generator, "PROMPTS_KEPT", 2),
    (actors.rewarder, "PROMPTS_KEPT", 1),
    (actors.responses, "FETCH_TOKENS", 8),
    (actors.learner, "SHARE_TOKENS", 40),
)
"""Sizes of modules, and what they are while a tight plan runs."""


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
    tight: bool = False
    """Caches and pieces are as small as they can be (`TIGHT`), so that runs of this size come to their bounds."""
    wild: bool = False
    """Commands from nowhere come in between (`sim/strangers.py`)."""

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
    with tight_sizes() if plan.tight else nullcontext():
        return _run_world(plan, world, watch)


@contextmanager
def tight_sizes() -> Iterator[None]:
    """Make `TIGHT` true while the block runs."""
    plain = [(module, name, getattr(module, name)) for module, name, _ in TIGHT]
    for module, name, size in TIGHT:
        setattr(module, name, size)
    try:
        yield
    finally:
        for module, name, size in plain:
            setattr(module, name, size)


def _run_world(plan: Plan, world: VirtualWorld, watch: Invariants | None) -> Outcome:
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
    return Outcome(plan.seed, violation, number, done, events, checks, deaths, versions, world.digest)


def _told(words: str, recent: tuple[Decision, ...]) -> str:
    return "\n".join([words, *lines(recent)])


def build(plan: Plan, check: bool = True) -> tuple[VirtualWorld, Invariants | None]:
    """The world of a plan with its faults ordered and (by default) its invariants attached, before its first event."""
    settings = msgspec.convert(plan.config, RunSettings)
    supervisor = settings.roster.supervisor
    physics = WorldConfig(link=plan.link, window=plan.window, codec=plan.codec, supervisor=supervisor)
    world = cluster(plan.config, physics, doubles={STANDINS["trainer"]: LineTrainer})
    watch = Invariants(world, settings, _calm(plan)) if check else None
    if plan.wild:
        Strangers(world, settings, plan.seed)
    FaultPlan(plan.acts).apply(world)
    if plan.strikes:
        _Striker(world, plan.strikes)
    return world, watch


def _calm(plan: Plan) -> Calm:
    acts = (*plan.acts, *(one.act for one in plan.strikes))
    verbs = {act.verb for act in acts}
    supervisor = plan.config["roster"]["supervisor"]
    still = plan.mode == "still"
    return Calm(
        still,
        still or (verbs <= {"crash"} and not plan.stops),
        "duplicate" not in verbs,
        still or all(supervisor not in act.target for act in acts),
    )


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
    if done and stops and is_finished(stops[-1]):
        return
    words = f"the run ended with {stops[-1]!r}" if stops else "the run did not finish"
    raise InvariantViolated(11, f"{words} after {world.now / NS:.3f} s", tuple(world.decisions[-20:]))


def _ask_for_quiet(world: VirtualWorld) -> None:
    """Where nothing broke, nothing was healed."""
    stopped = False
    for one in world.decisions:
        stopped = stopped or one.kind == "stop"
        if stopped and one.kind != "kill":
            continue
        if one.kind in HEALING or one.kind == "died":
            words = f"{one.actor} decides {one.kind} {' '.join(map(str, one.fields))} where nothing is broken"
            raise InvariantViolated(11, f"{words} at {one.at_ns / NS:.3f} s")


def to_json(plan: Plan) -> bytes:
    """A plan as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1)


def from_json(data: bytes) -> Plan:
    """A saved plan."""
    return msgspec.json.decode(data, type=Plan)
