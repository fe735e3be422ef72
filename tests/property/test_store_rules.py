"""What a buffer wrote keeps every rule of `buffers/store_check.py` at any moment, and its overview is its ledger.

So what `braid inspect --check` reports is damage or a fault, never the ordinary course of things.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buffers.answers import Completed, Leased, MemberView
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.memory_store import MemoryStore
from buffers.prompts import make_prompts
from buffers.rows import segment_key
from buffers.segment import EndReason, Segment
from buffers.store_check import sort_rows, violations
from buffers.store_view import lines, overview, whole
from buffers.trajectory import CLOSED
from tests.buffer_builders import config, real

ENDS: tuple[EndReason, ...] = ("cut", "stop", "stop", "failed", "length", "repetition")
ACTS = ("open", "open", "append", "append", "append", "score", "score", "fail", "lease", "complete", "expire", "resume")


class Course:
    """A buffer that is sent whatever is drawn, over a store in memory."""

    def __init__(self, rules: BufferConfig) -> None:
        self.store, self.buffer = MemoryStore(), Buffer(rules)
        self.buffer.load_prompts(make_prompts([real(0, 3).payload for _ in range(5)]))
        self.epoch = self.buffer.snapshot().epoch
        self.buffer.hello(0, 0, ())
        self.ordinal = self.update = 0
        self.lease: Leased | None = None
        self.settle()

    def settle(self) -> None:
        self.store.write(self.buffer.drain())

    def views(self) -> list[MemberView]:
        found = [self.buffer.view(trajectory) for trajectory in range(1, self.buffer.ledger().opened + 1)]
        return [view for view in found if view is not None]

    def take(self, act: str, number: int, part: int) -> None:
        """One command; `number` chooses whom it is about and `part` how."""
        buffer, views = self.buffer, self.views()
        view = views[number % len(views)] if views else None
        if act == "open":
            self.ordinal += 1
            buffer.open_groups(self.epoch, self.ordinal, 1 + part % 3)
        elif act == "append" and view:
            versions = ((buffer.highest, part),) if part else ()
            produced = ((int(number % 5 > 0), part),) if part else ()
            segment = Segment(view.length, real(0, part).payload, versions, produced, ENDS[number % 6])
            buffer.append(view.trajectory, view.attempt, segment)
        elif act == "score" and view:
            buffer.score(view.trajectory, view.attempt, {"outcome": float(part % 2)})
        elif act == "fail" and view and part == 0:
            buffer.fail(view.trajectory, view.attempt, "engine")
        elif act == "lease" and self.lease is None:
            answer = buffer.lease(0, self.update + 1, buffer.highest)
            if isinstance(answer, Leased):
                self.update, self.lease = self.update + 1, answer
        elif act == "complete" and self.lease:
            done = buffer.complete(0, self.lease.lease, buffer.highest + (part > 0), part % 2 == 0)
            self.lease = None if isinstance(done, Completed) else self.lease
        elif act == "expire" and self.lease and part == 0:
            buffer.expire(self.lease.lease)
            self.lease = None
        elif act == "resume" and part == 0:
            buffer.resume_all()
        self.settle()


@given(
    steps=st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 60), st.integers(0, 5)), min_size=40, max_size=90),
    keep_closed=st.booleans(),
    eta=st.integers(0, 2),
    reuse=st.integers(1, 2),
    oversample=st.sampled_from([1.0, 2.0]),
    no_signal=st.sampled_from(["train", "evict"]),
    checkpoint_every=st.integers(1, 2),
)
def test_a_store_that_a_buffer_wrote_has_no_violations(steps: list, **chosen: object) -> None:
    rules = config(max_attempts=2, **chosen)
    course = Course(rules)
    for number, step in enumerate(steps):
        course.take(*step)
        if number % 10 and number + 1 < len(steps):
            continue
        rows, store = sort_rows(course.store.rows()), course.store
        opened = range(1, course.buffer.ledger().opened + 1)
        counts = {trajectory: len(store.segments(trajectory)) for trajectory in opened if store.segments(trajectory)}
        found = violations(
            rows, counts, lambda t, store=store: {segment_key(t, one.start): one for one in store.segments(t)}, rules
        )
        assert list(found) == []
        account, ledger = overview(rows), course.buffer.ledger()
        for name in ("opened", "trained", "evicted", "failed", "in_flight"):
            assert getattr(account, name) == getattr(ledger, name)
        assert account.by_state == {
            state: count for state, count in ledger.by_state.items() if state not in CLOSED and count
        }
        for line in lines(rows, counts):
            shown = whole(rows, line.trajectory, store.segments(line.trajectory))
            assert shown.line == line
            assert shown.life[-1].startswith(f"now {line.state}")
