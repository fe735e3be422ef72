"""`braid plan`: the best of a space, why others cannot be, what is written for training, bad input, Ctrl-C."""

import json
import tomllib

import pytest

from cli.main import main
from cli.plan import winner
from cli.simulating import load
from sim import search
from sim.scenario import plant

SMALL = """
model = "qwen2.5-1.5b"
gpus = 4
generator_gpus = 2

[schedule]
batch = 16
updates_per_version = 1
versions = 2
eta = 1
max_response_tokens = 512
checkpoint_every = 2

[lengths]
mean = 80
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def planned(capsys, small, *arguments):
    assert (
        main(["plan", str(small), "--json", "--jobs", "1", "--output", str(small.parent / "plan.toml"), *arguments])
        == 0
    )
    return json.loads(capsys.readouterr().out)


def test_a_small_space_is_searched_exhaustively_and_the_best_is_the_best_of_all(small, capsys):
    found = planned(capsys, small, "--search", "split", "eta", "--max-staleness", "1")
    one = load(small)
    room = search.space(one, 1, ("split", "eta"))
    assert room["generator_gpus"] == (0, 1, 2, 3)
    assert room["eta"] == (0, 1)
    assert found["exhaustive"]
    assert found["space"] == found["looked_at"] == 8
    values = {}
    for gpus in room["generator_gpus"]:
        for eta in room["eta"]:
            choice = search.Choice(gpus, 1, 1, 1, 512, eta, 1.0, 64)
            scenario = choice.applied(one)
            value = values[gpus, eta] = search.simulated(scenario).tokens_per_s
            assert search.bound(scenario, plant(scenario), "tokens/s") >= value
    settings = [best["settings"] for best in found["best"]]
    best = sorted(values, key=values.__getitem__, reverse=True)[:5]
    assert [(each["generator_gpus"], each["eta"]) for each in settings] == best


def test_processes_find_what_one_finds(small, capsys):
    """A space that is not exhausted; the sampler is told in the same order."""
    arguments = ("--max-staleness", "2", "--trials", "10")
    alone = planned(capsys, small, *arguments)
    together = planned(capsys, small, *arguments, "--jobs", "2")
    assert not alone["exhaustive"]
    assert alone["simulated"] == 10
    assert len(alone["best"]) == 5
    assert alone == together
    assert all(best["settings"]["eta"] <= 2 for best in alone["best"])
    assert sum(alone["infeasible"].values()) + alone["bounded"] + 10 == alone["looked_at"]


def test_a_choice_that_cannot_be_among_the_best_is_not_simulated(small):
    one = load(small, ["layout.efficiency=0.001"])
    room = search.space(one, 1, ("split", "concurrency"))
    *_, findings = search.search(one, room, "step_s", (100, 1))
    assert findings.exhaustive
    assert findings.bounded > 0
    assert findings.simulated + findings.bounded == search.size(room)
    worst = min(found.value for found in findings.best)
    for gpus in room["generator_gpus"]:
        choice = search.Choice(gpus, 1, 1, 1, 512, 1, 1.0, 64)
        if choice not in [found.choice for found in findings.best]:
            assert search.value_of(search.simulated(choice.applied(one)), "step_s") <= worst


def test_what_cannot_be_built_is_counted_with_its_reason(small, capsys):
    found = planned(capsys, small, "--search", "split", "layout", "--max-staleness", "1", "--trials", "200")
    reasons = found["infeasible"]
    assert any(reason.startswith("generator_tp = N: N generating accelerators") for reason in reasons)
    assert any(reason.startswith("layout.tensor x layout.pipeline = N") for reason in reasons)
    assert sum(reasons.values()) + found["simulated"] + found["bounded"] == found["space"]


def test_a_person_reads_the_best_five_and_the_bottleneck_of_each(small, tmp_path, capsys):
    assert (
        main(["plan", str(small), "--search", "split", "eta", "--jobs", "1", "--output", str(tmp_path / "p.toml")]) == 0
    )
    out = capsys.readouterr().out
    assert [f"\n{place}. " in out for place in range(1, 7)] == [True] * 5 + [False]
    assert out.count("bottleneck") >= 5
    assert str(tmp_path / "p.toml") in out


def test_the_winner_is_a_config_that_training_accepts(small, tmp_path, capfd):
    output = tmp_path / "winner.toml"
    arguments = ["--gpus", "3", "--search", "split", "segment", "--max-staleness", "1", "--jobs", "1"]
    assert main(["plan", str(small), *arguments, "--output", str(output), "--json"]) == 0
    best = json.loads(capfd.readouterr().out)["best"][0]["settings"]
    config = tomllib.loads(output.read_text())
    schedule = config["schedule"]
    assert config["generators"] == (best["generator_gpus"] or 3)
    assert schedule["segment_tokens"] == best["segment_tokens"]
    assert schedule["partial"] == (best["segment_tokens"] < 512)
    assert schedule["versions"] == 2
    assert "--set model.path" in output.read_text()
    assert main(["train", str(output), "--check"]) == 0


def test_a_replica_over_several_devices_is_served_by_sglang(small, tmp_path):
    one = load(small, ["model=llama-3.1-8b", "generator_tp=2", "gpus=8"])
    choice = search.Choice(2, 2, 1, 1, 256, 1, 1.0, 64)
    found = search.Found(choice, search.simulated(choice.applied(one)), 1.0)
    table = tomllib.loads(winner(one, found))
    assert table["generates_with"] == "sglang"
    assert table["sglang"]["arguments"] == ["--tp-size", "2"]
    assert table["cluster"]["generator"]["gpus"] == 2


def test_ctrl_c_keeps_what_was_found(small, tmp_path, capsys, monkeypatch):
    calls = []
    real = search.simulated

    def simulated(one):
        calls.append(one)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(one)

    monkeypatch.setattr(search, "simulated", simulated)
    output = tmp_path / "plan.toml"
    assert main(["plan", str(small), "--search", "split", "--jobs", "1", "--json", "--output", str(output)]) == 130
    found = json.loads(capsys.readouterr().out)
    assert found["simulated"] == len(found["best"]) == 2
    assert tomllib.loads(output.read_text())["name"] == "plan"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--gpus", "0"], "--gpus = 0"),
        (["--gpus", "many"], "many"),
        (["--trials", "0"], "--trials = 0"),
        (["--max-staleness", "-1"], "--max-staleness = -1"),
        (["--goal", "fun"], "fun"),
        (["--search", "luck"], "luck"),
        (["--set", "model=qwen2.5-2b"], "did you mean qwen2.5-"),
        (["--set", "model=qwen3-235b-a22b"], "none of"),
        (["--output", "/nowhere/plan.toml"], "/nowhere/plan.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(small, arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(small), "--search", "split", "--jobs", "1", *arguments]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert named in shown.err
    assert not (tmp_path / "plan.toml").exists()
