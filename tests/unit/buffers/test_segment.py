import msgspec
import numpy as np
import pytest

from buffers.errors import InvalidSegment
from buffers.segment import (
    BYTES_PER_TOKEN,
    Attachment,
    Ghost,
    Segment,
    TokenArrays,
    attached_bytes,
    charged_bytes,
    check_segment,
    expand,
    ids_of,
    join_runs,
    logps_of,
    segment_bytes,
    slice_payload,
    token_arrays,
)


def segment(**changes: object) -> Segment:
    parts: dict[str, object] = {
        "start": 0,
        "payload": token_arrays([5, 6, 7], [-0.1, 0.0, -3.0]),
        "versions": ((1, 2), (3, 1)),
        "produced": ((1, 3),),
        "end": "cut",
    }
    return Segment(**(parts | changes))  # type: ignore[arg-type]


def test_a_sound_segment_passes_and_survives_the_wire() -> None:
    one = segment()
    check_segment(one)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Segment) == one
    ghost = segment(payload=Ghost(3, 9))
    check_segment(ghost)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ghost), type=Segment) == ghost
    assert (one.length, one.stop, one.last_version) == (3, 3, 3)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"start": -1}, "negative"),
        ({"versions": ((1, 2),)}, "versions covers 2 of 3"),
        ({"produced": ((1, 4),)}, "produced covers 4 of 3"),
        ({"produced": ((1, 3), (0, 0))}, "run of 0"),
        ({"produced": ((4, 3),)}, "produced holds 4, which is none of 0"),
        ({"versions": ((3, 2), (1, 1))}, "version 1 follows 3"),
        ({"versions": ((-1, 3),)}, "version -1"),
        ({"payload": token_arrays([5, 6, 7], [-0.1, 0.1, -3.0])}, "positive or not finite"),
        ({"payload": token_arrays([5, 6, 7], [-0.1, float("nan"), -3.0])}, "positive or not finite"),
        ({"payload": token_arrays([5, 6, 7], [-0.1, float("-inf"), -3.0])}, "positive or not finite"),
        ({"payload": token_arrays([5, 6, 7], [-0.1, float("inf"), -3.0])}, "positive or not finite"),
        (
            {"payload": token_arrays(np.array([5, -6, 7], np.int32), [-0.1, -0.1, -3.0])},
            "token id is negative: -6 at 1",
        ),
        ({"payload": Ghost(0, 1), "versions": (), "produced": ()}, "says nothing"),
    ],
)
def test_each_broken_rule_is_named(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(InvalidSegment, match=rule):
        check_segment(segment(**changes))


def test_arrays_of_different_lengths_are_no_payload() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        TokenArrays(b"\0" * 8, b"\0" * 4)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(["t", b"\0" * 6, b"\0" * 6]), type=TokenArrays)


def test_payloads_are_read_sliced_and_charged_alike_in_both_forms() -> None:
    real, ghost = token_arrays([5, 6, 7], [-0.5, -1.0, -2.0]), Ghost(3, 9)
    assert ids_of(real).tolist() == [5, 6, 7]
    assert logps_of(real).tolist() == [-0.5, -1.0, -2.0]
    assert ids_of(ghost).tolist() == ids_of(Ghost(3, 9)).tolist()
    assert ids_of(ghost).dtype == np.int32
    assert ids_of(slice_payload(real, 1, 3)).tolist() == [6, 7]
    assert slice_payload(real, 0, 3) is real
    assert slice_payload(ghost, 1, 3).length == 2
    assert charged_bytes(real) == charged_bytes(ghost) == 3 * BYTES_PER_TOKEN


def test_runs_expand_and_join() -> None:
    assert expand(((4, 2), (7, 1))).tolist() == [4, 4, 7]
    assert join_runs(((4, 2), (7, 1)), ((7, 3), (8, 1))) == ((4, 2), (7, 4), (8, 1))
    assert join_runs(((4, 2),), ((5, 1),)) == ((4, 2), (5, 1))
    assert join_runs((), ((5, 1),)) == ((5, 1),)


def test_attachments_are_charged_by_name_and_body_and_survive_the_wire() -> None:
    plain, image = segment(), segment(attachments=(Attachment("bild", b"12345"), Attachment("", b"6")))
    assert (attached_bytes(plain), attached_bytes(image)) == (0, 10)
    assert segment_bytes(image) == segment_bytes(plain) + 10 == 3 * BYTES_PER_TOKEN + 10
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(image), type=Segment) == image
    older = msgspec.msgpack.encode([0, plain.payload, plain.versions, plain.produced, "cut"])
    assert msgspec.msgpack.decode(older, type=Segment) == plain, "rows without attachments are still read"
