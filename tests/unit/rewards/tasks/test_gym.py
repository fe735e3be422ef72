"""reasoning-gym by name: prompts, splits, outcomes, refusals. Skipped, by name, where it is not installed."""

import json

import pytest

from buffers.errors import UsageError
from rewards.tasks.gym import REFUSED, Config, Task

GYM = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (extra `tasks`)")
SHORT = ["basic_arithmetic", "simple_equations", "spell_backward", "lcm", "count_primes", "chain_sum", "gcd"]


def true_answer(prompt):
    return json.loads(prompt.answer)["answer"]


@pytest.mark.parametrize("name", SHORT)
def test_the_datasets_answer_is_right_and_nonsense_is_not(name):
    task = Task(Config(dataset=name, seed=3))
    for prompt in task.prompts("train", 5):
        assert task.outcome(true_answer(prompt), prompt.answer) == 1
        assert task.outcome(rf"I think \boxed{{{true_answer(prompt)}}}", prompt.answer) == 1
        assert task.outcome("nonsense", prompt.answer) == 0
        assert task.outcome("", prompt.answer) == 0


@pytest.mark.parametrize("name", ["acre", "figlet_font", "spell_backward", "propositional_logic"])
def test_partial_credit_for_nonsense_is_no_outcome(name):
    task = Task(Config(dataset=name, largest=100))
    prompts = task.prompts("train", 6)
    assert sum(task.outcome(text, prompt.answer) for prompt in prompts for text in ("x", "abc", "I know")) == 0


def test_prompts_are_a_function_of_the_config_and_splits_are_disjoint():
    texts = {}
    for split in ("train", "held_out", "validation"):
        first, second = (Task(Config(dataset="gcd", seed=5)).prompts(split, 40) for _ in range(2))
        assert first == second
        texts[split] = {prompt.text for prompt in first}
        assert len(texts[split]) == 40
    assert len(set.union(*texts.values())) == 120
    assert Task(Config(dataset="gcd", seed=6)).prompts("train", 3) != Task(Config(dataset="gcd")).prompts("train", 3)


def test_settings_and_difficulty_are_the_datasets_own():
    settings = {"min_terms": 3, "max_terms": 3, "min_digits": 2, "max_digits": 2}
    task = Task(Config(dataset="chain_sum", settings=settings))
    assert {prompt.difficulty for prompt in task.prompts("train", 5)} == {5.0}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_datasets_with_holes_are_refused_with_the_reason(name):
    with pytest.raises(UsageError, match="is refused: its") as caught:
        Task(Config(dataset=name))
    assert REFUSED[name] in str(caught.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (Config(dataset="chain_sm"), "no dataset 'chain_sm'; did you mean chain_sum?"),
        (Config(settings={"min_trms": 3}), "do not suit chain_sum: .*min_trms"),
        (Config(settings={"min_terms": -3}), "do not suit chain_sum: min_terms must be positive"),
    ],
)
def test_what_is_wrong_is_named(config, says):
    with pytest.raises(UsageError, match=says):
        Task(config)


def test_a_dataset_that_runs_out_of_prompts_says_so():
    with pytest.raises(UsageError, match=r"gave \d+ different prompts for held_out in 50 entries"):
        Task(Config(dataset="gcd", largest=50)).prompts("held_out", 40)
