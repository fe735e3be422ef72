"""Any dataset of reasoning-gym (extra `tasks`) by its name, judged by its own scorer.

Prompts are dealt to the splits by their text (`split_of`), so that no text is in two splits. A prompt's answer is kept
with its index in the dataset, since the scorer needs the entry; entries are made again from the seed. Only a full score
counts: partial credit, which some scorers give to nonsense, is no outcome. Scorers run whatever they run: use this
under the sandbox. Difficulty: the sum of the quantities that the dataset says its difficulty is made of, else the
length of the text.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from buffers.errors import UsageError
from rewards.final_answer import find_final_answer
from rewards.tasks.task import Prompt, Split, split_of

REFUSED = {
    "game_of_life_halting": "its scorer gives full marks to any text",
    "prime_factorization": "its scorer raises on an answer that is no product of numbers",
    "list_functions": "its problems are not a function of the seed",
}
"""Datasets with holes that a policy would find, or whose entries cannot be made again."""


@dataclass(frozen=True)
class Config:
    """Which dataset."""

    dataset: str = "chain_sum"
    """Its name in reasoning-gym."""
    seed: int = 0
    """Of the problems; a run takes its own seed."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of the dataset's own config, e.g. min_terms."""
    instruction: str = ""
    """Appended to each question, after a line break."""
    largest: int = 20_000
    """Entries looked through for prompts at most."""


class Task:
    """Prompts of one reasoning-gym dataset."""

    name = "gym"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._dataset = make_dataset(self.config)
        self._entry = lru_cache(maxsize=4096)(self._dataset.__getitem__)

    def prompts(self, split: Split, count: int) -> Sequence[Prompt]:
        """The first `count` prompts of a split, without repeats; `UsageError` if the dataset runs out of them."""
        found: list[Prompt] = []
        texts: set[str] = set()
        for index in range(self.config.largest):
            if len(found) == count:
                return found
            entry = self._entry(index)
            text = f"{entry['question']}\n{self.config.instruction}".rstrip("\n")
            if split_of(text) == split and text not in texts:
                texts.add(text)
                name = f"{self.name}/{self.config.dataset}/{split}/{index}"
                answer = json.dumps({"index": index, "answer": str(entry["answer"])})
                found.append(Prompt(name, text, answer, difficulty(entry, text)))
        raise UsageError(
            f"task gym: {self.config.dataset} gave {len(found)} different prompts for {split} in {self.config.largest} "
            f"entries, {count} are asked for; ask for fewer or widen its settings"
        )

    def outcome(self, response: str, answer: str) -> float:
        """1 if the dataset's own scorer gives the final answer (or the whole response) full marks, else 0."""
        entry = self._entry(json.loads(answer)["index"])
        given = find_final_answer(response)
        return float(float(self._dataset.score_answer(response.strip() if given is None else given, entry)) >= 1.0)


def make_dataset(config: Config) -> Any:
    """The dataset; `UsageError` for what is unknown, refused, or not installed."""
    name = config.dataset
    if name in REFUSED:
        raise UsageError(f"task gym: dataset = {name!r} is refused: {REFUSED[name]}; choose another")
    try:
        gym = importlib.import_module("reasoning_gym")
        known = importlib.import_module("reasoning_gym.factory").DATASETS
    except ImportError:
        raise UsageError("task gym: reasoning-gym is not installed; pip install 'braid-rl[tasks]'") from None
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"task gym: no dataset {name!r}; {f'did you mean {near[0]}?' if near else 'see reasoning-gym'}"
        )
    try:
        return gym.create_dataset(name, size=config.largest, seed=config.seed, **config.settings)
    except (TypeError, AssertionError, ValueError) as error:
        raise UsageError(f"task gym: settings = {config.settings} do not suit {name}: {error}") from None


def difficulty(entry: dict[str, Any], text: str) -> float:
    """The sum of an entry's own quantities of difficulty, as far as they are numbers; else the text's length."""
    metadata = entry.get("metadata", {})
    parts = [metadata.get(name) for name in metadata.get("difficulty", {})]
    numbers = [float(part) for part in parts if isinstance(part, int | float)]
    return sum(numbers) if numbers else float(len(text))
