"""Run many drawn plans and keep what a person wants to know of them: violations, sizes, reached transitions.

    sweep(seeds) --chunks--> processes: draw, run_plan --Tally--> in the order of their seeds --merge--> Tally

Chunks come back in order, so a tally is always that of a prefix of the seeds, and a state file is a tally and the next
seed. Transitions of the trajectory's state machine are counted where it changes its state: the rows of its table are
replaced, while plans run, by rows that count. Left out: a plan whose actor never returns; nothing interrupts it.
"""

from __future__ import annotations

import multiprocessing
import re
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import msgspec

from actors.eventlog import Number, Record
from actors.kernel.backend import Decision
from buffers.answers import State
from buffers.errors import BraidError
from buffers.trajectory import NEXT
from sim.drawn import draw
from sim.faults import DRAWN_VERBS
from sim.plan import Mode, Outcome, Plan, Profile, build, run_plan, run_world

CHUNK = 10
"""Plans that a process runs between two words of progress."""

EVENTS_ROUNDED = 50
"""Sizes are counted to so many events, so that a tally of 300,000 plans stays small."""

LEGAL = tuple(f"{state}->{after}" for state, nexts in NEXT.items() for after in nexts)
"""Every transition that the state machine knows."""


class Finding(msgspec.Struct, frozen=True):
    """A plan that violated an invariant."""

    seed: int
    mode: Mode
    profile: Profile
    invariant: int
    words: str
    """The invariant, and below it the last decisions on what it is about."""

    @property
    def plan(self) -> Plan:
        """As it was drawn."""
        return draw(self.seed, self.mode, self.profile)


class Tally(msgspec.Struct):
    """What came of some plans."""

    plans: int = 0
    events: int = 0
    findings: list[Finding] = []
    transitions: dict[str, int] = {}
    sizes: dict[int, int] = {}
    """Events, rounded down to `EVENTS_ROUNDED` -> plans."""
    versions: dict[int, int] = {}
    """Published versions -> plans."""

    def add(self, outcome: Outcome, mode: Mode, profile: Profile) -> None:
        """Count one plan."""
        self.plans += 1
        self.events += outcome.events
        size = outcome.events // EVENTS_ROUNDED * EVENTS_ROUNDED
        self.sizes[size] = self.sizes.get(size, 0) + 1
        self.versions[outcome.versions] = self.versions.get(outcome.versions, 0) + 1
        if outcome.violation:
            self.findings.append(Finding(outcome.seed, mode, profile, outcome.invariant, outcome.violation))

    def merge(self, other: Tally) -> None:
        """Count other plans too."""
        self.plans += other.plans
        self.events += other.events
        self.findings.extend(other.findings)
        _count(self.transitions, other.transitions)
        _count(self.sizes, other.sizes)
        _count(self.versions, other.versions)

    @property
    def never(self) -> tuple[str, ...]:
        """Legal transitions that no plan came to."""
        return tuple(one for one in LEGAL if one not in self.transitions)


Key = TypeVar("Key", int, str)


def _count(mine: dict[Key, int], theirs: dict[Key, int]) -> None:
    for key, count in theirs.items():
        mine[key] = mine.get(key, 0) + count


def median(counts: dict[int, int]) -> int:
    """Of values, given how often each occurred; 0 of none."""
    left = (sum(counts.values()) + 1) // 2
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return 0


def sweep(seeds: range, mode: Mode, profile: Profile, jobs: int) -> Generator[Tally, None, None]:
    """Run the plans of some seeds, in this process (`jobs` 1) or in several; one tally a chunk, in order.

    Close the generator to end the processes at once.
    """
    chunks = [seeds[begin : begin + CHUNK] for begin in range(0, len(seeds), CHUNK)]
    run = partial(run_chunk, mode=mode, profile=profile)
    if jobs == 1:
        yield from map(run, chunks)
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the process that keeps the tally
    try:
        pool = multiprocessing.get_context("spawn").Pool(jobs)
    finally:
        signal.signal(signal.SIGINT, before)
    with pool:
        yield from pool.imap(run, chunks)


