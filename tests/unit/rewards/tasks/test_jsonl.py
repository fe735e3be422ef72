"""JSONL in GSM8K's form: prompts, splits, and lines that are not in that form."""

import json

import pytest

from buffers.errors import UsageError
from rewards.tasks.jsonl import Config, Task


@pytest.fixture
def write(tmp_path):
    def write(name, entries):
        path = tmp_path / name
        path.write_text("".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries))
        return str(path)

    return write


def entry(number):
    return {"question": f"What is {number} + 1?", "answer": f"{number} + 1 is\n{number + 1}.\n#### {number + 1}"}


def test_a_line_becomes_a_prompt_with_answer_and_difficulty(write):
    path = write("train.jsonl", [entry(1), "", entry(2)])
    task = Task(Config(train=path, held_out=path, validation=path, instruction="Think."))
    first, second = task.prompts("train", 2)
    assert (first.id, first.text, first.answer, first.difficulty) == (
        "jsonl/train/train.jsonl:1", "What is 1 + 1?\nThink.", "2", 3.0
    )  # fmt: skip
    assert second.id == "jsonl/train/train.jsonl:3"
    assert task.outcome("so\n#### 2", first.answer) == 1
    assert task.outcome("so\n#### 3", first.answer) == 0


def test_one_file_is_dealt_to_disjoint_splits(write):
    task = Task(Config(train=write("all.jsonl", [entry(number) for number in range(400)])))
    parts = {}
    for split, count in (("train", 270), ("held_out", 20), ("validation", 20)):
        parts[split] = {prompt.text for prompt in task.prompts(split, count)}
    assert len(set.union(*parts.values())) == 310


def test_repeated_questions_are_taken_once(write):
    path = write("train.jsonl", [entry(1), entry(1), entry(2)])
    task = Task(Config(train=path, held_out=path, validation=path))
    with pytest.raises(UsageError, match="train has 2 prompts, 3 are asked for"):
        task.prompts("train", 3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not an object"),
        ('{"question": "why"}', "no text under 'answer'; keys here: question"),
        ('{"question": 3, "answer": "x"}', "no text under 'question'"),
        ('{"question": " ", "answer": "x"}', "no text under 'question'"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_malformed_line_names_file_and_line(write, line, says):
    path = write("train.jsonl", [entry(1), line])
    with pytest.raises(UsageError) as caught:
        Task(Config(train=path, held_out=path, validation=path)).prompts("train", 2)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert says in str(caught.value)


def test_line_separators_inside_a_text_part_no_line(write):
    strange = {"question": "a\u2028b\x85c", "answer": "#### 1"}
    path = write("train.jsonl", [json.dumps(strange, ensure_ascii=False)])
    assert Task(Config(train=path, held_out=path, validation=path)).prompts("train", 1)[0].text == strange["question"]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UsageError, match="train is empty"):
        Task()
    with pytest.raises(UsageError, match=r"none\.jsonl cannot be read"):
        Task(Config(train=str(tmp_path / "none.jsonl"))).prompts("train", 1)
