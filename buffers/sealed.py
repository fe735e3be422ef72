"""Rows as a disk holds them: MessagePack behind a checksum of the key and the bytes, so a damaged one is never decoded.

    checksum (4, big-endian CRC-32 of key and body) + body

A value under a wrong key, cut short or with a changed bit does not fit its checksum. Marks (`FORMAT_KEY`, `COMMIT_KEY`,
`COMPACTED_KEY`) begin with a zero byte, which no row's key does; they are the store's own.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from buffers.errors import CorruptStore
from buffers.rows import ROW_TYPES, Row, describe_key

FORMAT = b"braid 2"
"""Rows, marks and checksums as they are written here; a store of another is refused."""
FORMAT_KEY = b"\x00format"
COMMIT_KEY = b"\x00commit"
"""Number of the LMDB transaction that wrote last (8 bytes): a header that tells of another one is damaged."""
COMPACTED_KEY = b"\x00compacted"
"""How often the file was compacted, and its bytes before and (without the marks) after the last time (8 each)."""
MARK = b"\x00"

_encoder = msgspec.msgpack.Encoder()
_decode = {kind: msgspec.msgpack.Decoder(row_type).decode for kind, row_type in ROW_TYPES.items()}


def fits(key: bytes, value: bytes) -> bool:
    """Whether a stored value is what was written under this key."""
    return zlib.crc32(memoryview(value)[4:], zlib.crc32(key)) == int.from_bytes(value[:4], "big")


def seal(key: bytes, body: bytes) -> bytes:
    """A value as it is stored: checksum of key and body, then the body."""
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(4, "big") + body


def unseal(key: bytes, value: bytes, path: Path) -> bytes:
    """The body of a stored value; raises `CorruptStore` with the key's name if the checksum does not fit."""
    if not fits(key, value):
        raise CorruptStore(f"{path}: {describe_key(key)} is damaged; restore it from a copy")
    return value[4:]


class Sealer:
    """Rows to stored values, one after the other in the same bytes: a long one is copied no more than it must be."""

    def __init__(self) -> None:
        self._value = bytearray()

    def seal(self, key: bytes, row: Row) -> bytearray:
        """A row as it is stored; the bytes hold it until the next one."""
        value = self._value
        _encoder.encode_into(row, value, 4)
        with memoryview(value) as whole:
            value[:4] = zlib.crc32(whole[4:], zlib.crc32(key)).to_bytes(4, "big")
        return value


def unseal_row(key: bytes, value: bytes, path: Path) -> Row:
    """A stored row; raises `CorruptStore` if it is damaged, or is no row of its kind."""
    body = unseal(key, value, path)
    try:
        return _decode[key[:1]](body)
    except (msgspec.DecodeError, KeyError) as error:
        raise CorruptStore(f"{path}: {describe_key(key)} is no such row ({error}); restore it from a copy") from error


def pack_numbers(*numbers: int) -> bytes:
    """Numbers of a mark, 8 bytes each, big-endian."""
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def unpack_numbers(body: bytes) -> tuple[int, ...]:
    """Numbers of a mark."""
    return tuple(int.from_bytes(body[place : place + 8], "big") for place in range(0, len(body), 8))
