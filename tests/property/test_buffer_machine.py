"""The buffer over a store that loses its unsynced tail, against a model of what was answered.

Whatever is sent - in time, late, twice, from the dead, to a buffer that lost its newest transactions - all invariants
hold after each step, everything that was acknowledged as durable is still there, and the buffer that was recovered
decides what the lost one would have decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from buffers.answers import (
    Appended,
    AttemptFailed,
    Completed,
    Leased,
    Opened,
    Reassigned,
    Refused,
    ScoreStored,
    Welcome,
)
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.invariants import check_segments
from buffers.leasing import LeasingConfig
from buffers.memory_store import MemoryStore
from buffers.priorities import names
from buffers.prompts import Frontier, PromptConfig
from buffers.rows import PromptRow
from buffers.segment import Attachment, Ghost, Segment

MAX_TOKENS = 12

SELDOM = st.sampled_from([False, False, False, False, True])


@dataclass
class Model:
    """What the outside world was told and may rely on, as of one moment."""

    opened: dict[int, int] = field(default_factory=dict)
    """Trajectory -> group."""
    tokens: dict[int, list[int]] = field(default_factory=dict)
    """Trajectory -> version of each acknowledged token."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Trajectory -> newest issued attempt."""
    ended: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    """Groups that failed."""
    leased: dict[int, dict[int, int]] = field(default_factory=dict)
    """Lease -> {group: use}."""
    highest: int = 0
    epoch: int = 0
    incarnation: int = -1
    checkpoint: tuple[int, tuple[tuple[int, int], ...]] = (0, ())
    """The learner's durable checkpoint: version, and all uses in it since ever."""
    weights: tuple[tuple[int, int], ...] = ()
    """All uses in the learner's weights."""
    update: int = 1

    def copy(self) -> Model:
        """A moment to go back to."""
        return Model(
            dict(self.opened),
            {key: list(value) for key, value in self.tokens.items()},
            dict(self.attempts),
            dict(self.ended),
            dict(self.scores),
            set(self.dead),
            {key: dict(value) for key, value in self.leased.items()},
            self.highest,
            self.epoch,
            self.incarnation,
            self.checkpoint,
            self.weights,
            self.update,
        )


