"""What a run is prepared from. (Preparation itself: tests/end_to_end/test_real_training.py.)"""

import json

import pytest

import cli.prepare
from buffers.errors import UsageError
from cli.prepare import exam_problems
from policies.tokens import character_tokenizer
from rewards.tasks.chains import Config, Task


def test_an_exam_asks_for_no_more_than_was_taught():
    task = Task(Config(seed=3, lengths="uniform", letters="any"))
    drawn = task.prompts("validation", 400)
    short = [(prompt.text, prompt.answer) for prompt in drawn if prompt.difficulty <= 5]
    assert exam_problems(task, 64, 5) == tuple(short[:64])
    assert exam_problems(task, 64, 16) == tuple((prompt.text, prompt.answer) for prompt in drawn[:64])
    with pytest.raises(UsageError, match="hardly more"):
        exam_problems(Task(Config(1, 1, 1)), 8, 0)


@pytest.mark.parametrize("run_dir", ["", "run"])
def test_a_tokenizer_without_an_end_is_refused_before_a_folder_is_filled(run_dir, tmp_path, capsys):
    codec = character_tokenizer()
    codec.eos_token = None
    codec.save_pretrained(tmp_path / "model")
    run = tmp_path / run_dir if run_dir else ""
    order = {"config": "", "settings": [f"model.path={tmp_path / 'model'}"], "run_dir": str(run)}
    assert cli.prepare.main([json.dumps(order)]) == 2
    complaint = capsys.readouterr().err
    assert "no end-of-sequence token" in complaint
    assert complaint.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
