"""`braid train` for real: a model learns, through kill -9 of everybody; it stops, and goes on exactly there."""

import json
import signal
import time
from collections import Counter
from itertools import pairwise

import pytest

import cli.main
import cli.prepare
import cli.train
from actors.eventlog import Traffic, read_events
from tests.end_to_end import training


def ledger_closes(summary):
    ledger = summary["ledger"]
    return ledger["opened"] == ledger["trained"] + ledger["evicted"] + ledger["failed"] + ledger["in_flight"]


def published(folder):
    """(incarnation of the learner, version) in order of publication."""
    return [(one.incarnation, int(one.fields[0])) for one in training.decisions(folder) if one.kind == "publish"]


def check_versions(folder):
    """Numbers rise; only a learner that comes back may name the same (restored) weights by the same number again."""
    for (life, number), (next_life, next_number) in pairwise(published(folder)):
        assert next_number > number or (next_life > life and next_number == number)


@pytest.mark.timeout(900)
def test_a_model_learns_while_everybody_is_killed_once(tmp_path, cache):
    folder = tmp_path / "run"
    process = training.train(folder, cache)
    for at_least, name in ((4, "generator-0"), (8, "rewarder-0"), (12, "learner"), (16, "replay"), (20, "controller")):
        training.wait_for_version(process, folder, at_least)
        training.kill(folder, name)
    status, output = training.finish(process)
    assert status == 0, output[-3000:]
    died = Counter(str(one.fields[0]) for one in training.decisions(folder) if one.kind == "died")
    assert set(died) >= {"generator-0", "rewarder-0", "learner", "replay", "controller"}
    summary = training.summary(folder)
    assert summary["outcome"] == "finished"
    assert ledger_closes(summary), summary["ledger"]
    assert summary["accuracy_before"]["sampled"] < 0.35
    assert summary["accuracy_after"]["sampled"] > summary["accuracy_before"]["sampled"] + 0.25
    assert summary["staleness"]["max"] <= summary["staleness"]["bound"]
    check_versions(folder)
    uses = training.trained_uses(folder)
    assert len(uses) > 200
    assert max(uses.values()) == 1, "a group was trained on beyond schedule.reuse = 1"
    assert 8 * len(uses) <= summary["ledger"]["trained"]
    sent = {one.kind for one in read_events([folder / "events"]) if isinstance(one, Traffic)}
    assert sent >= {"Append", "Dispatch", "TakeLease", "Share"}, sent
    assert training.processes_of(folder) == {}


@pytest.mark.timeout(900)
def test_a_stopped_run_goes_on_exactly_where_it_stopped(tmp_path, cache):
    folder = tmp_path / "run"
    process = training.train(folder, cache, "schedule.versions=14")
    training.wait_for_version(process, folder, 5)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    status, output = training.finish(process, 60)
    print(f"stopped after {time.monotonic() - asked:.1f} s")
    assert status == 130, output[-3000:]
    assert f"--resume {folder}" in output
    assert training.processes_of(folder) == {}
    stopped_at = training.version(folder)
    assert stopped_at < 14
    status, output = training.finish(training.start("train", "--resume", str(folder)))
    assert status == 0, output[-3000:]
    summary = training.summary(folder)
    assert ledger_closes(summary), summary["ledger"]
    first_of_second_start = next(
        int(one.fields[0]) for one in training.decisions(folder) if one.kind == "publish" and one.incarnation > 1
    )
    assert first_of_second_start in (stopped_at, stopped_at + 1)
    check_versions(folder)
    stored = Counter((one.fields[0], one.fields[2]) for one in training.decisions(folder) if one.kind == "store")
    assert max(stored.values()) == 1, "a stored prefix was generated again"
    consumed = [one.fields for one in training.decisions(folder) if one.kind == "complete"]
    assert len({lease for lease, *_ in consumed}) == len(consumed)


@pytest.mark.timeout(900)
def test_a_model_is_trained_on_one_card_in_turns(tmp_path, cache):
    folder = tmp_path / "run"
    settings = ("cluster.placement=colocated", "cluster.cache=drop", "cluster.turn_s=0.1", "schedule.versions=6")
    status, output = training.finish(training.train(folder, cache, *settings, "evaluator.samples=1"))
    assert status == 0, output[-3000:]
    assert "the card: about" in output
    assert ledger_closes(training.summary(folder))
    held = [one for one in training.decisions(folder) if one.kind == "held"]
    turns = sorted((one.fields[1], one.fields[2], one.actor) for one in held)
    assert [(one, other) for one, other in pairwise(turns) if other[0] < one[1]] == []
    count = Counter(actor for *_, actor in turns)
    assert count["learner"] == 6
    assert count["generator-0"] > 3
    assert count["evaluator"] > 0


