"""The repetition rule, on made-up loops and on labelled responses of real models."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffers.errors import UsageError
from policies.repetition import RepetitionRule, looping, stop_length

RULE = RepetitionRule()
DATA = Path(os.environ.get("BRAID_DATA", Path(__file__).parents[4] / "shared" / "data")) / "rewards"


def ints(values):
    return np.array(values, np.int64)


def by_definition(response, rule):
    """Every length and every phrase, one after the other."""
    for length in range(rule.every, len(response) + 1, rule.every):
        for phrase in range(1, rule.longest_phrase + 1):
            stretch = max(rule.times * phrase, rule.tokens)
            tail = response[length - stretch : length]
            if stretch <= length and all(tail[i] == tail[i - phrase] for i in range(phrase, stretch)):
                return length
    return None


@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.lists(st.integers(0, 3), min_size=1, max_size=9),
    st.integers(0, 12),
    st.lists(st.integers(0, 3), max_size=20),
)
def test_the_rule_is_found_where_its_definition_says(before, phrase, times, after):
    rule = RepetitionRule(times=3, tokens=16, longest_phrase=9, every=2)
    response = before + phrase * times + after
    assert stop_length(ints(response), rule) == by_definition(response, rule)


def test_a_phrase_stops_at_its_fourth_repeat_and_not_before():
    phrase = list(range(100, 116))
    assert stop_length(ints(phrase * 4), RULE) == 64
    assert stop_length(ints((phrase * 4)[:-1]), RULE) is None
    assert stop_length(ints([1, 2, 3, *phrase * 5]), RULE) == 72  # the first multiple of 8 after 3 + 64


def test_a_phrase_that_changes_each_time_is_no_loop():
    enumeration = [token for item in range(40) for token in (*range(100, 112), 200 + item)]
    assert stop_length(ints(enumeration), RULE) is None


def test_what_lies_before_the_response_does_not_count():
    tails = np.full((1, RULE.width), 5, np.int64)
    assert looping(tails, ints([47]), RULE).tolist() == [False]
    assert looping(tails, ints([48]), RULE).tolist() == [True]


def test_a_rule_that_would_stop_everything_is_refused():
    with pytest.raises(UsageError, match="times >= 2"):
        RepetitionRule(times=1)


SETS = {
    "mathvista": ("mathvista/responses_labelled.jsonl", "response", "true_false", (34, 33, 12)),
    "mathvision": ("mathvision/responses_labelled.jsonl", "response", "correct", (7, 4, 0)),
    "math": ("math_rm_maj/responses_labelled.jsonl", "response", "grader_label", (1, 0, 1)),
    "gsm8k": ("gsm8k/model_solutions_labelled.jsonl", "solution", "is_correct", (1, 1, 0)),
}


def has_phrase(words, length=8, times=5):
    counts = {}
    for start in range(len(words) - length + 1):
        key = tuple(words[start : start + length])
        counts[key] = counts.get(key, 0) + 1
    return any(count >= times for count in counts.values())


@pytest.mark.parametrize("name", SETS)
def test_stops_on_real_responses_are_those_stated_in_the_module(name):
    file, field, label, expected = SETS[name]
    if not (DATA / file).is_file():
        pytest.skip(f"no data at {DATA / file}; set BRAID_DATA")
    stopped = known = correct = 0
    for line in (DATA / file).read_text().splitlines():
        row = json.loads(line)
        text = row[field] or ""
        vocabulary: dict[str, int] = {}
        tokens = [vocabulary.setdefault(word, len(vocabulary)) for word in re.findall(r"\w+|[^\w\s]", text)]
        if stop_length(ints(tokens), RULE) is not None:
            stopped += 1
            known += has_phrase(text.split())
            correct += bool(row[label])
    assert (stopped, known, correct) == expected
