import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from buffers.errors import ContractError, CorruptStore, UsageError
from buffers.lmdb_files import stamp
from buffers.lmdb_store import LmdbConfig, LmdbStore, open_store
from buffers.recent import Batch
from buffers.rows import (
    GroupRow,
    PromptRow,
    SuccessRow,
    group_key,
    prompt_key,
    segment_key,
    segments_key,
    success_key,
)
from buffers.segment import Ghost
from buffers.store import Durable, StoreFailed
from tests.buffer_builders import ghost, real

ROOT = Path(__file__).resolve().parents[3]


def open_at(path: Path, first_bytes: int = 1 << 20, events: list | None = None) -> LmdbStore:
    return LmdbStore(LmdbConfig(str(path), first_bytes), (events if events is not None else []).append)


def test_rows_and_segments_survive_closing(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    prompt = PromptRow(0, real(0, 3).payload, "42", 0.5, None)
    group = GroupRow(1, 0, 3, 1, 2, 0)
    store.write(((prompt_key(0), prompt), (group_key(1), group)))
    store.write(
        ((segment_key(1, 300), real(300, 4)), (segment_key(1, 0), real(0, 300)), (segment_key(2, 0), ghost(0, 9)))
    )
    store.close()
    again = open_at(tmp_path)
    assert again.read(prompt_key(0)) == prompt
    assert list(again.rows()) == [(group_key(1), group), (prompt_key(0), prompt)]
    assert again.segments(1) == (real(0, 300), real(300, 4))
    assert again.segments(2) == (ghost(0, 9),)
    assert again.segments(3) == ()
    again.close()


def test_reads_see_what_is_not_on_disk_yet(tmp_path: Path) -> None:
    gate = threading.Event()
    store = LmdbStore(LmdbConfig(str(tmp_path), 1 << 20), lambda event: gate.wait(10) and None)
    store.write(((segment_key(1, 0), ghost(0, 5)), (success_key(0), SuccessRow(0, 1.0))))
    store.flush()
    # the writer thread now waits in emit, so nothing below reaches the disk before the gate opens
    store.write(
        ((segment_key(1, 5), ghost(5, 2)), (success_key(0), SuccessRow(0, 2.0)), (success_key(1), SuccessRow(1)))
    )
    assert store.segments(1) == (ghost(0, 5), ghost(5, 2))
    assert store.read(success_key(0)) == SuccessRow(0, 2.0)
    assert store.read(segment_key(1, 5)) == ghost(5, 2)
    store.write(((segments_key(1), None), (success_key(0), None)))
    assert store.segments(1) == ()
    assert store.read(segment_key(1, 0)) is None
    assert store.read(success_key(0)) is None
    store.write(((segment_key(1, 0), ghost(0, 1)),))
    assert store.segments(1) == (ghost(0, 1),)
    gate.set()
    store.flush()
    assert store.segments(1) == (ghost(0, 1),)
    assert [key for key, _ in store.rows()] == [success_key(1)]
    store.close()


def test_what_was_read_stays_when_its_pages_are_used_again(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    store.write(((segment_key(1, 0), real(0, 900)), (group_key(1), GroupRow(1, 0, 3, 1, 2, 0))))
    store.flush()
    (segment,), group = store.segments(1), store.read(group_key(1))
    store.write(((segments_key(1), None), (group_key(1), None)))
    for n in range(2, 9):
        store.flush()
        store.write(((segment_key(n, 0), real(n, 900)), (group_key(n), GroupRow(n, n, n, n, n, n))))
    store.close()
    assert (segment, group) == (real(0, 900), GroupRow(1, 0, 3, 1, 2, 0))


def test_transactions_are_reported_durable_in_order_and_each_once(tmp_path: Path) -> None:
    events: list[Durable | StoreFailed] = []
    store = open_at(tmp_path, events=events)
    numbers = [store.write(((success_key(n), SuccessRow(n)),)) for n in range(200)]
    store.write(())
    store.close()
    assert numbers == list(range(1, 201))
    reported = [event.up_to for event in events if isinstance(event, Durable)]
    assert len(reported) == len(events)
    assert reported == sorted(set(reported))
    assert reported[-1] == 201


def test_what_is_written_during_a_commit_is_not_reported_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Durable | StoreFailed] = []
    store = open_at(tmp_path, events=events)
    commit = store._commit

    def commit_and_write(batch: Batch) -> None:
        commit(batch)
        if not events:
            store.write(((success_key(1), SuccessRow(1)),))

    monkeypatch.setattr(store, "_commit", commit_and_write)
    store.write(((success_key(0), SuccessRow(0)),))
    store.flush()
    store.close()
    assert events == [Durable(1), Durable(2)]


def test_the_map_grows_when_it_is_full(tmp_path: Path) -> None:
    store = open_at(tmp_path, first_bytes=1 << 16)
    segments = [real(start, 2000) for start in range(0, 100_000, 2000)]
    for segment in segments:
        store.write(((segment_key(1, segment.start), segment),))
    store.flush()
    assert store.segments(1) == tuple(segments)
    store.close()
    again = open_at(tmp_path, first_bytes=1 << 16)
    assert again.segments(1) == tuple(segments)
    again.close()


def test_a_damaged_value_is_named_and_not_decoded(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    store.write(((segment_key(7, 12), real(12, 900)), (group_key(3), GroupRow(3, 0, 3, 7, 2, 0))))
    store.close()
    file = tmp_path / "data.mdb"
    data = file.read_bytes()
    place = data.index(real(12, 900).payload.ids) + 3000
    file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    again = open_at(tmp_path)
    with pytest.raises(CorruptStore, match="Segment of trajectory 7 at 12 is damaged"):
        again.segments(7)
    assert [key for key, _ in again.rows()] == [group_key(3)]
    again.close()


def test_a_value_under_another_key_is_named(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    store.write(((group_key(3), GroupRow(3, 0, 3, 7, 2, 0)),))
    store.close()
    with lmdb.open(str(tmp_path)) as env:
        for _ in range(2):
            with env.begin(write=True) as txn:
                txn.put(group_key(4), txn.get(group_key(3)))
                stamp(txn)
    with pytest.raises(CorruptStore, match=r"data\.mdb is damaged: GroupRow 4 is damaged; restore it"):
        open_at(tmp_path)


def test_a_commit_that_is_no_store_s_own_is_named(tmp_path: Path) -> None:
    open_at(tmp_path).close()
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"hello", b"world")
    with pytest.raises(CorruptStore, match="the header of transaction 3 does not fit its rows"):
        open_at(tmp_path)


def test_a_second_owner_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    first = open_at(tmp_path)
    with pytest.raises(UsageError, match="in use by another run"):
        open_at(tmp_path)
    first.write(((success_key(0), SuccessRow(0)),))
    first.close()
    open_at(tmp_path).close()


def test_another_format_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    for name in ("braid 3", "braid 5"):
        open_at(tmp_path / name).close()
        with lmdb.open(str(tmp_path / name)) as env, env.begin(write=True) as txn:
            txn.put(b"\x00format", name.encode())
        with pytest.raises(UsageError, match=f"format '{name}'; this Braid reads 'braid 4'"):
            open_at(tmp_path / name)
    with lmdb.open(str(tmp_path / "foreign")) as env, env.begin(write=True) as txn:
        txn.put(b"hello", b"world")
    with pytest.raises(UsageError, match="no Braid store"):
        open_at(tmp_path / "foreign")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"nonsense" * 2000)
    with pytest.raises(CorruptStore, match=r"broken/data\.mdb is damaged"):
        open_at(tmp_path / "broken")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        open_at(tmp_path / "file")


def test_a_closed_store_takes_nothing_and_closes_twice(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    store.close()
    store.close()
    with pytest.raises(ContractError, match="closed"):
        store.write(())


def test_a_disk_error_is_reported_once_and_nothing_is_called_durable_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Durable | StoreFailed] = []
    store = open_at(tmp_path, events=events)
    store.write(((success_key(0), SuccessRow(0)),))
    store.flush()
    monkeypatch.setattr(store, "_commit", lambda batch: (_ for _ in ()).throw(lmdb.DiskError("no space left")))
    store.write(((success_key(1), SuccessRow(1)),))
    store.flush()
    store.close()
    assert events[0] == Durable(1)
    assert len(events) == 2
    assert isinstance(events[1], StoreFailed)
    assert "no space left" in events[1].reason


def test_settings_name_the_folder(tmp_path: Path) -> None:
    store = open_store({"store": {"path": str(tmp_path / "run")}, "other": 1}, lambda event: None, None)
    store.close()
    assert (tmp_path / "run" / "data.mdb").exists()
    with pytest.raises(UsageError, match="path"):
        open_store({"store": {}}, lambda event: None, None)


WRITER = """
import os, sys
from buffers.lmdb_files import stamp
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.rows import SuccessRow, segment_key, success_key
from tests.buffer_builders import real
store = LmdbStore(LmdbConfig(sys.argv[1], 1 << 16), lambda event: os.write(1, b"%d\\n" % event.up_to))
for n in range(1_000_000):
    store.write(((segment_key(n, 0), real(0, 200)), (success_key(n), SuccessRow(n))))
    if n % 50 == 0:
        store.flush()
"""


def test_a_killed_writer_leaves_everything_it_reported_durable_and_a_prefix_of_the_rest(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for kill_after in (1, 3, 10):
        path = tmp_path / str(kill_after)
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as writer:
            assert writer.stdout is not None
            reported = [int(writer.stdout.readline()) for _ in range(kill_after)]
            writer.send_signal(signal.SIGKILL)
            reported += [int(line) for line in writer.stdout.read().split(b"\n")[:-1]]
        store = open_at(path)
        present = [int.from_bytes(key[1:], "big") for key, _ in store.rows()]
        assert len(present) >= reported[-1]
        assert present == list(range(len(present)))
        assert all(store.segments(n) == (real(0, 200),) for n in present)
        assert store.segments(len(present)) == ()
        store.close()


def test_prompts_of_ghosts_are_read_back_as_ghosts(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    store.write(((prompt_key(9), PromptRow(9, Ghost(4, 1))),))
    store.close()
    again = open_at(tmp_path)
    assert again.read(prompt_key(9)) == PromptRow(9, Ghost(4, 1))
    again.close()
