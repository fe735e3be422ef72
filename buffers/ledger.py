"""The account of a buffer: where everything ever opened is now. Read off counters, never by walking the rows."""

from __future__ import annotations

from buffers.answers import Ledger
from buffers.holdings import Holdings
from buffers.trajectory import STATES


def ledger_of(held: Holdings, refused: dict[str, int], duplicates: int) -> Ledger:
    """The ledger of what is held and of what is closed; `refused` and `duplicates` are counted by the buffer."""
    meta, counts = held.meta, held.counts
    lengths = {"ended": (meta.ended, meta.ended_tokens)}
    for name, state in (("trained", "consumed"), ("evicted", "evicted"), ("failed", "failed")):
        closed = [count for reason, count in meta.closed.items() if reason.startswith(state)]
        lengths[name] = (sum(n for n, _ in closed), sum(tokens for _, tokens in closed))
    return Ledger(
        opened=meta.opened,
        trained=counts["consumed"],
        evicted=counts["evicted"],
        failed=counts["failed"],
        in_flight=len(held.trajectories),
        live=held.live,
        eligible=counts["eligible"],
        leased=counts["leased"],
        applied=counts["applied"],
        by_state={state: counts[state] for state in STATES},
        reasons={reason: trajectories for reason, (trajectories, _) in meta.closed.items()},
        lengths=lengths,
        held_tokens=held.reserved_tokens,
        slots=meta.slots,
        law_slots=meta.law_slots,
        refused=dict(refused),
        duplicates=duplicates,
        held_bytes=held.reserved_bytes,
        reason_tokens={reason: tokens for reason, (_, tokens) in meta.closed.items()},
    )
