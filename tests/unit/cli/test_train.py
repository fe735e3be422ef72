import argparse
import json
import uuid

from actors.cast import cast_of
from actors.ports import REAL, SGLANG
from cli.main import main
from cli.train import engines, run
from policies.shared_files import ring_path, spool_path
from tests.store_builders import run_folder, used_store

SINKLESS = {"roster": {"generators": ["generator-0"], "evaluator": "evaluator"}}


def engine_of(settings, name):
    """What stands behind an actor's engine in a run with these settings."""
    config = {**SINKLESS, **settings}
    specs = cast_of(config, {**REAL, **engines(config, REAL, SGLANG)})
    return next(spec.ports["engine"] for spec in specs if spec.name == name)


def test_the_generators_engine_is_chosen_and_the_evaluators_apart_from_it():
    settings = {"generates_with": "sglang", "sglang": {"evaluator": "torch"}}
    assert engine_of(settings, "generator-0") == "actors.ports:sglang_engine"
    assert engine_of(settings, "evaluator") == "actors.ports:torch_engine"
    both = {"generates_with": "sglang", "sglang": {"evaluator": "sglang"}}
    assert engine_of(both, "evaluator") == "actors.ports:sglang_engine"


def test_what_killed_processes_leave_in_shared_memory_is_taken_away(tmp_path, monkeypatch):
    ring = ring_path(f"test-{uuid.uuid4().hex}")
    log = str(tmp_path / "sglang-generator-0.log")

    class Killed:
        """A cluster whose learner and generator leave weights behind."""

        outcome = "stopped by the person"

        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def run(self):
            ring.touch()
            spool_path(log).mkdir()

        def __exit__(self, *_):
            assert ring.exists()
            assert spool_path(log).exists()

    monkeypatch.setattr("actors.live.cluster.Cluster", Killed)
    monkeypatch.setattr("cli.train.stop_on_signals", lambda cluster: None)
    monkeypatch.setattr("cli.train.check_store", lambda config: None)
    monkeypatch.setattr(
        "cli.summary.summarize", lambda *_: dict.fromkeys(("ledger", "accuracy_before", "accuracy_after"))
    )
    name = ring.name.removeprefix("braid-")
    settings = {"seed": 1, "trainer": {"ring": name}, "own": {"generator-0": {"sglang": {"log": log}}}}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    assert run(tmp_path, argparse.Namespace(keys="", cluster="", address="")) == 130
    assert not ring.exists()
    assert not spool_path(log).exists()


def test_runs_of_before_and_runs_without_sglang_have_torch_engines():
    assert engine_of({}, "generator-0") == "actors.ports:torch_engine"
    assert engine_of({"generates_with": "torch"}, "evaluator") == "actors.ports:torch_engine"


def test_a_damaged_store_is_named_before_anything_starts(tmp_path, capsys):
    used_store(run_folder(tmp_path))
    file = tmp_path / "store" / "data.mdb"
    file.write_bytes(file.read_bytes()[:-5000])
    assert main(["train", "--resume", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {file} is torn: it ends before page ")
    assert not (tmp_path / "processes").exists()


def test_one_card_and_a_cluster_of_machines_exclude_each_other(tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"seed": 1, "cluster": {"placement": "colocated"}}))
    assert main(["train", "--resume", str(tmp_path), "--cluster", "ray"]) == 2
    error = capsys.readouterr().err
    assert "cluster.placement = 'colocated' on one card: leave the former out" in error
    assert error.count("\n") == 1
