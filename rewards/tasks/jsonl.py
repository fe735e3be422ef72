"""Prompts from JSONL files in GSM8K's form: one object a line, a question, and a solution that ends in `#### answer`.

A file per split; where only `train` is given, its lines are dealt to the splits by a hash of the question, a tenth each
to held_out and validation, so that no question is in two splits. A malformed line is a `UsageError` naming file and
line. The difficulty of a problem is the number of lines of its solution.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buffers.errors import UsageError
from rewards import exact, math_equal
from rewards.answered import Answered
from rewards.tasks.task import Prompt, Split

MARK = "####"


@dataclass(frozen=True)
class Config:
    """Where the lines are, and how answers are compared."""

    train: str = ""
    """File of the prompts to train on."""
    held_out: str = ""
    """File of the problems that accuracy is measured on; empty: a tenth of `train`."""
    validation: str = ""
    """File of the warm-up's exams; empty: a tenth of `train`."""
    question: str = "question"
    """Key of the question."""
    answer: str = "answer"
    """Key of the solution; what follows its last `####`, or all of it, is the answer."""
    instruction: str = ""
    """Appended to each question, after a line break."""
    compare: Literal["exact", "math"] = "exact"
    """`math` needs the extra `tasks`, and a sandbox where answers are more than numbers."""


class Task:
    """Prompts of JSONL files."""

    name = "jsonl"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        if not self.config.train:
            raise UsageError("task jsonl: train is empty; name a JSONL file: --set task.settings.train=train.jsonl")
        build = exact.build(exact.Config()) if self.config.compare == "exact" else math_equal.build(math_equal.Config())
        self._grade = build

    def prompts(self, split: Split, count: int) -> Sequence[Prompt]:
        """The first `count` prompts of a split; `UsageError` if there are fewer."""
        found: list[Prompt] = []
        texts: set[str] = set()
        for prompt in self._read(split):
            if len(found) == count:
                break
            if prompt.text not in texts:
                texts.add(prompt.text)
                found.append(prompt)
        if len(found) < count:
            raise UsageError(f"task jsonl: {split} has {len(found)} prompts, {count} are asked for; ask for fewer")
        return found

    def outcome(self, response: str, answer: str) -> float:
        """1 if the response's final answer is right, else 0."""
        return self._grade(Answered("", response, answer))

    def _read(self, split: Split) -> Iterator[Prompt]:
        own = {"train": "", "held_out": self.config.held_out, "validation": self.config.validation}[split]
        path = Path(own or self.config.train)
        for number, question, solution in read_lines(path, self.config):
            if not own and self._deal(question) != split:
                continue
            answer = solution.rpartition(MARK)[2].strip()
            text = f"{question}\n{self.config.instruction}" if self.config.instruction else question
            yield Prompt(f"jsonl/{split}/{path.name}:{number}", text, answer, float(len(solution.splitlines())))

    def _deal(self, question: str) -> Split:
        """The split of a line of the training file: those that have a file of their own get none of it."""
        place = zlib.crc32(question.encode()) % 10
        if place == 0 and not self.config.held_out:
            return "held_out"
        return "validation" if place == 1 and not self.config.validation else "train"


def read_lines(path: Path, config: Config) -> Iterator[tuple[int, str, str]]:
    """(line number, question, solution) of each line that is not blank; `UsageError` naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a text may hold other line separators
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"task jsonl: {path} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UsageError(f"{path}:{number}: not valid JSON: {error}; one object a line") from None
        if not isinstance(entry, dict):
            raise UsageError(
                f"{path}:{number}: not an object; write {{{config.question!r}: ..., {config.answer!r}: ...}}"
            )
        for key in (config.question, config.answer):
            if not isinstance(entry.get(key), str) or not entry[key].strip():
                raise UsageError(f"{path}:{number}: no text under {key!r}; keys here: {', '.join(entry) or 'none'}")
        yield number, entry[config.question], entry[config.answer]
