"""The buffer: the only truth about groups, trajectories, attempts, versions and counters, as pure decisions.

    controller   open_groups, reassign, snapshot          |
    generator    append                                   |   Buffer  -- drain() -->  Transaction  -->  Store
    rewarder     score, fail                              |      ^                                        |
    learner      hello, lease, complete (expire)          |      +---- recover(config, store.rows()) -----+

A command changes the memory at once and answers with a typed Struct; `drain` hands out what must be durable before the
answer may leave (the holder sends it on the store's `Durable`). Commands may come late, twice or from the dead: they
are answered by `Refused`, or by the answer that the first of them got, and change nothing. Only misuse by the holder
raises. Nothing here has a clock, a socket or a random stream: after `recover` from the rows of a transaction the buffer
decides exactly what it would have decided then.

Tokens never stay here: a segment's row goes to the store, the buffer keeps lengths and versions.

Left out: reading tokens back (`Store.segments`), when a lease expires (the holder's clock), weights. The file is longer
than most because every command is here, each short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

from buffers import learning
from buffers.admission import admissible_groups, reservation_tokens
from buffers.answers import (
    Appended,
    AttemptFailed,
    Completed,
    Expired,
    Leased,
    Ledger,
    MemberView,
    Opened,
    Reassigned,
    Refused,
    ScoreStored,
    Snapshot,
    State,
    Welcome,
)
from buffers.config import BufferConfig
from buffers.errors import InvalidSegment, UsageError
from buffers.group import signal_of, spread_of
from buffers.holdings import Holdings
from buffers.invariants import check
from buffers.learning import Feedback, Uses
from buffers.ledger import ledger_of
from buffers.priorities import load, worth
from buffers.prompts import digest_prompts
from buffers.rows import (
    GroupRow,
    OpenedGroup,
    OpenRow,
    PromptRow,
    Row,
    TrajectoryRow,
    Transaction,
    level_key,
    open_key,
    prompt_key,
    segment_key,
    success_key,
)
from buffers.segment import BYTES_PER_TOKEN, Segment, check_segment
from buffers.trajectory import OPEN, admit_segment, extend, move

A = TypeVar("A")

ORDINALS_KEPT = 256
"""Answers of `open_groups` that are kept for a retry."""


class Buffer:
    """Every decision about what is generated, kept and trained on. See the module."""

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self._rule = load(config.priority, config.priority_options)
        config.leasing.check(self._rule.proportional, config.oversample)
        self._held = Holdings(config)
        self._refused: dict[str, int] = {}
        self._duplicates = 0

    @classmethod
    def recover(cls, config: BufferConfig, rows: Iterable[tuple[bytes, Row]]) -> Buffer:
        """Rebuild the buffer from `Store.rows()`. What runs goes on running; see `resume_all` for a new run."""
        buffer = cls(config)
        buffer._held.take(rows)
        return buffer

    def drain(self) -> Transaction:
        """What must be durable before the answers since the last drain may leave; () if nothing must."""
        return self._held.journal.drain()

    @property
    def changed(self) -> bool:
        """Whether anything was decided since the last drain; a repeated command decides nothing."""
        return bool(self._held.journal)

    @property
    def highest(self) -> int:
        """The highest published version."""
        return self._held.meta.highest

    @property
    def epoch(self) -> int:
        """The controller's epoch."""
        return self._held.meta.epoch

    # -- the run -------------------------------------------------------------------------------------------------

    def load_prompts(self, rows: Iterable[PromptRow]) -> None:
        """Put the prompt set in, once for a run; raises `UsageError` for an unusable or, on resume, another set."""
        held, prompts = self._held, tuple(rows)
        digest = digest_prompts(prompts)
        if held.meta.prompts:
            if (held.meta.prompts, held.meta.prompts_digest) != (len(prompts), digest):
                raise UsageError("the prompt set differs from the one that this run began with; resume with that one")
            return
        held.prompts.load(prompts)
        self.config.check_capacity(held.prompts.longest_tokens)
        for row in prompts:
            held.journal.put(prompt_key(row.prompt), row)
        held.meta.prompts, held.meta.prompts_digest = len(prompts), digest
        held.note_meta()

    def resume_all(self) -> int:
        """Begin a resumed run: what was running is cut, or queued without a token, under a new attempt; how many."""
        held, resumed = self._held, 0
        for row in held.trajectories.values():
            if row.state == "running":
                move(row, "cut" if row.length else "queued", held.counts)
                row.attempt += 1
                held.note_trajectory(row)
                resumed += 1
        return resumed

    # -- the controller ------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything a new controller needs, under a new epoch that fences off older ones.

        What is `queued` or `cut` in it is handed out by it: it may be dispatched as it is.
        """
        held, meta = self._held, self._held.meta
        meta.epoch += 1
        meta.forgotten_ordinal = -1
        for ordinal in held.opens:
            held.journal.remove(open_key(ordinal))
        held.opens.clear()
        held.note_meta()
        open_rows = [row for row in held.trajectories.values() if row.state == "ended" or row.state in OPEN]
        members = tuple(self._view(row) for row in open_rows)
        for row in open_rows:
            self._issue(row)
        return Snapshot(meta.epoch, meta.highest, members, self.ledger())

    def open_groups(self, epoch: int, ordinal: int, count: int) -> Opened | Refused:
        """Open up to `count` groups; the same (epoch, ordinal) opens them once.

        Fewer are opened where admission, space or prompts allow fewer, and `Refused` (admission, capacity, prompts,
        signal, epoch, ordinal) where they allow none.
        """
        held, meta = self._held, self._held.meta
        if epoch != meta.epoch:
            return self._refuse("epoch", f"{epoch} is not {meta.epoch}")
        known = held.opens.get(ordinal)
        if known is not None:
            self._duplicates += 1
            return _opened(known)
        if ordinal <= meta.forgotten_ordinal:
            return self._refuse("ordinal", f"the answer to {ordinal} is no longer kept")
        groups: list[OpenedGroup] = []
        reason = "admission"
        while len(groups) < count and not (reason := self._closed_door()):
            drawn = held.prompts.draw(meta.highest, meta.drawn, meta.prompt_position)
            tokens = held.prompts.rows[drawn.prompt].payload.length
            if not self._has_space(tokens):
                reason = "capacity"
                break
            meta.drawn += 1
            meta.prompt_position = drawn.position
            success = held.prompts.success[drawn.prompt]
            success.draws += 1
            held.journal.change(success_key(drawn.prompt), success)
            group = held.add_group(drawn.prompt, tokens)
            groups.append(OpenedGroup(group.group, group.prompt, tokens, group.first, group.k))
        if not groups:
            return self._refuse(reason or "admission")
        row = OpenRow(epoch, ordinal, tuple(groups))
        held.opens[ordinal] = row
        held.journal.put(open_key(ordinal), row)
        self._forget_ordinals()
        held.note_meta()
        return _opened(row)

    def reassign(self, epoch: int, trajectory: int, attempt: int) -> Reassigned | Refused:
        """Issue a new attempt if `attempt` is current; the answer is how the trajectory stands either way.

        So a retry gets what the first got. Refused once there is nothing left to do: closed, or scored.
        """
        held = self._held
        if epoch != held.meta.epoch:
            return self._refuse("epoch", f"{epoch} is not {held.meta.epoch}")
        row = held.trajectories.get(trajectory)
        if row is None:
            return self._missing(trajectory)
        if row.state != "ended" and row.state not in OPEN:
            return self._refuse("closed", f"trajectory {trajectory} is {row.state}")
        if attempt > row.attempt:
            return self._wrong_attempt(row, attempt)
        if attempt == row.attempt:
            row.attempt += 1
            self._issue(row)
            held.note_trajectory(row)
        return Reassigned(self._view(row))

    # -- generators ----------------------------------------------------------------------------------------------

    def append(self, trajectory: int, attempt: int, segment: Segment) -> Appended | Refused:
        """Store a segment of a trajectory, if `attempt` is current and it begins where the stored ones end.

        Refused: unknown, closed, stale attempt, gap, invalid: ..., version from the future, over capacity.
        """
        held = self._held
        row = held.trajectories.get(trajectory)
        if row is None:
            return self._missing(trajectory)
        if attempt != row.attempt:
            if attempt == row.applied_attempt and segment.start == row.applied_start:
                self._duplicates += 1
                return self._appended(row, attempt + 1)
            return self._wrong_attempt(row, attempt)
        if row.state not in OPEN:
            return self._refuse("closed", f"trajectory {trajectory} is {row.state}")
        try:
            check_segment(segment)
        except InvalidSegment as error:
            return self._refuse(f"invalid: {error}", f"trajectory {trajectory}")
        reason = admit_segment(row, segment, held.meta.highest, self.config)
        if reason:
            have = f"trajectory {trajectory} holds {row.length} tokens to version {row.last_version}"
            came = f"the segment holds {segment.start} to {segment.stop} of version {segment.last_version}"
            ends = f"{self.config.max_response_tokens} tokens and {self.config.max_attached_bytes} bytes attached"
            limits = f"versions end at {held.meta.highest}, responses at {ends}"
            return self._refuse(reason, f"{have}, {came}; {limits}")
        extend(row, segment)
        held.note_trajectory(row)
        if segment.versions or segment.end != "failed":
            held.journal.put(segment_key(trajectory, segment.start), segment)
        self._issue(row)
        if segment.end == "failed":
            closed = self._count_failure(row, "generation")
            if closed:
                return Appended(trajectory, row.attempt, row.length, row.last_version, "failed", closed)
        elif segment.end != "cut":
            self._end(row, segment)
        return self._appended(row, row.attempt)

    # -- rewarders -----------------------------------------------------------------------------------------------

    def score(self, trajectory: int, attempt: int, components: Mapping[str, float]) -> ScoreStored | Refused:
        """Store the reward components of an ended trajectory; `outcome`, 0 or 1, must be among them."""
        held = self._held
        row = held.trajectories.get(trajectory)
        if row is None:
            return self._missing(trajectory)
        if attempt != row.attempt:
            return self._wrong_attempt(row, attempt)
        group = held.groups[row.group]
        if row.state != "ended":
            if row.state in OPEN:
                return self._refuse("not ended", f"trajectory {trajectory} is {row.state}")
            self._duplicates += 1
            return ScoreStored(trajectory, group.group)
        if components.get("outcome") not in (0.0, 1.0):
            known = f"trajectory {trajectory} has the components {dict(components)}"
            return self._refuse(f"invalid: outcome is {components.get('outcome')}, not 0 or 1", known)
        if not all(map(math.isfinite, components.values())):
            return self._refuse(f"invalid: a component of {dict(components)} is not finite", f"trajectory {trajectory}")
        move(row, "scored", held.counts)
        row.components = dict(components)
        held.note_trajectory(row)
        group.scored += 1
        held.note_group(group)
        if group.scored < group.k:
            return ScoreStored(trajectory, group.group)
        self._complete_group(group)
        return ScoreStored(trajectory, group.group)

    def fail(self, trajectory: int, attempt: int, reason: str) -> AttemptFailed | Refused:
        """Count a failure of infrastructure: another attempt, or after `max_attempts` the end of the whole group."""
        held = self._held
        row = held.trajectories.get(trajectory)
        if row is None:
            return self._missing(trajectory)
        if attempt == row.failed_attempt == row.attempt - 1:
            self._duplicates += 1
            return AttemptFailed(trajectory, row.attempt, ())
        if attempt != row.attempt:
            return self._wrong_attempt(row, attempt)
        if row.state != "ended" and row.state not in OPEN:
            return self._refuse("closed", f"trajectory {trajectory} is {row.state}")
        row.failed_attempt = row.attempt
        row.attempt += 1
        self._issue(row)
        held.note_trajectory(row)
        closed = self._count_failure(row, reason)
        return AttemptFailed(trajectory, 0 if closed else row.attempt, closed)

    # -- the learner (see buffers/learning.py) -------------------------------------------------------------------

    def hello(self, incarnation: int, version: int, applied: Uses) -> Welcome | Refused:
        """A learner starts from its checkpoint: what its weights are called, and what they hold."""
        return self._counted(learning.hello(self._held, incarnation, version, applied))

    def lease(self, incarnation: int, update: int, version: int) -> Leased | Refused:
        """The groups of update number `update`, which starts from `version`; `Refused("not yet")` while too few."""
        return self._counted(learning.lease(self._held, self._rule, incarnation, update, version))

    def expire(self, lease: int) -> Expired | Refused:
        """Take a lease back that was held for too long."""
        return self._counted(learning.expire(self._held, lease))

    def complete(
        self, incarnation: int, lease: int, version: int, checkpointed: bool, feedback: Feedback = ()
    ) -> Completed | Refused:
        """Close a lease: its uses are in the weights, which are now called `version` (the highest, or the next)."""
        return self._counted(learning.complete(self._held, incarnation, lease, version, checkpointed, feedback))

    def may_fetch(self, lease: int, trajectory: int) -> bool:
        """Whether tokens of a trajectory may be read under a lease."""
        row = self._held.trajectories.get(trajectory)
        return row is not None and lease in self._held.leases and self._held.groups[row.group].lease == lease

    # -- looking -------------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """The account of everything ever opened."""
        return ledger_of(self._held, self._refused, self._duplicates)

    @property
    def live(self) -> int:
        """Trajectories that count against admission."""
        return self._held.live

    @property
    def groups_eligible(self) -> int:
        """Groups that could be leased now."""
        return len(self._held.eligible)

    def view(self, trajectory: int) -> MemberView | None:
        """A trajectory that is held; None if it was never opened or is closed."""
        row = self._held.trajectories.get(trajectory)
        return None if row is None else self._view(row)

    def prompt(self, prompt: int) -> PromptRow | None:
        """A prompt of the set."""
        rows = self._held.prompts.rows
        return rows[prompt] if 0 <= prompt < len(rows) else None

    def open_leases(self) -> tuple[int, ...]:
        """Leases that are open, oldest first."""
        return tuple(self._held.leases)

    def frontier(self) -> float | None:
        """The hardest difficulty that is drawn; None where no frontier restricts the draw."""
        return self._held.prompts.frontier

    def effective_prompt_share(self) -> float:
        """How evenly the prompts were leased: 1 if all equally often, 1 / n if always the same."""
        return self._held.prompts.effective_share

    def take_closings(self) -> list[tuple[State, int]]:
        """(state, response tokens) of each trajectory closed since this was last called; the newest of very many."""
        closings = list(self._held.closings)
        self._held.closings.clear()
        return closings

    def take_spreads(self) -> list[float]:
        """Spread of the outcomes of each group scored since this was last called; the newest of very many."""
        spreads = list(self._held.spreads)
        self._held.spreads.clear()
        return spreads

    def priorities(self) -> list[float]:
        """What the rule gives each eligible group now."""
        held, name = self._held, self.config.priority
        groups = held.eligible.values()
        return [worth(self._rule, name, group.group, signal_of(group, held.meta.highest)) for group in groups]

    def check(self) -> None:
        """Raise `ContractError` where an invariant of the design does not hold; slow, for tests."""
        check(self._held)

    # -- inside --------------------------------------------------------------------------------------------------

    def _view(self, row: TrajectoryRow) -> MemberView:
        group = self._held.groups[row.group]
        return MemberView(
            row.trajectory,
            row.group,
            row.index,
            group.prompt,
            group.prompt_tokens,
            row.attempt,
            row.length,
            row.last_version,
            row.state,
        )

    def _appended(self, row: TrajectoryRow, next_attempt: int) -> Appended:
        state: State = "cut" if row.state in OPEN else "ended"
        return Appended(row.trajectory, next_attempt, row.length, row.last_version, state)

    def _issue(self, row: TrajectoryRow) -> None:
        """The current attempt is handed out."""
        if row.state == "queued" or row.state == "cut":
            move(row, "running", self._held.counts)
            self._held.note_trajectory(row)

    def _closed_door(self) -> str:
        """Why no group may be opened; "" if one may."""
        held, config = self._held, self.config
        if held.prompts.exhausted(held.meta.drawn):
            return "prompts"
        if held.spent:
            return "signal"
        if not admissible_groups(held.live, config.k, config.eta, config.batch, config.oversample):
            return "admission"
        return ""

    def _has_space(self, prompt_tokens: int) -> bool:
        config, held = self.config, self._held
        tokens = reservation_tokens(config.k, prompt_tokens, config.max_response_tokens)
        size = tokens * BYTES_PER_TOKEN + config.k * config.max_attached_bytes
        return (config.capacity_tokens is None or held.reserved_tokens + tokens <= config.capacity_tokens) and (
            config.capacity_bytes is None or held.reserved_bytes + size <= config.capacity_bytes
        )

    def _forget_ordinals(self) -> None:
        held = self._held
        while len(held.opens) > ORDINALS_KEPT:
            oldest = min(held.opens)
            del held.opens[oldest]
            held.journal.remove(open_key(oldest))
            held.meta.forgotten_ordinal = max(held.meta.forgotten_ordinal, oldest)

    def _end(self, row: TrajectoryRow, segment: Segment) -> None:
        """A trajectory has its last token."""
        held = self._held
        group = held.groups[row.group]
        held.reserved_tokens -= self.config.max_response_tokens - row.length
        held.reserved_attached -= self.config.max_attached_bytes - row.attached_bytes
        move(row, "ended", held.counts)
        row.end = segment.end
        group.ended += 1
        if group.ended == group.k:
            group.ended_version = held.meta.highest
            held.unscored[group.group] = group
        held.meta.ended += 1
        held.meta.ended_tokens += row.length
        held.note_group(group)
        held.note_meta()

    def _complete_group(self, group: GroupRow) -> None:
        """All members are scored: learn the success rate; the group is eligible, or evicted without signal."""
        held = self._held
        outcomes = [row.components["outcome"] for row in held.members(group) if row.components]
        group.spread = spread_of(outcomes)
        held.spreads.append(group.spread)
        held.journal.change(success_key(group.prompt), held.prompts.learn(group.prompt, outcomes))
        level = held.prompts.learn_level(group.prompt, outcomes)
        if level is not None:
            held.journal.change(level_key(level.level), level)
        if group.spread == 0.0 and self.config.no_signal == "evict":
            held.meta.unsignalled += len(held.eligible) < self.config.groups_per_lease
            held.close_group(group, "evicted", "no signal")
            return
        held.meta.positions += 1
        group.position = held.meta.positions
        held.set_stage(group, "eligible")
        held.note_meta()

    def _count_failure(self, row: TrajectoryRow, reason: str) -> tuple[int, ...]:
        """Count a failure; the members of the group if it was one too many and the group failed."""
        row.failures += 1
        if row.failures < self.config.max_attempts:
            return ()
        group = self._held.groups[row.group]
        self._held.close_group(group, "failed", reason)
        return tuple(group.members)

    def _counted(self, answer: A) -> A:
        if isinstance(answer, Refused) and answer.reason != "not yet":
            self._count_refusal(answer.reason)
        return answer

    def _refuse(self, reason: str, detail: str = "") -> Refused:
        self._count_refusal(reason)
        return Refused(reason, detail)

    def _count_refusal(self, reason: str) -> None:
        name = "invalid" if reason.startswith("invalid") else reason
        self._refused[name] = self._refused.get(name, 0) + 1

    def _missing(self, trajectory: int) -> Refused:
        if 0 < trajectory < self._held.meta.next_trajectory:
            return self._refuse("closed", f"trajectory {trajectory} is closed")
        return self._refuse("unknown", f"trajectory {trajectory} was never opened")

    def _wrong_attempt(self, row: TrajectoryRow, attempt: int) -> Refused:
        if attempt < row.attempt:
            return self._refuse(
                "stale attempt", f"{attempt} of trajectory {row.trajectory} is older than {row.attempt}"
            )
        return self._refuse("unknown", f"attempt {attempt} of trajectory {row.trajectory} was never issued")


def _opened(row: OpenRow) -> Opened:
    """The answer to an `open_groups`, as it was given first."""
    members = [
        MemberView(group.first + index, group.group, index, group.prompt, group.prompt_tokens, 1, 0, -1, "running")
        for group in row.groups
        for index in range(group.k)
    ]
    return Opened(row.ordinal, tuple(members))
