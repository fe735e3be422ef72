"""A run with known costs, simulated and logged as a live one: calibration finds them, and predicts other settings."""

import json
from itertools import pairwise

import msgspec
import pytest

from actors.cast import RunSettings
from actors.eventlog import EventLogWriter
from actors.roster import Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from buffers.errors import UsageError
from cli.main import main
from sim.calibration import Calibration, Fit, calibrate, fit
from sim.calibration_world import measured, predict, simulated
from sim.cluster import finished

KNOWN = Calibration(
    "known",
    4,
    Fit({"step_s": 0.004, "row_s": 0.0002, "prefill_s": 0.00005}, 0, 0.0),
    Fit({"base_s": 0.2, "token_s": 0.0005}, 0, 0.0),
    {"checkpoint": 0.05, "expose": 0.02, "install": 0.003, "score": 0.001, "message": 0.002},
    0.0,
    19,
    [1 + (7 * number) % 60 for number in range(400)],
)
ENGINE = {"slots": 24, "cached_rows": 8, "context_tokens": 256, "prefill_tokens": 256}


def settings(generators=1, **schedule):
    roster = Roster(
        generators=tuple(f"generator-{number}" for number in range(generators)),
        recorder="recorder",
        supervisor="supervisor",
    )
    given = {"batch": 16, "group": 4, "updates_per_version": 1, "eta": 2, "segment_tokens": 16, "versions": 14}
    plan = ScheduleConfig(**{**given, "max_response_tokens": 64, **schedule})
    shared = RunSettings(seed=3, roster=roster, pace=Pace(heartbeat_s=0.25), schedule=plan)
    return {**msgspec.to_builtins(shared), "engine": ENGINE}


def written(folder, config):
    """The simulated run as the folder of a live one."""
    world = simulated(KNOWN, config)
    assert world.run(10_000, finished)
    (folder / "events").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(config))
    log = EventLogWriter(folder / "events" / "world.events", "virtual", 3)
    for decision in world.decisions:
        log.decision(decision)
    for note in world.notes:
        log.number(*note)
    log.close()
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return written(tmp_path_factory.mktemp("runs") / "known", settings())


def test_known_costs_are_found(run):
    found = calibrate(run, 4)
    assert found.engine.residual < 0.05
    assert found.engine.costs["step_s"] == pytest.approx(0.004, rel=0.2)
    assert found.engine.costs["row_s"] == pytest.approx(0.0002, rel=0.3)
    assert found.trainer.costs["token_s"] == pytest.approx(0.0005, rel=0.5)
    assert found.single["checkpoint"] == pytest.approx(0.05, rel=0.05)
    assert found.single["install"] == pytest.approx(0.003, rel=0.05)
    assert found.lengths[:50] == [min(64, length) for length in KNOWN.lengths[1:51]]


def test_a_run_predicts_itself_and_others(run, tmp_path):
    found = calibrate(run, 4)
    for name, config in (
        ("self", settings()),
        ("longer-segments", settings(segment_tokens=64)),
        ("synchronous", settings(eta=0)),
        ("two-generators", settings(generators=2)),
    ):
        config, seen = measured(written(tmp_path / name, config))
        said = predict(found, config, seen.first)
        assert said.tokens_per_s == pytest.approx(seen.tokens_per_s, rel=0.15), name
        assert said.step_s == pytest.approx(seen.step_s, rel=0.15), name


def test_turns_on_one_card_are_predicted_as_turns():
    card = {"by": "time", "folder": "nobody looks there", "turn_s": 0.05}
    taken = {}
    for name, more in (("apart", {}), ("together", {"card": card})):
        world = simulated(KNOWN, {**settings(), **more})
        assert world.run(10_000, finished)
        turns = sorted(tuple(one.fields[1:3]) for one in world.decisions if one.kind == "held")
        assert all(begin >= end for (_, end), (begin, _) in pairwise(turns))
        taken[name] = (len(turns), world.now)
    assert taken["apart"][0] == 0
    assert taken["together"][0] > 2 * 14
    assert taken["together"][1] > taken["apart"][1], "what is done in turns takes longer"


def test_negative_costs_are_left_out():
    rows = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]
    found = fit(("up", "down"), rows, [2.0, 4.0, 6.0, 8.0])
    assert found.costs == {"up": pytest.approx(2.0), "down": pytest.approx(0.0, abs=1e-9)}
    assert fit(("up", "down"), rows, [1.0, 2.2, 3.3, 4.6]).costs["down"] == 0.0


def test_what_is_no_run_is_one_clear_line(run, tmp_path, capsys):
    with pytest.raises(UsageError, match="holds no run"):
        calibrate(tmp_path, 2)
    assert main(["calibrate", str(run), "--cores", "0"]) == 2
    assert main(["simulate", "--like", str(run)]) == 2
    assert "write one with braid calibrate" in capsys.readouterr().err


def test_the_commands_write_and_compare(run, tmp_path, capsys):
    costs = str(tmp_path / "costs.json")
    assert main(["calibrate", str(run), "--cores", "4", "--output", costs]) == 0
    assert "mean residual" in capsys.readouterr().out
    assert main(["simulate", "--like", str(run), "--costs", costs, "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["predicted"]["versions"] == both["measured"]["versions"] > 5


def test_a_prediction_is_left_as_a_run_that_a_report_draws(tmp_path, capsys):
    live, folder = written(tmp_path / "live", settings()), tmp_path / "predicted"
    (live / "config.toml").write_text("seed = 3\n")
    assert main(["calibrate", str(live), "--cores", "4"]) == 0
    words = ["simulate", "--like", str(live), "--run-dir", str(folder)]
    assert main(words) == 0
    assert (folder / "config.toml").read_text() == "seed = 3\n"
    (live / "metrics.jsonl").write_bytes((folder / "metrics.jsonl").read_bytes())
    assert main(["report", str(live), "--against", str(folder)]) == 0
    assert (live / "report" / "timeline.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(words) == 2
    assert "not empty; name another --run-dir" in capsys.readouterr().err
