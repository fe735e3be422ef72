"""Which prompt a fresh group gets: proportional to 1 - success rate, uniform, or passes over a shuffled set.

The paper draws problem i with P(i) = (1 - s_i) / sum_j (1 - s_j) (Kimi k1.5, section 2.3.4). What it leaves open is
decided here: s_i = (solved + strength * prior) / (tries + strength), where tries and solved decay with each scored
group; weights have a floor; if all weights are 0 the draw is uniform. A curriculum restricts the draw to a range of
difficulty from a version on (section 2.3.4 and 3.5: first easy or all, then hard ones); a frontier instead opens the
next difficulty when the hardest open one is solved well enough, and lets prompts of one difficulty share what is known
of them: the prior of each is its difficulty's success rate.

Invariants: a draw is a function of (config, prompts, success and level rows, highest version, position), all of them
durable, so a restarted buffer draws exactly what it would have drawn. Success counts 0/1 outcomes only, of every scored
group. What a frontier has opened stays open.
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
from buffers.rows import LevelRow, PromptRow, SuccessRow
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
class Frontier:
    """A curriculum that follows success: no prompt harder than the frontier is drawn."""

    start: float
    """The frontier at first: the hardest difficulty up to this one."""
    opens_at: float = 0.65
    """Success rate at the frontier that opens the next difficulty of the set."""
    least_tries: float = 32.0
    """So many responses (decayed) must be scored at the frontier before."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not 0.0 <= self.opens_at <= 1.0:
            raise UsageError(f"prompts.frontier.opens_at is {self.opens_at}; it must lie in [0, 1]")
        if self.least_tries <= 0.0:
            raise UsageError(f"prompts.frontier.least_tries is {self.least_tries}; it must be positive")


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
    frontier: Frontier | None = None
    """Lets the difficulty follow success; not beside `curriculum`."""

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
        if self.frontier is not None and self.curriculum:
            raise UsageError("prompts.frontier and prompts.curriculum both restrict the draw; leave one of them out")


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
        self.levels: list[LevelRow] = []
        """One for each difficulty, easiest first; none without a frontier."""
        self.longest_tokens = 0
        self._leased = 0
        self._leased_squares = 0
        """Sums over the prompts of how often each was leased, and of its square."""
        self._seed = seed
        self._stage = -2
        self._tree = tree_of([1.0])
        self._tree_is_uniform = False
        self._pass = (-1, list[int]())
        self._places: list[list[int]] = []
        """Prompts of each level."""
        self._level_of: list[int] = []
        self._frontier = -1
        """The hardest open level."""

    def load(
        self, rows: Iterable[PromptRow], success: Iterable[SuccessRow] = (), levels: Iterable[LevelRow] = ()
    ) -> None:
        """Take over the set, in order of prompt numbers 0 .. n - 1; raises `UsageError` where it is unusable."""
        for row in rows:
            if row.prompt != len(self.rows):
                raise UsageError(f"prompt {row.prompt} follows {len(self.rows) - 1}; number them 0, 1, 2 ...")
            self.rows.append(row)
            self.success.append(SuccessRow(row.prompt))
        for known in success:
            self.success[known.prompt] = known
            self._leased += known.leased
            self._leased_squares += known.leased**2
        self.longest_tokens = max((row.payload.length for row in self.rows), default=0)
        for index, stage in enumerate(self.config.curriculum):
            if self.rows and not any(self._in_stage(row, index) for row in self.rows):
                raise UsageError(
                    f"prompts.curriculum: no prompt has a difficulty in [{stage.low}, {stage.high}]"
                    f" of the stage at version {stage.version}"
                )
        if self.config.frontier is not None and self.rows:
            self._set_out(self.config.frontier, levels)
        self._stage = -2

    def _set_out(self, frontier: Frontier, levels: Iterable[LevelRow]) -> None:
        """Sort the prompts into levels and find the frontier."""
        difficulties = sorted({row.difficulty for row in self.rows})
        if difficulties[0] > frontier.start:
            raise UsageError(
                f"prompts.frontier.start is {frontier.start}, the easiest prompt has difficulty {difficulties[0]};"
                " raise it"
            )
        number = {difficulty: level for level, difficulty in enumerate(difficulties)}
        self._level_of = [number[row.difficulty] for row in self.rows]
        self._places = [[] for _ in difficulties]
        for prompt, level in enumerate(self._level_of):
            self._places[level].append(prompt)
        self.levels = [LevelRow(level) for level in range(len(difficulties))]
        for known in levels:
            self.levels[known.level] = known
        self._frontier = sum(difficulty <= frontier.start for difficulty in difficulties) - 1
        while self._frontier + 1 < len(self.levels) and self.levels[self._frontier].passed:
            self._frontier += 1

    @property
    def frontier(self) -> float | None:
        """The hardest difficulty that is drawn; None without a frontier."""
        return self.rows[self._places[self._frontier][0]].difficulty if self._places else None

    def exhausted(self, drawn: int) -> bool:
        """Whether no further prompt may be drawn after `drawn` draws."""
        limit = self.config.epochs
        return not self.rows or (limit is not None and drawn >= limit * len(self.rows))

    def success_rate(self, prompt: int) -> float:
        """Estimated share of right answers to a prompt."""
        row, prior = self.success[prompt], self.rows[prompt].prior
        weight = self.config.strength
        total = row.tries + weight
        known = self._prior(prompt) if prior is None else prior
        return (row.solved + weight * known) / total if total > 0.0 else known

    def _prior(self, prompt: int) -> float:
        """What is expected of a prompt before it is tried."""
        if self.levels and (level := self.levels[self._level_of[prompt]]).tries:
            return level.solved / level.tries
        return self.config.prior

    def draw(self, version: int, drawn: int, position: int) -> Draw:
        """Draw a prompt while `version` is the highest; `drawn` and `position` say where in the set we are."""
        self._enter_stage(version)
        if self.config.order == "passes":
            return self._next_in_pass(position)
        share = uniform(self._seed, DRAW_STREAM, drawn)
        return Draw(self._tree.find_one(share), position + 1)

    def lease(self, prompt: int) -> SuccessRow:
        """Count a group of the prompt that went to the learner; answers its changed row."""
        row = self.success[prompt]
        self._leased += 1
        self._leased_squares += 2 * row.leased + 1
        row.leased += 1
        return row

    @property
    def effective_share(self) -> float:
        """Share of the set which, all of it leased equally often, would be as even as what was leased; 1 is uniform."""
        return self._leased**2 / (self._leased_squares * len(self.rows)) if self._leased else 0.0

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

    def learn_level(self, prompt: int, outcomes: Iterable[float]) -> LevelRow | None:
        """Take them into its difficulty's success rate too, and move the frontier; the changed row, if there is one."""
        frontier = self.config.frontier
        if frontier is None:
            return None
        level = self._level_of[prompt]
        row, decay = self.levels[level], self.config.decay
        row.tries *= decay
        row.solved *= decay
        for outcome in outcomes:
            row.tries += 1.0
            row.solved += outcome
        last = level + 1 == len(self.levels)
        if level == self._frontier and not last and row.tries >= frontier.least_tries:
            row.passed = row.solved > frontier.opens_at * row.tries
            if row.passed:
                self._frontier += 1
                self._stage = -2
        if self._stage > -2 and self.config.order == "success":
            for other in self._places[level]:
                self._set_weight(other)
        return row

    def weight(self, prompt: int) -> float:
        """Relative frequency of a prompt in the current stage."""
        if not self._in_stage(self.rows[prompt], self._stage):
            return 0.0
        if self.config.order != "success":
            return 1.0
        return max(self.config.floor, 1.0 - self.success_rate(prompt))

    def _in_stage(self, row: PromptRow, stage: int) -> bool:
        if self._places:
            return self._level_of[row.prompt] <= self._frontier
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
