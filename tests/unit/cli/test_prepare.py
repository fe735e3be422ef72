"""What a run is prepared from. (Preparation itself: tests/end_to_end/test_real_training.py.)"""

import pytest

from buffers.errors import UsageError
from cli.prepare import exam_problems
from rewards.tasks.chains import Config, Task


def test_an_exam_asks_for_no_more_than_was_taught():
    task = Task(Config(seed=3, lengths="uniform", letters="any"))
    drawn = task.prompts("validation", 400)
    short = [(prompt.text, prompt.answer) for prompt in drawn if prompt.difficulty <= 5]
    assert exam_problems(task, 64, 5) == tuple(short[:64])
    assert exam_problems(task, 64, 16) == tuple((prompt.text, prompt.answer) for prompt in drawn[:64])
    with pytest.raises(UsageError, match="hardly more"):
        exam_problems(Task(Config(1, 1, 1)), 8, 0)
