r"""Numbers that are written out: read exactly and in bounded time, nothing else is.

    12   -1,234.50   3/4   \frac{3}{4}   \tfrac34   1\frac{1}{2}   $18   50\%   5 \text{ cm}^2   x = 7   1.2\times10^{3}

These are values; `2+2`, `\sqrt{4}`, `\sum k`, `9^{9}` are not: whoever writes them has not said the number. A percent
sign and units are dropped, as people drop them.
"""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 200
"""Characters of a number; a longer text is no plain number."""
INTEGER = r"\d{1,3}(?:,\d{3})+|\d+"
DECIMAL = rf"(?:{INTEGER})?\.\d+|(?:{INTEGER})\.?"
SLASHED = re.compile(rf"({DECIMAL})/({DECIMAL})")
STACKED = re.compile(rf"({INTEGER})?\\[tdc]?frac(?:\{{(-?(?:{DECIMAL}))\}}|(\d))(?:\{{({DECIMAL})\}}|(\d))")
POWER = re.compile(rf"({DECIMAL})(?:\\times|\\cdot|\*)10\^(?:\{{(-?\d{{1,3}})\}}|(-?\d))")
DRESS = re.compile(r"\\(?:text|textbf|mathbf|mathrm|boldsymbol|bf|mbox)\s*\{\s*([\d.,/%\-]+)\s*\}")
MIXED = re.compile(rf"({INTEGER})\s+(\d+)/(\d+)")
THOUSANDS = re.compile(r"(?<=\d)\s(?=\d{3}(?!\d))|\{,\}(?=\d{3})")
LOOSE = re.compile(r"\\[,;:! ()\[\]]|~|\\(?:left|right|displaystyle)(?![a-zA-Z])|\\?\$")
SPACES = re.compile(r"(?<!\d) | (?!\d)")
"""Spaces that do not part two numbers."""
VARIABLE = re.compile(r"\s*[a-zA-Z](?:_(?:\{\w+\}|\w))?(?:\([a-zA-Z\d]\))?\s*")
UNITS = re.compile(
    r"(?:\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox)\s*\{[^{}\d]*\}(?:\^\{?[23]\}?)?"
    r"|\^\\circ|\^\{\\circ\}|°)$"
)
WORD = re.compile(r"(?<=[\d}.])\s*(?:[a-zA-Z]{2,}|m)(?:\s[a-zA-Z]+){0,3}(?:\^\{?[23]\}?|[²³])?$")


def read_number(text: str) -> Fraction | None:
    """The number that `text` writes out; None if it writes anything else."""
    if len(text) > LONGEST:
        return None
    right = right_side(" ".join(LOOSE.sub("", text).split()))
    if right is None:
        return None
    text = DRESS.sub(r"\1", right).rstrip(".").replace("−", "-")
    text = WORD.sub("", UNITS.sub("", text).strip()).removesuffix("%").removesuffix("\\")
    text = SPACES.sub("", THOUSANDS.sub("", text))
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    sign = -1 if text.startswith("-") else 1
    value = read_unsigned(text.lstrip("+") if sign > 0 else text[1:])
    return None if value is None else sign * value


def right_side(text: str) -> str | None:
    """What stands after `x =` (or at the end of `x = 2 + 2 = 4`, before any approximation); None for an equation."""
    first, *others = re.split(r"(?<![<>!:])=", text)
    if not others:
        name, *rounded = re.split(r"\\approx|≈", text)
        return rounded[-1] if rounded and VARIABLE.fullmatch(name) else text
    return re.split(r"\\approx|≈", others[-1])[0] if VARIABLE.fullmatch(first) else None


def read_unsigned(text: str) -> Fraction | None:
    """A number without sign, spaces and units."""
    if re.fullmatch(DECIMAL, text):
        return to_fraction(text)
    if match := MIXED.fullmatch(text):
        part = divide(to_fraction(match[2]), to_fraction(match[3]))
        return None if part is None else to_fraction(match[1]) + part
    if match := SLASHED.fullmatch(text):
        return divide(to_fraction(match[1]), to_fraction(match[2]))
    if match := STACKED.fullmatch(text):
        part = divide(to_fraction(match[2] or match[3]), to_fraction(match[4] or match[5]))
        return None if part is None else part + to_fraction(match[1] or "0")
    if match := POWER.fullmatch(text):
        return to_fraction(match[1]) * Fraction(10) ** int(match[2] or match[3])
    return None


def to_fraction(text: str) -> Fraction:
    """A decimal as an exact fraction."""
    return Fraction(text.replace(",", "").rstrip("."))


def divide(above: Fraction, below: Fraction) -> Fraction | None:
    """The quotient; None for a division by zero."""
    return above / below if below else None
