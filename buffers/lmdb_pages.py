"""LMDB's file read page by page, without mapping it: a cut or damaged file is named here, before LMDB touches it.

    page 0, page 1      two headers; the one with the higher transaction number counts, the other is its predecessor
    branch, leaf        trees of keys: the rows, and the free pages by the transaction that freed them
    overflow            values longer than half a page, in consecutive pages

LMDB trusts its file: a page that is not there ends the process (SIGBUS), a wrong page number reads anything at all, and
of its pages it checks nothing. `Pages.check` walks both trees of the newest header and shows that

    each page is in the file, is what its parent says, and is used once;
    keys rise through the whole tree, and lie where the branches above look for them;
    each value fits its checksum (values in overflow pages: with `deep`);
    pages and entries are as many as the header says; used and free pages are all pages;
    both headers name the transaction that their own trees were written by (`COMMIT_KEY`),

so that every changed bit is found that LMDB would act on: the rest are pages that are free, and bytes that no page
uses. Layouts are those of LMDB 0.9 (data version 1), whose numbers are in the machine's own byte order.

A reader with an entry in LMDB's table of readers may check while another process writes: its pages stay. The file is
longer than most because a walk needs all of it: headers, two kinds of pages, overflow pages, what was seen.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, NoReturn

from buffers.errors import CorruptStore
from buffers.rows import describe_key
from buffers.sealed import COMMIT_KEY, FORMAT_KEY, SUM_BYTES, fits, unpack_numbers

FILE = "data.mdb"
MAGIC = 0xBEEFC0DE
DATA_VERSION = 1
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
BIG = 1
"""Flag of a node whose value lies in overflow pages."""
NONE = (1 << 64) - 1
"""Root of an empty tree."""
FREE_FLAGS = (0x0008, 0x4008)
"""Of the tree of free pages: its keys are numbers; made as a file in no folder of its own."""
DEEPEST = 32

_page = struct.Struct("=QHHHH")  # number, padding, flags, lower, upper
_extent = struct.Struct("=QHHI")  # number, padding, flags, pages: an overflow page
_mark = struct.Struct("=II")  # magic, version
_sizes = struct.Struct("=QQ")  # fixed address, bytes of the map
_tree = struct.Struct("=IHHQQQQQ")  # padding (of the first tree: bytes of a page), flags, depth, counts, root
_last = struct.Struct("=QQ")  # last page, transaction
_node = struct.Struct("=HHHH")  # low, high, flags, bytes of the key
_number = struct.Struct("=Q")
HEADER = _page.size


class Tree(NamedTuple):
    """What a header says of a tree."""

    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Header(NamedTuple):
    """One of the two headers."""

    transaction: int
    page_bytes: int
    last_page: int
    free: Tree
    rows: Tree


Node = tuple[bytes, bytes, int, int]
"""An entry of a leaf: key; value, or nothing and the page where its overflow pages begin (else 0); length."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the pages of a file are used for."""

    page_bytes: int
    file_bytes: int
    used_pages: int
    """Headers, trees and values of the newest state."""
    free_pages: int
    """In the file, or counted to it, and to be used again."""
    transaction: int
    """The newest."""


