"""A store's files cut at any byte, with any bit changed, with pages of elsewhere: all is there, or the file is named.

Whatever is done to the bytes, opening ends in one of two ways: `CorruptStore` (or `UsageError`, for a damaged mark of
the format) with the file's name, or a store whose every row and segment is as it was written, that goes on to take
transactions, and is sound afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from buffers.errors import CorruptStore, UsageError
from buffers.lmdb_files import examine
from buffers.lmdb_pages import Pages
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.rows import GroupRow, Row, SuccessRow, group_key, segment_key, segments_key, success_key
from buffers.segment import Segment
from buffers.store import Emit
from tests.buffer_builders import ghost, real
from tests.store_builders import FAST

PAGE = 4096
TRAJECTORIES = range(60)
SHARED = {HealthCheck.function_scoped_fixture}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder where nothing waits for a disk."""
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        yield Path(name)


class State:
    """What a store holds; two are equal or not, without a word about where."""

    def __init__(self, store: LmdbStore) -> None:
        self._rows: list[tuple[bytes, Row]] = list(store.rows())
        self._segments: list[tuple[Segment, ...]] = [store.segments(trajectory) for trajectory in TRAJECTORIES]

    def is_in(self, store: LmdbStore) -> bool:
        """Whether a store holds it, and perhaps more."""
        there = State(store)
        return there._segments == self._segments and self.has_rows_in(store)

    def has_rows_in(self, store: LmdbStore) -> bool:
        """The same of its rows alone."""
        return set(dict(self._rows)) <= set(dict(store.rows())) and all(
            store.read(key) == row for key, row in self._rows
        )


class Original:
    """The bytes of a sound store, and what it holds."""

    def __init__(self, folder: Path) -> None:
        self.state = filled(folder)
        self.data = (folder / "data.mdb").read_bytes()


def opened(folder: Path, emit: Emit = lambda event: None) -> LmdbStore:
    return LmdbStore(LmdbConfig(str(folder), 1 << 18), emit)


def filled(folder: Path) -> State:
    """A store of three levels of pages, small and large values, many commits and free pages."""
    store = opened(folder)
    for n in TRAJECTORIES:
        store.write(
            (
                (segment_key(n, 0), real(0, 20)),
                (segment_key(n, 20), real(20, 700 + n)),
                (segment_key(n, 720 + n), ghost(720 + n, 3, 1, "stop")),
                (group_key(n), GroupRow(n, 0, 3, n, 2, 0)),
            )
        )
        store.write(tuple((success_key(5 * n + i), SuccessRow(5 * n + i, 1.0)) for i in range(5)))
        store.flush()
        if n > 40:
            store.write(((segments_key(n - 40), None), (group_key(n - 40), None)))
            store.flush()
    found = State(store)
    store.close()
    return found


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    folder = tmp_path_factory.mktemp("original")
    found = Original(folder)
    with Pages(folder) as pages:
        assert pages.header.rows.depth > 1
        assert pages.check(deep=True).free_pages > 10
    return found


def survives(folder: Path, data: bytes, state: State) -> bool:
    """Whether these bytes are taken; if so, everything must be there and go on being there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "data.mdb"
    file.write_bytes(data)
    try:
        store = opened(folder)
    except (CorruptStore, UsageError) as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert str(file) in said
        assert file.read_bytes() == data, "a refused file stays as it is"
        return False
    try:
        assert state.has_rows_in(store)
        try:
            there = state.is_in(store)
        except CorruptStore as error:  # a long value's checksum is looked at when it is read
            said = str(error)
        if said:
            assert str(file) in said
            return False
        assert there
        for n in range(1000, 1010):
            store.write(((segment_key(n, 0), real(0, 900)), (success_key(n), SuccessRow(n))))
            store.flush()
    finally:
        store.close()
    examine(folder)
    again = opened(folder)
    assert again.segments(1009) == (real(0, 900),)
    assert state.is_in(again)
    again.close()
    return True


@settings(suppress_health_check=SHARED)
@given(data=st.data())
def test_a_file_cut_at_any_byte_is_whole_or_named(data: st.DataObject, original: Original, tmp_path: Path) -> None:
    whole, state = original.data, original.state
    cut = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 3 * PAGE), label="cut")
    taken = survives(tmp_path / "store", whole[:cut], state)
    event("taken: what was cut off was free" if taken else "named")
    if cut < 4 * PAGE:
        assert not taken


@settings(suppress_health_check=SHARED)
@given(data=st.data())
def test_a_file_with_a_changed_bit_is_whole_or_named(data: st.DataObject, original: Original, tmp_path: Path) -> None:
    whole, state = original.data, original.state
    headers = st.builds(lambda page, place: page * PAGE + place, st.integers(0, 1), st.integers(0, 151))
    place = data.draw(st.integers(0, len(whole) - 1) | headers, label="byte")
    changed = bytearray(whole)
    changed[place] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    event("taken: no byte that counts" if survives(tmp_path / "store", bytes(changed), state) else "named")


@settings(suppress_health_check=SHARED)
@given(data=st.data())
def test_a_file_with_pages_from_elsewhere_is_whole_or_named(
    data: st.DataObject, original: Original, tmp_path: Path
) -> None:
    whole, state = original.data, original.state
    pages = len(whole) // PAGE
    to, count = data.draw(st.integers(0, pages - 1), label="to"), data.draw(st.integers(1, 3), label="pages")
    source = data.draw(st.none() | st.integers(0, pages - count), label="from (None: zeros)")
    put = bytes(count * PAGE) if source is None else whole[source * PAGE : (source + count) * PAGE]
    changed = (whole[: to * PAGE] + put + whole[(to + count) * PAGE :])[: len(whole)]
    event("taken: free pages" if survives(tmp_path / "store", changed, state) else "named")


@pytest.mark.parametrize("name", ["lock.mdb", "owner.lock", "readers.lock", "new.mdb"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"nonsense" * 1000])
def test_the_other_files_may_hold_anything(original: Original, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(original.data)
    (tmp_path / name).write_bytes(content)
    store = opened(tmp_path)
    assert original.state.is_in(store)
    store.close()
    examine(tmp_path)
    assert not (tmp_path / "new.mdb").exists()


def test_a_missing_file_beside_its_table_of_readers_is_named_and_not_begun_anew(
    original: Original, tmp_path: Path
) -> None:
    (tmp_path / "data.mdb").write_bytes(original.data)
    opened(tmp_path).close()
    (tmp_path / "data.mdb").unlink()
    with pytest.raises(CorruptStore, match=r"data\.mdb is missing"):
        opened(tmp_path)
