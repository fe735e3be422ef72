"""`braid explore`: a planted fault is found, shrunk and replayed; statuses, fields, resuming, coverage, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from actors.eventlog import Number
from actors.kernel.operations import NS
from buffers.errors import ContractError
from buffers.trajectory import NEXT, move
from cli.main import main
from sim import explore as exploring
from sim.drawn import draw
from sim.explore import LEGAL, Tally, counted_moves, fails_like, median, replay, run_chunk, sweep
from sim.faults import Act
from sim.plan import Strike, build, from_json, run_plan, run_world
from sim.shrink import shrink
from sim.sittings import Stop
from sim.story import about
from tests.simulation.cast_plans import cast_plan
from tests.simulation.planted_faults import expose_before_completion


def explore(capsys, tmp_path, *words):
    """Status and printed JSON object of a sweep in this process."""
    status = main(["explore", "--jobs", "1", "--json", "--out", str(tmp_path / "explored"), *words])
    return status, json.loads(capsys.readouterr().out)


# ---- a failure --------------------------------------------------------------------------------


def test_a_planted_fault_is_found_shrunk_and_replayed(capsys, tmp_path, monkeypatch):
    expose_before_completion(monkeypatch)
    status, result = explore(capsys, tmp_path, "--seeds", "3", "--profile", "small", "--shrink-s", "20")
    assert status == 1
    found = result["violations"][0]
    assert found["words"].startswith("invariant 9 (durability): version")
    assert found["tried"] > 0
    path = tmp_path / "explored" / f"{found['seed']}-repairable-small.json"
    assert f"braid explore --replay {path} --trace " in found["replay"]
    drawn, shrunk = draw(found["seed"]), from_json(path.read_bytes())
    assert (shrunk.acts, shrunk.strikes) == ((), ())
    assert exploring.actors(shrunk) < exploring.actors(drawn)
    assert shrunk.config["schedule"]["versions"] == 1
    trace = tmp_path / "trace.json"
    assert main(["explore", "--replay", str(path), "--trace", str(trace)]) == 1
    assert "invariant 9 (durability)" in capsys.readouterr().out
    names = {event["name"].split()[0] for event in json.loads(trace.read_bytes())["traceEvents"]}
    assert {"admit", "checkpoint", "update"} <= names
    monkeypatch.undo()
    assert main(["explore", "--replay", str(path)]) == 0


def test_shrinking_keeps_the_fault_that_matters_alone():
    strikes = [Strike("store", 3, Act(0, "crash", who)) for who in ("g0", "replay", "r0")]
    plan = cast_plan(strikes=strikes, acts=[Act(0, "slow", "g1", span_ns=1000, for_ns=NS)])

    def replay_dies(one):
        return any(strike.act.target == "replay" for strike in one.strikes)

    small, tried = shrink(plan, replay_dies)
    assert [strike.act.target for strike in small.strikes] == ["replay"]
    assert small.strikes[0].count == 1
    assert small.acts == ()
    assert small.config["roster"]["generators"] == ["g0"]
    assert small.config["schedule"]["versions"] == 1
    assert tried > 5
    assert run_plan(small).violation == ""


def test_shrinking_stops_when_it_is_told_to():
    plan = draw(3, "repairable", "standard")
    assert shrink(plan, lambda one: True, lambda: False) == (plan, 0)


def test_a_candidate_must_fail_in_the_same_way(monkeypatch):
    expose_before_completion(monkeypatch)
    plan = cast_plan()
    assert fails_like("invariant 9 (durability): something else")(plan)
    assert not fails_like("invariant 2 (contiguity): something else")(plan)


def test_settings_that_no_cast_can_have_do_not_fail_like_anything():
    assert not fails_like("invariant 9 (durability)")(cast_plan(schedule={"versions": -1}))


def test_a_story_tells_what_its_words_name():
    world, watch = build(cast_plan())
    run_world(cast_plan(), world, watch)
    told = about(world.decisions, "lease 2: trajectory 7 is not ended")
    assert {(one.kind, one.fields[0]) for one in told} >= {("lease", 2), ("complete", 2), ("store", 7)}
    assert all(7 in one.fields or one.fields[0] == 2 for one in told)


# ---- results --------------------------------------------------------------------------------


def test_the_json_object_has_its_fields_and_a_quiet_sweep_ends_with_zero(capsys, tmp_path):
    status, result = explore(capsys, tmp_path, "--seeds", "12", "--profile", "small")
    assert status == 0
    assert result["plans"] == 12
    assert result["violations"] == []
    assert result["events"] == sum(run_plan(draw(seed)).events for seed in range(12))
    assert set(result["transitions_covered"]) <= set(LEGAL)
    assert set(result["transitions_covered"]) | set(result["transitions_missing"]) == set(LEGAL)
    assert result["median_versions"] >= 2
    assert not (tmp_path / "explored").exists()


def test_an_exploration_goes_on_where_it_stopped(capsys, tmp_path):
    state = str(tmp_path / "state.json")
    explore(capsys, tmp_path, "--seeds", "10", "--profile", "small", "--resume", state)
    _, gone_on = explore(capsys, tmp_path, "--seeds", "20", "--profile", "small", "--resume", state)
    _, at_once = explore(capsys, tmp_path, "--seeds", "20", "--profile", "small")
    assert {**gone_on, "wall_s": 0} == {**at_once, "wall_s": 0}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "0"], "--seeds = 0"),
        (["--jobs", "0"], "--jobs = 0; at least 1"),
        (["--trace", "x.json"], "name it with --replay"),
        (["--replay", "nowhere.json"], "neither a seed nor a file"),
        (["--replay", __file__], "not a saved plan"),
        (["--resume", __file__], "is no exploration"),
    ],
)
def test_bad_input_is_one_line(capsys, words, says):
    assert main(["explore", *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_processes_find_what_one_process_finds():
    alone, together = Tally(), Tally()
    for tally, jobs in ((alone, 1), (together, 2)):
        for result in sweep(range(30), "repairable", "small", jobs):
            tally.merge(result)
    assert alone == together
    assert alone.plans == 30


def test_ctrl_c_keeps_what_was_found(tmp_path):
    state = tmp_path / "state.json"
    words = ["explore", "--seeds", "1000000", "--profile", "small", "--jobs", "2", "--json", "--resume", str(state)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *words],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "plans" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    result = json.loads(out)
    assert process.returncode == 130
    assert result["plans"] >= 10
    assert json.loads(state.read_bytes())["tally"]["plans"] == result["plans"]
    assert "Traceback" not in err


# ---- coverage and size --------------------------------------------------------------------------------


def test_a_plan_means_the_same_for_every_profile_but_its_own():
    small, standard = draw(5), draw(5, "repairable", "standard")
    assert exploring.actors(standard) == 12
    assert small.stops == ()
    assert standard.config["standins"] == small.config["standins"]


def test_standard_plans_are_large_enough():
    tally = run_chunk(range(30), "repairable", "standard")
    assert not tally.findings
    assert median(tally.sizes) >= 2000
    assert median(tally.versions) >= 5


def test_transitions_are_counted_where_they_happen_and_nowhere_else():
    before = dict(NEXT)
    with counted_moves() as moves:
        outcome = run_plan(cast_plan())
    assert moves["queued", "running"] >= moves["running", "ended"] >= moves["ended", "scored"] > 0
    assert before == NEXT
    assert run_plan(cast_plan()).digest == outcome.digest


def test_every_legal_transition_occurs():
    """A few plans of the sweep are enough; most of the first hundred thousand events come to all but the rarest."""
    seen = set()
    for seed in (3, 4, 19, 1221):
        tally = run_chunk(range(seed, seed + 1), "repairable", "standard")
        assert not tally.findings
        seen |= set(tally.transitions)
    assert seen == set(LEGAL)


def test_an_illegal_transition_is_refused_while_transitions_are_counted():
    class Row:
        state = "consumed"
        trajectory = 1

    with counted_moves() as moves, pytest.raises(ContractError, match="from consumed to running"):
        move(Row(), "running", {})
    assert not moves


# ---- sittings --------------------------------------------------------------------------------


def test_words_of_the_dead_reach_replay_alone_and_only_where_something_holds_them_up():
    plan = cast_plan(latency_ns=10_000_000, schedule={"versions": 6})
    heard = []
    for late in (False, True):
        stopped = msgspec.structs.replace(plan, stops=(Stop(150_000_000, orderly=False, pause_ns=1, late=late),))
        world, watch = build(stopped)
        arrived = []

        def observe(at_ns, sequence, name, kind, arrived=arrived):
            if "->" in name and 150_000_001 < at_ns < 150_000_001 + plan.link.latency_ns:
                arrived.append(name.split("->")[1])

        world.kernel.observer = observe
        assert run_world(stopped, world, watch).violation == ""
        heard.append(arrived)
    assert heard[0] == []
    assert set(heard[1]) == {"replay"}


@pytest.mark.parametrize("orderly", [True, False])
def test_a_resumed_run_cuts_what_was_running_and_finishes(orderly):
    plan = cast_plan(schedule={"versions": 6})
    plan = msgspec.structs.replace(plan, stops=(Stop(150_000_000, orderly),))
    with counted_moves() as moves:
        world, watch = build(plan)
        outcome = run_world(plan, world, watch)
    assert outcome.violation == ""
    resumed = [one.fields[0] for one in world.decisions if one.kind == "resume"]
    assert len(resumed) == 1
    assert resumed[0] == moves["running", "cut"] + moves["running", "queued"] > 0
    assert [one.fields[0] for one in world.decisions if one.kind == "stop"][-1] == "finished"


def test_a_replay_shows_its_faults_and_changes_nothing():
    plan = cast_plan(
        acts=[Act(NS // 10, "slow", "g1", span_ns=1000, for_ns=NS // 10)],
        strikes=[Strike("store", 3, Act(0, "crash", "g0"))],
    )
    outcome, records = replay(plan)
    faults = [(one.kind, one.fields[0]) for one in records if not isinstance(one, Number) and one.actor == "faults"]
    assert sorted(faults) == [("crash", "g0"), ("end of slow", "g1"), ("slow", "g1")]
    assert outcome.digest == run_plan(plan).digest
