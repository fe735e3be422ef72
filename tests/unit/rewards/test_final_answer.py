"""Where a response says its answer."""

import time

import pytest

from rewards.final_answer import find_final_answer, last_box, last_sentence


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{4}.", "4"),
        (r"\boxed{3} no, \boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{a \boxed{b} c}", r"a \boxed{b} c"),
        (r"\boxed{3} and \boxed{4", "3"),
        ("x\n#### 18\nbye", "18"),
        ("#### 1\n#### 2", "2"),
        ("<answer>1</answer> or <answer> 2\n</answer>", "2"),
        ("#### 3 but <answer>4</answer>", "4"),
        ("nothing marked", None),
        ("<answer>open", None),
        (r"\boxed", None),
        ("", None),
    ],
)
def test_the_last_mark_of_the_strongest_kind_counts(response, answer):
    assert find_final_answer(response) == answer


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        ("The answer is 12. I hope so.", "12"),
        ("Answer: The final answer is $7$. <|end|>", "$7$"),
        ("3 of them\nA: 5", "5"),
        ("no sentence of that kind", "no sentence of that kind"),
    ],
)
def test_the_sentence_that_gives_the_answer_is_cut_out(response, sentence):
    assert last_sentence(response) == sentence


def test_long_hostile_texts_take_linear_time():
    begin = time.perf_counter()
    for text in (r"\boxed{" * 50_000, "}" * 300_000, "<answer>" * 50_000, "answer is " * 50_000, "\\" * 300_000):
        find_final_answer(text)
        last_sentence(text)
        last_box(text)
    assert time.perf_counter() - begin < 5
