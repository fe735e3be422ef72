"""Weights on their way from a trainer to generators: publishers, readers, and the addresses between them.

    trainer --publish(version, tensors)--> shm:NAME --read_weights(version, source)--> engine
                                           file:DIR
                                           tcp://HOST:PORT/NAME

`shm:NAME` is a ring of the newest two versions in memory that the machine's processes share. Each slot has a sequence
lock: the writer makes the number odd, writes, and makes it even again; a reader copies and looks whether the number
has changed meanwhile. A reader whose version was overwritten takes the newest instead, so it never waits and no number
names two sets of weights. A sum over the copy guards against machines that reorder memory; it is taken piece by piece
while the piece is in the processor's cache, which costs a fraction of the copy.

`file:DIR` is a model folder on a disk, complete, with the version that its reader says it has.

`tcp://HOST:PORT/NAME` is the ring `NAME` of another machine, or of this one, where it is read as such. Between machines
the bytes are fetched by what the world gives (`fetch`), and arrive whole, with the right digest, or not at all.

A ring outlives its writer; a restarted writer starts it anew, empty.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from buffers.errors import BraidError, UsageError
from policies.shared_files import ring_path

Tensor = torch.Tensor
Bytes = npt.NDArray[np.uint8]

MAGIC = 0x32444941_5242
SLOTS = 2
HEAD_WORDS = 4
"""Of the ring: magic, bytes of the table of tensors, bytes of a slot's data, newest slot (-1: none)."""
SLOT_WORDS = 3
"""Of a slot: sequence number, version, sum."""
ALIGN = 64
PIECE_BYTES = 1 << 18
"""Copied and summed at once; a multiple of `ALIGN`."""
SUM_BITS = (1 << 63) - 1


class WeightsUnavailable(BraidError):
    """No weights can be read from an address now; trying again later may help."""


class WeightsPublisher(Protocol):
    """How a trainer lets generators have its weights."""

    def publish(self, version: int, tensors: Mapping[str, Tensor]) -> str:
        """Let `tensors` be pulled under `version`; the address to pull them from."""

    def close(self) -> None:
        """Take the address away."""


class RingCopy(NamedTuple):
    """A version's bytes, as they lay in a ring."""

    version: int
    table: bytes
    """Names, types, shapes and offsets of the tensors, as JSON."""
    data: Bytes


