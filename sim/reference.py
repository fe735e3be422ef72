"""The reference: what replay decides, written a second time from the design, as plainly as it can be said.

    command --> Buffer    (indexes, counters, journal) --> answer  ---+--> must be equal
        +-----> Reference (dictionaries, recounted)    --> answer' ---+

`attach` puts it before the commands of a buffer; what a crash left of the buffer is where it begins. It keeps no count
that it can take anew, and shares with the buffer only what is decided elsewhere: which prompt is drawn, what makes a
segment well formed, what a priority rule gives, the sum tree. Left out: the ledger, details of refusals, what is
written where. The file is longer than most because it is all that replay decides, to be read beside `buffers/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from buffers.answers import (
    Appended,
    AttemptFailed,
    Completed,
    Expired,
    Leased,
    LeasedGroup,
    LeasedMember,
    MemberView,
    Opened,
    Reassigned,
    Refused,
    ScoreStored,
    Snapshot,
    State,
    Welcome,
)
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.draws import uniform
from buffers.errors import InvalidSegment
from buffers.learning import LAW_STREAM
from buffers.priorities import Signal, load
from buffers.priority_tree import tree_of
from buffers.segment import Segment, check_segment

Complain = Callable[[int, str], None]

UNFINISHED = ("queued", "running", "cut")
COMMANDS = (
    "resume_all", "snapshot", "open_groups", "reassign", "append", "score", "fail", "hello", "lease", "expire",
    "complete",
)  # fmt: skip
LOOK_EVERY = 16
"""Commands between two comparisons of everything that is held."""


class Member:
    """A trajectory."""

    def __init__(self, number: int, group: Group, index: int) -> None:
        self.number, self.group, self.index = number, group, index
        self.state: State = "running"
        self.attempt = 1
        self.versions: list[int] = []
        """Of each token."""
        self.oldest = -1
        """Version of the first token that trains."""
        self.failures = 0
        self.failed = 0
        """Attempt of the newest failure."""
        self.stored = (0, -1)
        """(attempt, start) of the newest segment."""
        self.components: dict[str, float] = {}

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.versions)

    @property
    def version(self) -> int:
        """Of the last token."""
        return self.versions[-1] if self.versions else -1

    def view(self) -> MemberView:
        """As the controller sees it."""
        one = self.group
        return MemberView(
            self.number, one.number, self.index, one.prompt, one.prompt_tokens, self.attempt, self.length, self.version,
            self.state,
        )  # fmt: skip


class Group:
    """k trajectories of one prompt."""

    def __init__(self, number: int, prompt: int, prompt_tokens: int) -> None:
        self.number, self.prompt, self.prompt_tokens = number, prompt, prompt_tokens
        self.members: list[Member] = []
        self.ended_version = -1
        self.position = 0
        self.feedback = -1.0
        self.uses = self.durable = 0
        """Why it has no further use."""

    @property
    def state(self) -> State:
        """Of all members, once they move together."""
        return self.members[0].state

    @property
    def is_open(self) -> bool:
        """Not all members are scored."""
        return self.position == 0

    @property
    def spread(self) -> float:
        """Four times the variance of the outcomes."""
        right = sum(one.components["outcome"] for one in self.members) / len(self.members)
        return 4 * right * (1 - right)


class Reference:
    """See the module; one for each life of replay."""

    def __init__(self, buffer: Buffer, complain: Complain, decided: Callable[[str, Any], None]) -> None:
        """`decided` is told each command and its answer, before what it changed is written."""
        self._decided = decided
        self._config: BufferConfig = buffer.config
        self._rule = load(self._config.priority, self._config.priority_options)
        self._real = buffer
        self._complain = complain
        self._until_look = LOOK_EVERY
        self._adopt()
        for name in COMMANDS:
            setattr(buffer, name, self._beside(name, getattr(buffer, name)))

    def _beside(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        mine: Callable[..., Any] = getattr(self, name)

        def command(*args: Any, **named: Any) -> Any:
            expected = mine(*args, **named)
            answer = real(*args, **named)
            self._decided(name, answer)
            if _essence(answer) != _essence(expected):
                self._complain(16, f"{name}{args}: replay says {answer}, the reference {expected}")
            self._look(name, args)
            return answer

        return command

    # ---- what is held -----------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        held = self._real._held
        meta = held.meta
        self.members: dict[int, Member] = {}
        self.groups: dict[int, Group] = {}
        for found in held.groups.values():
            group = self.groups[found.group] = Group(found.group, found.prompt, found.prompt_tokens)
            group.ended_version, group.position, group.feedback = found.ended_version, found.position, found.feedback
            group.uses, group.durable = found.uses, found.durable_uses
        for row in held.trajectories.values():
            group = self.groups[row.group]
            one = self.members[row.trajectory] = Member(row.trajectory, group, row.index)
            group.members.append(one)
            one.state, one.attempt, one.oldest = row.state, row.attempt, row.oldest_version
            one.versions = _spread_out(row.length, row.version_sum, row.last_version)
            one.failures, one.failed = row.failures, row.failed_attempt
            one.stored = (row.applied_attempt, row.applied_start)
            one.components = dict(row.components or {})
        self.leases = {row.lease: (row.update, row.version, row.groups) for row in held.leases.values()}
        self.opens = {row.ordinal: row for row in map(_opened, held.opens.values())}
        self.epoch, self.highest, self.incarnation = meta.epoch, meta.highest, meta.incarnation
        self.forgotten, self.completed = meta.forgotten_ordinal, meta.completed
        self.used, self.retired = meta.used_in_version, meta.retired_in_version
        self.unsignalled = meta.unsignalled
        self.drawn, self.place, self.law_draws = meta.drawn, meta.prompt_position, meta.law_draws
        self.positions, self.law_slots, self.next_lease = meta.positions, meta.law_slots, meta.next_lease
        self.next_group, self.next_trajectory = meta.next_group, meta.next_trajectory
        self.greeted: Any = None
        if held.welcome is not None:
            self.greeted = (held.welcome.version, held.welcome.applied, held.welcome.answer)

    def _look(self, name: str, args: tuple[Any, ...]) -> None:
        """Compare how many are in each state, every so often each trajectory and group."""
        held = self._real._held
        words = f"after {name}{args}: "
        states = [one.state for one in self.members.values()]
        for state in dict.fromkeys(states):
            if held.counts[state] != states.count(state):
                self._complain(16, f"{words}{held.counts[state]} are {state}, by the reference {states.count(state)}")
        if self._live() != held.live or self._tokens() != held.reserved_tokens:
            self._complain(
                16,
                f"{words}{held.live} live with {held.reserved_tokens} tokens, by the reference {self._live()} with"
                f" {self._tokens()}",
            )
        self._until_look -= 1
        if self._until_look > 0:
            return
        self._until_look = LOOK_EVERY
        meta = held.meta
        theirs: list[Any] = [
            meta.law_slots, meta.law_draws, meta.drawn, meta.highest, meta.completed, list(held.opens), meta.unsignalled
        ]  # fmt: skip
        mine: list[Any] = [
            self.law_slots, self.law_draws, self.drawn, self.highest, self.completed, list(self.opens), self.unsignalled
        ]  # fmt: skip
        theirs += [
            (row.trajectory, row.state, row.attempt, row.length, row.last_version, row.oldest_version, row.failures)
            for row in held.trajectories.values()
        ]
        mine += [
            (one.number, one.state, one.attempt, one.length, one.version, one.oldest, one.failures)
            for one in self.members.values()
        ]
        theirs += [
            (row.group, row.ended_version, row.uses, row.durable_uses, row.feedback) for row in held.groups.values()
        ]
        mine += [(one.number, one.ended_version, one.uses, one.durable, one.feedback) for one in self.groups.values()]
        if theirs != mine:
            pairs = zip(theirs, mine, strict=False)
            first = next((pair for pair in pairs if pair[0] != pair[1]), (len(theirs), len(mine)))
            self._complain(16, f"{words}replay holds {first[0]}, the reference {first[1]}")

    def _live(self) -> int:
        return sum(one.state != "applied" for one in self.members.values()) + self.retired

    def _tokens(self) -> int:
        most = self._config.max_response_tokens
        return sum(
            one.group.prompt_tokens + (most if one.state in UNFINISHED else one.length) for one in self.members.values()
        )

    def _close(self, group: Group) -> tuple[int, ...]:
        del self.groups[group.number]
        for one in group.members:
            del self.members[one.number]
        return tuple(one.number for one in group.members)

    def _move(self, group: Group, state: State) -> None:
        for one in group.members:
            one.state = state

    def _missing(self, number: int) -> Refused:
        return Refused("closed" if 0 < number < self.next_trajectory else "unknown")

    def _wrong(self, one: Member, attempt: int) -> Refused:
        return Refused("stale attempt" if attempt < one.attempt else "unknown")

    def _exhausted(self) -> bool:
        epochs, count = self._config.prompts.epochs, len(self._real._held.prompts.rows)
        return count == 0 or (epochs is not None and self.drawn >= epochs * count)

    def _spent(self) -> bool:
        most = self._config.max_gen_batches
        return most > 0 and self.unsignalled >= most * self._config.groups_per_lease

    # ---- controller -------------------------------------------------------------------------------------------------

    def resume_all(self) -> int:
        """Nobody works on anything any more."""
        running = [one for one in self.members.values() if one.state == "running"]
        for one in running:
            one.state = "cut" if one.length else "queued"
            one.attempt += 1
        return len(running)

    def snapshot(self) -> Snapshot:
        """A new epoch; what may be worked on is handed out."""
        self.epoch += 1
        self.forgotten = -1
        self.opens.clear()
        concerned = [one for one in self.members.values() if one.state in (*UNFINISHED, "ended")]
        views = tuple(one.view() for one in concerned)
        for one in concerned:
            _issue(one)
        return Snapshot(self.epoch, self.highest, views, self._real.ledger())

    def open_groups(self, epoch: int, ordinal: int, count: int) -> Opened | Refused:
        """Admission: live + k <= (eta + 1) * batch * oversample, and room for the longest answers."""
        from buffers.buffer import ORDINALS_KEPT  # may be tight

        config = self._config
        if epoch != self.epoch:
            return Refused("epoch")
        if ordinal in self.opens:
            return self.opens[ordinal]
        if ordinal <= self.forgotten:
            return Refused("ordinal")
        views: list[MemberView] = []
        why = ""
        for _ in range(count):
            if self._exhausted():
                why = "prompts"
            elif self._spent():
                why = "signal"
            elif self._live() + config.k > (config.eta + 1) * config.batch * config.oversample + 1e-9:
                why = "admission"
            if why:
                break
            prompts = self._real._held.prompts
            drawn = prompts.draw(self.highest, self.drawn, self.place)
            tokens = prompts.rows[drawn.prompt].payload.length
            needed = config.k * (tokens + config.max_response_tokens)
            if config.capacity_tokens is not None and self._tokens() + needed > config.capacity_tokens:
                why = "capacity"
                break
            self.drawn, self.place = self.drawn + 1, drawn.position
            group = self.groups[self.next_group] = Group(self.next_group, drawn.prompt, tokens)
            self.next_group += 1
            for index in range(config.k):
                one = self.members[self.next_trajectory] = Member(self.next_trajectory, group, index)
                self.next_trajectory += 1
                group.members.append(one)
                views.append(one.view())
        if not views:
            return Refused(why or "admission")
        answer = self.opens[ordinal] = Opened(ordinal, tuple(views))
        while len(self.opens) > ORDINALS_KEPT:
            self.forgotten = min(self.opens)
            del self.opens[self.forgotten]
        return answer

    def reassign(self, epoch: int, trajectory: int, attempt: int) -> Reassigned | Refused:
        """A new attempt, if the one named is the newest."""
        if epoch != self.epoch:
            return Refused("epoch")
        one = self.members.get(trajectory)
        if one is None:
            return self._missing(trajectory)
        if one.state not in (*UNFINISHED, "ended"):
            return Refused("closed")
        if attempt > one.attempt:
            return Refused("unknown")
        if attempt == one.attempt:
            one.attempt += 1
            _issue(one)
        return Reassigned(one.view())

    # ---- workers ----------------------------------------------------------------------------------------------------

    def append(self, trajectory: int, attempt: int, segment: Segment) -> Appended | Refused:
        """Only the newest attempt, only where the stored tokens end."""
        one = self.members.get(trajectory)
        if one is None:
            return self._missing(trajectory)
        if attempt != one.attempt:
            if (attempt, segment.start) == one.stored:
                return self._stored(one, attempt + 1)
            return self._wrong(one, attempt)
        if one.state not in UNFINISHED:
            return Refused("closed")
        try:
            check_segment(segment)
        except InvalidSegment:
            return Refused("invalid")
        versions = [version for version, count in segment.versions for _ in range(count)]
        produced = [made for made, count in segment.produced for _ in range(count)]
        if segment.start != one.length:
            return Refused("gap")
        if versions and versions[0] < one.version:
            return Refused("invalid")
        if versions and versions[-1] > self.highest:
            return Refused("version from the future")
        if one.length + len(versions) > self._config.max_response_tokens:
            return Refused("over capacity")
        one.stored = (attempt, segment.start)
        one.attempt += 1
        one.versions += versions
        if one.oldest < 0:
            one.oldest = next((version for version, made in zip(versions, produced, strict=True) if made), -1)
        _issue(one)
        if segment.end == "failed":
            if closed := self._fails(one):
                return Appended(trajectory, one.attempt, one.length, one.version, "failed", closed)
        elif segment.end != "cut":
            one.state = "ended"
            if all(other.state in ("ended", "scored") for other in one.group.members):
                one.group.ended_version = self.highest
        return self._stored(one, one.attempt)

    def _stored(self, one: Member, attempt: int) -> Appended:
        state: State = "cut" if one.state in UNFINISHED else "ended"
        return Appended(one.number, attempt, one.length, one.version, state)

    def _fails(self, one: Member) -> tuple[int, ...]:
        one.failures += 1
        return self._close(one.group) if one.failures >= self._config.max_attempts else ()

    def score(self, trajectory: int, attempt: int, components: Mapping[str, float]) -> ScoreStored | Refused:
        """Once, of an ended trajectory; the last member completes the group."""
        one = self.members.get(trajectory)
        if one is None:
            return self._missing(trajectory)
        if attempt != one.attempt:
            return self._wrong(one, attempt)
        group = one.group
        if one.state in UNFINISHED:
            return Refused("not ended")
        if one.state != "ended":
            return ScoreStored(trajectory, group.number)
        one.state, one.components = "scored", dict(components)
        if any(other.state != "scored" for other in group.members):
            return ScoreStored(trajectory, group.number)
        if group.spread == 0 and self._config.no_signal == "evict":
            if len(self._eligible()) < self._config.groups_per_lease:
                self.unsignalled += 1
            self._close(group)
        else:
            self.positions += 1
            group.position = self.positions
            self._move(group, "eligible")
        return ScoreStored(trajectory, group.number)

    def fail(self, trajectory: int, attempt: int, reason: str) -> AttemptFailed | Refused:
        """A failure of infrastructure counts once."""
        one = self.members.get(trajectory)
        if one is None:
            return self._missing(trajectory)
        if attempt == one.failed == one.attempt - 1:
            return AttemptFailed(trajectory, one.attempt, ())
        if attempt != one.attempt:
            return self._wrong(one, attempt)
        if one.state not in (*UNFINISHED, "ended"):
            return Refused("closed")
        one.failed = one.attempt
        one.attempt += 1
        _issue(one)
        closed = self._fails(one)
        return AttemptFailed(trajectory, 0 if closed else one.attempt, closed)

    # ---- learner ----------------------------------------------------------------------------------------------------

    def hello(self, incarnation: int, version: int, applied: Iterable[tuple[int, int]]) -> Any:
        """What is in the weights is used, what is not is not; a version number is never used twice."""
        applied = tuple(applied)
        if incarnation < self.incarnation:
            return Refused("stale incarnation")
        if self.greeted is not None and incarnation == self.incarnation:
            known, uses, answer = self.greeted
            return answer if (known, uses) == (version, applied) else Refused("closed")
        returned = [number for _, _, groups in self.leases.values() for number, _, _ in groups]
        self.leases.clear()
        for number in returned:
            self._move(self.groups[number], "eligible")
        self.highest = version if version >= self.highest else self.highest + 1
        self.incarnation, self.completed, self.used, self.retired = incarnation, (0, -1), 0, 0
        last = {number: max(use for other, use in applied if other == number) for number, _ in applied}
        settled = []
        for number, use in last.items():
            group = self.groups.get(number)
            if group is None or group.is_open:
                continue
            if use > group.uses:
                settled.append((number, use))
                group.uses = group.durable = use
                self._rest(group)
            elif use == group.uses > group.durable:
                group.durable = use
                if group.state == "applied":
                    self._close(group)
        rolled = [one for one in self.groups.values() if one.uses > max(one.durable, last.get(one.number, 0))]
        for group in rolled:
            group.uses = group.durable = max(group.durable, last.get(group.number, 0))
            if self._deadline(group) < self.highest:
                self._close(group)
            else:
                self._move(group, "eligible")
        back = tuple(number for number in returned if number not in last)
        answer = Welcome(incarnation, self.highest, tuple(settled), back, tuple(one.number for one in rolled))
        self.greeted = (version, applied, answer)
        return answer

    def _deadline(self, group: Group) -> int:
        return group.ended_version + self._config.eta + group.uses

    def _rest(self, group: Group) -> None:
        """After a use: another one, or none, which waits for a checkpoint."""
        if group.uses < self._config.reuse:
            self._move(group, "eligible")
        elif group.durable == group.uses:
            self._close(group)
        else:
            self._move(group, "applied")

    def _eligible(self) -> list[Group]:
        found = [one for one in self.groups.values() if not one.is_open and one.state == "eligible"]
        return sorted(found, key=lambda one: one.position)

    def lease(self, incarnation: int, update: int, version: int) -> Leased | Refused:
        """The groups of one update."""
        config = self._config
        if incarnation != self.incarnation:
            return self._stranger(incarnation)
        for number, (known, begun, groups) in self.leases.items():
            if known == update:
                return self._leased(number, known, begun, groups)
        if update <= self.completed[1]:
            return Refused("closed")
        if version != self.highest:
            return Refused("version")
        over = (self._exhausted() or self._spent()) and not any(one.is_open for one in self.groups.values())
        needed = config.groups_per_lease
        if len(self._eligible()) < needed and not over:
            return Refused("not yet")
        for group in self._eligible():
            if self._deadline(group) < version:
                if group.uses == 0 or group.durable == group.uses:
                    self._close(group)
                else:
                    self._move(group, "applied")
        found = self._eligible()
        if not found and over and not self.leases:
            return Refused("prompts" if self._exhausted() else "signal")
        if not found or (len(found) < needed and not over):
            return Refused("not yet")
        chosen = self._choose(found, version)
        if not chosen:
            return Refused("not yet")
        groups = tuple((one.number, one.uses + 1, version - one.ended_version) for one in chosen)
        number, self.next_lease = self.next_lease, self.next_lease + 1
        self.leases[number] = (update, version, groups)
        if len(chosen) == needed:
            self.unsignalled = 0
        for one in chosen:
            self._move(one, "leased")
        return self._leased(number, update, version, groups)

    def _choose(self, found: list[Group], version: int) -> list[Group]:
        """By the law where nothing is lost by it, else by deadline; nothing while scores must be awaited."""
        config, left = self._config, list(found)
        worth = {one.number: self._rule.priority(_signal(one, version)) for one in found}
        given = self.used + sum(len(groups) for _, _, groups in self.leases.values())
        later = max(0, config.groups_per_version - given - config.groups_per_lease)
        strict = config.oversample <= 1
        scored = [one for one in self.groups.values() if one.is_open and one.ended_version >= 0]
        awaited = [self._deadline(one) + more for one in scored for more in range(config.reuse)]
        awaited = [deadline for deadline in awaited if deadline >= version]
        slots = range(min(config.groups_per_lease, len(found)))

        def feasible(without: list[Group], slot: int, others: list[int]) -> bool:
            """Whether all other uses can be leased in time when these take the slots up to this one."""
            due = list(others)
            for one in found:
                first = self._deadline(one)
                due += [max(first, version) + more for more in range(config.reuse - one.uses)][one in without :]
            after = later + config.groups_per_lease - slot - 1
            horizons = range(max((one - version for one in due), default=0) + 1)
            return all(
                sum(one <= version + ahead for one in due) <= after + ahead * config.groups_per_version
                for ahead in horizons
            )

        def in_time(others: list[int]) -> bool:
            earliest = sorted(found, key=self._deadline)
            return all(feasible(earliest[: slot + 1], slot, others) for slot in slots)

        if strict and awaited and not in_time(awaited) and in_time([]):
            return []
        chosen: list[Group] = []
        for slot in slots:
            if self._rule.proportional:
                self.law_draws += 1
                tree = tree_of([0.0 if one in chosen else worth[one.number] for one in found])
                best = found[tree.find_one(uniform(config.seed, LAW_STREAM, self.law_draws))]
            else:
                best = max(left, key=lambda one: worth[one.number])
            by_law = not strict or feasible([*chosen, best], slot, awaited)
            if not by_law:
                best = min(left, key=self._deadline)
            self.law_slots += by_law
            left.remove(best)
            chosen.append(best)
        return chosen

    def _leased(self, number: int, update: int, version: int, groups: tuple[tuple[int, int, int], ...]) -> Leased:
        described = []
        for which, use, age in groups:
            group = self.groups[which]
            members = tuple(
                LeasedMember(one.number, one.length, one.components, one.oldest, one.version) for one in group.members
            )
            described.append(LeasedGroup(which, group.prompt, use, 1.0, age, members, group.prompt_tokens))
        return Leased(number, update, version, tuple(described))

    def expire(self, lease: int) -> Expired | Refused:
        """Its groups may be leased again."""
        if lease not in self.leases:
            return Refused("stale lease")
        _, _, groups = self.leases.pop(lease)
        for number, _, _ in groups:
            self._move(self.groups[number], "eligible")
        return Expired(lease, tuple(number for number, _, _ in groups))

    def complete(
        self, incarnation: int, lease: int, version: int, checkpointed: bool, feedback: Iterable[tuple[int, float]] = ()
    ) -> Completed | Refused:
        """The update is in the weights; with a checkpoint all updates are durable."""
        if incarnation != self.incarnation:
            return self._stranger(incarnation)
        if lease not in self.leases and (lease or not checkpointed):
            return Completed(lease, self.highest) if lease == self.completed[0] != 0 else Refused("stale lease")
        if version not in (self.highest, self.highest + 1):
            return Refused("version")
        for number, worth in feedback:
            if number in self.groups:
                self.groups[number].feedback = max(0.0, worth)
        if lease in self.leases:
            update, _, groups = self.leases.pop(lease)
            self.completed = (lease, update)
            for number, use, _ in groups:
                group = self.groups[number]
                group.uses = use
                group.durable = use if checkpointed else group.durable
                self.retired += self._config.k if use >= self._config.reuse else 0
                self.used += 1
                self._rest(group)
        if version > self.highest:
            self.highest, self.used, self.retired = version, 0, 0
        if checkpointed:
            for group in [one for one in self.groups.values() if one.uses > one.durable]:
                group.durable = group.uses
                if group.state == "applied":
                    self._close(group)
        return Completed(lease, self.highest)

    def _stranger(self, incarnation: int) -> Refused:
        return Refused("stale incarnation" if incarnation < self.incarnation else "unknown")


def _issue(one: Member) -> None:
    if one.state in ("queued", "cut"):
        one.state = "running"


def _signal(group: Group, version: int) -> Signal:
    return Signal(group.spread, version - group.ended_version, group.position, group.feedback)


def _opened(row: Any) -> Opened:
    """What was answered to an ordinal that a store remembers."""
    views = [
        MemberView(one.first + index, one.group, index, one.prompt, one.prompt_tokens, 1, 0, -1, "running")
        for one in row.groups
        for index in range(one.k)
    ]
    return Opened(row.ordinal, tuple(views))


def _spread_out(length: int, total: int, last: int) -> list[int]:
    """Versions with this sum that end with `last`: what a store remembers of them."""
    if not length:
        return []
    return [*([0] * (length - 2)), total - last, last] if length > 1 else [last]


def _essence(answer: Any) -> Any:
    """What must be equal of two answers."""
    if isinstance(answer, Refused):
        return ("refused", answer.reason.split(":")[0])
    if isinstance(answer, Snapshot):
        return (answer.epoch, answer.highest, answer.members)
    if isinstance(answer, Welcome):
        return (answer.incarnation, answer.highest, answer.settled, answer.returned, sorted(answer.rolled_back))
    return answer
