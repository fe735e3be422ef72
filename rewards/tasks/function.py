"""A task that is one Python function of a person: `task.name = "module:name"`.

    def problem(rng: numpy.random.Generator) -> tuple[str, str]            a prompt and its answer
                                             -> tuple[str, str, float]     and its difficulty, else the prompt's length

Every draw must depend on `rng` alone, so that a prompt set is a function of the seed. Texts are dealt to the splits by
`split_of`, and none comes twice. The outcome is the reward `exact`, whose keys `after` and `until` say where the answer
stands; a judge of one's own is a reward (`rewards/function.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from buffers.errors import UsageError
from rewards import exact
from rewards.answered import Answered
from rewards.tasks.task import SPLITS, Prompt, Split, split_of

Draw = Callable[[np.random.Generator], Any]
"""A person's function; what it returns is checked."""


@dataclass(frozen=True)
class Config:
    """What is drawn, and where a response says its answer."""

    seed: int = 0
    """Seed of the problems."""
    after: str = ""
    """The answer is what follows the last of these; empty: where `rewards.final_answer` finds a mark, or all of it."""
    until: str = ""
    """The answer ends before this text, e.g. the stop character; empty: at the end."""


class Task:
    """Problems that a function draws."""

    def __init__(self, name: str, draw: Draw, config: Config) -> None:
        self.name, self.config = name, config
        self._draw = draw
        self._where = exact.Config(config.after, config.until)

    def prompts(self, split: Split, count: int) -> Sequence[Prompt]:
        """The first `count` prompts of a split, none twice; `UsageError` if the function hardly draws so many."""
        rng = np.random.Generator(np.random.PCG64([self.config.seed, SPLITS.index(split)]))
        found: dict[str, Prompt] = {}
        for _ in range(160 * count + 1000):
            if len(found) == count:
                return list(found.values())
            text, answer, difficulty = self._problem(rng)
            if split_of(text) == split:
                found.setdefault(text, Prompt(f"{self.name}/{split}/{len(found)}", text, answer, difficulty))
        raise UsageError(
            f"task {self.name}: {split} has hardly more than {len(found)} different prompts, {count} are asked for; "
            "ask for fewer, or draw from more"
        )

    def outcome(self, response: str, answer: str) -> float:
        """1 if the answer that the response gives is the reference, else 0."""
        return exact.grade(Answered("", response, answer), self._where)

    def _problem(self, rng: np.random.Generator) -> tuple[str, str, float]:
        """One draw, checked."""
        try:
            drawn = self._draw(rng)
        except Exception as error:  # it is a person's code, so it may fail in any way
            said = f"{type(error).__name__}: {error}"
            raise UsageError(
                f"task {self.name} raised {said}; it must draw from the generator that it is given"
            ) from error
        if (
            isinstance(drawn, tuple)
            and len(drawn) in (2, 3)
            and drawn[0]
            and all(isinstance(t, str) for t in drawn[:2])
        ):
            return drawn[0], drawn[1], float(drawn[2] if len(drawn) == 3 else len(drawn[0]))
        raise UsageError(f"task {self.name} returned {drawn!r:.80}; it must return (prompt, answer), two texts")
