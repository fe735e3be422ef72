"""Whether a response keeps the agreed form: it came to its own end, with one marked answer; component `format`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from buffers.errors import UsageError
from rewards.answered import Answered

COMPONENT = "format"


@dataclass(frozen=True)
class Config:
    """The agreed form."""

    mark: str = r"\\boxed\{[^{}]*\}"
    """A regular expression that must match exactly once."""
    at_end: bool = False
    """Nothing but blanks may follow the match."""

    def __post_init__(self) -> None:
        """Refuse a mark that is no regular expression."""
        try:
            re.compile(self.mark)
        except re.error as error:
            raise UsageError(f"reward answer_format: mark = {self.mark!r} is no regular expression: {error}") from None


def build(config: Config) -> Callable[[Answered], float]:
    """The reward with this config."""
    return partial(grade, config=config)


def grade(answered: Answered, config: Config) -> float:
    """1 if the response ended of itself and holds one mark, else 0."""
    found = list(re.finditer(config.mark, answered.response))
    if answered.end != "stop" or len(found) != 1:
        return 0.0
    return float(not config.at_end or not answered.response[found[0].end() :].strip())
