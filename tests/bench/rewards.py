"""Answers a second: math_equal against the math-verify library alone, on labelled solutions where they are there."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from rewards import math_equal
from rewards.answered import Answered
from tests.bench.alternate import Row, alternate, row, seconds

RUNS = 5
DATA = Path(os.environ.get("BRAID_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def run() -> Iterator[Row]:
    """One line for each set of answers."""
    for case, answers in (("gsm8k", read_gsm8k()), ("math", read_math()), ("written out", write_answers())):
        if answers:
            yield compare(case, answers)


def compare(case: str, answers: list[Answered]) -> Row:
    """Answers a second of both."""
    grade = math_equal.build(math_equal.Config())
    theirs = library()
    ours_s, theirs_s = alternate(
        seconds(lambda: [grade(answered) for answered in answers]),
        seconds(lambda: [theirs(answered) for answered in answers]),
        runs=RUNS,
    )
    peer = f"math-verify {importlib.metadata.version('math-verify')}"
    rates = round(len(answers) / ours_s, 1), round(len(answers) / theirs_s, 1)
    return row(case, rates[0], peer, rates[1], "answer/s", RUNS, better="more")


def library() -> Callable[[Answered], bool]:
    """The library as its users call it, without its timeouts."""
    from math_verify import parse, verify

    def grade(answered: Answered) -> bool:
        gold = parse(f"${answered.answer}$", parsing_timeout=None)
        return bool(verify(gold, parse(answered.response, parsing_timeout=None), timeout_seconds=None))

    return grade


def read_gsm8k() -> list[Answered]:
    """Labelled model solutions."""
    path = DATA / "rewards" / "gsm8k" / "model_solutions_labelled.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:300]] if path.is_file() else []
    return [Answered("", row["solution"], row["ground_truth"].rpartition("A:")[2].strip()) for row in rows]


def read_math() -> list[Answered]:
    """Responses of a 7B-class model."""
    path = DATA / "rewards" / "math_rm_maj" / "responses_labelled.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:300]] if path.is_file() else []
    return [Answered("", row["response"], row["gold"]) for row in rows]


def write_answers() -> list[Answered]:
    """Expressions that only the library can compare."""
    pairs = [(rf"\frac{{x}}{{{n}}} + \frac{{1}}{{{n}}}", rf"\frac{{x+1}}{{{n}}}") for n in range(2, 52)]
    return [Answered("", rf"so \boxed{{{given}}}", reference) for given, reference in pairs]
