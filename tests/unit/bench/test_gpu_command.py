"""`python -m tests.bench.gpu` on a CPU: every part of it runs, and the simulator reads what it writes."""

import json
from types import SimpleNamespace

import pytest

from cli import configuration
from cli.run_config import RunConfig
from sim.costs import hardware
from tests.bench import gpu
from tests.bench.runs import EXAMPLE, ROOT


def test_the_command_runs_on_a_cpu_and_writes_a_card_for_the_simulator(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("BRAID_SGLANG_PYTHON", raising=False)
    monkeypatch.setattr(gpu, "train", pretend_to_train)
    assert gpu.main([str(tmp_path), "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert (found["device"], found["model"]) == ("cpu", "tiny")
    assert set(found["torch"]["tokens_per_s"]) == {"1", "8"}
    assert found["torch"]["tokens_per_s"]["8"] > 0
    assert found["torch"]["stall_s"] > 0
    assert found["torch"]["update_GB_per_s"] == found["weights_bytes"] / found["torch"]["stall_s"] / 1e9
    assert min(found["sharing"]["colocated_s"], found["sharing"]["alternating_s"]) > 0
    assert {kind: run["wall_s"] for kind, run in found["training"].items()} == {"asynchronous": 3.0, "synchronous": 0.0}
    card = hardware.gpu(str(tmp_path / "costs.json"))
    assert card.flops == found["rates"]["flops"]
    assert (card.efficiency.flops, card.per_machine) == (1.0, 1)
    assert min(card.memory_bytes_per_s, card.memory_bytes, card.link_bytes_per_s, card.network_bytes_per_s) > 0


def pretend_to_train(seed, settings):
    """A run that took as many seconds as its eta, if only `braid train` would take its settings."""
    words = [f"{key}={json.dumps(value) if isinstance(value, bool) else value}" for key, value in settings.items()]
    config = configuration.load(RunConfig, ROOT / EXAMPLE, words)
    assert (config.engine.device, config.trainer.device) == ("cpu", "cpu")
    return SimpleNamespace(training_s=float(config.schedule.eta), summary={"idle_share": {}})


def test_without_a_card_it_says_so_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: no CUDA device here; --device cpu tries the command on a CPU\n"


@pytest.mark.parametrize("text", [None, "{}", "[1]"])
def test_a_file_that_describes_no_card_is_refused(tmp_path, text):
    path = tmp_path / "costs.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(hardware.UsageError, match=r"name a costs.json of python -m tests.bench.gpu"):
        hardware.gpu(str(path))
