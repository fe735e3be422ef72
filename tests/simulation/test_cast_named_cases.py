"""Schedules and accidents by name: each run finishes, keeps every invariant, and shows that the case did happen."""

import msgspec
import pytest

from actors.cast import buffer_config, settings_of
from actors.kernel.operations import NS
from actors.standins import Checkpoint
from buffers.buffer import Buffer
from cli.alarms import alarms
from cli.board import Board
from sim.cluster import finished
from sim.faults import Act
from sim.line_trainer import line_of
from sim.plan import PATIENCE_EVENTS, Strike, build, run_plan
from tests.simulation.cast_plans import cast_plan


def run(plan, outcome="finished"):
    """Run a plan to its end under the invariants; the world that is left."""
    world, watch = build(plan)
    world.run(plan.limit_s, lambda world: finished(world) or world.kernel.ordered > PATIENCE_EVENTS)
    assert_finished(world, watch, outcome)
    return world


def assert_finished(world, watch, outcome="finished"):
    stops = [one.fields[0] for one in world.decisions if one.kind == "stop"]
    assert finished(world), f"still alive: {world.alive} at {world.now / NS} s"
    assert stops == [outcome]
    watch.check_store(still=outcome != "finished")


def crash_when(plan, who, moment):
    """Run until a moment, kill an actor there, run on to the end; the world that is left."""
    world, watch = build(plan)
    assert world.run(plan.limit_s, moment), "the moment never came"
    world.crash(who)
    world.run(plan.limit_s, lambda world: finished(world) or world.kernel.ordered > PATIENCE_EVENTS)
    assert_finished(world, watch)
    assert [one.fields[0] for one in world.decisions if one.kind == "died"] == [who]
    return world


def decided(world, kind, actor=None):
    return [one for one in world.decisions if one.kind == kind and actor in (None, one.actor)]


def ledger(world):
    """What replay's disk says of the run that is over."""
    return Buffer.recover(world_config(world), world.place("replay").disk["store"].memory.rows()).ledger()


def world_config(world):
    return buffer_config(settings_of(world.place("replay").spec))


# ---- schedules --------------------------------------------------------------------------------


def test_at_eta_zero_no_token_is_older_than_the_update_that_trains_it():
    world = run(cast_plan(schedule={"eta": 0, "partial": False, "install": "drain"}))
    published = {one.fields[0]: one.at_ns for one in decided(world, "publish")}
    for one in decided(world, "dispatch"):
        newest = max((version for version, at in published.items() if at + 2_000_000 < one.at_ns), default=0)
        assert one.fields[3] >= newest


def test_oversampling_evicts_the_surplus_by_age_only():
    world = run(cast_plan(schedule={"oversample": 2.0, "eta": 0, "versions": 6}))
    reasons = set(ledger(world).reasons)
    assert "evicted: age" in reasons
    assert reasons <= {"consumed", "evicted: age"}


def test_without_oversampling_nothing_is_evicted():
    world = run(cast_plan(schedule={"eta": 2, "versions": 6}))
    assert set(ledger(world).reasons) == {"consumed"}


def test_a_group_is_trained_twice_where_reuse_is_two():
    world = run(cast_plan(schedule={"reuse": 2, "versions": 6}))
    line = line_of(world.place("learner").disk)
    assert {use for _, use in line} == {1, 2}
    assert len(set(line)) == len(line) == 6 * 16 // 4


def test_failed_scorings_are_tried_again_and_failed_members_fail_their_group():
    world = run(cast_plan(standins={"fail_score_every": 2}, buffer={"max_attempts": 2}, schedule={"batch": 8}))
    assert ledger(world).failed > 0
    assert decided(world, "group_failed", "controller")


def test_failed_jobs_are_tried_again():
    world = run(cast_plan(standins={"fail_job_every": 15}))
    assert ledger(world).failed == 0


