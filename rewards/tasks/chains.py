"""Chains: small functions of a digit, applied one after the other, all modulo 10.

    a6b+c*d(=      the digit under `a` is 6; `b` adds 1, `c` multiplies by 3, `d` adds 3        (difficulty 3)
    #4$            the answer after `#`, the end of the text `$`

The functions are `+` add 1, `-` subtract 1, `*` times 3, `/` times 2, `(` plus 3, `)` minus 3. A chain has
min(16, 3 + int(exponential of mean 6)) terms, or uniformly many, and its letters run on from one of a..k, or from any.

Three kinds of supervised trace teach a model to speak about chains:
    direct      #4$
    sloppy      b7c1d4#4$                            each result wrong with probability .15, the error carried on
    careful     >b+:6=7!c*:7=1!d(:1=4!#4$            key, function, operand, result; a step that ends in `?` instead
                                                     of `!` (probability .3) is written once more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from buffers.errors import UsageError
from rewards.tasks.task import SPLITS, Prompt, Split, split_of

FUNCTIONS = {
    "+": lambda digit: (digit + 1) % 10,
    "-": lambda digit: (digit - 1) % 10,
    "*": lambda digit: (digit * 3) % 10,
    "/": lambda digit: (digit * 2) % 10,
    "(": lambda digit: (digit + 3) % 10,
    ")": lambda digit: (digit - 3) % 10,
}
SIGNS = "".join(FUNCTIONS)
Kind = Literal["direct", "sloppy", "careful"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CAREFUL = ">"
"""First character of a careful trace."""
Rng = np.random.Generator


@dataclass(frozen=True)
class Config:
    """What chains are drawn."""

    seed: int = 0
    """Of the problems; a run takes its own seed."""
    shortest: int = 3
    """Least number of terms."""
    longest: int = 16
    """Greatest number of terms."""
    lengths: Literal["exponential", "uniform"] = "exponential"
    """How many terms: `shortest` and an exponential more, cut at `longest`; or every number from one to the other."""
    mean_more: float = 6.0
    """Mean of the exponential."""
    letters: Literal["early", "any"] = "early"
    """First letter: one of a..k, or any that leaves enough letters."""
    slip: float = 0.15
    """Probability of a wrong result in a step of a sloppy trace."""
    repeat: float = 0.3
    """Probability that a step of a careful trace is written twice."""


@dataclass(frozen=True)
class Chain:
    """One problem: `letters[0]` holds `digit`; `letters[i]` applies `signs[i - 1]`."""

    letters: str
    digit: int
    signs: str

    @property
    def text(self) -> str:
        """The prompt."""
        terms = "".join(letter + sign for letter, sign in zip(self.letters[1:], self.signs, strict=True))
        return f"{self.letters[0]}{self.digit}{terms}="

    @property
    def answer(self) -> str:
        """The digit at the end of the chain."""
        digit = self.digit
        for sign in self.signs:
            digit = FUNCTIONS[sign](digit)
        return str(digit)


def draw_chain(config: Config, rng: Rng, longest: int | None = None) -> Chain:
    """One random chain of at most `longest` (default: the config's) terms."""
    most = config.longest if longest is None else min(longest, config.longest)
    if config.lengths == "uniform":
        terms = int(rng.integers(config.shortest, most + 1))
    else:
        terms = min(most, config.shortest + int(rng.exponential(config.mean_more)))
    first = int(rng.integers(0, 26 - terms if config.letters == "any" else min(11, 26 - terms)))
    letters = "".join(chr(ord("a") + first + index) for index in range(terms + 1))
    signs = "".join(SIGNS[index] for index in rng.integers(0, len(SIGNS), terms))
    return Chain(letters, int(rng.integers(0, 10)), signs)


def write_trace(chain: Chain, kind: Kind, config: Config, rng: Rng) -> str:
    """A supervised response to a chain, of the given kind."""
    if kind == "direct":
        return f"#{chain.answer}$"
    digit, parts = chain.digit, [CAREFUL if kind == "careful" else ""]
    for letter, sign in zip(chain.letters[1:], chain.signs, strict=True):
        result = FUNCTIONS[sign](digit)
        if kind == "sloppy":
            if rng.random() < config.slip:
                result = (result + int(rng.integers(1, 10))) % 10
            parts.append(f"{letter}{result}")
        else:
            step = f"{letter}{sign}:{digit}={result}"
            parts.append(f"{step}?{step}!" if rng.random() < config.repeat else f"{step}!")
        digit = result
    return f"{''.join(parts)}#{digit}$"


class Task:
    """The chains task."""

    name = "chains"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        if not 1 <= self.config.shortest <= self.config.longest <= 25:
            raise UsageError(
                f"chains of {self.config.shortest} to {self.config.longest} terms; "
                "1 <= shortest <= longest <= 25 is what the letters allow"
            )

    def prompts(self, split: Split, count: int) -> Sequence[Prompt]:
        """The first `count` prompts of a split, none twice; `UsageError` if there are not so many."""
        rng = np.random.Generator(np.random.PCG64([self.config.seed, SPLITS.index(split)]))
        found: dict[str, Prompt] = {}
        for _ in range(20 * count + 1000):
            if len(found) == count:
                break
            chain = self._draw(rng, split, self.config.longest)
            name = f"{self.name}/{split}/{len(found)}"
            found.setdefault(chain.text, Prompt(name, chain.text, chain.answer, float(len(chain.signs))))
        if len(found) < count:
            raise UsageError(f"{split} has hardly more than {len(found)} chains, {count} were asked; raise longest")
        return list(found.values())

    def _draw(self, rng: Rng, split: Split, longest: int) -> Chain:
        """A random chain of a split."""
        while True:
            chain = draw_chain(self.config, rng, longest)
            if split_of(chain.text) == split:
                return chain

    def outcome(self, response: str, answer: str) -> float:
        """1 if the response ends in `#`, the answer and `$`, else 0."""
        return float(response.endswith(f"#{answer}$") and response.count("#") == 1)

    def trace(self, rng: Rng, mix: Sequence[float], longest: int) -> tuple[str, str]:
        """A prompt of the train split and a supervised response; `mix`: probabilities of direct, sloppy, careful."""
        kind = KINDS[int(rng.choice(3, p=mix))]
        chain = self._draw(rng, "train", longest)
        return chain.text, write_trace(chain, kind, self.config, rng)

    def joints(self, prompt: str, response: str) -> Sequence[int]:
        """Places in prompt + response where a term, the response, or a step of a careful trace begins."""
        steps = [place + 1 for place, sign in enumerate(response) if sign in "!?"]
        return [*range(2, len(prompt), 2), *(len(prompt) + place for place in (0, *steps))]
