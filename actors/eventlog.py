"""The event log: what a run decided, measured and refused, as a stream of MessagePack objects.

    {"format": "braid-events", "version": 1, "world": "live" | "virtual", "seed": n}
    ["d", at_ns, actor, incarnation, index, kind, [fields], cause, cause_index]         a decision
    ["n", at_ns, actor, name, value]                                                    a number
    ["s", at_ns, process, refused so far, reason]                                       a stranger's message
    ["m", at_ns, process, kind, count, bytes]        messages of one kind sent to other processes, told once a second

Each process writes a file of its own; `read_events` merges a folder of them by time. A reader skips kinds of records
that it does not know, and a torn last record (of a process that was killed) ends its file without an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgpack
import msgspec

from actors.kernel.backend import Decision
from buffers.errors import UsageError

FORMAT = "braid-events"
VERSION = 1
SUFFIX = ".events"
READ_BYTES = 1 << 20


class Number(msgspec.Struct, frozen=True, array_like=True):
    """A number that an actor noted."""

    at_ns: int
    actor: str
    name: str
    value: float


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """A process refused what was no message of this house."""

    at_ns: int
    process: str
    count: int
    """Refused by this process so far."""
    reason: str
    """Of the last one."""


class Traffic(msgspec.Struct, frozen=True, array_like=True):
    """Messages of one kind that a process sent to other processes since its last record of that kind."""

    at_ns: int
    process: str
    kind: str
    """The message's class."""
    count: int
    bytes: int
    """Of whole envelopes, as they were encoded."""


Record = Decision | Number | Refusal | Traffic

_KIND: dict[str, type[Decision] | type[Number] | type[Refusal] | type[Traffic]] = {
    "d": Decision,
    "n": Number,
    "s": Refusal,
    "m": Traffic,
}


class EventLogWriter:
    """Appends records to a file; `flush` hands them to the system, where they survive a kill of this process."""

    def __init__(self, path: Path, world: Literal["live", "virtual"], seed: int) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._buffer = bytearray(self._encode({"format": FORMAT, "version": VERSION, "world": world, "seed": seed}))
        self.flush()

    def decision(self, decision: Decision) -> None:
        """Append a decision."""
        self._buffer += self._encode(
            (
                "d",
                decision.at_ns,
                decision.actor,
                decision.incarnation,
                decision.index,
                decision.kind,
                decision.fields,
                decision.cause,
                decision.cause_index,
            )
        )

    def number(self, at_ns: int, actor: str, name: str, value: float) -> None:
        """Append a number."""
        self._buffer += self._encode(("n", at_ns, actor, name, value))

    def refusal(self, at_ns: int, process: str, count: int, reason: str) -> None:
        """Append that `count` messages have been refused, the last for this reason."""
        self._buffer += self._encode(("s", at_ns, process, count, reason))

    def traffic(self, at_ns: int, process: str, kind: str, count: int, size: int) -> None:
        """Append that so many messages of a kind, of `size` bytes together, were sent to other processes."""
        self._buffer += self._encode(("m", at_ns, process, kind, count, size))

    def flush(self) -> None:
        """Write out what was appended."""
        if self._buffer:
            self._file.write(self._buffer)
            self._buffer.clear()

    def close(self) -> None:
        """Flush and close; may be called twice."""
        if not self._file.closed:
            self.flush()
            self._file.close()


class EventLogReader:
    """Reads one file, as far as it is written: call `read` again for what has been appended since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        self._unpacker = msgpack.Unpacker(raw=False, use_list=True, max_buffer_size=0)
        self.header: dict[str, Any] | None = None
        """None until it is written."""

    def read(self) -> Iterator[Record]:
        """Records that are there and were not read yet."""
        while data := self._file.read(READ_BYTES):
            self._unpacker.feed(data)
            for entry in self._unpacker:
                if self.header is None:
                    self.header = self._checked(entry)
                elif isinstance(entry, list) and entry and (kind := _KIND.get(entry[0])) is not None:
                    yield msgspec.convert(entry[1:], kind)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _checked(self, header: Any) -> dict[str, Any]:
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise UsageError(f"{self._path} is no event log: it does not begin with the format {FORMAT!r}")
        if header.get("version") != VERSION:
            raise UsageError(f"{self._path}: event log version {header.get('version')}, this Braid reads {VERSION}")
        return header


def read_events(paths: Iterable[Path]) -> list[Record]:
    """All records of some files (or of the event files in folders), merged by time; within a file their order stays."""
    return sorted(each_event(paths), key=lambda record: record.at_ns)


def each_event(paths: Iterable[Path]) -> Iterator[Record]:
    """The same, one after the other as they are read: file after file, not merged."""
    for path in paths:
        for file in sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]:
            reader = EventLogReader(file)
            try:
                yield from reader.read()
            finally:
                reader.close()