@pytest.mark.parametrize("no_signal", ["train", "evict"])
def test_groups_without_signal_are_trained_or_evicted(no_signal):
    world = run(cast_plan(standins={"flat_every": 2}, buffer={"no_signal": no_signal}))
    assert ("evicted: no signal" in ledger(world).reasons) == (no_signal == "evict")


def test_a_run_that_can_learn_nothing_since_all_is_evicted_says_so():
    world, _ = build(cast_plan(standins={"flat_every": 1}, buffer={"no_signal": "evict"}))
    board = Board(4)
    world.run(20.0)
    for at_ns, actor, name, value in world.notes:
        board.take(actor, name, at_ns / NS, value)
    (sentence,) = alarms(board)
    assert sentence.startswith("no_signal_share = 1")


NO_SIGNAL = "finished: no signal left"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_run_without_any_signal_ends_at_its_limit(share):
    buffer = {"no_signal": "evict", "max_gen_batches": 3}
    world = run(cast_plan(standins={"solve_share": share}, buffer=buffer), NO_SIGNAL)
    of_a_lease, of_all = 8, 2 * 16
    evicted = ledger(world).reasons["evicted: no signal"]
    assert 3 * of_a_lease <= evicted < 3 * of_a_lease + of_all, "what was open may end after the limit"
    assert set(ledger(world).reasons) == {"evicted: no signal"}
    assert [one.fields[0] for one in decided(world, "evaluated")] == [0]
    assert not decided(world, "died")


def test_a_run_whose_signal_is_used_up_trains_what_is_left_and_evaluates_its_last_version_with_all_samples():
    plan = cast_plan(
        seed=10,
        standins={"solve_share": 0.85, "seed": 10},
        buffer={"no_signal": "evict", "max_gen_batches": 3},
        schedule={"versions": 40, "updates_per_version": 1, "batch": 8},
        own={"evaluator": {"standins": {"slots": 64}}},
    )
    plan.config["evaluator"].update(every=1, samples=3, max_response_tokens=2)
    world = run(plan, NO_SIGNAL)
    last = max(one.fields[0] for one in decided(world, "publish"))
    sizes = [len(one.fields) - 1 for one in decided(world, "lease")]
    assert 0 < last < 40
    assert sizes == [2] * (last - 1) + [1]
    assert [one.fields[0] for one in decided(world, "evaluated")][-2:] == [last, last]


@pytest.mark.parametrize("eta", [0, 2])
def test_windows_of_one_block_nothing(eta):
    run(cast_plan(window=1, latency_ns=2_000_000, schedule={"eta": eta}))


def test_installs_that_come_late_hold_jobs_back_and_lose_none():
    world = run(cast_plan(standins={"install_s": 0.4}, schedule={"eta": 0}))
    assert set(ledger(world).reasons) == {"consumed"}


def test_versions_without_a_checkpoint_are_published_too():
    world = run(cast_plan(schedule={"checkpoint_every": 3, "versions": 5}))
    assert sorted({one.fields[0] for one in decided(world, "publish")}) == [0, 1, 2, 3, 4, 5]


# ---- lost messages --------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["controller->*", "*->controller", "learner->*", "*->learner", "g0->*", "*->r0"])
def test_a_link_that_loses_half_of_its_messages_only_costs_time(link):
    run(cast_plan(acts=[Act(0, "drop", link, share=0.5, for_ns=3 * NS)]))


