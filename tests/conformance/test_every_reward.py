"""Every file that is a reward or a task keeps the agreement, whatever it is given."""

import dataclasses
import importlib
import math

import pytest

from buffers.errors import UsageError
from rewards.answered import Answered
from rewards.grading import known_rewards
from rewards.tasks.finding import known_tasks

HOSTILE = ["", " ", "4", "\\boxed{", "}{" * 2000, "#" * 5000, "\x00\ud7ff\ufffd", "answer is", "$" * 3001]
HOSTILE += ["<answer></answer>", "#### ", "\\boxed{}", "a\u2028b"]
ENDS = ["stop", "length", "repetition", "failed"]


@pytest.mark.parametrize("name", [name for name in known_rewards() if name not in ("function", "task_outcome")])
def test_a_reward_gives_finite_numbers_for_any_text(name):
    module = importlib.import_module(f"rewards.{name}")
    assert dataclasses.is_dataclass(module.Config)
    assert module.Config.__dataclass_params__.frozen
    try:
        grade = module.build(module.Config())
    except UsageError as error:
        pytest.skip(str(error))
    for response in HOSTILE:
        for end in ENDS:
            value = grade(Answered("2+2", response, "4", end))
            assert isinstance(value, float)
            assert math.isfinite(value)
            assert module.COMPONENT != "outcome" or value in (0.0, 1.0)


def test_rewards_and_tasks_are_found():
    assert {"exact", "math_equal"} <= set(known_rewards())
    assert {"gym", "jsonl"} <= set(known_tasks())


@pytest.mark.parametrize("name", known_tasks())
def test_a_task_has_a_frozen_config_with_defaults(name):
    module = importlib.import_module(f"rewards.tasks.{name}")
    assert module.Config.__dataclass_params__.frozen
    assert module.Config() == module.Config()
    assert callable(module.Task)
