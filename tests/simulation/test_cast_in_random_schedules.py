"""Hypothesis drives the whole cast: random schedules, sizes and faults, shrunk to a small plan when one fails."""

import msgspec
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from actors.kernel.operations import NS
from sim.drawn import PARTIES
from sim.faults import Act
from sim.plan import Strike, run_plan, to_json
from tests.simulation.cast_plans import cast_plan

NAMES = ["controller", "replay", "learner", "g0", "g1", "r0"]
LINKS = ["*", *NAMES, "controller->*", "*->controller", "*->replay", "replay->*", "learner->replay"]

times = st.integers(0, 3 * NS // 2)
spans = st.integers(NS // 100, NS)
crashes = st.builds(Act, times, st.just("crash"), st.sampled_from(NAMES))
stalls = st.builds(
    lambda at, verb, who, span: Act(at, verb, who, for_ns=span),
    times,
    st.sampled_from(["pause", "partition"]),
    st.sampled_from(NAMES),
    spans,
)
losses = st.builds(
    lambda at, verb, link, share, span: Act(at, verb, link, share, 20_000_000, span),
    times,
    st.sampled_from(["drop", "delay", "duplicate", "reorder"]),
    st.sampled_from(LINKS),
    st.floats(0.1, 1.0),
    spans,
)
strikes = st.builds(
    lambda kind, count, delay, who: Strike(kind, count, Act(delay, "crash", who)),
    st.sampled_from(sorted(PARTIES)),
    st.integers(1, 6),
    st.integers(0, 5_000_000),
    st.sampled_from(NAMES),
)


@st.composite
def plans(draw):
    group, updates = draw(st.integers(2, 4)), draw(st.integers(1, 2))
    install = draw(st.sampled_from(["in_flight", "drain"]))
    schedule = {
        "group": group,
        "updates_per_version": updates,
        "batch": group * updates * draw(st.integers(1, 3)),
        "eta": draw(st.integers(0, 3)),
        "oversample": draw(st.sampled_from([1.0, 1.5, 2.0])),
        "reuse": 1 if install == "drain" else draw(st.integers(1, 3)),
        "partial": draw(st.booleans()),
        "segment_tokens": draw(st.integers(1, 40)),
        "max_response_tokens": draw(st.integers(1, 60)),
        "install": install,
        "backlog": draw(st.integers(0, 6)),
        "versions": draw(st.integers(1, 4)),
        "checkpoint_every": draw(st.integers(1, 3)),
    }
    standins = {
        "slots": draw(st.integers(1, 6)),
        "mean_tokens": draw(st.integers(1, 40)),
        "install_s": draw(st.sampled_from([0.0, 0.002, 0.2])),
        "report_s": draw(st.sampled_from([0.0, 0.01])),
        "fail_score_every": draw(st.sampled_from([0, 7])),
        "fail_job_every": draw(st.sampled_from([0, 60])),
        "flat_every": draw(st.sampled_from([0, 2])),
    }
    return cast_plan(
        seed=draw(st.integers(0, 1000)),
        acts=draw(st.lists(st.one_of(crashes, stalls, losses), max_size=4)),
        strikes=draw(st.lists(strikes, max_size=3)),
        window=draw(st.sampled_from([1, 2, 256])),
        latency_ns=draw(st.sampled_from([50_000, 2_000_000])),
        evaluator=draw(st.booleans()),
        schedule=schedule,
        standins=standins,
        buffer={"no_signal": draw(st.sampled_from(["train", "evict"])), "max_attempts": draw(st.integers(2, 3))},
    )


@given(plan=plans())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_every_invariant_holds_in_a_random_plan(plan):
    note(to_json(plan).decode())
    outcome = run_plan(plan)
    assert not outcome.violation, outcome.violation


@given(plan=plans())
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_has_one_digest_whether_messages_are_encoded_or_handed_over(plan):
    bare = msgspec.structs.replace(plan, codec=not plan.codec)
    assert run_plan(plan).digest == run_plan(bare).digest
