"""The shape of a task: named prompts with answers and difficulties, disjoint splits, and an exact outcome.

A task is one file with a frozen `Config` and a class `Task`; prompts are a function of (config, split, count), so a
run's prompt set needs no file. A prompt's text alone decides which split it can be in (`split_of`), so nothing that is
held out is ever trained on, however many prompts are drawn and with whatever seed. Leaves out tokens: a task speaks
text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")
_EIGHTHS: tuple[Split, ...] = ("held_out", "validation", "train", "train", "train", "train", "train", "train")


def split_of(text: str) -> Split:
    """The split that a prompt's text belongs to: an eighth each is held out and for validation."""
    return _EIGHTHS[hashlib.sha256(text.encode()).digest()[0] % 8]


class Prompt(msgspec.Struct, frozen=True, array_like=True):
    """One problem."""

    id: str
    """Unique within the task, e.g. `chains/train/17`."""
    text: str
    answer: str
    difficulty: float


class Task(Protocol):
    """What every task offers."""

    name: str

    def prompts(self, split: Split, count: int) -> Sequence[Prompt]:
        """The first `count` prompts of a split, without repeats within it."""

    def outcome(self, response: str, answer: str) -> float:
        """1 if the response's final answer is right, else 0."""
