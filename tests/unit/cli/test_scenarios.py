"""`braid simulate SCENARIO` and `braid compare`: the examples, the fields of --json, bad input, reasons."""

import json
from pathlib import Path

import pytest

from cli.main import main
from cli.simulating import load
from sim.outcome import WHY
from sim.scenario import plant

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "sim"
EXAMPLES = sorted(FOLDER.glob("*.toml"))
SMALL = """
model = "qwen2.5-7b"
gpus = 8
generator_gpus = 4

[schedule]
batch = 64
versions = 2
max_response_tokens = 1024

[lengths]
mean = 300
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_there_is_an_example_of_one_machine_of_a_dense_cluster_and_of_a_mixture_of_experts():
    assert {path.stem for path in EXAMPLES} >= {"one_machine", "dense_64", "moe_256"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_can_be_built(path):
    one = load(path)
    built = plant(one)
    assert built.training.gpus == one.gpus - one.generator_gpus
    assert built.engine.batching.kv_tokens > one.schedule.max_response_tokens


def test_json_holds_the_figures(small, capsys):
    assert main(["simulate", str(small), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step_s"] > 0
    assert found["tokens_per_s"] > 0
    assert set(found["idle_share"]) == {"generators", "trainer"}
    assert all(0 <= share <= 1 for share in found["idle_share"].values())
    assert found["staleness"]["age_max"] <= 1
    assert found["simulated_s"] > found["step_s"]
    assert found["events"] > 0
    assert found["wall_s"] > 0
    assert len(bytes.fromhex(found["digest"])) == 12


def test_the_same_seed_gives_the_same_digest_and_another_one_another(small, capsys):
    digests = []
    for seed in ("5", "5", "6"):
        assert main(["simulate", str(small), "--json", "--seed", seed]) == 0
        digests.append(json.loads(capsys.readouterr().out)["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_a_person_reads_the_bottleneck_and_why_devices_stand_still(small, capsys):
    assert main(["simulate", str(small)]) == 0
    out = capsys.readouterr().out
    assert any(f"bottleneck     {reason}: {words}" in out for reason, words in WHY.items())
    assert "idle           generators" in out
    assert "GPU-hours" in out


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["gpu=H1000"], "did you mean H100?"),
        (["model=qwen2.5-8b"], "did you mean qwen2.5-7b?"),
        (["generator_gpus=8"], "generator_gpus = 8"),
        (["schedule.max_response_tokens=9000000"], "raise generator_tp"),
        (["gpus=5"], "give the trainer more accelerators"),
        (["lengths.mean=-1"], "lengths.mean = -1"),
        (["lengths.mean=many"], "lengths.mean"),
        (["engin.slots=3"], "engine"),
        (["lengths.csv=nowhere.csv"], "nowhere.csv"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(small, settings, named, capsys):
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert main(["simulate", str(small), *arguments]) == 2
    assert_one_line(capsys, named)


@pytest.mark.parametrize(
    ("text", "named"),
    [("gpus = 8\n", "model is missing"), ("model = \n", "TOML"), ('model = "qwen2.5-7b"\ngpus = "x"\n', "gpus")],
    ids=["no model", "malformed", "no number"],
)
def test_a_bad_file_is_one_line_and_status_2(tmp_path, text, named, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    assert main(["simulate", str(path)]) == 2
    assert_one_line(capsys, named)


def test_a_missing_file_and_a_broken_model_config_are_one_line_and_status_2(tmp_path, small, capsys):
    assert main(["simulate", str(tmp_path / "none.toml")]) == 2
    assert_one_line(capsys, "no such file")
    config = tmp_path / "config.json"
    config.write_text("{}")
    assert main(["simulate", str(small), "--set", f"model={config}"]) == 2
    assert_one_line(capsys, "num_attention_heads is missing")


def assert_one_line(capsys, named):
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert named in shown.err


def test_compare_names_the_reason_of_a_difference(small, tmp_path, capsys):
    slow = tmp_path / "slow.toml"
    slow.write_text(SMALL + "\n[layout]\nefficiency = 0.01\n")
    assert main(["compare", str(small), str(slow)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{slow}: 0.")
    assert "x the throughput of the first" in last
    assert "its bottleneck is training" in last


def test_compare_prints_all_figures_as_json(small, capsys, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(SMALL)
    assert main(["compare", str(small), str(other), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [str(small), str(other)]
    assert found[str(small)]["digest"] == found[str(other)]["digest"]


def test_compare_wants_two_scenarios(small, capsys):
    assert main(["compare", str(small)]) == 2
    assert_one_line(capsys, "at least two")