ONE_CARD = ("--set", "cluster.placement=colocated")
CUDA = ("--set", "trainer.device=cuda:99", "--set", "engine.device=cuda:99")
BAD = [
    (["train", "nowhere.toml"], "nowhere.toml: no such file"),
    (["train", "--check", "--set", "schedule.etaa=1"], "did you mean schedule.eta?"),
    (["train", "--check", "--set", "schedule.segment_tokens=400"], "schedule.max_response_tokens"),
    (["train", "--check", "--set", "schedule.batch=60"], "must be a multiple of updates_per_version x group"),
    (["train", "--check", "--set", "schedule.eta=-1"], "must be 0 (synchronous) or more"),
    (["train", "--check", "--set", "trainer.update.updates_per_reference=1"], "the penalty has no gradient"),
    (["train", "--check", "--set", "trainer.objective=ppo"], "no objective 'ppo'"),
    (["train", "--check", "--set", "buffer.priority=newest"], "it is one of feedback, fifo"),
    (["train", "--check", "--set", "buffer.priority_options.half_life=0"], "priority_options.half_life is 0"),
    (["train", "--check", "--set", "buffer.leasing.replacement=true"], "needs oversample above 1"),
    (["train", "--check", "--set", "buffer.leasing.beta=1"], "importance weights belong to draws with replacement"),
    (["train", "--check", "--set", "task.name=sums"], "no task 'sums'"),
    (["train", "--check", "--set", "model.path=/nowhere"], "there is no such folder"),
    (["train", "--check", "--set", "sampling.temperature=0"], "it must be above 0"),
    (["train", "--check", "--set", "generates_with=vllm"], "take torch or sglang"),
    (["train", "--check", "examples/sglang_cpu.toml", "--set", "sglang.python=/nowhere"], "make sglang-cpu"),
    (["train", "--check", "examples/sglang_cpu.toml", "--set", "sglang.python="], "has no SGLang"),
    (["train", "--check", "examples/sglang_cpu.toml", "--set", "sglang.in_flight=kill"], "invalid enum value 'kill'"),
    (["train", "--check", "examples/sglang_cpu.toml", "--set", "sglang.context_tokens=200"], "sglang.context_tokens"),
    (["train", "--check", *ONE_CARD, "--set", "cluster.share=turns"], "invalid enum value 'turns'"),
    (["train", "--check", *ONE_CARD, "--set", "cluster.engine_memory=1.5"], "between 0 and 1"),
    (["train", "--check", *ONE_CARD, "--set", "cluster.evaluator_memory=0.6"], "leave the learner nothing"),
    (["train", "--check", *ONE_CARD, "--set", "cluster.turn_s=-1"], "give 0 to 60 seconds"),
    (["train", "--check", *ONE_CARD, "--set", "cluster.memory_gib=-1"], "or 0 for all that the device has"),
    (["train", "--check", *ONE_CARD, "--set", "generators=2"], "set generators = 1 and raise engine.slots instead"),
    (["train", "--check", *ONE_CARD, "--set", "trainer.device=cuda"], "name one device in all of them"),
    (["train", "--check", *ONE_CARD, *CUDA], "torch finds no such GPU here"),
    (["train", "--check", *ONE_CARD, "--set", "generates_with=sglang"], "cluster.share = 'memory'"),
    (["train", "--resume", "/nowhere"], "holds no prepared run"),
    (["eval", "/nowhere"], "there is no folder /nowhere"),
    (["sample", "/nowhere", "a"], "there is no folder /nowhere"),
    (["simulate", "--set", "generators=0"], "at least 1 each"),
]


def prepare_here(config, settings, run_dir, short):
    """What `braid train` starts as a process, in this one: torch is loaded once for all cases."""
    return cli.prepare.main([json.dumps({"config": config, "settings": settings, "run_dir": run_dir, "short": short})])


@pytest.mark.parametrize(("words", "remedy"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_ends_in_one_line_and_exit_status_2(words, remedy, monkeypatch, capsys):
    monkeypatch.setattr(cli.train, "prepare", prepare_here)
    assert cli.main.main(words) == 2
    error = capsys.readouterr().err
    assert remedy in error
    assert error.count("\n") == 1, error


def test_bad_input_ends_a_real_process_with_exit_status_2():
    status, output = training.finish(training.start("train", "--check", "--set", "schedule.etaa=1"), 60)
    assert status == 2
    assert output == "error: --set schedule.etaa=1: unknown key schedule.etaa; did you mean schedule.eta?\n"


def test_a_folder_that_is_not_empty_is_never_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    status, output = training.finish(training.start("train", "--run-dir", str(tmp_path)), 60)
    assert status == 2
    assert "--resume" in output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
