"""Which task `braid eval` asks about."""

import argparse
from pathlib import Path

import pytest

from cli import eval as command
from cli.main import main
from policies.models import TinyConfig, save_model, tiny_model
from policies.tokens import character_tokenizer

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


@pytest.mark.parametrize("words", [["eval", "-n", "2", "--samples", "1"], ["sample", "-n", "2", "a=1"]])
def test_a_model_whose_tokenizer_has_no_end_answers_as_long_as_it_may(words, tmp_path, capsys):
    codec = character_tokenizer()
    codec.eos_token = None
    save_model(tiny_model(TinyConfig(), 0), codec, tmp_path)
    name, *others = words
    assert main([name, str(tmp_path), "--max-tokens", "6", *others]) == 0
    told = capsys.readouterr().out
    assert "tokens  6\n" in told or "6 tokens, length" in told
