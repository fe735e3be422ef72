"""A reader in another process: its state stays while the owner writes, and its death costs the owner little."""

import os
import signal

import pytest

from buffers import lmdb_reader
from buffers.errors import UsageError
from buffers.lmdb_pages import Pages
from buffers.lmdb_reader import StoreReader
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.rows import SuccessRow, segment_key, segments_key, success_key
from tests.buffer_builders import real
from tests.forks import in_child, status_of


def opened(folder, **config):
    return LmdbStore(LmdbConfig(str(folder), 1 << 16, **config), lambda event: None)


def rewrite(store, times):
    """Replace all rows again and again, so that pages are freed and used again."""
    for n in range(times):
        store.write(tuple((segment_key(t, 0), real(0, 300 + 300 * (n % 3))) for t in range(4)))
        store.write(((success_key(0), SuccessRow(0, draws=n)),))
        store.flush()


class Other:
    """A process that does as it is told: `read` opens a reader, `look` says whether it sees what it saw at first.

    It is made before this process opens the store, since LMDB opens a file once in a process and its forks.
    """

    def __init__(self, folder):
        self._folder = folder
        orders, self._orders = os.pipe()
        self.child, self._reports = in_child(lambda report: self._obey(orders, report))
        os.close(orders)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._orders)
        status = status_of(self.child)
        os.close(self._reports)
        assert status in (0, -signal.SIGKILL)

    def ask(self, order):
        os.write(self._orders, order)
        return os.read(self._reports, 5)

    def _obey(self, orders, report):
        os.close(self._orders)
        there = first = None
        while order := os.read(orders, 1):
            if order == b"r":
                there = StoreReader(self._folder)
                first = self._seen(there)
                os.write(report, b"live" if there.live else b"still")
            elif order == b"l":
                there.check_pages()
                os.write(report, b"same" if self._seen(there) == first else b"other")
            elif order == b"w":
                store = opened(self._folder)
                rewrite(store, 5)
                store.close()
                os.write(report, b"done")

    @staticmethod
    def _seen(there):
        return list(there.rows()), [there.segments(t) for t in range(4)]


def test_a_reader_s_state_stays_while_its_owner_writes(tmp_path):
    with Other(tmp_path) as other:
        store = opened(tmp_path)
        rewrite(store, 5)
        assert other.ask(b"r") == b"live"
        for _ in range(3):
            rewrite(store, 10)
            assert other.ask(b"l") == b"same"
        store.close()


def test_pages_of_a_reader_that_died_are_used_again(tmp_path):
    with Other(tmp_path) as other:
        store = opened(tmp_path)
        rewrite(store, 40)
        usual = (tmp_path / "data.mdb").stat().st_size
        assert other.ask(b"r") == b"live"
        os.kill(other.child, signal.SIGKILL)
        os.waitid(os.P_PID, other.child, os.WEXITED | os.WNOWAIT)
        for _ in range(30):
            rewrite(store, 40)
        grown = (tmp_path / "data.mdb").stat().st_size
        store.close()
    assert grown < 4 * usual, f"{usual} bytes have become {grown}; they are struck off where the map grows"


def test_a_file_is_not_compacted_under_a_reader(tmp_path):
    with Other(tmp_path) as other:
        store = opened(tmp_path)
        store.write(tuple((segment_key(100 + n, 0), real(0, 1500)) for n in range(30)))
        store.flush()
        store.write(tuple((segments_key(100 + n), None) for n in range(30)))
        rewrite(store, 5)
        store.close()
        size = (tmp_path / "data.mdb").stat().st_size
        assert other.ask(b"r") == b"still"
        opened(tmp_path, compact_above=0.1, compact_bytes=0).close()
        assert (tmp_path / "data.mdb").stat().st_size == size
        assert other.ask(b"l") == b"same"
    opened(tmp_path, compact_above=0.1, compact_bytes=0).close()
    after = (tmp_path / "data.mdb").stat().st_size
    assert after < size / 2
    with StoreReader(tmp_path) as there:
        times, before, copied = there.compactions
    assert (times, before) == (1, size)
    assert after / 2 < copied <= after, "its marks come on top"


def test_a_run_that_begins_to_write_under_a_reader_without_an_entry_is_noticed(tmp_path):
    with Other(tmp_path) as other:
        assert other.ask(b"w") == b"done"
        with StoreReader(tmp_path) as there:
            there.confirm()
            assert other.ask(b"w") == b"done"
            with pytest.raises(UsageError, match=r"data\.mdb: a run began to write while it was read; run this again"):
                there.confirm()


def test_headers_that_were_both_written_between_their_reading_are_read_again(tmp_path, monkeypatch):
    store = opened(tmp_path)
    rewrite(store, 5)
    store.close()
    answers = [False, False, True, True]
    monkeypatch.setattr(lmdb_reader, "_is_owned", lambda folder: True)
    monkeypatch.setattr(Pages, "consecutive", property(lambda self: answers.pop(0)))
    with StoreReader(tmp_path) as there:
        assert there.live
        assert len(list(there.rows())) == 1
    assert answers == []


def test_an_owner_is_not_refused_for_a_reader_that_asks_who_the_owner_is(tmp_path):
    opened(tmp_path).close()
    for _ in range(20):
        with StoreReader(tmp_path) as there:
            assert not there.live
    store = opened(tmp_path)
    store.close()
    with Pages(tmp_path) as pages:
        pages.check(deep=True)
