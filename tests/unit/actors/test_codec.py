"""The wire form of every kind: there and back, by an independent decoder, and what is refused."""

from __future__ import annotations

import types
import typing

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.kernel.backend import Envelope
from actors.kernel.codec import KEPT_BYTES, MAX_NAME, WIRE_VERSION, Codec
from actors.live.control import CONTROL_KINDS
from actors.messages import KINDS, Append, Settled
from buffers.errors import WireError
from buffers.segment import Ghost, Segment, TokenArrays, token_arrays

CODEC = Codec((*KINDS, *CONTROL_KINDS))
INTS = st.integers(-(2**63), 2**63 - 1)
SCALARS = {
    int: INTS,
    str: st.text(max_size=12),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
    typing.Any: st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.text(max_size=3), max_size=2),
}
TOKENS = st.lists(st.integers(0, 2**31 - 1), max_size=4).map(lambda ids: token_arrays(ids, [-1.5] * len(ids)))


def samples(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Values of a field's type."""
    if kind in SCALARS:
        return SCALARS[kind]
    if kind is TokenArrays:
        return TOKENS
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, *(samples(hints[name]) for name in kind.__struct_fields__))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(samples, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(samples(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(samples, arguments))
    if origin is dict:
        return st.dictionaries(samples(arguments[0]), samples(arguments[1]), max_size=2)
    raise NotImplementedError(f"no samples of {kind!r}")


def plain(value: typing.Any) -> typing.Any:
    """What an independent decoder has to find on the wire."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields = [plain(getattr(value, name)) for name in value.__struct_fields__]
        if not config.array_like:
            return dict(zip(value.__struct_fields__, fields, strict=True))
        return fields if config.tag is None else [config.tag, *fields]
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


ENVELOPES = {
    kind: st.builds(
        Envelope,
        to=st.text(max_size=12),
        sender=st.text(max_size=12),
        incarnation=INTS,
        serial=INTS,
        to_incarnation=INTS,
        cause=INTS,
        message=samples(kind),
    )
    for kind in CODEC.kinds.values()
}


@pytest.mark.parametrize("kind", ENVELOPES, ids=lambda kind: kind.__name__)
def test_every_kind_comes_back_as_it_was_and_an_independent_decoder_reads_the_same(kind):
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ENVELOPES[kind])
    def check(envelope):
        data = CODEC.encode(envelope)
        back = CODEC.decode(data)
        assert type(back.message) is kind
        assert back == envelope
        assert CODEC.decode(memoryview(data)) == envelope
        assert bytes(CODEC.encode_lent(envelope)) == data
        found = msgpack.unpackb(data, raw=False, strict_map_key=False)
        assert found == [
            WIRE_VERSION,
            envelope.to,
            envelope.sender,
            envelope.incarnation,
            envelope.serial,
            envelope.to_incarnation,
            envelope.cause,
            plain(envelope.message),
        ]

    check()


def wire(message, version=WIRE_VERSION, sender="generator-0"):
    return msgpack.packb([version, "replay", sender, 1, 0, 0, 0, message])


def segment(ids, logps):
    return [0, ["t", ids, logps], [[1, len(ids) // 4]], [[1, len(ids) // 4]], "cut"]


def test_arrays_travel_as_binary_and_cost_eight_bytes_a_token():
    message = Append(1, 1, Segment(0, token_arrays(range(1000), [-1.0] * 1000), ((1, 1000),), ((1, 1000),), "cut"))
    data = CODEC.encode(Envelope("replay", "generator-0", 1, 1, 0, 0, message))
    assert 8000 < len(data) < 8100
    _, payload, *_ = msgpack.unpackb(data)[-1][-1]
    assert [type(part) for part in payload] == [str, bytes, bytes]


def test_what_is_lent_is_overwritten_by_the_next_and_a_large_buffer_is_not_kept():
    codec = Codec(KINDS)

    def append(tokens):
        message = Append(1, 1, Segment(0, token_arrays([7] * tokens, [-1.0] * tokens), ((1, tokens),), (), "cut"))
        return Envelope("replay", "generator-0", 1, 1, 0, 0, message)

    first = codec.encode_lent(append(1000))
    assert first == codec.encode(append(1000))
    second = codec.encode_lent(append(10))
    assert second is first
    assert second == codec.encode(append(10))
    large = codec.encode_lent(append(KEPT_BYTES // 8))
    assert large == codec.encode(append(KEPT_BYTES // 8))
    small = codec.encode_lent(append(10))
    assert small is not large
    assert small == codec.encode(append(10))


@pytest.mark.parametrize(
    ("ids", "logps"), [(b"1234", b""), (b"", b"1234"), (b"12345", b"12345"), (b"12341234", b"1234")]
)
def test_arrays_whose_lengths_do_not_fit_are_refused_naming_the_sender(ids, logps):
    with pytest.raises(WireError, match=r"generator-0.*do not fit"):
        CODEC.decode(wire(["append", 1, 1, segment(ids, logps)]))


def test_arrays_whose_lengths_fit_are_taken():
    found = CODEC.decode(wire(["append", 1, 1, segment(b"1234", b"1234")]))
    assert found.message.segment.length == 1


@pytest.mark.parametrize(
    "message",
    [
        ["no_such_kind", 1],
        ["settled", 1, 2, 3],
        ["settled", 1, 2, 3, "no"],
        ["settled", 1, 2, 3.5, False],
        ["append", 1, 1, [0, ["t", [1, 2], [-1.0, -1.0]], [], [], "cut"]],
        ["append", 1, 1, [0, ["g", 1, 2], [], [], "no such end"]],
        [],
        {},
        7,
        None,
    ],
    ids=["kind", "short", "type", "float", "lists for arrays", "literal", "empty", "map", "number", "nothing"],
)
def test_what_is_no_kind_of_the_house_is_refused_naming_the_sender(message):
    with pytest.raises(WireError, match="generator-0"):
        CODEC.decode(wire(message))


def test_another_wire_version_is_refused_naming_the_sender_and_both_versions():
    with pytest.raises(WireError, match=r"generator-0: wire version 9, this is 2"):
        CODEC.decode(wire(["settled", 1, 2, 3, False], version=9))
    with pytest.raises(WireError, match=r"generator-0: wire version 9, this is 2"):
        CODEC.decode(wire(["a kind of the future", 1], version=9))


def test_limits_on_size_nesting_and_names_hold():
    small = Codec(KINDS, max_bytes=100)
    with pytest.raises(WireError, match="exceeds the limit of 100"):
        small.decode(b"\x98" + b"\x00" * 200)
    with pytest.raises(WireError):
        CODEC.decode(b"\x91" * 100_000)
    with pytest.raises(WireError, match="length <= 200"):
        CODEC.decode(wire(["settled", 1, 2, 3, False], sender="x" * (MAX_NAME + 1)))


def test_maps_and_extensions_that_only_cost_memory_are_refused():
    with pytest.raises(WireError):
        CODEC.decode(b"\xdd\x00\x10\x00\x00" + b"\x80" * (1 << 20))
    with pytest.raises(WireError):
        CODEC.decode(wire(["settled", 1, 2, msgpack.ExtType(5, b"x"), False]))


def test_a_kind_needs_a_tag_of_its_own():
    class Untagged(msgspec.Struct, array_like=True):
        n: int

    with pytest.raises(ValueError, match="tag"):
        Codec((Untagged,))
    with pytest.raises(ValueError, match="tag"):
        Codec((Settled, Settled))


def test_a_ghost_weighs_a_few_bytes_on_the_wire_and_its_tokens_in_credits():
    message = Append(1, 1, Segment(0, Ghost(5000, 7), ((1, 5000),), ((1, 5000),), "cut"))
    assert len(CODEC.encode(Envelope("replay", "generator-0", 1, 1, 0, 0, message))) < 80
    assert message.bulk_bytes() == 5000 * 13
