"""The codec: envelopes to MessagePack and back, typed, validated and bounded. The only file that knows the wire form.

    [wire version, to, sender, incarnation, serial, to_incarnation, cause, message]

A message is an array whose first element names its kind. Arrays of numbers travel as binary, never as lists. Decoding
validates every field against the kind's types; what is no message of this house is a `WireError` that names the sender
where it can be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Union

import msgspec

from actors.kernel.backend import MAX_NAME, WIRE_VERSION, Envelope
from actors.kernel.operations import Message
from buffers.errors import WireError

MAX_BYTES = 256 << 20
"""Largest envelope. Bulk is moved in chunks far below it."""
KEPT_BYTES = 1 << 22
"""A larger buffer is not kept for the next envelope."""


class Codec:
    """Encodes and decodes envelopes whose messages are of the given kinds (tagged, `array_like` msgspec Structs)."""

    def __init__(self, kinds: Iterable[type[msgspec.Struct]], max_bytes: int = MAX_BYTES) -> None:
        self.kinds: dict[str, type[msgspec.Struct]] = {}
        for kind in kinds:
            tag = kind.__struct_config__.tag
            if not isinstance(tag, str) or tag in self.kinds:
                raise ValueError(f"{kind.__name__}: a message kind needs a tag of its own, not {tag!r}")
            self.kinds[tag] = kind
        self.max_bytes = max_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._bulk = frozenset(kind for kind in self.kinds.values() if hasattr(kind, "bulk_bytes"))
        self._lent = bytearray()
        union: Any = Union[tuple(self.kinds.values())]  # noqa: UP007
        self._decoder: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope[union])

    def encode(self, envelope: Envelope) -> bytes:
        """One envelope to bytes."""
        return self._encoder.encode(envelope)

    def encode_lent(self, envelope: Envelope) -> bytes | bytearray:
        """One envelope to bytes that hold until the next call.

        Bulk goes into a buffer that is kept, so that its memory is still in the processor's cache: a fresh object for
        each would be written to cold memory, and be moved as it grows.
        """
        if type(envelope.message) not in self._bulk:
            return self._encoder.encode(envelope)
        if len(self._lent) > KEPT_BYTES:
            self._lent = bytearray()
        self._encoder.encode_into(envelope, self._lent)
        return self._lent

    def decode(self, data: bytes | memoryview) -> Envelope:
        """Bytes to one envelope; `WireError` for anything else."""
        if len(data) > self.max_bytes:
            raise WireError(f"an envelope of {len(data)} bytes exceeds the limit of {self.max_bytes}")
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise WireError(f"{_origin(data)}: {error}") from None

    def kind_of(self, message: Message) -> str:
        """The tag of a message."""
        return str(type(message).__struct_config__.tag)


class _Origin(msgspec.Struct, array_like=True):
    wire: int
    to: str
    sender: str


_origin_decoder = msgspec.msgpack.Decoder(_Origin)


def _origin(data: bytes | memoryview) -> str:
    try:
        origin = _origin_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return "from an unknown sender"
    if origin.wire != WIRE_VERSION:
        return f"from {origin.sender[:MAX_NAME]}: wire version {origin.wire}, this is {WIRE_VERSION}"
    return f"from {origin.sender[:MAX_NAME]}"
