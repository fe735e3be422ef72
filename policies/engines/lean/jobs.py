"""What the torch engine knows of a job beside its row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from policies.engine import Job
from policies.engines.acceptance import budget

Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Work:
    """A job and its tokens while they are not in a row."""

    job: Job
    ids: Ints
    """Known tokens; while it runs, as of its admission."""
    begin: int
    """Known tokens when the job came: where its segment begins."""
    marked: int
    """Known tokens when the present version was installed, or the job came."""
    logps: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """Of the tokens of its segment, as of its admission."""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """(version, tokens) of the segment up to `marked`."""
    running: bool = False
    """It has a row, which knows its tokens now."""
    filled: int = 0
    """Tokens of its row that the cache held before decoding."""

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.job.prompt.length

    @property
    def end(self) -> int:
        """Known tokens at which its segment ends."""
        return self.begin + budget(self.job)

    def mark(self, version: int, known: int) -> None:
        """Put the tokens since the last mark down to a version."""
        if known > self.marked:
            self.runs.append((version, known - self.marked))
            self.marked = known
