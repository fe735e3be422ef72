"""What each reward gives for an answer."""

import pytest

from buffers.errors import UsageError
from rewards import answer_format, exact, function, math_equal, repetition
from rewards.answered import Answered


def answered(response, answer="4", end="stop"):
    return Answered("What is 2+2?", response, answer, end)


@pytest.mark.parametrize(
    ("response", "config", "outcome"),
    [
        ("so \\boxed{4}", exact.Config(), 1),
        ("4", exact.Config(), 1),
        (" 4 ", exact.Config(), 1),
        ("4.0", exact.Config(), 0),
        ("b7c4#4$", exact.Config(after="#", until="$"), 1),
        ("b7c4#4", exact.Config(after="#", until="$"), 1),
        ("b7c4#5$4", exact.Config(after="#", until="$"), 0),
        ("4$", exact.Config(after="#"), 0),
    ],
)
def test_exact_compares_characters(response, config, outcome):
    assert exact.grade(answered(response), config) == outcome


@pytest.mark.parametrize(
    ("response", "answer", "outcome"),
    [
        (r"\boxed{4.00}", "4", 1),
        (r"\boxed{3} so \boxed{4}", "4", 1),
        (r"\boxed{4} so \boxed{3}", "4", 0),
        ("First 3, then 4.", "4", 1),
        ("First 4, then 3.", "4", 0),
        (r"so $\frac{1}{3}$", "3", 0),
        (r"it is \frac{1}{3}", "3", 0),
        (r"\boxed{50\%}", "0.5", 1),
        (r"\boxed{50}", "50\\%", 1),
        (r"\boxed{0.3333}", "1/3", 0),
        ("", "4", 0),
        (r"\boxed{}", "4", 0),
        (r"\boxed{2 + 2}", "2 + 2", 1),
    ],
)
def test_numbers_are_compared_without_the_library(response, answer, outcome, monkeypatch):
    monkeypatch.setattr(math_equal, "library_says_equal", lambda given, reference: pytest.fail("asked the library"))
    assert math_equal.grade(answered(response, answer), math_equal.Config()) == outcome


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ("4", "2+2"),
        ("4", r"\max(1,4)"),
        ("4", r"\sqrt{16}"),
        ("1/3", r"\int_0^1 x^2 dx"),
        ("5050", r"\sum_{k=1}^{100} k"),
        ("24", "4!"),
        ("120", r"\binom{10}{3}"),
        (r"\frac{\pi}{4}", r"\arctan(1)"),
        (r"\sqrt{2}", r"2\sin(\pi/4)"),
        (r"\sqrt{2}", "1.414214"),
        ("(1,2)", r"\{1,2\}"),
        (r"$(1,2)$", r"$\left\{1,2\right\}$"),
        (r"x^2", r"\int_0^x 2t dt"),
        ("1", r"\lim_{x\to0} \frac{\sin x}{x}"),
    ],
)
def test_unsolved_restatements_are_refused_before_the_library(answer, given, monkeypatch):
    monkeypatch.setattr(math_equal, "library_says_equal", lambda given, reference: pytest.fail("asked the library"))
    assert math_equal.grade(answered(rf"\boxed{{{given}}}", answer), math_equal.Config()) == 0


@pytest.mark.parametrize(
    ("answer", "given", "outcome"),
    [
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", 1),
        (r"2 \sin b \cos a", r"2 \cos a \sin b", 1),
        (r"\frac{x+2}{7}", r"\frac{x}{7} + \frac{2}{7}", 1),
        (r"x^2 + 1", r"x^2 - 1", 0),
        (r"(1,2)", r"(1,2)", 1),
        (r"(1,2)", r"(2,1)", 0),
        (r"[0,1)", r"[0,1]", 0),
    ],
)
def test_the_library_judges_expressions(answer, given, outcome):
    pytest.importorskip("math_verify")
    assert math_equal.grade(answered(rf"\boxed{{{given}}}", answer), math_equal.Config()) == outcome


def test_rounded_decimals_count_where_configured():
    pytest.importorskip("math_verify")
    config = math_equal.Config(rounded=True)
    assert math_equal.grade(answered(r"\boxed{0.3333333}", "1/3"), config) == 1
    assert math_equal.grade(answered(r"\boxed{0.333}", "1/3"), config) == 0
    assert math_equal.grade(answered(r"\boxed{1.414214}", r"\sqrt{2}"), config) == 1


@pytest.mark.parametrize(
    ("response", "end", "at_end", "value"),
    [
        (r"so \boxed{4}.", "stop", False, 1),
        (r"so \boxed{4}.", "stop", True, 0),
        ("so \\boxed{4}\n", "stop", True, 1),
        (r"\boxed{3} so \boxed{4}", "stop", False, 0),
        (r"so \boxed{4}", "length", False, 0),
        ("so 4", "stop", False, 0),
    ],
)
def test_format_wants_one_mark_and_an_own_end(response, end, at_end, value):
    assert answer_format.grade(answered(response, end=end), answer_format.Config(at_end=at_end)) == value


def test_a_mark_that_is_no_regular_expression_is_refused():
    with pytest.raises(UsageError, match="mark = '\\('"):
        answer_format.Config(mark="(")


PHRASE = "and so we add one more to the sum again "


@pytest.mark.parametrize(
    ("response", "end", "penalty"),
    [
        (PHRASE * 20, "length", -1.0),
        (PHRASE * 3 + "which is four", "stop", 0.0),
        ("", "stop", 0.0),
        ("fine", "repetition", -1.0),
        ("abcdefgh" * 10, "length", -1.0),
        (" ".join(f"Step {n}: we take item {n} and put it on pile {n}." for n in range(40)), "stop", 0.0),
    ],
)
def test_repetition_is_penalized_by_what_it_covers(response, end, penalty):
    assert repetition.grade(answered(response, end=end), repetition.Config()) == pytest.approx(penalty, abs=0.12)


def test_a_short_refrain_in_a_long_text_is_no_repetition():
    body = [f"word{n}" for n in range(600)]
    for place in range(0, 600, 100):
        body[place : place + 9] = PHRASE.split()
    assert repetition.repeated_share(body, repetition.Config()) == pytest.approx(0.08, abs=0.02)
    assert repetition.grade(answered(" ".join(body)), repetition.Config()) == 0


def test_the_penalty_grows_with_the_covered_share():
    words = [f"word{n}" for n in range(100)]
    shares = [repetition.repeated_share(words + PHRASE.split() * times, repetition.Config()) for times in (4, 5, 20)]
    assert shares[0] == 0 < shares[1] < shares[2] < 1


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (1, {"outcome": 1.0, "score": 1.0}),
        (0.25, {"outcome": 0.0, "score": 0.25}),
        (True, {"outcome": 1.0, "score": 1.0}),
        ({"outcome": 0, "style": 0.5}, {"outcome": 0.0, "style": 0.5}),
    ],
)
def test_a_function_may_return_a_number_or_components(result, expected):
    assert function.components(result) == expected


@pytest.mark.parametrize(
    "result", [None, "1", float("nan"), {"style": 1.0}, {"outcome": 0.5}, {"outcome": 1, "a": "b"}]
)
def test_a_function_that_returns_anything_else_is_an_error(result):
    with pytest.raises(ValueError, match=r"component|returns"):
        function.components(result)


@pytest.mark.parametrize("name", ["", "math", "math:", ":sqrt", "no_such_module:score", "math:no_such", "math:pi"])
def test_a_function_that_cannot_be_found_is_named(name):
    with pytest.raises(UsageError, match="reward = "):
        function.find_function(name)
