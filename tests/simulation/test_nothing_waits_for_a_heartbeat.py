"""Where nothing is lost, every step of a run follows from the one before: it finishes without a single heartbeat."""

import pytest

from sim.cluster import finished
from sim.plan import build
from tests.simulation.cast_plans import PACE, cast_plan

SECTIONS = {
    "asynchronous": {},
    "synchronous": {"schedule": {"eta": 0, "partial": False, "install": "drain"}},
    "oversampled": {"schedule": {"oversample": 2.0, "eta": 0}},
    "reused": {"schedule": {"reuse": 2}},
    "seldom a checkpoint": {"schedule": {"checkpoint_every": 3}},
    "failed groups": {"standins": {"fail_score_every": 5}, "buffer": {"max_attempts": 1}, "schedule": {"eta": 0}},
    "failed jobs": {"standins": {"fail_job_every": 5}, "buffer": {"max_attempts": 1}, "schedule": {"eta": 0}},
    "no signal": {"standins": {"flat_every": 2}, "buffer": {"no_signal": "evict"}, "schedule": {"eta": 0}},
    "little space": {"buffer": {"capacity_tokens": 16 * (80 + 19)}, "schedule": {"eta": 2}},
}


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_run_without_heartbeats_finishes(name, seed):
    pace = {**PACE, "heartbeat_s": 10_000.0, "ask_timeout_s": 10_000.0, "lease_s": 10_000.0}
    world, watch = build(cast_plan(seed=seed, evaluator=False, **SECTIONS[name], pace=pace))
    assert world.run(600, finished), f"at rest since {world.decisions[-1]}"
    watch.check_store()


def test_an_ordinal_is_used_up_by_groups_that_were_opened_alone():
    """However often replay refuses, the groups are numbered one by one: the number of a refusal is used again."""
    world, _ = build(cast_plan(schedule={"eta": 0}))
    assert world.run(600, finished)
    assert [one.fields[0] for one in world.decisions if one.kind == "admit"] == [
        number + 1 for number in range(sum(one.kind == "admit" for one in world.decisions))
    ]
