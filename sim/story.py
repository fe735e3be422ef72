"""What a failure is about: the last decisions on the trajectories, leases, versions and groups that its words name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from actors.kernel.backend import Decision
from actors.kernel.operations import NS

LAST = 12
"""Decisions that are told."""

SUBJECTS: dict[str, dict[str, slice]] = {
    "trajectory": {
        "admit": slice(1, None),
        "dispatch": slice(1),
        "store": slice(1),
        "score": slice(1),
        "lost": slice(1),
        "refused": slice(1),
    },
    "lease": {"lease": slice(1), "update": slice(1), "complete": slice(1), "expire": slice(1)},
    "version": {
        "publish": slice(1),
        "installed": slice(1),
        "install_failed": slice(1),
        "checkpoint": slice(1),
        "complete": slice(1, 2),
    },
    "group": {"lease": slice(1, None), "group_failed": slice(1)},
}
"""Noun -> kind of decision -> where its fields name one."""

_NAMED = re.compile(rf"\b({'|'.join(SUBJECTS)})s? (\d+)")


def about(decisions: Sequence[Decision], words: str, last: int = LAST) -> tuple[Decision, ...]:
    """The last decisions on what `words` name ("trajectory 17", "lease 3"); the last of all if there is none."""
    named = [(SUBJECTS[noun], int(number)) for noun, number in _NAMED.findall(words)]
    found: list[Decision] = []
    for one in reversed(decisions):
        if any(number in one.fields[kinds[one.kind]] for kinds, number in named if one.kind in kinds):
            found.append(one)
            if len(found) == last:
                break
    return tuple(reversed(found)) or tuple(decisions[-last:])


def lines(decisions: Iterable[Decision]) -> list[str]:
    """One line a decision."""
    return [
        f"  {one.at_ns / NS:.6f} s {one.actor}#{one.incarnation} {one.kind} {' '.join(map(str, one.fields))}"
        for one in decisions
    ]