class BufferMachine(RuleBasedStateMachine):
    """Commands in any order; each is one transaction."""

    @initialize(
        eta=st.integers(0, 2),
        oversample=st.sampled_from([1.0, 1.0, 1.5]),
        reuse=st.integers(1, 2),
        updates=st.integers(1, 2),
        no_signal=st.sampled_from(["train", "evict"]),
        gen_batches=st.sampled_from([0, 1, 2]),
        priority=st.sampled_from(names()),
        capacity=st.sampled_from([None, 200]),
        room=st.sampled_from([None, 3000]),
        attached=st.sampled_from([0, 9]),
        order=st.sampled_from(["success", "passes"]),
        epochs=st.sampled_from([None, 4]),
        replacement=st.booleans(),
        stratified=st.booleans(),
        beta=st.sampled_from([0.0, 0.5, 1.0]),
        frontier=st.sampled_from([None, Frontier(0, opens_at=0.3, least_tries=1)]),
        pool=st.booleans(),
    )
    def begin(self, **chosen: object) -> None:
        draws = chosen["priority"] not in ("fifo", "freshest")
        again = bool(draws and chosen["replacement"] and chosen["oversample"] > 1.0)
        self.config = BufferConfig(
            k=2,
            batch=4,
            max_response_tokens=MAX_TOKENS,
            max_attempts=2,
            checkpoint_every=2,
            eta=chosen["eta"],
            oversample=chosen["oversample"],
            reuse=chosen["reuse"],
            updates_per_version=chosen["updates"],
            no_signal=chosen["no_signal"],
            max_gen_batches=chosen["gen_batches"] if chosen["no_signal"] == "evict" else 0,
            priority=chosen["priority"],
            leasing=LeasingConfig(
                again,
                bool(draws and chosen["stratified"]),
                0.7,
                chosen["beta"] if again else 0.0,
                chosen["oversample"] if chosen["pool"] else 1.0,
            ),
            capacity_tokens=chosen["capacity"],
            capacity_bytes=chosen["room"],
            max_attached_bytes=chosen["attached"],
            prompts=PromptConfig(order=chosen["order"], epochs=chosen["epochs"], frontier=chosen["frontier"]),
            seed=3,
        )
        self.store = MemoryStore()
        self.buffer = Buffer(self.config)
        self.model = Model()
        self.past: list[Model] = [self.model.copy()]
        """The model after each unsynced transaction; the first belongs to what is synced."""
        self.ordinal = 0
        self.last: list[tuple] = []
        self.buffer.load_prompts(PromptRow(n, Ghost(3, n), "", float(n)) for n in range(3))
        self.commit()
        self.snapshot()
        self.restart_learner()
        self.store.sync()
        self.past = [self.model.copy()]

    def commit(self) -> None:
        transaction = self.buffer.drain()
        if transaction:
            self.store.write(transaction)
            self.past.append(self.model.copy())
        else:
            self.past[-1] = self.model.copy()

    def pick(self, data: st.DataObject) -> int:
        known = sorted(self.model.opened)
        held = [trajectory for trajectory in known if self.buffer.view(trajectory)]
        return data.draw(st.sampled_from(held or known) | st.sampled_from(known))

    # -- commands ------------------------------------------------------------------------------------------------

    @rule(really=SELDOM)
    def snapshot(self, really: bool = True) -> None:
        if not really:
            return
        taken = self.buffer.snapshot()
        assert taken.epoch == self.model.epoch + 1
        assert taken.highest == self.model.highest
        self.model.epoch = taken.epoch
        self.ordinal = 0
        for member in taken.members:
            assert member.length == len(self.model.tokens[member.trajectory])
            assert member.attempt >= self.model.attempts[member.trajectory]
            assert (member.state == "ended") == (member.trajectory in self.model.ended)
            self.model.attempts[member.trajectory] = member.attempt
        self.commit()

    @rule(count=st.integers(1, 3), again=st.booleans(), old=SELDOM)
    def open(self, count: int, again: bool, old: bool) -> None:
        if old:
            assert self.buffer.open_groups(self.model.epoch - 1, 1, 1) == Refused(
                "epoch", f"{self.model.epoch - 1} is not {self.model.epoch}"
            )
            return
        live = self.buffer.live
        self.ordinal += 1
        answer = self.buffer.open_groups(self.model.epoch, self.ordinal, count)
        limit = int((self.config.eta + 1) * self.config.batch * self.config.oversample)
        if isinstance(answer, Opened):
            assert live + len(answer.members) == self.buffer.live <= limit
            for member in answer.members:
                assert member.trajectory not in self.model.opened
                self.model.opened[member.trajectory] = member.group
                self.model.tokens[member.trajectory] = []
                self.model.attempts[member.trajectory] = member.attempt
        else:
            assert answer.reason in ("capacity", "prompts", "signal") or live + self.config.k > limit
            assert (answer.reason == "signal") <= (self.config.max_gen_batches > 0)
        self.commit()
        if again and isinstance(answer, Opened):
            assert self.buffer.open_groups(self.model.epoch, self.ordinal, count) == answer
            assert self.buffer.drain() == ()

    @precondition(lambda self: self.model.opened)
    @rule(
        data=st.data(),
        length=st.integers(0, 5),
        end=st.sampled_from(["cut", "stop", "stop", "stop", "length", "repetition", "failed"]),
        late=st.integers(-1, 1),
        shift=st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1]),
        newer=st.sampled_from([0, 0, 0, 0, 0, 0, 1]),
        times=st.integers(1, 2),
        body=st.sampled_from([None, None, b"", b"123", b"1234567"]),
    )
    def append(
        self,
        data: st.DataObject,
        length: int,
        end: str,
        late: int,
        shift: int,
        newer: int,
        times: int,
        body: bytes | None,
    ) -> None:
        trajectory = self.pick(data)
        model, tokens = self.model, self.model.tokens.get(trajectory, [])
        attempt = model.attempts.get(trajectory, 0) + min(late, 0)
        version = model.highest + newer
        runs = ((version, length),) if length else ()
        files = () if body is None else (Attachment("f", body),)
        segment = Segment(len(tokens) + shift, Ghost(length, 1), runs, ((1, length),) if length else (), end, files)
        before = self.buffer.view(trajectory)
        answer = self.buffer.append(trajectory, attempt, segment)
        if isinstance(answer, Appended) and attempt == model.attempts[trajectory]:
            assert shift == 0
            assert newer == 0 or length == 0
            assert trajectory not in model.ended
            tokens.extend([version] * length)
            assert answer.length == len(tokens) <= MAX_TOKENS
            assert answer.next_attempt == attempt + 1
            model.attempts[trajectory] = answer.next_attempt
            assert answer.state == {"cut": "cut", "failed": answer.state}.get(end, "ended")
            if answer.state == "ended":
                model.ended[trajectory] = end
            elif answer.state == "failed":
                assert before is not None
                assert trajectory in answer.closed
                model.dead.add(before.group)
        elif isinstance(answer, Appended):
            assert late < 0
            assert answer.length == len(tokens)
            assert self.buffer.drain() == ()
        else:
            assert self.buffer.drain() == ()
            allowed = (
                before is None
                or attempt != before.attempt
                or trajectory in model.ended
                or shift
                or newer
                or len(tokens) + length > MAX_TOKENS
                or (length == 0 and end == "cut")
                or body is not None
            )
            assert allowed, (answer, before)
        self.commit()
        if times > 1 and isinstance(answer, Appended) and answer.state != "failed":
            assert self.buffer.append(trajectory, attempt, segment) == answer
            assert self.buffer.drain() == ()

    @precondition(lambda self: self.model.opened)
    @rule(data=st.data(), late=st.integers(-1, 0), old=SELDOM)
    def reassign(self, data: st.DataObject, late: int, old: bool) -> None:
        trajectory = self.pick(data)
        attempt = self.model.attempts.get(trajectory, 1) + late
        answer = self.buffer.reassign(self.model.epoch - old, trajectory, attempt)
        if isinstance(answer, Reassigned):
            assert not old
            assert answer.member.length == len(self.model.tokens[trajectory])
            assert answer.member.attempt == self.model.attempts[trajectory] + (late == 0)
            self.model.attempts[trajectory] = answer.member.attempt
            again = self.buffer.drain()
            assert bool(again) == (late == 0)
            if again:
                self.store.write(again)
                self.past.append(self.model.copy())
            assert self.buffer.reassign(self.model.epoch, trajectory, attempt) == answer
        self.commit()

    @precondition(lambda self: self.model.opened)
    @rule(data=st.data(), outcome=st.sampled_from([0.0, 1.0]), late=st.integers(-1, 0))
    def score(self, data: st.DataObject, outcome: float, late: int) -> None:
        waiting = sorted(set(self.model.ended) - set(self.model.scores)) or sorted(self.model.opened)
        trajectory = data.draw(st.sampled_from(waiting))
        answer = self.buffer.score(trajectory, self.model.attempts.get(trajectory, 0) + late, {"outcome": outcome})
        if isinstance(answer, ScoreStored):
            assert late == 0
            assert trajectory in self.model.ended
            self.model.scores.setdefault(trajectory, outcome)
        self.commit()

    @precondition(lambda self: self.model.opened)
    @rule(data=st.data(), late=st.integers(-1, 0))
    def fail(self, data: st.DataObject, late: int) -> None:
        trajectory = self.pick(data)
        attempt = self.model.attempts.get(trajectory, 0) + late
        answer = self.buffer.fail(trajectory, attempt, "engine")
        if isinstance(answer, AttemptFailed) and late == 0:
            if answer.closed:
                self.model.dead.add(self.model.opened[trajectory])
            else:
                self.model.attempts[trajectory] = answer.next_attempt
        self.commit()

    @rule(times=st.integers(1, 2), old=SELDOM)
    def lease(self, times: int, old: bool) -> None:
        model = self.model
        if old:
            refused = self.buffer.lease(model.incarnation - 1, model.update, model.highest)
            assert isinstance(refused, Refused)
            assert refused.reason == "stale incarnation"
        answer = self.buffer.lease(model.incarnation, model.update, model.highest)
        if isinstance(answer, Leased):
            for group in answer.groups:
                assert {member.trajectory for member in group.members} == {
                    trajectory for trajectory, owner in model.opened.items() if owner == group.group
                }
                for member in group.members:
                    assert member.components == {"outcome": model.scores[member.trajectory]}
                    assert member.length == len(model.tokens[member.trajectory])
                assert 0 <= group.age <= self.config.eta + group.use - 1
                assert group.use == 1 + sum(number == group.group for number, _ in model.weights) <= self.config.reuse
            weights = [group.weight for group in answer.groups]
            assert sum(weights) == pytest.approx(len(weights))
            assert set(weights) == {1.0} or (self.config.leasing.replacement and min(weights) > 0.0)
            held = {group.group: group.use for group in answer.groups}
            assert model.leased.get(answer.lease, held) == held
            model.leased = {answer.lease: held}
        self.commit()
        if times > 1 and isinstance(answer, Leased):
            assert self.buffer.lease(model.incarnation, model.update, model.highest) == answer
            assert self.buffer.drain() == ()

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(sorted(self.model.leased)))
        self.buffer.expire(lease)
        if data.draw(st.booleans()):
            # the learner is unaware: its completion must be refused
            answer = self.buffer.complete(self.model.incarnation, lease, self.model.highest, False)
            assert isinstance(answer, Refused)
        self.model.leased.pop(lease)
        self.commit()

    @precondition(lambda self: self.model.leased)
    @rule(ends=st.booleans(), durable=st.booleans(), lost=SELDOM, times=st.integers(1, 2))
    def complete(self, ends: bool, durable: bool, lost: bool, times: int) -> None:
        """The update is in the weights; perhaps they are checkpointed, and perhaps the message gets lost then."""
        model = self.model
        ((lease, held),) = model.leased.items()
        version = model.highest + ends
        model.weights += tuple(held.items())
        model.update += 1
        if durable:
            model.checkpoint = (version, model.weights)
        if lost:
            self.past[-1] = model.copy()
            self.restart_learner()
            return
        answer = self.buffer.complete(model.incarnation, lease, version, durable, tuple((group, 0.5) for group in held))
        assert answer == Completed(lease, version)
        model.highest = version
        model.leased = {}
        self.commit()
        if times > 1:
            assert self.buffer.complete(model.incarnation, lease, version, durable) == answer
            assert self.buffer.drain() == ()

    @rule(really=SELDOM)
    def restart_learner(self, really: bool = True) -> None:
        if not really:
            return
        model = self.model
        version, applied = model.checkpoint
        model.weights = applied
        model.incarnation += 1
        answer = self.buffer.hello(model.incarnation, version, applied)
        assert isinstance(answer, Welcome)
        assert answer.highest == (version if version >= model.highest else model.highest + 1)
        model.highest = answer.highest
        model.leased = {}
        model.update = len(applied) + 1
        self.commit()
        assert self.buffer.hello(model.incarnation, version, applied) == answer
        assert isinstance(self.buffer.hello(model.incarnation - 1, version, applied), Refused)
        assert self.buffer.drain() == ()

    # -- the ordinary course, so that the rest meets every state -------------------------------------------------

    @precondition(lambda self: self.model.opened)
    @rule(data=st.data(), outcomes=st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4))
    def finish(self, data: st.DataObject, outcomes: list[float]) -> None:
        """End and score up to four trajectories of the oldest groups."""
        model = self.model
        waiting = [one for one in sorted(model.opened) if one not in model.scores and self.buffer.view(one)]
        for trajectory, outcome in zip(waiting, outcomes, strict=False):
            if trajectory not in model.ended:
                left = MAX_TOKENS - len(model.tokens[trajectory])
                length = data.draw(st.integers(0, left))
                runs = ((model.highest, length),) if length else ()
                produced = ((1, length),) if length else ()
                segment = Segment(len(model.tokens[trajectory]), Ghost(length, 1), runs, produced, "stop")
                answer = self.buffer.append(trajectory, model.attempts[trajectory], segment)
                assert isinstance(answer, Appended)
                model.tokens[trajectory].extend([model.highest] * length)
                model.attempts[trajectory] = answer.next_attempt
                model.ended[trajectory] = "stop"
                self.commit()
            assert isinstance(
                self.buffer.score(trajectory, model.attempts[trajectory], {"outcome": outcome}), ScoreStored
            )
            model.scores[trajectory] = outcome
            self.commit()

    @rule(versions=st.integers(1, 3), durable=st.booleans())
    def train(self, versions: int, durable: bool) -> None:
        """A few updates without a fault."""
        for _ in range(versions):
            self.lease(1, False)
            if self.model.leased:
                self.complete(True, durable, False, 1)
            self.open(2, False, False)

    # -- the disk ------------------------------------------------------------------------------------------------

    @rule()
    def sync(self) -> None:
        self.store.sync()
        self.past = self.past[-1:]

    @rule(data=st.data(), resumed=st.booleans(), really=SELDOM)
    def crash(self, data: st.DataObject, resumed: bool, really: bool) -> None:
        """Replay dies, and the cast starts anew; the learner's checkpoint may be ahead of what replay kept."""
        if not really:
            return
        keep = data.draw(st.integers(0, self.store.unsynced))
        assert len(self.past) == self.store.unsynced + 1
        checkpoint, incarnation = self.model.checkpoint, self.model.incarnation
        self.store.crash(keep)
        self.model = self.past[keep].copy()
        self.past = [self.model.copy()]
        self.buffer = Buffer.recover(self.config, self.store.rows())
        twin = Buffer.recover(self.config, self.store.rows())
        assert twin.ledger() == self.buffer.ledger()
        assert self.buffer.drain() == twin.drain() == ()
        if resumed:
            running = self.buffer.ledger().by_state["running"]
            assert self.buffer.resume_all() == running
            assert self.buffer.ledger().by_state["running"] == 0
        # attempts and checkpoints of answers that never left are not known to anybody
        self.model.checkpoint, self.model.incarnation = checkpoint, max(incarnation, self.model.incarnation)
        self.commit()
        self.snapshot()
        self.restart_learner()

    # -- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        if not hasattr(self, "buffer"):
            return
        self.buffer.check()
        assert self.buffer.highest == self.model.highest
        ledger = self.buffer.ledger()
        assert ledger.opened == len(self.model.opened)
        assert ledger.opened == ledger.trained + ledger.evicted + ledger.failed + ledger.in_flight
        assert ledger.failed == sum(group in self.model.dead for group in self.model.opened.values())

    @invariant()
    def stored_segments_are_what_was_acknowledged(self) -> None:
        if not hasattr(self, "buffer"):
            return
        for trajectory, versions in self.model.tokens.items():
            view = self.buffer.view(trajectory)
            segments = self.store.segments(trajectory)
            if view is None:
                assert segments == ()
                continue
            assert view.length == len(versions)
            flat = [version for segment in segments for version, count in segment.versions for _ in range(count)]
            assert flat == versions
            check_segments(self.buffer._held.trajectories[trajectory], segments)

    @invariant()
    def a_recovered_buffer_is_the_same(self) -> None:
        if not hasattr(self, "buffer"):
            return
        twin = Buffer.recover(self.config, self.store.rows())
        twin.check()
        mine, other = self.buffer._held, twin._held
        assert twin.ledger().by_state == self.buffer.ledger().by_state
        assert (mine.meta, mine.groups, mine.leases, mine.opens, mine.welcome, mine.trajectories) == (
            other.meta,
            other.groups,
            other.leases,
            other.opens,
            other.welcome,
            other.trajectories,
        )
        assert mine.prompts.success == other.prompts.success


TestBufferMachine = BufferMachine.TestCase
TestBufferMachine.settings = settings(stateful_step_count=60)
