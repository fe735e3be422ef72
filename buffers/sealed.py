"""Rows as a disk holds them: MessagePack behind a checksum of the key and the bytes, so a damaged one is never decoded.

    checksum (8, big-endian: XXH3 of the body, seeded by XXH3 of the key) + body

A value under a wrong key, cut short or with a changed bit does not fit its checksum. zlib's CRC-32 takes fifteen times
as long as XXH3: a sixth of all that an append or a read costs. Marks (`FORMAT_KEY`, `COMMIT_KEY`, `COMPACTED_KEY`)
begin with a zero byte, which no row's key does; they are the store's own.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from buffers.errors import CorruptStore
from buffers.rows import ROW_TYPES, Row, describe_key

FORMAT = b"braid 4"
"""Rows, marks and checksums as they are written here; a store of another is refused."""
FORMAT_KEY = b"\x00format"
COMMIT_KEY = b"\x00commit"
"""Number of the LMDB transaction that wrote last (8 bytes): a header that tells of another one is damaged."""
COMPACTED_KEY = b"\x00compacted"
"""How often the file was compacted, and its bytes before and (without the marks) after the last time (8 each)."""
MARK = b"\x00"
SUM_BYTES = 8

Bytes = bytes | bytearray | memoryview

_encoder = msgspec.msgpack.Encoder()
_decode = {kind: msgspec.msgpack.Decoder(row_type).decode for kind, row_type in ROW_TYPES.items()}


def fits(key: bytes, value: Bytes) -> bool:
    """Whether a stored value is what was written under this key."""
    return checksum(key, memoryview(value)[SUM_BYTES:]) == value[:SUM_BYTES]


def checksum(key: bytes, body: Bytes) -> bytes:
    """Of a value's key and body."""
    return xxh3_64_digest(body, xxh3_64_intdigest(key))


def seal(key: bytes, body: bytes) -> bytes:
    """A value as it is stored: checksum of key and body, then the body."""
    return checksum(key, body) + body


def unseal(key: bytes, value: Bytes, path: Path) -> memoryview:
    """The body of a stored value, where it lies; raises `CorruptStore` with the key's name if the sum does not fit."""
    if not fits(key, value):
        raise CorruptStore(f"{path}: {describe_key(key)} is damaged; restore it from a copy")
    return memoryview(value)[SUM_BYTES:]


class Sealer:
    """Rows to stored values, one after the other in the same bytes: a long one is copied no more than it must be."""

    def __init__(self) -> None:
        self._value = bytearray()

    def seal(self, key: bytes, row: Row) -> bytearray:
        """A row as it is stored; the bytes hold it until the next one."""
        value = self._value
        _encoder.encode_into(row, value, SUM_BYTES)
        value[:SUM_BYTES] = checksum(key, memoryview(value)[SUM_BYTES:])
        return value


def unseal_row(key: bytes, value: Bytes, path: Path) -> Row:
    """A stored row, which holds copies of its bytes; raises `CorruptStore` if it is damaged, or no row of its kind."""
    body = unseal(key, value, path)
    try:
        return _decode[key[:1]](body)
    except (msgspec.DecodeError, KeyError) as error:
        raise CorruptStore(f"{path}: {describe_key(key)} is no such row ({error}); restore it from a copy") from error


def pack_numbers(*numbers: int) -> bytes:
    """Numbers of a mark, 8 bytes each, big-endian."""
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def unpack_numbers(body: Bytes) -> tuple[int, ...]:
    """Numbers of a mark."""
    return tuple(int.from_bytes(body[place : place + 8], "big") for place in range(0, len(body), 8))
