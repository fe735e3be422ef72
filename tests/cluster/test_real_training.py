"""A model trained for real on three nodes, of which the generator's dies: the run learns, and loses nothing."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.end_to_end import training
from tests.end_to_end.test_real_training import check_versions, ledger_closes

HEAD, WORKER = "{head = 0.1}", "{worker = 0.1}"
VERSIONS = 16
AT = {"learner": HEAD, "replay": HEAD, "controller": HEAD, "rewarder": HEAD, "evaluator": HEAD, "generator": WORKER}


@pytest.mark.timeout(600)
def test_a_model_learns_while_its_generator_s_node_dies(nodes, replace, tmp_path):
    made, workers = nodes
    folder = tmp_path / "run"
    words = ["train", "examples/ray_local.toml", "--cluster", "ray", "--address", made.address]
    words += ["--seed", "11", "--run-dir", str(folder)]
    places = [f"cluster.{role}.resources={at}" for role, at in AT.items()]
    places += ["pace.hang_s=90", "pace.lease_s=30"]
    for setting in (*training.SMALL, *places, f"schedule.versions={VERSIONS}", f"model.cache={tmp_path / 'warmups'}"):
        words += ["--set", setting]
    process = training.start(*words)
    training.wait_for_version(process, folder, 4)
    victim = training.processes_of(folder)["generator-0"]
    where = node_of(victim, workers)
    before = training.version(folder)
    began = time.monotonic()
    replace(where)
    wait(process, lambda: training.processes_of(folder).get("generator-0", victim) != victim)
    placed_s = time.monotonic() - began
    wait(process, lambda: any(one.incarnation > 1 and one.actor == "generator-0" for one in training.decisions(folder)))
    print(f"\nnode of the generator killed at version {before}: on another node after {placed_s:.1f} s, ", end="")
    print(f"generating after {time.monotonic() - began:.1f} s")
    assert node_of(training.processes_of(folder)["generator-0"], workers) != where
    status, output = training.finish(process)
    assert status == 0, output[-3000:]
    summary = training.summary(folder)
    print({name: summary[name] for name in ("wall_s", "accuracy_before", "accuracy_after", "ledger")})
    assert summary["outcome"] == "finished"
    assert ledger_closes(summary), summary["ledger"]
    assert summary["accuracy_after"]["sampled"] > summary["accuracy_before"]["sampled"]
    assert summary["staleness"]["max"] <= summary["staleness"]["bound"]
    check_versions(folder)
    wait(process, lambda: training.processes_of(folder) == {}, over=True)


def node_of(pid, workers):
    """On which node a process runs: whose raylet is above it."""
    above = {parent.pid for parent in psutil.Process(pid).parents()}
    return next(one.node_id for one in workers if one.all_processes["raylet"][0].process.pid in above)


def wait(process, condition, seconds=120.0, over=False):
    until = time.monotonic() + seconds
    while not condition():
        assert over or process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < until, "a process is left" if over else "the generator did not come back"
        time.sleep(0.1)
