r"""Whether a response's final answer equals the reference mathematically; component `outcome`.

    final answer --same text--> 1
                 --both plain numbers--> exact comparison          bounded, no library
                 --an unsolved restatement--> 0                    `2+2` for 4, `\int_0^1 x^2 dx` for 1/3
                 --else--> the math-verify library                 may run for ever: lives in a sandbox

The library (extra `tasks`) is generous: it equates a number with any expression of that value, `(1,2)` with `\{1,2\}`,
and exact values with decimals of six digits. A policy finds that, so that three rules stand before it: an answer may
use no operation (sum, integral, maximum, factorial ...) that the reference does not use; where the reference is a plain
number the answer must be one; a tuple is no set. Decimals for an exact reference are a choice (`rounded`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from buffers.errors import UsageError
from rewards.answered import Answered
from rewards.final_answer import BOX, find_final_answer, last_sentence
from rewards.plain_number import read_number

COMPONENT = "outcome"
TAIL = 1000
"""Characters from the end of a response without a marked answer that the library may search."""
VALUE = re.compile(
    r"\$[^$]+\$|\\\(.+?\\\)|\\\[.+?\\\]|\\[dtc]?frac\{[^{}]*\}\{[^{}]*\}"
    r"|(?<![A-Za-z\d.,])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?(?:\s?\\?%)?",
    re.DOTALL,
)
"""A formula, or a number outside of one."""
LONGEST = 1000
"""Characters of a marked answer that is more than a number; a longer one is wrong unless it is the reference itself."""
OPERATIONS = {
    "integral": r"\\i*int(?![a-z])|∫",
    "sum": r"\\sum|∑",
    "product": r"\\prod(?![a-z])|∏",
    "limit": r"\\lim",
    "extremum": r"\\?(?:max|min|sup|inf)(?![a-z])",
    "divisor": r"\\?(?:gcd|lcm|mod|bmod|pmod)(?![a-z])|\\equiv",
    "choice": r"\\[dt]?binom|\\choose|(?<![<>=])!(?!=)",
    "determinant": r"\\det",
    "derivative": r"\\frac\{d\}|\\partial|\\nabla",
    "rounding": r"\\l?(?:floor|ceil)|⌊|⌈",
    "logarithm": r"\\?(?:log|ln|lg)(?![a-z])",
    "trigonometry": r"\\?(?:arc)?(?:sin|cos|tan|cot|sec|csc)(?![a-z])",
}
"""Operations by kind; an answer may use only kinds that the reference uses."""


@dataclass(frozen=True)
class Config:
    """How strictly answers are compared."""

    rounded: bool = False
    """Accept a decimal, right to six digits, for a reference that is exact, such as 1/3 or a root."""


def build(config: Config) -> Callable[[Answered], float]:
    """The reward with this config, its library loaded; `UsageError` where that is not installed."""
    try:
        import math_verify  # noqa: F401  here and not above: `equal` decides most answers without it
    except ImportError:
        raise UsageError("reward math_equal: math-verify is not installed; pip install 'braid-rl[tasks]'") from None
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return partial(grade, config=config)


def grade(answered: Answered, config: Config) -> float:
    """1 if the final answer equals the reference, else 0."""
    right = wanted(answered.answer)
    given = find_final_answer(answered.response)
    if given is None:
        tail = last_sentence(answered.response[-TAIL:])
        given = tail if read_number(tail) is not None else last_value(tail)
    if equal(given, right, config):
        return 1.0
    boxes = len(BOX.findall(answered.response))
    return float(boxes > 1 and read_number(right) is None and equal(answered.response[-TAIL:], right, config))


def equal(given: str, reference: str, config: Config) -> bool:
    """Whether `given`, a final answer without its mark, says the same as `reference`."""
    given, reference = given.strip(), reference.strip()
    if not given:
        return False
    if given.strip("$ ") == reference.strip("$ "):
        return True
    number, right = read_number(given), read_number(reference)
    if number is not None and right is not None:
        return same_number(number, right, ("%" in given, "%" in reference), config)
    if len(given) > LONGEST + len(reference) or restates(given, reference, config):
        return False
    return library_says_equal(given, reference)


def wanted(reference: str) -> str:
    """The answer in a reference that may be a whole solution; several boxes are one answer together."""
    if len(BOX.findall(reference)) > 1:
        return reference.strip()
    return find_final_answer(reference) or reference.strip()


def same_number(given: Fraction, right: Fraction, percent: tuple[bool, bool], config: Config) -> bool:
    """Exact equality (six digits if `rounded`); where one side has a percent sign, in either meaning of it."""
    pairs = [(given, right)]
    if percent == (True, False):
        pairs.append((given / 100, right))
    elif percent == (False, True):
        pairs.append((given, right / 100))
    tolerance = Fraction(1, 10**6) if config.rounded else 0
    return any(abs(one - other) <= tolerance * abs(other) for one, other in pairs)


def restates(given: str, reference: str, config: Config) -> bool:
    """Whether `given` leaves to the grader what the reference has worked out, or has another shape."""
    if read_number(reference) is not None:
        return True
    if any(re.search(kind, given) and not re.search(kind, reference) for kind in OPERATIONS.values()):
        return True
    if reference.strip("$ ").startswith("(") and re.match(r"\$?\s*(?:\\left)?\\\{", given):
        return True
    exact = "." not in reference and not re.search(r"\d,\d", reference)
    return not config.rounded and exact and "." in given and read_number(given) is not None


def last_value(text: str) -> str:
    """The last number or formula with a digit in a text, else the last formula, else the text."""
    found = [match[0] for match in VALUE.finditer(text)]
    return next((part for part in reversed(found) if re.search(r"\d", part)), found[-1] if found else text)


def library_says_equal(given: str, reference: str) -> bool:
    """The math-verify library's verdict. It may not return: call this in a sandbox."""
    from math_verify import parse, verify

    right = parse(as_formula(reference), parsing_timeout=None)
    answer = parse(as_formula(given), parsing_timeout=None)
    return bool(verify(right, answer, timeout_seconds=None))


def as_formula(text: str) -> str:
    """The text between dollars, unless it has marks of its own."""
    return text if re.search(r"\$|\\\(|\\\[|\\boxed", text) else f"\\boxed{{{text}}}"
