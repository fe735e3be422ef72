"""Which task `braid eval` asks about."""

import argparse
from pathlib import Path

import pytest

from cli import eval as command

BEYOND = str(Path(__file__).resolve().parents[3] / "examples" / "cpu_beyond.toml")


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ([], ("chains", {"seed": 7})),
        (["--task-seed", "3"], ("chains", {"seed": 3})),
        (["--task", "jsonl", "--task-seed", "3"], ("jsonl", {})),
        (["--config", BEYOND], ("chains", {"seed": 7, "longest": 24, "lengths": "uniform", "letters": "any"})),
        (
            ["--config", BEYOND, "--task-seed", "3"],
            ("chains", {"seed": 3, "longest": 24, "lengths": "uniform", "letters": "any"}),
        ),
        (["--config", BEYOND, "--task", "gym"], ("gym", {"seed": 7})),
    ],
)
def test_the_task_is_the_config_s_unless_the_command_line_says_another(words, task, tmp_path):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.task_of(parser.parse_args(["model", *words]), tmp_path) == task
