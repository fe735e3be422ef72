"""A cost as a piecewise linear function of context tokens, and its sum over a batch's growth in closed form.

While a batch of B sequences decodes, the sum of its contexts grows by B a step. The time of n steps from C is

    f(C) + f(C + B) + ... + f(C + (n - 1) B)

and f is linear between knots, so each piece adds count * (first + last) / 2: no loop over steps. Costs are float
nanoseconds, because many of them are added before one rounding. Left out: functions of anything but the sum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from buffers.errors import ContractError


class Curve:
    """f(x) for x >= 0: linear between knots, continued with the last slope; never negative, never falling."""

    __slots__ = ("_slopes", "_xs", "_ys")

    def __init__(self, xs: Sequence[float], ys: Sequence[float], slope: float) -> None:
        """Knots `xs` (rising, the first at 0) with values `ys` (ns), and the slope (ns a token) behind the last."""
        if not xs or len(xs) != len(ys) or xs[0] != 0:
            raise ContractError(f"a curve needs knots from 0 on, one value each; got {len(xs)} and {len(ys)}")
        self._xs = [float(x) for x in xs]
        self._ys = [float(y) for y in ys]
        pairs = zip(self._xs, self._xs[1:], self._ys, self._ys[1:], strict=False)
        self._slopes = [(above - below) / (right - left) for left, right, below, above in pairs]
        self._slopes.append(float(slope))
        if self._ys[0] < 0 or min(self._slopes) < 0:
            raise ContractError("a curve may neither be negative nor fall")

    def at(self, x: float) -> float:
        """f(x) in ns."""
        piece = bisect_right(self._xs, x) - 1
        return self._ys[piece] + self._slopes[piece] * (x - self._xs[piece])

    def plus(self, constant: float, factor: float = 1.0) -> Curve:
        """Constant + factor * f."""
        return Curve(self._xs, [constant + factor * y for y in self._ys], factor * self._slopes[-1])

    def total(self, x: float, dx: float, count: int) -> float:
        """f(x) + f(x + dx) + ... over `count` terms, in ns; time grows with the pieces that are crossed only."""
        xs, ys, slopes = self._xs, self._ys, self._slopes
        piece = bisect_right(xs, x) - 1
        last = len(xs) - 1
        total = 0.0
        while count > 0:
            inside = count if piece == last else _inside(xs[piece + 1] - x, dx, count)
            here = inside if inside < count else count
            if here:
                slope = slopes[piece]
                first = ys[piece] + slope * (x - xs[piece])
                total += here * (first + 0.5 * slope * dx * (here - 1))
                x += here * dx
                count -= here
            piece += 1
        return total

    def steps_within(self, x: float, dx: float, limit: float) -> int:
        """How many terms fit into `limit` ns: the greatest n with total(x, dx, n) <= limit."""
        xs, ys, slopes = self._xs, self._ys, self._slopes
        piece = bisect_right(xs, x) - 1
        last = len(xs) - 1
        steps = 0
        left = limit
        while True:
            slope = slopes[piece]
            first = ys[piece] + slope * (x - xs[piece])
            growth = slope * dx
            fitting = _terms(first, growth, left)
            if piece < last:
                here = _inside(xs[piece + 1] - x, dx, fitting)
                if here <= fitting:
                    left -= here * (first + 0.5 * growth * (here - 1))
                    x += here * dx
                    steps += here
                    piece += 1
                    continue
            return steps + fitting


def _inside(distance: float, dx: float, most: int) -> int:
    """How many of x, x + dx, ... lie before x + distance; more than `most` where dx is 0."""
    if distance <= 0:
        return 0
    if dx <= 0:
        return most + 1
    return -int(-distance // dx)


def _terms(first: float, growth: float, limit: float) -> int:
    """The greatest n with n * first + growth * n (n - 1) / 2 <= limit."""
    if limit < first or limit < 0:
        return 0
    if first <= 0 and growth <= 0:
        raise ContractError("steps that cost nothing never fill a time")
    if growth <= 0:
        count = int(limit // first)
    else:
        half = first - 0.5 * growth
        root = (half * half + 2 * growth * limit) ** 0.5
        count = int(2 * limit / (half + root)) if half + root > 0 else 0
    while count and count * (first + 0.5 * growth * (count - 1)) > limit:
        count -= 1
    while (count + 1) * (first + 0.5 * growth * count) <= limit:
        count += 1
    return count
