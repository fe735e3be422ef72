"""What a buffer holds, and the few changes that everything else is made of.

    Holdings = groups + trajectories + leases + prompts + counters (MetaRow) + journal

Closed groups leave the memory, and (unless `keep_closed`) the store in the transaction that closes them; what remains
of them is their share in the counters.

Invariants: `counts`, `reserved_tokens`, `eligible` and `undurable` always agree with the rows (see `invariants.py`);
every change of a row is journaled where it is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from buffers.admission import reservation_tokens
from buffers.answers import State
from buffers.config import BufferConfig
from buffers.errors import UsageError
from buffers.group import deadline_of
from buffers.journal import Journal
from buffers.prompts import Prompts
from buffers.rows import (
    META_KEY,
    GroupRow,
    LeaseRow,
    LevelRow,
    MetaRow,
    OpenRow,
    PromptRow,
    Row,
    SuccessRow,
    TrajectoryRow,
    WelcomeRow,
    copy_row,
    group_key,
    lease_key,
    segments_key,
    success_key,
    trajectory_key,
)
from buffers.segment import BYTES_PER_TOKEN
from buffers.trajectory import CLOSED, OPEN, STATES, move

CLOSINGS_KEPT = 65536
SPREADS_KEPT = 4096


class Holdings:
    """The rows of a buffer in memory and their primitive changes."""

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self.meta = MetaRow(config.k)
        self.trajectories: dict[int, TrajectoryRow] = {}
        self.groups: dict[int, GroupRow] = {}
        self.eligible: dict[int, GroupRow] = {}
        self.undurable: dict[int, GroupRow] = {}
        """Groups with uses that no durable checkpoint holds yet."""
        self.leases: dict[int, LeaseRow] = {}
        self.opens: dict[int, OpenRow] = {}
        self.welcome: WelcomeRow | None = None
        self.prompts = Prompts(config.prompts, config.seed)
        self.counts: dict[State, int] = dict.fromkeys(STATES, 0)
        self.reserved_tokens = 0
        self.reserved_attached = 0
        """Bytes of attachments, stored or reserved."""
        self.unscored: dict[int, GroupRow] = {}
        """Groups whose members have all ended and are not all scored."""
        self.open_groups = 0
        """Groups not all of whose members are scored."""
        self.journal = Journal()
        self.closings: deque[tuple[State, int]] = deque(maxlen=CLOSINGS_KEPT)
        """(state, response tokens) of the trajectories closed last, for whoever makes charts of them."""
        self.spreads: deque[float] = deque(maxlen=SPREADS_KEPT)
        """Of the outcomes of the groups scored last, evicted ones too; for the same."""

    # -- counters ------------------------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Trajectories that admission counts: neither applied nor closed, or applied in an unfinished version."""
        return len(self.trajectories) - self.counts["applied"] + self.meta.retired_in_version

    @property
    def spent(self) -> bool:
        """Whether no signal is left to learn from: see `BufferConfig.max_gen_batches`."""
        return 0 < self.config.max_gen_batches * self.config.groups_per_lease <= self.meta.unsignalled

    def note_meta(self) -> None:
        """The counters changed."""
        self.journal.change(META_KEY, self.meta)

    def note_group(self, group: GroupRow) -> None:
        """A group's row changed."""
        self.journal.change(group_key(group.group), group)

    def note_trajectory(self, row: TrajectoryRow) -> None:
        """A trajectory's row changed."""
        self.journal.change(trajectory_key(row.trajectory), row)

    @property
    def reserved_bytes(self) -> int:
        """Everything stored or reserved, in bytes."""
        return self.reserved_tokens * BYTES_PER_TOKEN + self.reserved_attached

    def held_attached(self, row: TrajectoryRow) -> int:
        """Bytes of attachments that a trajectory holds or reserves."""
        return max(self.config.max_attached_bytes, row.attached_bytes) if row.state in OPEN else row.attached_bytes

    def held_tokens(self, row: TrajectoryRow, prompt_tokens: int) -> int:
        """Tokens that a trajectory holds or reserves."""
        if row.state in OPEN:
            return prompt_tokens + max(self.config.max_response_tokens, row.length)
        return prompt_tokens + row.length

    # -- groups --------------------------------------------------------------------------------------------------

    def add_group(self, prompt: int, prompt_tokens: int) -> GroupRow:
        """Open a group whose members are issued at once."""
        meta, k = self.meta, self.config.k
        group = GroupRow(meta.next_group, prompt, prompt_tokens, meta.next_trajectory, k, meta.highest)
        meta.next_group += 1
        meta.next_trajectory += k
        meta.opened += k
        self.groups[group.group] = group
        self.open_groups += 1
        self.reserved_tokens += reservation_tokens(k, prompt_tokens, self.config.max_response_tokens)
        self.reserved_attached += k * self.config.max_attached_bytes
        self.counts["queued"] += k
        for index in range(k):
            row = TrajectoryRow(group.first + index, group.group, index)
            move(row, "running", self.counts)
            self.trajectories[row.trajectory] = row
            self.note_trajectory(row)
        self.note_group(group)
        return group

    def members(self, group: GroupRow) -> list[TrajectoryRow]:
        """Rows of a group's trajectories."""
        rows = self.trajectories
        return [rows[trajectory] for trajectory in group.members]

    def set_stage(self, group: GroupRow, stage: State) -> None:
        """Move a scored group and all its members to `eligible`, `leased` or `applied`."""
        if group.stage == "open":
            self.open_groups -= 1
            self.unscored.pop(group.group, None)
        elif group.stage == "eligible":
            del self.eligible[group.group]
        counts = self.counts
        for row in self.members(group):
            move(row, stage, counts)
        group.stage = stage  # type: ignore[assignment]
        if stage == "eligible":
            self.eligible[group.group] = group
        if stage != "leased":
            group.lease = 0
        self.note_group(group)

    def close_group(self, group: GroupRow, state: State, reason: str) -> None:
        """Close a group as consumed, evicted or failed; its space and its rows are free afterwards."""
        if group.stage == "open":
            self.open_groups -= 1
            self.unscored.pop(group.group, None)
        self.eligible.pop(group.group, None)
        self.undurable.pop(group.group, None)
        del self.groups[group.group]
        group.stage, group.reason, group.lease = "closed", reason, 0
        tokens = 0
        for row in self.members(group):
            self.reserved_tokens -= self.held_tokens(row, group.prompt_tokens)
            self.reserved_attached -= self.held_attached(row)
            tokens += row.length
            self.closings.append((state, row.length))
            move(row, state, self.counts)
            self._forget(row)
        key = group_key(group.group)
        if self.config.keep_closed:
            self.journal.change(key, group)
        else:
            self.journal.remove(key)
        meta, name = self.meta, f"{state}: {reason}" if reason else state
        trajectories, before = meta.closed.get(name, (0, 0))
        meta.closed = {**meta.closed, name: (trajectories + group.k, before + tokens)}
        self.note_meta()

    def _forget(self, row: TrajectoryRow) -> None:
        del self.trajectories[row.trajectory]
        if self.config.keep_closed:
            self.note_trajectory(row)
            return
        self.journal.remove(trajectory_key(row.trajectory))
        self.journal.remove(segments_key(row.trajectory))

    # -- uses ----------------------------------------------------------------------------------------------------

    def apply_use(self, group: GroupRow, use: int, durable: bool) -> None:
        """Count use number `use` of a leased or eligible group as being in the learner's weights."""
        group.uses = use
        if durable:
            group.durable_uses = use
        else:
            self.undurable[group.group] = group
        self.rest_after_use(group)

    def rest_after_use(self, group: GroupRow) -> None:
        """Put a group where it belongs after a use: eligible again, applied, or consumed."""
        if group.uses < self.config.reuse:
            if group.stage != "eligible":
                self.set_stage(group, "eligible")
            self.note_group(group)
        else:
            self.retire(group, "")

    def retire(self, group: GroupRow, reason: str) -> None:
        """No further use: consumed, or `applied` until a checkpoint holds its uses."""
        if group.durable_uses >= group.uses:
            self.close_group(group, "consumed", reason)
        elif group.stage != "applied":
            group.reason = reason
            self.set_stage(group, "applied")

    def settle_checkpoint(self) -> None:
        """All uses so far are in a durable checkpoint."""
        for group in list(self.undurable.values()):
            group.durable_uses = group.uses
            self.note_group(group)
            if group.stage == "applied":
                self.close_group(group, "consumed", group.reason)
        self.undurable.clear()

    def roll_back(self, group: GroupRow, uses: int) -> None:
        """The learner's weights hold only `uses` uses of a group: make it eligible again, or close it beyond its age.

        Called for groups without a lease, after the highest version is known.
        """
        group.uses = group.durable_uses = uses
        group.reason = ""
        self.undurable.pop(group.group, None)
        self.note_group(group)
        if deadline_of(group, self.config.eta) >= self.meta.highest:
            if group.stage == "applied":
                self.set_stage(group, "eligible")
        elif uses:
            self.close_group(group, "consumed", "age")
        else:
            self.close_group(group, "evicted", "rolled back")

    def drop_aged(self, version: int) -> None:
        """Close what may no longer start a use at `version`: evicted(age), or no further use after the first."""
        eta = self.config.eta
        for group in [group for group in self.eligible.values() if deadline_of(group, eta) < version]:
            if group.uses:
                self.retire(group, "age")
            else:
                self.close_group(group, "evicted", "age")

    # -- leases --------------------------------------------------------------------------------------------------

    def add_lease(self, lease: LeaseRow) -> None:
        """Hand groups to the learner."""
        self.leases[lease.lease] = lease
        self.journal.put(lease_key(lease.lease), lease)
        for number, _, _ in lease.groups:
            group = self.groups[number]
            self.set_stage(group, "leased")
            group.lease = lease.lease
            self.journal.change(success_key(group.prompt), self.prompts.lease(group.prompt))

    def end_lease(self, lease: LeaseRow) -> tuple[int, ...]:
        """Close a lease; groups that it still holds are eligible again and listed."""
        del self.leases[lease.lease]
        self.journal.remove(lease_key(lease.lease))
        returned = []
        for number, _, _ in lease.groups:
            group = self.groups.get(number)
            if group is not None and group.lease == lease.lease:
                self.set_stage(group, "eligible")
                returned.append(number)
        return tuple(returned)

    # -- recovery ------------------------------------------------------------------------------------------------

    def take(self, rows: Iterable[tuple[bytes, Row]]) -> None:
        """Take over the rows of a store into empty holdings; segments are not needed."""
        prompts: list[PromptRow] = []
        success: list[SuccessRow] = []
        levels: list[LevelRow] = []
        trajectories: list[TrajectoryRow] = []
        for _, row in rows:
            if isinstance(row, TrajectoryRow):
                trajectories.append(copy_row(row))
            elif isinstance(row, GroupRow):
                if row.stage != "closed":
                    self.groups[row.group] = copy_row(row)
            elif isinstance(row, PromptRow):
                prompts.append(row)
            elif isinstance(row, SuccessRow):
                success.append(copy_row(row))
            elif isinstance(row, LevelRow):
                levels.append(copy_row(row))
            elif isinstance(row, OpenRow):
                self.opens[row.ordinal] = row
            elif isinstance(row, LeaseRow):
                self.leases[row.lease] = row
            elif isinstance(row, WelcomeRow):
                self.welcome = row
            elif isinstance(row, MetaRow):
                self.meta = copy_row(row)
        if self.meta.k != self.config.k:
            raise UsageError(f"buffer.k is {self.config.k}, the store was made with {self.meta.k}; resume with that")
        self.prompts.load(prompts, success, levels)
        self.config.check_capacity(self.prompts.longest_tokens)
        for row in trajectories:
            self._take_trajectory(row)
        self._index_groups()

    def _take_trajectory(self, row: TrajectoryRow) -> None:
        group = self.groups.get(row.group)
        if group is None:
            return
        if group.stage != "open":
            row.state = group.stage  # type: ignore[assignment]
        self.trajectories[row.trajectory] = row
        self.counts[row.state] += 1
        self.reserved_tokens += self.held_tokens(row, group.prompt_tokens)
        self.reserved_attached += self.held_attached(row)

    def _index_groups(self) -> None:
        for group in self.groups.values():
            if group.stage == "open":
                self.open_groups += 1
                if group.ended == group.k:
                    self.unscored[group.group] = group
            elif group.stage == "eligible":
                self.eligible[group.group] = group
            if group.uses > group.durable_uses:
                self.undurable[group.group] = group
        for name, (trajectories, _) in self.meta.closed.items():
            state = next(state for state in CLOSED if name.startswith(state))
            self.counts[state] += trajectories
