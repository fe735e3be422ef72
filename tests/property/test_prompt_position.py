"""The place in the prompt set after deaths at any moment: no prompt is skipped, none is drawn twice in a pass.

The place is durable together with the groups that were drawn from it, so whatever is lost is lost together: the groups
that are there in the end are, in order, those of a buffer that never died. A group that was answered is never lost.
"""

from __future__ import annotations

import os
import signal
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from buffers.answers import Leased, Opened, Refused
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.memory_store import MemoryStore
from buffers.prompts import PromptConfig, make_prompts
from buffers.rows import GroupRow
from buffers.segment import Ghost
from tests.buffer_builders import config, finish
from tests.forks import in_child, status_of
from tests.store_builders import FAST

PROMPTS, EPOCHS = 5, 3


def chosen(order: str) -> BufferConfig:
    """Pairs of responses; room for all of them at once."""
    prompts = PromptConfig(order=order, epochs=EPOCHS)  # type: ignore[arg-type]
    return config(eta=20, seed=11, prompts=prompts, keep_closed=True)


def begun(settings_: BufferConfig) -> Buffer:
    buffer = Buffer(settings_)
    buffer.load_prompts(make_prompts([Ghost(3, seed) for seed in range(PROMPTS)]))
    buffer.snapshot()
    buffer.hello(0, 0, ())
    return buffer


def drawn_by(rows: object) -> list[int]:
    """Prompts of all groups ever opened, in order."""
    groups = sorted((row.group, row.prompt) for _, row in rows if isinstance(row, GroupRow))  # type: ignore[attr-defined]
    assert [group for group, _ in groups] == list(range(1, len(groups) + 1))
    return [prompt for _, prompt in groups]


def undisturbed(order: str) -> list[int]:
    """What a buffer draws that never dies."""
    buffer = begun(chosen(order))
    answer = buffer.open_groups(buffer.epoch, 1, 1000)
    assert isinstance(answer, Opened)
    return [member.prompt for member in answer.members[::2]]


DEATHS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 3), max_size=5),  # groups of each ask; each is one transaction
        st.integers(0, 5),  # transactions that the disk had written of what was not reported durable
        st.integers(0, 3),  # transactions that were reported durable before the last ones
        st.booleans(),  # the controller dies too: a new epoch, and its ordinals begin anew
        st.booleans(),  # what is open is finished and trained on first
    ),
    max_size=8,
)


@given(order=st.sampled_from(["passes", "uniform"]), deaths=DEATHS)
def test_no_prompt_is_skipped_or_repeated_wherever_a_buffer_dies(order: str, deaths: list) -> None:
    rules = chosen(order)
    store = MemoryStore()
    buffer = begun(rules)
    store.write(buffer.drain())
    store.sync()
    ordinal, answered = 0, dict[int, int]()
    for counts, kept, tail, both, trained in deaths:
        if trained:
            train(buffer, store)
        for place, count in enumerate(counts):
            ordinal += 1
            answer = buffer.open_groups(buffer.epoch, ordinal, count)
            store.write(buffer.drain())
            if place < len(counts) - tail:
                store.sync()
                if isinstance(answer, Opened):
                    answered |= {member.group: member.prompt for member in answer.members}
        store.crash(kept)
        buffer = Buffer.recover(rules, store.rows())
        if both:
            buffer.snapshot()
            ordinal = 0
            store.write(buffer.drain())
        else:
            again(buffer, store, ordinal, counts)
        store.sync()
    while not isinstance(buffer.open_groups(buffer.epoch, ordinal := ordinal + 1, 2), Refused):
        pass
    store.write(buffer.drain())
    found = drawn_by(store.rows())
    assert found == undisturbed(order)
    assert {group: found[group - 1] for group in answered} == answered
    if order == "passes":
        for place in range(0, len(found), PROMPTS):
            assert Counter(found[place : place + PROMPTS]) == Counter(range(PROMPTS))


def train(buffer: Buffer, store: MemoryStore) -> None:
    """Finish what is open, and train on all of it."""
    for member in buffer.snapshot().members:
        if member.state != "ended":
            finish(buffer, member.trajectory, float(member.trajectory % 2))
    update = 1000 * buffer.highest
    while isinstance(lease := buffer.lease(0, update := update + 1, buffer.highest), Leased):
        buffer.complete(0, lease.lease, buffer.highest + 1, True)
    store.write(buffer.drain())
    store.sync()


def again(buffer: Buffer, store: MemoryStore, ordinal: int, counts: list[int]) -> None:
    """A controller that lived on asks again for whatever was not answered."""
    for back, count in reversed(list(enumerate(reversed(counts)))):
        buffer.open_groups(buffer.epoch, ordinal - back, count)
    store.write(buffer.drain())


def open_for_ever(folder: Path, report: int) -> None:
    """Go on from where the store is; each group that is durable goes to the pipe."""
    rules = chosen("passes")
    store = LmdbStore(LmdbConfig(str(folder), 1 << 18), lambda event: None)
    buffer = Buffer.recover(rules, store.rows()) if list(store.rows()) else begun(rules)
    buffer.snapshot()
    for ordinal in range(1, 1000):
        answer = buffer.open_groups(buffer.epoch, ordinal, 1)
        store.write(buffer.drain())
        if isinstance(answer, Refused):
            break
        if ordinal % 2:
            store.flush()
            os.write(report, struct.pack("=QQ", answer.members[0].group, answer.members[0].prompt))
    store.close()


KILLS = st.lists(st.tuples(st.integers(0, 4), st.floats(0.0, 4.0)), min_size=1, max_size=4)
"""(groups that were answered in a life, milliseconds between the last of them and the kill)"""


@settings(max_examples=15)
@given(kills=KILLS)
def test_no_prompt_is_skipped_or_repeated_after_kills_of_a_process_with_its_store(kills: list) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        folder, answered = Path(name) / "store", dict[int, int]()
        for after, delay_ms in (*kills, (None, 0.0)):
            child, pipe = in_child(lambda report: open_for_ever(folder, report))
            with os.fdopen(pipe, "rb", buffering=0) as reports:
                told = b"" if after is None else b"".join(reports.read(16) for _ in range(after))
                if after is not None:
                    time.sleep(delay_ms / 1000)
                    os.kill(child, signal.SIGKILL)
                while more := reports.read(16):
                    told += more
            assert status_of(child) in ((0,) if after is None else (0, -signal.SIGKILL))
            answered |= dict(struct.iter_unpack("=QQ", told))
        store = LmdbStore(LmdbConfig(str(folder), 1 << 18), lambda event: None)
        found = drawn_by(store.rows())
        store.close()
    assert found == undisturbed("passes")
    assert {group: found[group - 1] for group in answered} == answered