def run_chunk(seeds: range, mode: Mode, profile: Profile) -> Tally:
    """Run the plans of some seeds in this process."""
    tally = Tally()
    with counted_moves() as moves:
        for seed in seeds:
            tally.add(run_plan(draw(seed, mode, profile)), mode, profile)
    tally.transitions = {f"{state}->{after}": count for (state, after), count in sorted(moves.items())}
    return tally


# ---- coverage -----------------------------------------------------------------------------------------------


class _CountingRow(tuple[State, ...]):
    """A row of the table of transitions that counts those that it allows."""

    state: State
    moves: Counter[tuple[State, State]]

    def __contains__(self, after: object) -> bool:
        legal = super().__contains__(after)
        if legal:
            self.moves[self.state, after] += 1  # type: ignore[index]
        return legal


@contextmanager
def counted_moves() -> Iterator[Counter[tuple[State, State]]]:
    """Count every change of a trajectory's state in this process while the block runs."""
    moves: Counter[tuple[State, State]] = Counter()
    plain = dict(NEXT)
    for state, after in plain.items():
        NEXT[state] = row = _CountingRow(after)
        row.state, row.moves = state, moves
    try:
        yield moves
    finally:
        NEXT.update(plain)


# ---- one plan -----------------------------------------------------------------------------------------------


def fails_like(words: str) -> Callable[[Plan], bool]:
    """Whether a plan violates the same invariant, or an actor of the same kind fails by the same error."""
    wanted = _kind_of_failure(words)

    def fails(plan: Plan) -> bool:
        try:
            outcome = run_plan(plan)
        except (BraidError, ValueError):  # the simplification left settings that no cast can have
            return False
        return bool(outcome.violation) and _kind_of_failure(outcome.violation) == wanted

    return fails


def _kind_of_failure(words: str) -> str:
    headline = words.splitlines()[0]
    number = re.match(r"invariant \d+", headline)
    return number[0] if number else re.sub(r"[\d.]+", "#", headline)


def describe(plan: Plan) -> str:
    """A plan in words: its cast, its length and its faults."""
    roster, schedule = plan.config["roster"], plan.config["schedule"]
    strikes = [f"after {one.kind} number {one.count}: {one.act}" for one in plan.strikes]
    faults = [str(act) for act in plan.acts] + strikes + [str(stop) for stop in plan.stops]
    return "\n".join(
        [
            f"seed {plan.seed}, {plan.mode}, {actors(plan)} actors ({len(roster['generators'])} generators,"
            f" {len(roster['rewarders'])} rewarders), {schedule['versions']} versions of {schedule['batch']}"
            f" in groups of {schedule['group']}",
            *([f"  {fault}" for fault in faults] or ["  no faults"]),
        ]
    )


def actors(plan: Plan) -> int:
    """How many there are, the supervisor included."""
    roster = plan.config["roster"]
    optional = sum(bool(roster.get(role)) for role in ("evaluator", "recorder", "supervisor"))
    return 3 + optional + len(roster["generators"]) + len(roster["rewarders"])


def replay(plan: Plan) -> tuple[Outcome, list[Record]]:
    """Run a plan and record what was decided, noted and done to it, in order of time; the digest stays the same."""
    world, watch = build(plan)
    faults: list[Record] = []

    def observe(at_ns: int, sequence: int, name: str, kind: str) -> None:
        words = name.removeprefix("end of ").removeprefix("strike ").split(" ", 1)
        if sequence and words[0] in DRAWN_VERBS and len(words) == 2:
            verb = f"end of {words[0]}" if name.startswith("end of ") else words[0]
            faults.append(Decision(at_ns, "faults", 0, len(faults), verb, (words[1],), "", 0))

    world.kernel.observer = observe
    outcome = run_world(plan, world, watch)
    notes = [Number(*note) for note in world.notes]
    return outcome, sorted([*world.decisions, *notes, *faults], key=lambda record: record.at_ns)
