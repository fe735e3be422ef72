"""Which prompt a fresh group gets: proportional to 1 - success rate, uniform, or passes over a shuffled set.

The paper draws problem i with P(i) = (1 - s_i) / sum_j (1 - s_j) (Kimi k1.5, section 2.3.4). What it leaves open is
decided here: s_i = (solved + strength * prior) / (tries + strength), where tries and solved decay with each scored
group; weights have a floor; if all weights are 0 the draw is uniform. A curriculum restricts the draw to a range of
difficulty from a version on (section 2.3.4 and 3.5: first easy or all, then hard ones).

Invariants: a draw is a function of (config, prompts, success rows, highest version, position), all of them durable, so
a restarted buffer draws exactly what it would have drawn. Success counts 0/1 outcomes only, of every scored group.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from buffers.draws import permutation, uniform
from buffers.errors import UsageError
from buffers.priority_tree import tree_of
from buffers.rows import PromptRow, SuccessRow
from buffers.segment import Payload

DRAW_STREAM = 1
PASS_STREAM = 1 << 32


@dataclass(frozen=True, slots=True)
class Lesson:
    """From `version` on draw only prompts with low <= difficulty <= high."""

    version: int
    """From this version on."""
    low: float = -1e9
    """Least difficulty."""
    high: float = 1e9
    """Greatest difficulty."""


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """How prompts are drawn."""

    order: Literal["success", "uniform", "passes"] = "success"
    """`success`: proportional to 1 - success rate; `passes`: each prompt once per pass, shuffled anew each time."""
    epochs: int | None = None
    """End after this many times the size of the set (`passes`: that many passes); None never ends."""
    prior: float = 0.5
    """Success rate of a prompt that was never tried, where its row gives none."""
    strength: float = 1.0
    """How many tries the prior is worth."""
    decay: float = 0.9
    """Weight of what was known, at each newly scored group; 1 never forgets."""
    floor: float = 0.01
    """Least weight of a prompt; 0 lets solved prompts disappear."""
    curriculum: tuple[Lesson, ...] = ()
    """Lessons by rising version; before the first all prompts are drawn."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.order not in ("success", "uniform", "passes"):
            raise UsageError(f"prompts.order is {self.order!r}; it is 'success', 'uniform' or 'passes'")
        for name in ("prior", "decay", "floor"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"prompts.{name} is {getattr(self, name)}; it must lie in [0, 1]")
        if self.strength < 0.0:
            raise UsageError(f"prompts.strength is {self.strength}; it must not be negative")
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"prompts.epochs is {self.epochs}; leave it out for no end")
        versions = [stage.version for stage in self.curriculum]
        if versions != sorted(versions):
            raise UsageError(f"prompts.curriculum has its stages at versions {versions}; they must rise")


class Draw(msgspec.Struct, frozen=True, gc=False):
    """A drawn prompt, and where the next draw begins."""

    prompt: int
    position: int


