"""A penalty for saying the same thing again and again; component `repetition`, 0 or down to -1.

A phrase of `words` words that occurs `times` times or more is repetition where its occurrences cover at least `share`
of the text; the penalty is the covered share, negative. Enumerations repeat short phrases and cover little: the
threshold on the share keeps right answers with lists unpunished. A response that its engine broke off for repetition
gets -1. Texts without blanks are taken character by character.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rewards.answered import Answered

COMPONENT = "repetition"


@dataclass(frozen=True)
class Config:
    """What counts as repetition."""

    words: int = 8
    """Length of the phrase that is looked for, in words."""
    times: int = 5
    """How often it must occur."""
    share: float = 0.25
    """Least share of the text that the repeated phrase covers."""

    def __post_init__(self) -> None:
        """Refuse sizes that mean nothing."""
        if self.words < 1 or self.times < 2 or not 0 <= self.share <= 1:
            raise ValueError("words >= 1, times >= 2 and 0 <= share <= 1 are needed")


def build(config: Config) -> Callable[[Answered], float]:
    """The reward with this config."""
    return partial(grade, config=config)


def grade(answered: Answered, config: Config) -> float:
    """Minus the share of the text that is repetition."""
    if answered.end == "repetition":
        return -1.0
    words = answered.response.split()
    share = repeated_share(words if len(words) > 1 else answered.response.strip(), config)
    return -share if share >= config.share and share > 0 else 0.0


def repeated_share(words: Sequence[str], config: Config) -> float:
    """The largest share of `words` that the occurrences of one repeated phrase cover."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for start in range(len(words) - config.words + 1):
        places[tuple(words[start : start + config.words])].append(start)
    covered = max((cover(at, config) for at in places.values() if len(at) >= config.times), default=0)
    return covered / len(words) if covered else 0.0


def cover(starts: Sequence[int], config: Config) -> int:
    """Words that phrases at these places cover together with the gaps between near ones (up to two phrases long)."""
    count, reached = 0, 0
    for index, start in enumerate(starts):
        near = index > 0 and start - starts[index - 1] <= 3 * config.words
        begin = reached if near else max(start, reached)
        count += start + config.words - begin
        reached = start + config.words
    return count