class Pages:
    """An open file. Raises `CorruptStore`, with the file's name, for whatever does not fit."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._file)

    def _read_headers(self) -> None:
        self.file_bytes = os.fstat(self._file).st_size
        first = self._header(0, 4096)
        self._page_bytes = first.page_bytes
        second = self._header(1, first.page_bytes)
        self.header, self._older = (first, second) if first.transaction > second.transaction else (second, first)

    @property
    def consecutive(self) -> bool:
        """Whether the headers are of two states that follow each other; not so if both were written between reading."""
        return self._older.transaction == self.header.transaction - 1

    # -- the check -----------------------------------------------------------------------------------------------

    def check(self, deep: bool = False) -> Account:
        """Walk everything; with `deep`, the values in overflow pages too. Raises `CorruptStore`."""
        header = self.header
        if not self.consecutive or self._older.page_bytes != header.page_bytes:
            self._damaged(f"its headers tell of transactions {self._older.transaction} and {header.transaction}")
        for one in (self._older, header):
            self._check_commit(one)
        self._seen = bytearray(header.last_page + 1)
        self._seen[0:2] = b"\x01\x01"
        self._check_rows(deep)
        used = self._seen.count(1)
        free = self._check_free()
        used += header.free.branch_pages + header.free.leaf_pages + header.free.overflow_pages
        lost = self._seen.find(0)
        if lost >= 0:
            self._damaged(f"page {lost} is neither used nor free")
        return Account(header.page_bytes, self.file_bytes, used, free, header.transaction)

    def _check_rows(self, deep: bool) -> None:
        for node in self._walk(self.header.rows):
            key, value, page, _ = node
            if page and deep:
                value = self._overflow(node)
            if (deep or not page) and key != FORMAT_KEY and not fits(key, value):
                self._damaged(f"{describe_key(key)} is damaged")

    def _check_free(self) -> int:
        """Mark the free pages; how many."""
        free = 0
        for node in self._walk(self.header.free, numbers=True):
            value = self._overflow(node) if node[2] else node[1]
            count = _number.unpack_from(value)[0] if len(value) >= 8 else -1
            if len(value) != 8 * (count + 1) or not 0 < _number.unpack(node[0])[0] <= self.header.transaction:
                self._damaged("its list of free pages does not fit its length")
            for number in struct.unpack_from(f"={count}Q", value, 8):
                self._take(number, 1, "the list of free pages")
            free += count
        return free

    def _check_commit(self, header: Header) -> None:
        """The tree of a header was written by the header's transaction."""
        value = self._marks(header).get(COMMIT_KEY, b"")
        if value and fits(COMMIT_KEY, value) and unpack_numbers(value[SUM_BYTES:]) == (header.transaction,):
            return
        self._damaged(f"the header of transaction {header.transaction} does not fit its rows")

    def format(self) -> bytes | None:
        """What the newest rows say of their format; None if they do not say."""
        return self._marks(self.header).get(FORMAT_KEY)

    # -- trees ---------------------------------------------------------------------------------------------------

    def _marks(self, header: Header) -> dict[bytes, bytes]:
        """Entries of the leaf with the smallest keys, where the marks are."""
        number, depth = header.rows.root, header.rows.depth
        if number == NONE:
            return {}
        while depth > 1:
            nodes = self._branch(self._page(number, header), number)
            number, depth = nodes[0][1], depth - 1
        return {node[0]: node[1] for node in self._leaf(self._page(number, header), number)}

    def _walk(self, tree: Tree, numbers: bool = False) -> Iterator[Node]:
        """All entries in order; every page of the tree is marked as seen."""
        counts = [0, 0, 0]
        entries = 0
        last: bytes | None = None
        for leaf in self._below(tree.root, tree.depth, None, None, counts) if tree.root != NONE else ():
            for node in leaf:
                key = _number.unpack(node[0])[0].to_bytes(8, "big") if numbers and len(node[0]) == 8 else node[0]
                if last is not None and key <= last:
                    self._damaged(f"{describe_key(node[0])} does not stand in order")
                last = key
                yield node
            entries += len(leaf)
        found = (*counts, entries)
        if found != tree[1:5]:
            self._damaged(f"it holds {found} branches, leaves, overflow pages and entries, its header says {tree[1:5]}")

    def _below(
        self, number: int, depth: int, low: bytes | None, high: bytes | None, counts: list[int]
    ) -> Iterator[list[Node]]:
        """Entries below a page, leaf by leaf; their keys lie in [low, high), as the branches above say."""
        self._take(number, 1, "its parent")
        page = self._page(number, self.header)
        if depth > 1:
            counts[0] += 1
            nodes = self._branch(page, number)
            for place, (key, child) in enumerate(nodes):
                end = nodes[place + 1][0] if place + 1 < len(nodes) else high
                yield from self._below(child, depth - 1, key if place else low, end, counts)
            return
        counts[1] += 1
        leaf = self._leaf(page, number)
        for node in leaf:
            if node[2]:
                pages = (HEADER - 1 + node[3]) // self._page_bytes + 1
                self._take(node[2], pages, describe_key(node[0]))
                self._in_file(node[2] + pages - 1)
                counts[2] += pages
        # the order of keys is checked above: the outermost two bound the others. Numbers are ordered as numbers there
        for node in (leaf[0], leaf[-1]) if leaf and len(low or high or b"") != 8 else ():
            if (low is not None and node[0] < low) or (high is not None and node[0] >= high):
                self._damaged(f"{describe_key(node[0])} is not where page {number}'s parent looks for it")
        yield leaf

    def _branch(self, page: bytes, number: int) -> list[tuple[bytes, int]]:
        """(key, page) of each child."""
        nodes = []
        for place in self._places(page, number, BRANCH):
            low, high, flags, size = _node.unpack_from(page, place)
            begin = place + _node.size
            if begin + size > len(page):
                self._damaged(f"page {number} holds a key that does not fit it")
            nodes.append((page[begin : begin + size], low | high << 16 | flags << 32))
        if len(nodes) < 2:
            self._damaged(f"page {number} is a branch to {len(nodes)} pages")
        return nodes

    def _leaf(self, page: bytes, number: int) -> list[Node]:
        """The entries of a leaf."""
        end, nodes = len(page), list[Node]()
        for place in self._places(page, number, LEAF):
            low, high, flags, size = _node.unpack_from(page, place)
            begin, length = place + _node.size + size, low | high << 16
            key = page[begin - size : begin]
            if flags == 0 and begin + length <= end:
                nodes.append((key, page[begin : begin + length], 0, length))
            elif flags == BIG and begin + 8 <= end:
                nodes.append((key, b"", _number.unpack_from(page, begin)[0], length))
            else:
                self._damaged(f"page {number} holds an entry that does not fit it")
        return nodes

    def _places(self, page: bytes, number: int, kind: int) -> tuple[int, ...]:
        """Where the nodes of a page of this kind are."""
        found, _, flags, lower, upper = _page.unpack_from(page)
        if found != number or flags != kind or not HEADER <= lower <= upper <= len(page) or lower % 2:
            name = "branch" if kind == BRANCH else "leaf"
            self._damaged(f"page {number} is not the {name} that its parent says")
        places = struct.unpack_from(f"={(lower - HEADER) // 2}H", page, HEADER)
        if places and not upper <= min(places) <= max(places) <= len(page) - _node.size:
            self._damaged(f"page {number} holds an entry that does not fit it")
        return places

    # -- pages ---------------------------------------------------------------------------------------------------

    def _header(self, number: int, page_bytes: int) -> Header:
        page = os.pread(self._file, HEADER + 136, number * page_bytes)
        if len(page) < HEADER + 136:
            self._torn(number)
        found, _, flags, _, _ = _page.unpack_from(page)
        magic, version = _mark.unpack_from(page, HEADER)
        if magic != MAGIC or found != number or flags != META:
            self._damaged(f"header {number} is none of LMDB's")
        if version != DATA_VERSION:
            self._damaged(f"header {number} is of LMDB data version {version}, not {DATA_VERSION}")
        size, free_flags, *free = _tree.unpack_from(page, 40)
        padding, row_flags, *rows = _tree.unpack_from(page, 88)
        address, map_bytes = _sizes.unpack_from(page, 24)
        last_page, transaction = _last.unpack_from(page, 136)
        free_tree, row_tree = Tree(*free), Tree(*rows)
        sound = (
            size in (1 << power for power in range(12, 17))
            and (padding, address, row_flags) == (0, 0, 0)
            and free_flags in FREE_FLAGS
            and max(free_tree.depth, row_tree.depth) <= DEEPEST
            and last_page * size < map_bytes < 1 << 56
        )
        if not sound:
            self._damaged(f"header {number} holds numbers that cannot be")
        return Header(transaction, size, last_page, free_tree, row_tree)

    def _page(self, number: int, header: Header) -> bytes:
        if not 2 <= number <= header.last_page:
            self._damaged(f"page {number} is not among its {header.last_page + 1} pages")
        page = os.pread(self._file, self._page_bytes, number * self._page_bytes)
        if len(page) < self._page_bytes:
            self._torn(number)
        return page

    def _overflow(self, node: Node) -> bytes:
        """The value of an entry that has overflow pages."""
        key, _, page, length = node
        head = os.pread(self._file, HEADER + length, page * self._page_bytes)
        if len(head) < HEADER + length:
            self._torn(page)
        number, _, flags, pages = _extent.unpack_from(head)
        if (number, flags, pages) != (page, OVERFLOW, (HEADER - 1 + length) // self._page_bytes + 1):
            self._damaged(f"page {page} does not hold {describe_key(key)}")
        return head[HEADER:]

    def _take(self, number: int, pages: int, who: str) -> None:
        """Mark pages as seen."""
        if not 2 <= number <= self.header.last_page + 1 - pages:
            self._damaged(f"{who} names page {number}, the last is {self.header.last_page}")
        if self._seen.count(1, number, number + pages):
            self._damaged(f"{who} names page {number}, which has another use")
        self._seen[number : number + pages] = b"\x01" * pages

    def _in_file(self, number: int) -> None:
        if (number + 1) * self._page_bytes > self.file_bytes:
            self.file_bytes = os.fstat(self._file).st_size
            if (number + 1) * self._page_bytes > self.file_bytes:
                self._torn(number)

    def _torn(self, number: int) -> NoReturn:
        raise CorruptStore(f"{self.path} is torn: it ends before page {number}; restore it from a copy")

    def _damaged(self, what: str) -> NoReturn:
        raise CorruptStore(f"{self.path} is damaged: {what}; restore it from a copy")
