"""Rewards by name, put together into one function."""

import msgspec
import pytest

from buffers.errors import UsageError
from rewards.answered import Answered
from rewards.grading import Spec, build, build_rewards, components_of, known_rewards

ANSWERED = msgspec.to_builtins(Answered("2+2", "so \\boxed{4}", "4", "stop"))


def grade(names, settings=None, answered=ANSWERED):
    return build(msgspec.to_builtins(Spec(tuple(names), settings or {})))(answered)


def test_the_files_with_the_agreed_names_are_the_rewards():
    expected = ["answer_format", "exact", "function", "math_equal", "repetition", "task_outcome"]
    assert known_rewards() == expected


def test_components_of_several_rewards_come_together():
    assert grade(["exact", "answer_format", "repetition"]) == {"outcome": 1.0, "format": 1.0, "repetition": 0.0}


def test_a_persons_function_is_named_by_module_and_name():
    assert grade(["tests.unit.rewards.functions:by_length"]) == {"outcome": 1.0, "score": 12.0}


def test_settings_reach_their_reward():
    answered = msgspec.to_builtins(Answered("2+2", "#4$", "4", "stop"))
    assert grade(["exact"], {"exact": {"after": "#", "until": "$"}}, answered) == {"outcome": 1.0}


@pytest.mark.parametrize(
    ("names", "settings", "says"),
    [
        (["exat"], {}, "no reward 'exat'; did you mean exact?"),
        (["zzz"], {}, "no reward 'zzz'; there are: answer_format"),
        (["exact", "math_equal"], {}, "two of them give the component outcome"),
        (["answer_format"], {}, "none gives the outcome"),
        ([], {}, "none gives the outcome"),
        (["exact"], {"exact": {"afer": "#"}}, "reward exact: unknown key afer; known: after, until"),
        (["exact"], {"exact": {"after": 3}}, "reward exact: Expected `str`, got `int`"),
        (["exact"], {"repetition": {}}, "settings for reward repetition, which is not among exact"),
        (["exact", "repetition"], {"repetition": {"words": 0}}, "reward repetition: words >= 1"),
        (["task_outcome"], {"task_outcome": {"task": "jsnl"}}, "no task 'jsnl'; did you mean jsonl?"),
    ],
)
def test_what_is_wrong_in_a_spec_is_named(names, settings, says):
    with pytest.raises(UsageError) as caught:
        build_rewards(Spec(tuple(names), settings))
    assert says in str(caught.value)


def test_components_are_known_without_building():
    assert components_of(Spec(("repetition", "exact"))) == ["repetition", "outcome"]
