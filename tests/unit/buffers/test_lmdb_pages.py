"""Each thing that the check of LMDB's pages looks at, by one surgical change of a sound file that only it can find."""

import struct
from pathlib import Path

import pytest

from buffers.errors import CorruptStore
from buffers.lmdb_pages import Pages
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.rows import SuccessRow, segment_key, success_key
from tests.buffer_builders import real

PAGE = 4096
LAST, TRANSACTION, FREE_ROOT, ROOT = 136, 144, 80, 128
"""Where a header holds its numbers."""


class File:
    """A sound file, and where things are in it."""

    def __init__(self, folder: Path) -> None:
        store = LmdbStore(LmdbConfig(str(folder), 1 << 20), lambda event: None)
        for n in range(300):
            store.write(((success_key(n), SuccessRow(n, 1.5)),))
        for n in range(4):
            store.write(((segment_key(n, 0), real(0, 900)),))
        store.flush()
        for n in range(4):
            store.write(((segment_key(n, 0), real(0, 901)),))
            store.flush()
        while self.newest_of(folder) % 4 < 2:
            store.write(((success_key(0), SuccessRow(0)),))
            store.flush()
        store.close()
        self.path = folder / "data.mdb"
        self.data = bytearray(self.path.read_bytes())
        with Pages(folder) as pages:
            pages.check(deep=True)
            self.header = pages.header
        self.newest = PAGE * (self.header.transaction % 2)
        self.root = PAGE * self.header.rows.root

    @staticmethod
    def newest_of(folder: Path) -> int:
        with Pages(folder) as pages:
            return pages.header.transaction

    def number(self, place: int, form: str = "Q") -> int:
        return struct.unpack_from(f"={form}", self.data, place)[0]

    def put(self, place: int, number: int, form: str = "Q") -> None:
        struct.pack_into(f"={form}", self.data, place, number)

    def nodes(self, page: int) -> list[int]:
        """Places in the file of the nodes of a page."""
        return [page + self.number(page + 16 + 2 * n, "H") for n in range((self.number(page + 12, "H") - 16) // 2)]

    def child(self, n: int) -> int:
        """Where the leaf under the root's n-th entry begins."""
        return PAGE * self.number(self.nodes(self.root)[n], "I")

    def big(self) -> int:
        """Where the first overflow page begins."""
        return PAGE * next(
            n for n in range(2, len(self.data) // PAGE)
            if self.number(n * PAGE) == n and self.number(n * PAGE + 10, "H") == 4
            and real(0, 901).payload.ids in self.data[n * PAGE : (n + 2) * PAGE]
        )  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return File(tmp_path)


def older_header_counts(file):
    """The newest header becomes older than its predecessor, by the change of one bit."""
    file.put(file.newest + TRANSACTION, file.header.transaction ^ 2)


def header_of_another_time(file):
    file.put(file.newest + TRANSACTION, file.header.transaction + 64)


def root_of_another_tree(file):
    file.put(file.newest + ROOT, file.child(1) // PAGE)


def page_beyond_the_last(file):
    file.put(file.newest + ROOT, file.header.last_page + 9)


def last_page_too_low(file):
    file.put(file.newest + LAST, file.header.rows.root - 1)


def lost_entry(file):
    leaf = file.child(1)
    file.put(leaf + 12, file.number(leaf + 12, "H") - 2, "H")


def entries_exchanged(file):
    first, second = file.child(1) + 16, file.child(1) + 18
    one, other = file.number(first, "H"), file.number(second, "H")
    file.put(first, other, "H")
    file.put(second, one, "H")


def children_exchanged(file):
    first, second = file.nodes(file.root)[1:3]
    one, other = file.number(first, "I"), file.number(second, "I")
    file.put(first, other, "I")
    file.put(second, one, "I")


def branch_key_changed(file):
    place = file.nodes(file.root)[2] + 8
    file.data[place + 4] ^= 1


def child_used_twice(file):
    first, second = file.nodes(file.root)[1:3]
    file.put(second, file.number(first, "I"), "I")


def leaf_in_place_of_another(file):
    one, other = file.child(1), file.child(2)
    file.data[one : one + PAGE] = file.data[other : other + PAGE]


def small_value_changed(file):
    file.data[file.nodes(file.child(1))[0] + 8 + 5 + 6] ^= 1


def key_changed(file):
    file.data[file.nodes(file.child(1))[-1] + 8 + 4] ^= 0x20


def free_list_names_a_used_page(file):
    leaf = PAGE * file.number(file.newest + FREE_ROOT)
    value = file.nodes(leaf)[0] + 8 + 8
    file.put(value + 8, file.header.rows.root)


def free_page_forgotten(file):
    leaf = PAGE * file.number(file.newest + FREE_ROOT)
    node = file.nodes(leaf)[0]
    count = file.number(node + 16)
    file.put(node + 16, count - 1)
    file.put(node, 8 * count, "H")


def cut_behind_the_headers(file):
    del file.data[3 * PAGE :]


def first_overflow_page_moved(file):
    file.put(file.big(), 7)


def long_value_changed(file):
    file.data[file.big() + 3000] ^= 1


CHANGES = [
    (older_header_counts, "does not fit its rows"),
    (header_of_another_time, "tell of transactions"),
    (root_of_another_tree, "is not the branch that its parent says"),
    (page_beyond_the_last, "is not among its"),
    (last_page_too_low, "the last is|is not among its"),
    (lost_entry, "its header says"),
    (entries_exchanged, "does not stand in order"),
    (children_exchanged, "looks for it"),
    (branch_key_changed, "looks for it"),
    (child_used_twice, "which has another use"),
    (leaf_in_place_of_another, "is not the leaf that its parent says"),
    (small_value_changed, r"SuccessRow \d+ is damaged"),
    (key_changed, r"SuccessRow \d+ (is damaged|does not stand in order)|looks for it"),
    (free_list_names_a_used_page, "the list of free pages names page .*, which has another use"),
    (free_page_forgotten, "is neither used nor free"),
    (cut_behind_the_headers, "is torn: it ends before page"),
    (first_overflow_page_moved, "does not hold Segment of trajectory"),
    (long_value_changed, "Segment of trajectory . at 0 is damaged"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_change_is_found_and_the_file_is_named(file, change, said):
    change(file)
    file.path.write_bytes(file.data)
    with pytest.raises(CorruptStore, match=said) as caught, Pages(file.path.parent) as pages:
        pages.check(deep=True)
    assert str(caught.value).startswith(str(file.path))
    assert str(caught.value).endswith("; restore it from a copy")


def test_long_values_are_left_for_their_reading_unless_asked_for(file):
    long_value_changed(file)
    file.path.write_bytes(file.data)
    with Pages(file.path.parent) as pages:
        account = pages.check()
    assert account.used_pages + account.free_pages == len(file.data) // PAGE
    assert account.free_pages > 0
