"""Statistical laws of sampling, each with its rate of false alarms.

Frequencies are compared by Pearson's chi-square with its Wilson-Hilferty normal approximation; weighted means by the
central limit theorem. `Z` = 5 standard deviations: a right buffer fails one law in about 3.5 million runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from buffers.testing.model import demand
from buffers.testing.protocol import BufferUnderTest, Factory

Z = 5.0
"""Standard deviations: one law in one run gives a false alarm, one-sided, with probability 2.9e-7."""
DRAWS = 40_000
PRIORITIES = (1.0, 1.0, 4.0, 0.25, 2.0, 1.0, 8.0, 1.0, 0.5, 3.0, 1.0)


def chi_square_score(counts: Sequence[float], shares: Sequence[float]) -> float:
    """Pearson's chi-square of counts [n] against shares [n] (of any sum), as a standard normal number; high is bad."""
    total, freedom = sum(counts), len(shares) - 1
    expected = [total * share / sum(shares) for share in shares]
    chi = sum((count - one) ** 2 / one for count, one in zip(counts, expected, strict=True))
    return (math.pow(chi / freedom, 1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))


def filled(factory: Factory, priorities: tuple[float, ...]) -> BufferUnderTest:
    """A buffer with one trajectory for each priority."""
    buffer = factory()
    for trajectory, priority in enumerate(priorities):
        demand(buffer.append(trajectory, 0, 0, (trajectory,), True), "there is room for 11 tokens", f"{trajectory}")
        demand(buffer.set_priority(trajectory, priority), "a good priority is taken", f"{priority} of {trajectory}")
    return buffer


def frequencies_follow_the_priorities(factory: Factory) -> None:
    """Draws are proportional to priority ** alpha, also among equals and after updates."""
    for priorities in (PRIORITIES, PRIORITIES[::-1]):
        buffer = filled(factory, PRIORITIES)
        for trajectory, priority in enumerate(priorities):
            buffer.set_priority(trajectory, priority)
        drawn = Counter(int(one) for part in range(10) for one in buffer.sample(DRAWS // 10, part)[0])
        shares = [priority**buffer.alpha for priority in priorities]
        expected = [DRAWS * share / sum(shares) for share in shares]
        score = chi_square_score([drawn[one] for one in range(len(shares))], shares)
        worst = max(range(len(expected)), key=lambda one: (drawn[one] - expected[one]) ** 2 / expected[one])
        what = f"trajectory {worst} of priority {priorities[worst]} was drawn {drawn[worst]} times of {DRAWS}"
        demand(score < Z, "frequencies follow the priorities", f"{what}, {expected[worst]:.0f} were expected")


def weighted_mean_is_the_uniform_mean(factory: Factory) -> None:
    """sum(w x) / sum(w) over draws is the plain mean of x over what is held."""
    buffer = filled(factory, PRIORITIES)
    values, weights = list[float](), list[float]()
    for part in range(10):
        drawn, given = buffer.sample(DRAWS // 10, part)
        top = max(given)
        weights += [float(weight) / top for weight in given]
        values += [float(one) for one in drawn]
    mean = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    spread = math.sqrt(sum((w * (v - mean)) ** 2 for v, w in zip(values, weights, strict=True))) / sum(weights)
    uniform = (len(PRIORITIES) - 1) / 2
    what = f"the weighted mean of 0..10 is {mean:.3f} +- {spread:.3f}, not {uniform}"
    demand(abs(mean - uniform) < Z * spread, "the weighted mean is the uniform mean", what)
