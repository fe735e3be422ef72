"""The place in the prompt set survives: over random kill points no prompt is skipped and none is repeated."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from buffers.answers import Leased, Opened
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.memory_store import MemoryStore
from buffers.prompts import Lesson, PromptConfig
from buffers.rows import PromptRow
from buffers.segment import Ghost, Segment

EPOCHS = 2


@given(
    prompts=st.integers(1, 7),
    moves=st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["go", "go", "sync", "crash"]), st.integers(0, 9))),
    seed=st.integers(0, 99),
    lessons=st.booleans(),
)
def test_passes_draw_every_prompt_once_each_whenever_the_process_dies(prompts, moves, seed, lessons) -> None:
    curriculum = (Lesson(0, 0.0, 9.0),) if lessons else ()
    choice = PromptConfig(order="passes", epochs=EPOCHS, curriculum=curriculum)
    config = BufferConfig(k=2, batch=2, max_response_tokens=4, eta=3, prompts=choice, seed=seed)
    rows = [PromptRow(number, Ghost(2, number), "", float(number % 3)) for number in range(prompts)]
    store, buffer = MemoryStore(), Buffer(config)
    buffer.load_prompts(rows)
    store.write(buffer.drain())
    store.sync()
    drawn: list[tuple[int, int]] = []
    """(group, prompt) in order; a crash takes back what was not durable."""
    kept = [0]
    """How many of them each unsynced transaction holds; the first is what is synced."""
    incarnation = 0

    def commit() -> None:
        if transaction := buffer.drain():
            store.write(transaction)
            kept.append(len(drawn))

    def begin() -> tuple[int, int]:
        epoch = buffer.snapshot().epoch
        commit()
        buffer.hello(incarnation, buffer.highest, True, ())
        commit()
        return epoch, 0

    def step(count: int) -> None:
        nonlocal ordinal
        ordinal += 1
        answer = buffer.open_groups(epoch, ordinal, count)
        opened = {member.group: member.prompt for member in answer.members} if isinstance(answer, Opened) else {}
        drawn.extend(opened.items())
        commit()
        for number in [*buffer._held.trajectories]:
            view = buffer.view(number)
            if view is not None and view.state == "running":
                versions = ((buffer.highest, 1),)
                ended = buffer.append(
                    number, view.attempt, Segment(view.length, Ghost(1, 1), versions, ((1, 1),), "stop")
                )
                buffer.score(number, ended.next_attempt, {"outcome": float(view.index)})
        commit()
        lease = buffer.lease(incarnation, buffer._held.meta.completed[1] + 1, buffer.highest)
        if isinstance(lease, Leased):
            buffer.complete(incarnation, lease.lease, buffer.highest + 1, True)
        commit()

    epoch, ordinal = begin()
    for count, move, keep in moves:
        step(count)
        if move == "sync":
            store.sync()
            kept = [len(drawn)]
        elif move == "crash":
            keep = min(keep, store.unsynced)
            store.crash(keep)
            drawn, kept = drawn[: kept[keep]], [kept[keep]]
            buffer = Buffer.recover(config, store.rows())
            buffer.load_prompts(rows)
            buffer.resume_all()
            incarnation += 1
            epoch, ordinal = begin()
        passes = Counter(prompt for _, prompt in drawn)
        assert set(passes.values()) <= {len(drawn) // prompts, -(-len(drawn) // prompts)}, "within a pass none repeats"
        assert all(passes[row.prompt] >= len(drawn) // prompts for row in rows), "none is skipped"
        assert len({group for group, _ in drawn}) == len(drawn)
    for _ in range(EPOCHS * prompts * 3):
        step(3)
    assert Counter(prompt for _, prompt in drawn) == Counter({row.prompt: EPOCHS for row in rows})
    buffer.check()