Fetch = Callable[[str, int], RingCopy]
"""Fetches (address `tcp://HOST:PORT`, version) from another machine."""


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a tensor lies in a slot's data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def _places(tensors: Mapping[str, Tensor]) -> tuple[list[_Place], int]:
    places, offset = list[_Place](), 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        places.append(_Place(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), offset, size))
        offset += _aligned(size)
    return places, offset


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def copy_and_sum(source: Bytes, target: Bytes) -> int:
    """Copy all of `source` to the start of `target`; the sum of the target's words (its size is a multiple of 8).

    Bytes of the target beyond the source keep what they hold and count.
    """
    total, words = 0, target.view(np.int64)
    for start in range(0, len(target), PIECE_BYTES):
        part = source[start : start + PIECE_BYTES]
        target[start : start + len(part)] = part
        total += int(np.add.reduce(words[start // 8 : (start + PIECE_BYTES) // 8]))
    return total


def _bytes_of(tensor: Tensor) -> Bytes:
    """The tensor's raw bytes, on the CPU."""
    raw: Bytes = tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
    return raw


class _Ring:
    """Views into the shared file. Layout: head words, table, then per slot its words and data, all 64-aligned."""

    def __init__(self, memory: Bytes) -> None:
        self.memory = memory
        self.head = memory[: 8 * HEAD_WORDS].view(np.int64)
        table_bytes, self.data_bytes = int(self.head[1]), int(self.head[2])
        self.table = memory[ALIGN : ALIGN + table_bytes]
        self.first = ALIGN + -(-table_bytes // ALIGN) * ALIGN

    def words(self, slot: int) -> npt.NDArray[np.int64]:
        """Sequence number, version, checksum."""
        start = self.first + slot * (ALIGN + self.data_bytes)
        return self.memory[start : start + 8 * SLOT_WORDS].view(np.int64)

    def data(self, slot: int) -> Bytes:
        """The tensors' bytes."""
        start = self.first + slot * (ALIGN + self.data_bytes) + ALIGN
        return self.memory[start : start + self.data_bytes]


class RingPublisher:
    """The writer's side of `shm:NAME`; one writer per name. The first publish fixes names, shapes and types."""

    def __init__(self, name: str) -> None:
        self.name, self._path = name, ring_path(name)
        self._ring: _Ring | None = None
        self._places: list[_Place] = []
        self._path.unlink(missing_ok=True)

    def publish(self, version: int, tensors: Mapping[str, Tensor]) -> str:
        """Write into the older slot; the address."""
        places, data_bytes = _places(tensors)
        if self._ring is None:
            self._ring, self._places = self._create(places, data_bytes), places
        if places != self._places:
            raise UsageError(f"ring {self.name!r} holds another model's tensors; open a ring of another name")
        ring = self._ring
        slot = (int(ring.head[3]) + 1) % SLOTS
        words, data = ring.words(slot), ring.data(slot)
        words[0] += 1
        words[1] = version
        total = 0
        for place, tensor in zip(places, tensors.values(), strict=True):
            total += copy_and_sum(_bytes_of(tensor), data[place.offset : place.offset + _aligned(place.size)])
        words[2] = total & SUM_BITS
        words[0] += 1
        ring.head[3] = slot
        return f"shm:{self.name}"

    def _create(self, places: list[_Place], data_bytes: int) -> _Ring:
        table = msgspec.json.encode(places)
        total = ALIGN + -(-len(table) // ALIGN) * ALIGN + SLOTS * (ALIGN + data_bytes)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        memory = np.memmap(draft, np.uint8, "w+", shape=(total,))
        memory[: 8 * HEAD_WORDS].view(np.int64)[:] = (MAGIC, len(table), data_bytes, -1)
        memory[ALIGN : ALIGN + len(table)] = np.frombuffer(table, np.uint8)
        draft.rename(self._path)
        return _Ring(memory)

    def close(self) -> None:
        """Take the ring away; may be called twice."""
        if self._ring is not None:
            self._path.unlink(missing_ok=True)
        self._ring = None


class RingReader:
    """Reads weights into memory of its own, which the next reading uses again: take copies of what is to stay.

    Fresh memory would cost several times the copy itself. A ring that its writer has made anew is opened anew.
    """

    def __init__(self, fetch: Fetch | None = None) -> None:
        """`fetch` brings the bytes of a version from another machine."""
        self._fetch = fetch
        self._ring: _Ring | None = None
        self._file: tuple[str, int] = ("", -1)
        """Name and inode of the ring that is open."""
        self._own: Bytes = np.empty(0, np.uint8)

    def __call__(self, version: int, source: str) -> tuple[int, dict[str, Tensor]]:
        """The tensors called `version` at `source` (one of the three forms), and the version that they really have."""
        kind, _, place = source.partition(":")
        if kind == "shm":
            return self.read(place, version)
        if kind == "file":
            return version, read_folder(Path(place))
        if kind == "tcp" and self._fetch is not None:
            address, _, name = source.rpartition("/")
            try:  # a number names one set of weights, so a ring of that name that has this number is as good
                here = self.copy(name, version)
            except WeightsUnavailable:
                here = None
            return _tensors(here if here is not None and here.version >= version else self._fetch(address, version))
        raise UsageError(
            f"weights address {source!r}; shm:NAME, file:DIR and, between machines, tcp://HOST:PORT/NAME are known"
        )

    def read(self, name: str, version: int, tries: int = 100) -> tuple[int, dict[str, Tensor]]:
        """The tensors called `version` in `shm:name`, and the version that they really have; see `copy`."""
        return _tensors(self.copy(name, version, tries))

    def copy(self, name: str, version: int, tries: int = 100) -> RingCopy:
        """The bytes of `version` in `shm:name`, or of the newest if that one is gone.

        Raises `WeightsUnavailable` if the ring is missing, empty, or overwritten faster than it can be copied `tries`
        times.
        """
        ring = self._opened(name)
        if len(self._own) != ring.data_bytes:
            self._own = np.empty(ring.data_bytes, np.uint8)
        for attempt in range(tries):
            slot = next((index for index in range(SLOTS) if int(ring.words(index)[1]) == version), int(ring.head[3]))
            slot = slot if attempt == 0 else int(ring.head[3])
            if slot < 0:
                break
            before, found, total = (int(word) for word in ring.words(slot))
            if before > 0 and before % 2 == 0:
                copied = copy_and_sum(ring.data(slot), self._own) & SUM_BITS
                if int(ring.words(slot)[0]) == before and copied == total:
                    return RingCopy(found, ring.table.tobytes(), self._own)
            time.sleep(0.0005)
        raise WeightsUnavailable(f"no whole version can be read from ring {name!r}; is its writer running?")

    def _opened(self, name: str) -> _Ring:
        path = ring_path(name)
        try:
            file = (name, path.stat().st_ino)
            if self._ring is None or file != self._file:
                memory: Bytes = np.memmap(path, np.uint8, "r")
                if int(memory[:8].view(np.int64)[0]) != MAGIC:
                    raise UsageError(f"{path} is not a ring of weights; take another name")
                self._ring, self._file = _Ring(memory), file
        except (OSError, ValueError):
            self._ring = None
            raise WeightsUnavailable(f"there is no ring {name!r} on this machine") from None
        return self._ring


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face model folder: safetensors, one file or many.

    Raises `WeightsUnavailable` where there is no such file (old versions are removed while a run goes on), `UsageError`
    where it cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    state: dict[str, Tensor] = {}
    for name in names:
        try:
            state |= load_file(folder / name)
        except FileNotFoundError:
            raise WeightsUnavailable(f"there are no weights at {folder / name}, or no longer") from None
        except (OSError, SafetensorError) as error:
            raise UsageError(f"cannot read weights {folder / name}: {error}") from error
    return state


def copy_ring(name: str, version: int, tries: int = 100) -> RingCopy:
    """The bytes of `version` in `shm:name`, or of the newest if that one is gone; see `RingReader.copy`."""
    return RingReader().copy(name, version, tries)


def digest_of(data: Bytes) -> str:
    """Of a version's bytes: BLAKE2b, 16 bytes, in hexadecimal."""
    return hashlib.blake2b(data.data, digest_size=16).hexdigest()


def _tensors(copy: RingCopy) -> tuple[int, dict[str, Tensor]]:
    places = msgspec.json.decode(copy.table, type=list[_Place])
    return copy.version, {place.name: _tensor(copy.data, place) for place in places}


def _tensor(copied: Bytes, place: _Place) -> Tensor:
    dtype: torch.dtype = getattr(torch, place.dtype)
    raw = torch.from_numpy(copied[place.offset : place.offset + place.size])
    return raw.view(dtype).reshape(place.shape)


def read_weights(version: int, source: str, fetch: Fetch | None = None) -> tuple[int, dict[str, Tensor]]:
    """The tensors called `version` at `source`, and the version that they really have; see `RingReader`."""
    return RingReader(fetch)(version, source)
