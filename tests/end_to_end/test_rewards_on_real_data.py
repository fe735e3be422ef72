"""Rewards against real labelled answers and against answers made to hang them. Skipped, by name, without the data."""

import itertools
import json
import time
from collections import Counter

import msgspec
import pytest

from rewards import math_equal, repetition
from rewards.answered import Answered
from rewards.grading import Spec
from rewards.sandbox import Killed, Limits, Returned, Sandbox
from rewards.tasks import jsonl

pytest.importorskip("math_verify")
LIMITS = Limits(seconds=1.5)
ADVERSARIAL = [
    "9^{9^{9}}",
    "9^{9^{9^{9}}} x",
    "1000000!",
    "x + 1000000!",
    r"\frac{1}{1+" * 200 + "x" + "}" * 200,
    r"\sum_{k=1}^{1000000000} k^2 + x",
    r"\sum_{k=1}^{1000000000} \frac{1}{k}",
    r"\prod_{k=1}^{10000000} k",
    "{" * 400 + "x" + "}" * 400,
    "(" * 300 + "x" + ")" * 300,
    "x^{" * 60 + "x" + "}" * 60,
    r"\int_0^1 \int_0^1 \int_0^1 e^{x y z + \sin(x y z)} dx dy dz",
    r"\sqrt{" * 150 + "x" + "}" * 150,
    "1" * 100_000 + "x",
    "x+" * 3000 + "x",
    r"(x+1)^{100000} - (x+2)^{99999}",
    r"\begin{pmatrix}" + r"1 & 2 \\ " * 2000 + r"\end{pmatrix}",
    r"\binom{10^9}{5 \cdot 10^8} + x",
    r"2^{2^{2^{2^{2^{2}}}}} + x",
]
PLAIN_GOLD, OPEN_GOLD = "4", r"\sqrt{x^2 + 1} + \sum_{k=1}^{n} k! + \int_0^1 \binom{n}{k} dx"
"""A reference that is a number, and one that uses the operations, so that only the library can refuse."""


@pytest.fixture(scope="module")
def sandbox():
    box = Sandbox("rewards.grading:build", Spec(("math_equal",)), LIMITS)
    yield box
    box.close()


@pytest.fixture
def rows(data):
    def read(name):
        path = data / "rewards" / name
        if not path.is_file():
            pytest.skip(f"no {name} among the real data")
        return [json.loads(line) for line in path.read_text("utf-8").rstrip("\n").split("\n")]

    return read


def outcome(sandbox, response, answer):
    result = sandbox.call(msgspec.to_builtins(Answered("", response, answer, "stop")))
    return result.value["outcome"] if isinstance(result, Returned) else 0.0


def test_labelled_gsm8k_solutions_are_judged_as_labelled(rows):
    config = math_equal.Config()
    found = Counter()
    for row in rows("gsm8k/model_solutions_labelled.jsonl"):
        gold = row["ground_truth"].rpartition("A:")[2].strip()
        found[row["is_correct"], math_equal.grade(Answered("", row["solution"], gold), config)] += 1
    assert sum(found.values()) > 3000
    assert found[True, 1.0] > 1000
    assert found[True, 0.0] + found[False, 1.0] == 0


def test_labelled_math_responses_are_judged_as_labelled(rows, sandbox):
    found = Counter()
    for row in rows("math_rm_maj/responses_labelled.jsonl"):
        found[str(row["grader_label"]) == "True", outcome(sandbox, row["response"], row["gold"])] += 1
    assert found[True, 1.0] > 390
    assert found[True, 0.0] + found[False, 1.0] <= 1


def test_math500_golds_equal_their_own_solutions_and_no_other(rows, sandbox):
    problems = rows("math500/math500.jsonl")[:150]
    own = [outcome(sandbox, row["solution"], row["answer"]) for row in problems]
    assert sum(own) >= 0.99 * len(own)
    pairs = [(row, other) for row, other in itertools.pairwise(problems) if row["answer"] != other["answer"]]
    assert sum(outcome(sandbox, row["solution"], other["answer"]) for row, other in pairs) <= 1


def test_the_peer_suite_is_met_but_for_known_deviations(rows, sandbox):
    """Deviations on purpose: the last box counts, arithmetic is no answer, `1,22` is no decimal (see `math_equal`)."""
    pairs = rows("mathverify_tests/pairs.jsonl")
    found = Counter((row["expected"], outcome(sandbox, row["pred"], row["gold"])) for row in pairs)
    assert found[1, 0.0] <= 10
    assert found[0, 1.0] <= 2
    assert found[1, 1.0] >= 131


@pytest.mark.parametrize("gold", [PLAIN_GOLD, OPEN_GOLD], ids=["number", "expression"])
def test_adversarial_answers_end_in_bounded_time_and_score_zero(sandbox, gold):
    killed = 0
    for text in ADVERSARIAL:
        begin = time.monotonic()
        result = sandbox.call(msgspec.to_builtins(Answered("", rf"so \boxed{{{text}}}", gold, "stop")))
        assert time.monotonic() - begin < LIMITS.seconds * 2 + 6, text[:40]
        assert not isinstance(result, Returned) or result.value["outcome"] == 0.0, text[:40]
        killed += isinstance(result, Killed)
        assert gold != PLAIN_GOLD or isinstance(result, Returned), text[:40]
    if gold == OPEN_GOLD:
        assert killed >= 1, "no answer was hard enough to test the kill"
    assert outcome(sandbox, r"\boxed{4}", "4") == 1.0


def test_repetition_is_found_where_it_is_and_not_in_right_solutions(rows):
    """An eight-word phrase five times or more: 1.4 % of these raw responses, none of the right solutions."""
    config = repetition.Config()

    def flagged(texts):
        return sum(repetition.grade(Answered("", text or "", ""), config) < 0 for text in texts)

    assert 40 <= flagged(row["response"] for row in rows("mathvista/responses_labelled.jsonl")) <= 60
    right = [row["solution"] for row in rows("gsm8k/model_solutions_labelled.jsonl") if row["is_correct"]]
    right += [
        row["response"] for row in rows("math_rm_maj/responses_labelled.jsonl") if str(row["grader_label"]) == "True"
    ]
    assert len(right) > 1400
    assert flagged(right) <= 2


def test_gsm8k_files_are_a_task_with_disjoint_splits(data):
    train = data / "rewards" / "gsm8k" / "train.jsonl"
    if not train.is_file():
        pytest.skip("no gsm8k/train.jsonl among the real data")
    task = jsonl.Task(jsonl.Config(train=str(train), compare="math"))
    splits = {split: task.prompts(split, 300) for split in ("train", "held_out", "validation")}
    texts = [prompt.text for prompts in splits.values() for prompt in prompts]
    assert len(texts) == len(set(texts))
    prompt = splits["train"][0]
    assert task.outcome(f"It is so.\n#### {prompt.answer}.00", prompt.answer) == 1
    assert task.outcome("It is so.\n#### 123456789", prompt.answer) == 0
