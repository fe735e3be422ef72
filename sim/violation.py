"""What breaks when an invariant does not hold: its number, its name, and what was decided last."""

from __future__ import annotations

from actors.kernel.backend import Decision
from buffers.errors import BraidError
from sim.story import lines

WORDS = {
    1: "conservation",
    2: "contiguity",
    3: "versions never decrease",
    4: "staleness",
    5: "priority law",
    6: "leases",
    7: "groups reach a learner whole",
    8: "capacity",
    9: "durability",
    10: "determinism",
    11: "progress",
    12: "fencing",
    13: "a version names one set of weights",
    14: "a use counts once",
    15: "admission",
    16: "replay decides as the reference",
    17: "the books of an actor agree",
    18: "nothing is done twice",
}
"""16 compares with `reference.py`, 17 is `books.py`, 18 is `thrift.py`."""


class InvariantViolated(BraidError):
    """An invariant does not hold: its number and name, the ids concerned, and what was decided last."""

    def __init__(self, number: int, detail: str, recent: tuple[Decision, ...] = ()) -> None:
        self.number = number
        self.detail = detail
        self.recent = recent
        super().__init__("\n".join([f"invariant {number} ({WORDS[number]}): {detail}", *lines(recent)]))