class Prompts:
    """The prompt set with its success rates."""

    def __init__(self, config: PromptConfig, seed: int) -> None:
        self.config = config
        self.rows: list[PromptRow] = []
        self.success: list[SuccessRow] = []
        self.longest_tokens = 0
        self._seed = seed
        self._stage = -2
        self._tree = tree_of([1.0])
        self._tree_is_uniform = False
        self._pass = (-1, list[int]())

    def load(self, rows: Iterable[PromptRow], success: Iterable[SuccessRow] = ()) -> None:
        """Take over the set, in order of prompt numbers 0 .. n - 1; raises `UsageError` where it is unusable."""
        for row in rows:
            if row.prompt != len(self.rows):
                raise UsageError(f"prompt {row.prompt} follows {len(self.rows) - 1}; number them 0, 1, 2 ...")
            self.rows.append(row)
            self.success.append(SuccessRow(row.prompt))
        for known in success:
            self.success[known.prompt] = known
        self.longest_tokens = max((row.payload.length for row in self.rows), default=0)
        for index, stage in enumerate(self.config.curriculum):
            if self.rows and not any(self._in_stage(row, index) for row in self.rows):
                raise UsageError(
                    f"prompts.curriculum: no prompt has a difficulty in [{stage.low}, {stage.high}]"
                    f" of the stage at version {stage.version}"
                )
        self._stage = -2

    def exhausted(self, drawn: int) -> bool:
        """Whether no further prompt may be drawn after `drawn` draws."""
        limit = self.config.epochs
        return not self.rows or (limit is not None and drawn >= limit * len(self.rows))

    def success_rate(self, prompt: int) -> float:
        """Estimated share of right answers to a prompt."""
        row, prior = self.success[prompt], self.rows[prompt].prior
        weight = self.config.strength
        total = row.tries + weight
        known = self.config.prior if prior is None else prior
        return (row.solved + weight * known) / total if total > 0.0 else known

    def draw(self, version: int, drawn: int, position: int) -> Draw:
        """Draw a prompt while `version` is the highest; `drawn` and `position` say where in the set we are."""
        self._enter_stage(version)
        if self.config.order == "passes":
            return self._next_in_pass(position)
        share = uniform(self._seed, DRAW_STREAM, drawn)
        return Draw(self._tree.find_one(share), position + 1)

    def learn(self, prompt: int, outcomes: Iterable[float]) -> SuccessRow:
        """Take the 0/1 outcomes of a scored group into the prompt's success rate; answers its changed row."""
        row = self.success[prompt]
        decay = self.config.decay
        row.tries *= decay
        row.solved *= decay
        for outcome in outcomes:
            row.tries += 1.0
            row.solved += outcome
        if self._stage > -2 and self.config.order == "success":
            self._set_weight(prompt)
        return row

    def weight(self, prompt: int) -> float:
        """Relative frequency of a prompt in the current stage."""
        if not self._in_stage(self.rows[prompt], self._stage):
            return 0.0
        if self.config.order != "success":
            return 1.0
        return max(self.config.floor, 1.0 - self.success_rate(prompt))

    def _in_stage(self, row: PromptRow, stage: int) -> bool:
        if stage < 0:
            return True
        bounds = self.config.curriculum[stage]
        return bounds.low <= row.difficulty <= bounds.high

    def _enter_stage(self, version: int) -> None:
        """Rebuild the weights where the curriculum has moved on."""
        stage = -1
        for index, bounds in enumerate(self.config.curriculum):
            if version >= bounds.version:
                stage = index
        if stage != self._stage:
            self._stage = stage
            self._rebuild()

    def _set_weight(self, prompt: int) -> None:
        uniform_now = self._tree_is_uniform
        self._tree.set_one(prompt, self.weight(prompt))
        if uniform_now or self._tree.total <= 0.0:
            self._rebuild()

    def _rebuild(self) -> None:
        weights = [self.weight(row.prompt) for row in self.rows]
        self._tree_is_uniform = not any(weights)
        if self._tree_is_uniform:
            weights = [1.0 if self._in_stage(row, self._stage) else 0.0 for row in self.rows]
        self._tree = tree_of(weights)

    def _next_in_pass(self, position: int) -> Draw:
        size = len(self.rows)
        while True:
            number = position // size
            if self._pass[0] != number:
                self._pass = (number, permutation(size, self._seed, PASS_STREAM + number))
            prompt = self._pass[1][position % size]
            position += 1
            if self._in_stage(self.rows[prompt], self._stage):
                return Draw(prompt, position)


def digest_prompts(rows: Iterable[PromptRow]) -> int:
    """A checksum of a prompt set, to notice that a resumed run was given another one."""
    digest = 0
    for row in rows:
        digest = zlib.crc32(msgspec.msgpack.encode(row), digest)
    return digest


def make_prompts(tokens: Iterable[Payload], answers: Iterable[str] | None = None) -> tuple[PromptRow, ...]:
    """Number prompts from 0; a short way for tests and scenarios."""
    payloads = tuple(tokens)
    texts = tuple(answers) if answers is not None else ("",) * len(payloads)
    return tuple(PromptRow(n, payload, text) for n, (payload, text) in enumerate(zip(payloads, texts, strict=True)))
