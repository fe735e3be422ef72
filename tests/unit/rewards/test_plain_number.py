"""Numbers that are written out, and nothing else."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.plain_number import read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("-1,234.50", Fraction(-12345, 10)),
        ("10 000 000", Fraction(10**7)),
        (r"12{,}345", Fraction(12345)),
        (r"11,\! 111,\!111", Fraction(11_111_111)),
        ("3/4", Fraction(3, 4)),
        (r"-\frac{1}{2}", Fraction(-1, 2)),
        (r"\dfrac{-1}{2}", Fraction(-1, 2)),
        (r"\tfrac34", Fraction(3, 4)),
        (r"\left( \frac{1}{3} \right)", Fraction(1, 3)),
        ("1 1/2", Fraction(3, 2)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        (r"\$18.00", Fraction(18)),
        (r"50\%", Fraction(50)),
        (r"15\mbox{ cm}^2", Fraction(15)),
        ("12 apples", Fraction(12)),
        (r"90^\circ", Fraction(90)),
        (r"\text{7}", Fraction(7)),
        (r"1.2\times10^{-3}", Fraction(12, 10_000)),
        ("x = 7", Fraction(7)),
        (r"x_1 = 2 + 2 = 4 \approx 5", Fraction(4)),
        (r"x\approx11", Fraction(11)),
        ("3.", Fraction(3)),
        ("−5", Fraction(-5)),
    ],
)
def test_written_out_numbers_are_read_exactly(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "2+2", r"\sqrt{4}", "9^{9^{9}}", "1000000!", r"\sum_{k=1}^{100} k", "2x + z = 1", "2 + 2 = 4", "x <= 1",
        "1,2", "1 2", r"6 \text{ and } 8", "3x", r"\frac{1}{0}", "1/0", "1" * 300, "(1,2)", r"10^{9999999}",
        "--1", "1e9",
    ],
)  # fmt: skip
def test_anything_else_is_no_number(text):
    assert read_number(text) is None


@given(st.fractions(max_denominator=10**9))
def test_every_fraction_reads_back(value):
    sign = "-" if value < 0 else ""
    assert read_number(f"{value.numerator}/{value.denominator}") == value
    assert read_number(rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}") == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12))
def test_every_decimal_reads_back_with_and_without_thousands(value):
    assert read_number(f"{value:f}") == Fraction(value)
    assert read_number(f"${value:,f}$") == Fraction(value)


@given(st.text(max_size=250))
def test_no_text_makes_the_reader_fail(text):
    read_number(text)
