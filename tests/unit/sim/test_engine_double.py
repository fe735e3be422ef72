"""The engine's double makes many steps at a stroke; a reference that makes them one by one emits the same."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from buffers.segment import Ghost
from policies.batching import BatchingConfig
from policies.engine import Installed, Job, Sampling, SegmentDone
from sim.costs.cost import Install, Step
from sim.costs.curve import Curve
from sim.doubles.device import Dedicated
from sim.doubles.engine import EngineDouble, EngineModel
from sim.doubles.meter import Meter


class Clock:
    """A heap and a time."""

    def __init__(self) -> None:
        self.at, self.order, self.events = 0, 0, []
        self.disk: dict[str, bytes] = {}

    def now(self) -> int:
        return self.at

    def call_later(self, delay: int, call: Any, argument: Any) -> list[Any]:
        self.order += 1
        event = [self.at + delay, self.order, call, argument]
        heappush(self.events, event)
        return event

    def cancel(self, event: list[Any]) -> None:
        event[2] = None

    def run(self) -> None:
        while self.events:
            self.at, _, call, argument = heappop(self.events)
            if call is not None:
                call(argument)


class Cost(msgspec.Struct, frozen=True):
    base: float
    knot: int
    early: float
    late: float
    recompute: bool

    def decode(self, batch: int) -> Curve:
        base = self.base + 11.3 * batch
        return Curve([0, self.knot], [base, base + self.early * self.knot], self.late)

    def mixed(self, step: Step) -> float:
        fill = sum(chunk.tokens * (17.9 + 0.01 * chunk.context) for chunk in step.chunks)
        return fill + (self.decode(step.batch).at(step.context) if step.batch else self.base)

    def install(self, version: int) -> Install:
        return Install(fetch_ns=1234, stall_ns=4321, recompute=self.recompute)


class OneByOne(Cost, frozen=True):
    """The same costs, without a closed form: every step is a step of its own."""

    def decode(self, batch: int) -> Curve:
        return Single(super().decode(batch))


class Single(Curve):
    """Totals and their inverse by adding term by term."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve

    def at(self, x: float) -> float:
        return self.curve.at(x)

    def total(self, x: float, dx: float, count: int) -> float:
        return sum(self.curve.at(x + dx * index) for index in range(count))

    def steps_within(self, x: float, dx: float, limit: float) -> int:
        count = 0
        while (limit := limit - self.curve.at(x + dx * count)) >= 0:
            count += 1
        return count


class Lengths:
    def response_tokens(self, trajectory: int, cap: int) -> int:
        return min(cap, 1 + trajectory * 7919 % 97)

    def prompt_tokens(self, prompt: int) -> int:
        return 5


class StepByStep(EngineDouble):
    """Plans anew after each step."""

    def _go(self) -> None:
        super()._go()
        stroke = self._stroke
        if stroke is not None and stroke.curve is not None and stroke.steps > 1:
            stroke.steps = 1
            self._device.cancel(stroke.handle)
            stroke.cost = stroke.curve.at(self._context)
            stroke.handle = self._device.call_at(self._at + stroke.cost, self._boundary, None)


Script = list[tuple[int, str, int]]


def play(kind: type[EngineDouble], cost: Cost, batching: BatchingConfig, script: Script) -> tuple[list[Any], Any]:
    clock, events = Clock(), []
    open_jobs: set[int] = set()
    lengths: dict[int, int] = {}

    def emit(event: Any) -> None:
        events.append((clock.now(), event))
        if isinstance(event, SegmentDone):
            open_jobs.discard(event.trajectory)
            lengths[event.trajectory] = -1 if event.segment.end != "cut" else event.segment.stop

    model = EngineModel(cost=cost, lengths=Lengths(), batching=batching)
    meter = Meter()
    double = kind(model, emit, Dedicated(clock), (meter, "e"))
    double.install(0, "")

    def act(what: tuple[str, int]) -> None:
        verb, number = what
        if verb == "submit" and number not in open_jobs and lengths.get(number, 0) >= 0:
            open_jobs.add(number)
            start = lengths.get(number, 0)
            prefix = Ghost(start, 0) if start else None
            job = Job(number, 1, Ghost(3 + number % 11, number), prefix, start, 30, 90, Sampling())
            double.submit(job)
        elif verb == "abort":
            double.abort(number)
        elif verb == "install":
            double.install(number, "")

    for version, (at, verb, number) in enumerate(script):
        clock.call_later(10_000 + at, act, (verb, version + 1 if verb == "install" else number))
    clock.run()
    assert not open_jobs
    return events, meter.engines["e"]


scripts = st.lists(
    st.tuples(st.integers(0, 60_000), st.sampled_from(["submit"] * 6 + ["abort", "install"]), st.integers(1, 24)),
    min_size=1,
    max_size=40,
).map(sorted)
costs = st.builds(
    dict,
    base=st.floats(50.0, 900.0),
    knot=st.integers(20, 500),
    early=st.floats(0, 3.0),
    late=st.floats(0, 3.0),
    recompute=st.booleans(),
)
limits = st.builds(
    lambda slots, room: BatchingConfig(slots=slots, rows=slots + 8, kv_tokens=room, prefill_tokens=16, headroom=1),
    st.integers(1, 8),
    st.integers(110, 400),
)


@settings(max_examples=150, deadline=None)
@given(costs, limits, scripts)
def test_a_stroke_is_its_steps_one_by_one(cost: dict[str, Any], batching: BatchingConfig, script: Script) -> None:
    many, account = play(EngineDouble, Cost(**cost), batching, script)
    single, reference = play(StepByStep, OneByOne(**cost), batching, script)
    assert [event for _, event in many] == [event for _, event in single]
    for (at, _), (exact, _) in zip(many, single, strict=True):
        assert abs(at - exact) <= max(1, 1e-9 * exact)
    assert (account.steps, account.decoded, account.prefilled) == (
        reference.steps, reference.decoded, reference.prefilled
    )  # fmt: skip


def test_the_property_covers_preemption_and_installs_in_mid_segment() -> None:
    script = [(index * 50, "submit", index + 1) for index in range(12)] + [(9000, "install", 1)]
    cost = Cost(base=300.0, knot=50, early=1.0, late=0.5, recompute=True)
    batching = BatchingConfig(slots=8, rows=16, kv_tokens=120, prefill_tokens=16, headroom=1)
    events, account = play(EngineDouble, cost, batching, script)
    assert account.preempted > 0
    segments = [event.segment for _, event in events if isinstance(event, SegmentDone)]
    assert any(len(segment.versions) > 1 for segment in segments)
    assert sum(isinstance(event, Installed) for _, event in events) == 2