@pytest.mark.parametrize("who", ["controller", "replay", "learner", "g0", "r0", "evaluator"])
def test_a_hanging_actor_is_killed_and_replaced(who):
    world = run(cast_plan(acts=[Act(NS // 4, "pause", who, for_ns=60 * NS)], schedule={"versions": 8}))
    assert ("hang", (who,)) in [(one.kind, one.fields) for one in world.decisions]


# ---- deaths --------------------------------------------------------------------------------


def learner(world):
    life = world.life("learner")
    return life.cell.actor if life is not None else None


def has(**wanted):
    """The learner is there and its named parts are set (True) or not (False)."""

    def moment(world):
        one = learner(world)
        return (
            one is not None
            and one._total > 2
            and all((getattr(one, f"_{k}") is not None) == v for k, v in wanted.items())
        )

    return moment


def ends_version(world):
    one = learner(world)
    return one is not None and one._done is not None and one._ends


def checkpointed_not_completed(world):
    one = learner(world)
    if one is None or "checkpoint" not in world.place("learner").disk:
        return False
    durable = msgspec.msgpack.decode(world.place("learner").disk["checkpoint"], type=Checkpoint)
    return one._done is not None and durable.version > one._version


def completed_not_told(world):
    one, replay = learner(world), world.life("replay")
    if one is None or replay is None or one._done is None:
        return False
    return replay.cell.actor.buffer.highest > one._version


def told_not_exposed(world):
    """The completion has come and nobody has heard of the new version."""
    one = learner(world)
    return (
        one is not None
        and one._version > 1
        and all(world.cell(g).actor._wanted[0] < one._version for g in ("g0", "g1"))
    )


MOMENTS = {
    "before it said hello": lambda world: learner(world) is not None and learner(world)._exposed < 0,
    "with a lease and no batch": has(lease=True, done=False),
    "after an update and before its completion": has(lease=True, done=True),
    "before the checkpoint of a version": ends_version,
    "between checkpoint and completion": checkpointed_not_completed,
    "between completion and its answer": completed_not_told,
    "between the answer and the generators": told_not_exposed,
    "while it waits for a lease": has(lease=False, done=False),
}


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_learner_may_die(moment, every):
    if moment == "between checkpoint and completion" and every == 2:
        every = 3
    plan = cast_plan(
        schedule={"checkpoint_every": every, "versions": 5}, standins={"checkpoint_s": 0.02, "report_s": 0.01}
    )
    crash_when(plan, "learner", MOMENTS[moment])


@pytest.mark.parametrize("kind", ["admit", "store", "lease", "complete", "hello"])
@pytest.mark.parametrize("delay_ns", [0, 1_000_000, 2_500_000])
def test_replay_may_die_around_every_transaction(kind, delay_ns):
    strikes = [Strike(kind, count, Act(delay_ns, "crash", "replay")) for count in ((1,) if kind == "hello" else (2, 5))]
    world = run(cast_plan(strikes=strikes))
    assert len(decided(world, "died")) == len(strikes)


def test_the_controller_may_die_between_open_and_dispatch():
    def opened(world):
        return decided(world, "admit") and not decided(world, "dispatch")

    world = crash_when(cast_plan(), "controller", opened)
    assert [one.fields[0] for one in decided(world, "snapshot")] == [1, 2]


@pytest.mark.parametrize("who", ["g0", "r0", "evaluator", "recorder", "controller"])
@pytest.mark.parametrize("kind", ["dispatch", "store", "score", "publish"])
def test_a_worker_may_die(who, kind):
    world = run(cast_plan(strikes=[Strike(kind, 3, Act(300_000, "crash", who))]))
    assert [one.fields[0] for one in decided(world, "died")] == [who]


def test_the_learner_and_replay_may_die_together():
    strikes = [Strike("complete", 3, Act(0, "crash", who)) for who in ("learner", "replay")]
    world = run(cast_plan(strikes=strikes, schedule={"checkpoint_every": 2}))
    assert len(decided(world, "died")) == 2


def test_a_run_that_lost_its_last_versions_still_trains_them():
    """A learner that goes back to its checkpoint uses up numbers; the run is over when its updates are done."""
    plan = cast_plan(
        schedule={"checkpoint_every": 3, "versions": 4},
        strikes=[Strike("publish", 3, Act(1_000_000, "crash", "learner"))],
    )
    world = run(plan)
    assert len(line_of(world.place("learner").disk)) == 4 * 16 // 4
    assert max(one.fields[0] for one in decided(world, "publish")) > 4


def test_checking_changes_nothing_that_is_decided():
    plan = cast_plan(strikes=[Strike("complete", 2, Act(0, "crash", "replay"))])
    assert run_plan(plan).digest == run_plan(plan, check=False).digest
