from collections.abc import Callable

import pytest

from buffers.buffer import Buffer
from buffers.errors import ContractError
from buffers.invariants import check_segments
from buffers.rows import TrajectoryRow
from tests.buffer_builders import config, eligible, filled, ghost, leased, opened


def busy() -> Buffer:
    """Groups in every stage."""
    buffer = filled(config(eta=5, checkpoint_every=9, capacity_tokens=900))
    eligible(buffer, 4)
    first = leased(buffer)
    buffer.complete(0, first.lease, 1, False)
    leased(buffer, 2)
    eligible(buffer, 1, 2)
    opened(buffer, 1, 3)
    buffer.check()
    return buffer


def _group(buffer: Buffer, stage: str) -> object:
    return next(group for group in buffer._held.groups.values() if group.stage == stage)


DAMAGE: list[tuple[str, Callable[[Buffer], object]]] = [
    ("the count says", lambda b: b._held.counts.update(running=9)),
    ("do not add up to 99", lambda b: setattr(b._held.meta, "opened", 99)),
    ("do not add up to the closed", lambda b: setattr(b._held.meta, "closed", {"failed: x": (1, 1)})),
    ("members of groups", lambda b: setattr(_group(b, "open"), "k", 1)),
    ("is eligible with members", lambda b: setattr(b._held.members(_group(b, "eligible"))[0], "state", "scored")),
    ("counts 7 scored", lambda b: setattr(_group(b, "open"), "scored", 7)),
    ("counts 7 ended", lambda b: setattr(_group(b, "open"), "ended", 7)),
    ("without a score", lambda b: setattr(b._held.members(_group(b, "leased"))[0], "components", None)),
    ("uses, 0 durable", lambda b: setattr(_group(b, "applied"), "uses", 2)),
    ("above 1", lambda b: setattr(b._held.members(_group(b, "eligible"))[0], "last_version", 2)),
    ("holds 21 tokens", lambda b: setattr(b._held.members(_group(b, "eligible"))[0], "length", 21)),
    ("its lease is None", lambda b: b._held.leases.clear()),
    ("holds use 1 of group", lambda b: setattr(_group(b, "leased"), "lease", 0)),
    ("belongs to incarnation", lambda b: setattr(b._held.meta, "incarnation", 4)),
    ("held or reserved, the count", lambda b: setattr(b._held, "reserved_tokens", 1)),
    ("held or reserved of", lambda b: object.__setattr__(b._held.config, "capacity_tokens", 10)),
    ("index of eligible", lambda b: b._held.eligible.clear()),
    ("index of undurable", lambda b: b._held.undurable.clear()),
    ("count of open groups", lambda b: setattr(b._held, "open_groups", 0)),
]


@pytest.mark.parametrize(("message", "damage"), DAMAGE, ids=[message for message, _ in DAMAGE])
def test_every_kind_of_damage_is_noticed_and_named(message: str, damage: Callable[[Buffer], object]) -> None:
    buffer = busy()
    damage(buffer)
    with pytest.raises(ContractError, match=message):
        buffer.check()


def test_segments_must_be_the_whole_response_in_one_piece() -> None:
    row = TrajectoryRow(1, 1, 0, length=7, last_version=2)
    check_segments(row, (ghost(0, 4, 1), ghost(4, 3, 2)))
    for wrong in (
        (ghost(0, 4, 1),),
        (ghost(0, 4, 1), ghost(5, 2, 2)),
        (ghost(0, 4, 1), ghost(3, 4, 2)),
        (ghost(0, 4, 3), ghost(4, 3, 2)),
        (ghost(0, 4, 1), ghost(4, 3, 1)),
    ):
        with pytest.raises(ContractError, match="trajectory 1"):
            check_segments(row, wrong)
