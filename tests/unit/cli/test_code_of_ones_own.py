"""A person's task, reward, objective, schedule and priority rule, as `module:name`: taken, or refused in one line."""

import json
from argparse import Namespace

import numpy as np
import pytest

import cli.prepare
from buffers.errors import UsageError
from cli import configuration, eval
from cli.answering import existing_model
from cli.main import main
from cli.run_config import RunConfig, shortened
from cli.train import EXAMPLE
from policies.objectives.objective import find_objective
from rewards.tasks.finding import find_task, seeded
from sim.cluster import finished
from sim.plan import build
from tests.end_to_end.training import SMALL
from tests.simulation.cast_plans import cast_plan

MINE = """
from dataclasses import dataclass
from actors.schedules.schedule import Schedule
from buffers.priorities.uniform import Rule

def add(rng):
    a, b = (int(one) for one in rng.integers(0, 50, 2))
    return f"{a}+{b}=", str(a + b)

def judge(prompt, response, answer):
    return float(response == answer)

def loss(tokens):
    return -tokens.advantage_B[:, None] * tokens.logp_BT

def one_problem(rng):
    return "1+1=", "2", 1.0

def no_problem(rng):
    return 7

def broken_problem(rng):
    raise KeyError("table")

def loss_of_a_row(tokens):
    return tokens.logp_BT.sum(1)

def loss_without_gradient(tokens):
    return tokens.reference_BT

def broken_loss(tokens):
    return tokens.logits

@dataclass(frozen=True)
class Config:
    seed: int = 0

class Bare:
    def __init__(self, config):
        self.config = config

class FourMethods:
    def __init__(self, settings):
        pass

    def room(self, worker):
        return worker.slots - worker.held

    def groups_to_open(self, room, waiting):
        return 1

    def choose(self, job, workers):
        return next((worker.name for worker in workers.values() if self.room(worker) > 0), None)

    def budget(self, job):
        return 16

class NotOfSettings(FourMethods):
    def __init__(self):
        pass
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A module `mine` that can be imported."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)


def checked(capsys, *settings):
    """Status and complaint of `braid train --check` with these settings."""
    status = cli.prepare.main([json.dumps({"config": "", "settings": settings})])
    return status, capsys.readouterr().err


def test_all_of_them_are_taken_together(capsys):
    settings = [
        "task.name=mine:add",
        'rewards.rewards=["mine:judge", "answer_format"]',
        "trainer.objective=mine:loss",
        "rule=mine:Schedule",
        "buffer.priority=mine:Rule",
    ]
    assert checked(capsys, *settings) == (0, "")


def test_a_schedule_needs_no_more_than_the_four_methods(capsys):
    assert checked(capsys, "rule=mine:FourMethods") == (0, "")
    world, watch = build(cast_plan(rule="mine:FourMethods"))
    world.run(60.0, finished)
    assert finished(world)
    watch.check_store()


BAD = {
    "task.name=mine:nothing": "task.name = 'mine:nothing': mine has no 'nothing'",
    "task.name=theirs:add": "there is no module 'theirs'",
    "task.name=mine:Schedule": "needs a dataclass Config",
    "task.settings.sed=3": "unknown key sed",
    'rewards.rewards=["mine:nothing"]': "reward = 'mine:nothing': mine has no 'nothing'",
    'rewards.rewards=["mine:Config.seed"]': "is no function",
    'rewards.rewards=["answer_format"]': "none gives the outcome",
    "trainer.objective=mine:nothing": "objective = 'mine:nothing': mine has no 'nothing'",
    "trainer.objective=mine:loss_of_a_row": "it must give every token's loss, (2, 3) here",
    "trainer.objective=mine:loss_without_gradient": "gives no gradient; use tokens.logp_BT",
    "trainer.objective=mine:broken_loss": "raised AttributeError: 'Tokens' object has no attribute 'logits'",
    "trainer.objective=mine:Bare": "has no config_type",
    "rule=mine:nothing": "rule = 'mine:nothing': mine has no 'nothing'",
    "rule=mine:Bare": "it lacks room, groups_to_open, choose, budget",
    "rule=mine:NotOfSettings": "give it an __init__(self, config)",
    "buffer.priority=mine:nothing": "buffer.priority = 'mine:nothing': mine has no 'nothing'",
    "buffer.priority=mine:Config": "is no rule: it needs proportional",
}
MISSPELT = {
    "buffer.no_signal=evcit": "--set buffer.no_signal = \"evcit\": invalid enum value 'evcit'; take one of",
    "trainer.device=cdua": "device 'cdua': torch knows no such device; take cpu or cuda",
    "engine.device=cdua": "device 'cdua': torch knows no such device; take cpu or cuda",
    "sglang.dtype=flaot16": "--set sglang.dtype = \"flaot16\": invalid enum value 'flaot16'; take one of",
}


@pytest.mark.parametrize("setting", BAD)
def test_what_cannot_be_used_is_refused_in_one_line_before_anything_starts(setting, capsys):
    assert_refused(checked(capsys, setting), BAD[setting])


@pytest.mark.parametrize("setting", MISSPELT)
def test_a_misspelt_choice_is_never_taken_for_another(setting, capsys):
    assert_refused(checked(capsys, setting), MISSPELT[setting])


def assert_refused(found, words):
    """One line with these words, exit status 2."""
    status, complaint = found
    assert status == 2
    assert words in complaint
    assert complaint.count("\n") == 1


def test_a_function_draws_the_same_problems_from_the_same_seed_and_none_in_two_splits():
    task = find_task("mine:add", {"seed": 3})
    drawn = {split: task.prompts(split, 60) for split in ("train", "held_out", "validation")}
    texts = [prompt.text for prompts in drawn.values() for prompt in prompts]
    assert len(set(texts)) == 180
    assert find_task("mine:add", {"seed": 3}).prompts("train", 60) == drawn["train"]
    assert find_task("mine:add", {"seed": 4}).prompts("train", 60) != drawn["train"]
    assert drawn["train"][0].difficulty == len(drawn["train"][0].text)


def test_the_answer_of_a_functions_task_stands_where_its_settings_say():
    marked = find_task("mine:add", {"after": "#", "until": "$"})
    assert [marked.outcome(said, "12") for said in ("5+7 #12$", "12", "#3#12", "#12$ or #13$")] == [1, 0, 1, 0]
    assert find_task("mine:add", {}).outcome("\\boxed{12}", "12") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one_problem", r"hardly more than [01] different prompts"),
        ("no_problem", r"returned 7; it must return \(prompt, answer\)"),
        ("broken_problem", r"raised KeyError: 'table'"),
    ],
)
def test_a_function_that_draws_no_problems_is_told_what_to_do(name, said):
    with pytest.raises(UsageError, match=said):
        find_task(f"mine:{name}", {}).prompts("train", 4)


def test_a_seed_is_given_to_tasks_that_have_one(tmp_path):
    assert seeded("chains", {}, 5) == {"seed": 5}
    assert seeded("chains", {"seed": 4}, 5) == {"seed": 4}
    assert seeded("jsonl", {"train": "x"}, 5) == {"train": "x"}
    lines = "".join(json.dumps({"question": f"{n}+1", "answer": f"#### {n + 1}"}) + "\n" for n in range(90))
    (tmp_path / "sums.jsonl").write_text(lines)
    order = {"config": "", "settings": ["task.name=jsonl", f"task.settings.train={tmp_path / 'sums.jsonl'}"]}
    assert cli.prepare.main([json.dumps(order)]) == 0


def task_of(model, **given):
    return eval.task_of(Namespace(**{"task": None, "task_seed": None, "config": "", **given}), model)


def test_eval_takes_the_task_of_the_run_that_a_model_lies_in(tmp_path):
    model = tmp_path / "run" / "versions" / "v00000003"
    model.mkdir(parents=True)
    assert task_of(model) == ("chains", {"seed": 7})
    config = tmp_path / "run" / "config.toml"
    config.write_text('[task]\nname = "mine:add"\nsettings = { seed = 3, after = "#" }\n')
    assert task_of(model) == task_of(tmp_path, config=str(config)) == ("mine:add", {"seed": 3, "after": "#"})
    assert task_of(model, task_seed=4) == ("mine:add", {"seed": 4, "after": "#"})
    assert task_of(model, task="chains") == ("chains", {"seed": 7})


def test_a_runs_folder_stands_for_its_newest_version(tmp_path):
    for number in (2, 10):
        (tmp_path / "versions" / f"v{number:08d}").mkdir(parents=True)
        (tmp_path / "versions" / f"v{number:08d}" / "config.json").touch()
    (tmp_path / "versions" / "v00000011.draft").mkdir()
    assert existing_model(str(tmp_path)).name == "v00000010"
    with pytest.raises(UsageError, match="no Hugging Face model folder"):
        existing_model(str(tmp_path / "versions"))


def test_a_priority_rule_and_a_schedule_decide_in_virtual_time(capsys):
    words = ["simulate", "--json", "--set", "schedule.versions=2", "--set", "schedule.batch=16"]
    assert main([*words, "--set", "rule=mine:Schedule", "--set", "buffer.priority=mine:Rule"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"] == 2
    assert main([*words, "--set", "buffer.priority=mine:nothing"]) == 2
    assert "mine has no 'nothing'" in capsys.readouterr().err


def test_a_training_config_is_not_taken_for_a_scenario(capsys):
    assert main(["simulate", str(EXAMPLE)]) == 2
    assert "configures a training run; name a scenario" in capsys.readouterr().err


def test_a_functions_losses_are_masked_weighted_and_summed():
    import torch

    from policies.objectives.objective import Tokens

    objective = find_objective("mine:loss", {"divide_by": "sequences"})
    logp = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    mask, behind = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.zeros(2, 2)
    loss = objective.loss(Tokens(logp, behind, behind, mask, torch.tensor([1.0, -1.0]), torch.tensor([2.0, 1.0])))
    assert loss.total.item() == 2 * 1.0 - (3.0 + 4.0)
    assert objective.divide_by == "sequences"


def test_short_lowers_and_never_raises():
    example = configuration.load(RunConfig, None, ["schedule.versions=100", "task.train_prompts=100"])
    short = shortened(example)
    assert (short.schedule.versions, short.task.train_prompts, short.task.held_out) == (5, 100, 32)
    assert shortened(short) == short
    assert configuration.load(RunConfig, None, SMALL).model.warmup == short.model.warmup, "one warm-up serves both"
    assert np.isclose(short.model.warmup.pass_mark, 0.75)
