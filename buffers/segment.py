"""A segment: a run of consecutive tokens of one trajectory's response, as generated in one go.

Positions count response tokens from 0; the prompt is not part of them. A segment carries for each token its id, the
log-probability under the policy that sampled it (behaviour log-probability, natural logarithm, at the sampling
temperature), the weights' version, and who produced it (only what the model produced trains). Versions and producers
change rarely, so they are stored as runs (value, count). A response may hold several turns: tokens of the model, of
tools and of a user follow each other as runs of producers, across segments too. Attachments (what a tool gave beside
its tokens) are named bytes that are kept, charged and handed on, and that nothing here reads.

The payload has two forms: `TokenArrays`, the real numbers, and `Ghost`, a few bytes that stand for `length` tokens and
are charged at their true size; everything that decides anything reads lengths and runs, never the payload.

Invariants (checked by `check_segment`): runs cover the length exactly; versions never decrease; log-probabilities are
finite and not positive; ids fit int32 and are not negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from buffers.errors import InvalidSegment

EndReason = Literal["cut", "stop", "length", "repetition", "failed"]
"""Why a segment ended. `cut`: budget, stop, drain or abort, resumable; the others end the trajectory."""

BYTES_PER_TOKEN = 13
"""What one token weighs on the wire and in a capacity: id 4, log-probability 4, version 4, mask 1."""

INT32_MAX = 2**31 - 1
"""The greatest token id."""

Runs = tuple[tuple[int, int], ...]
"""Run-length coding: (value, count) pairs, counts positive."""

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


TOOL, MODEL, MASKED, USER = 0, 1, 2, 3
"""Who produced a token: a tool or environment; the model; the model, but it bears no loss (a closing that was forced
upon it, a turn that is not judged); a user. Only `MODEL` trains."""


class Attachment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes beside the tokens of a segment: an image that was shown, a file that a tool wrote."""

    name: str
    body: bytes


class TokenArrays(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="t"):
    """Real tokens: `ids` int32 [L] and `logps` float32 [L], both little-endian bytes of 4 L each."""

    ids: bytes
    logps: bytes

    def __post_init__(self) -> None:
        """Refuse arrays whose lengths do not fit each other; also runs on decode."""
        if len(self.ids) % 4 or len(self.ids) != len(self.logps):
            raise ValueError(f"token arrays of {len(self.ids)} and {len(self.logps)} bytes do not fit")

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids) >> 2


class Ghost(msgspec.Struct, frozen=True, array_like=True, tag="g", gc=False):
    """A stand-in for `length` tokens drawn from `seed`: a few bytes, charged as the real thing."""

    length: int
    seed: int


Payload = TokenArrays | Ghost


class Segment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Tokens [start, start + length) of one trajectory's response."""

    start: int
    """Position of the first token in the response (0-based)."""
    payload: Payload
    versions: Runs
    """(version, count) runs over the tokens; versions do not decrease."""
    produced: Runs
    """(TOOL | MODEL | MASKED | USER, count) runs over the tokens; only what is MODEL trains."""
    end: EndReason
    attachments: tuple[Attachment, ...] = ()

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.payload.length

    @property
    def stop(self) -> int:
        """Position after the last token."""
        return self.start + self.payload.length

    @property
    def last_version(self) -> int:
        """Version of the last token; -1 if there is none."""
        return self.versions[-1][0] if self.versions else -1


def token_arrays(ids: Sequence[int] | IntArray, logps: Sequence[float] | FloatArray) -> TokenArrays:
    """Pack ids [L] and behaviour log-probabilities [L] into their wire form; `InvalidSegment` for ids beyond int32."""
    numbers = np.asarray(ids)
    if numbers.dtype != np.int32 and numbers.size:
        beyond = (numbers < 0) | (numbers > INT32_MAX)
        if beyond.any():
            place = int(np.argmax(beyond))
            raise InvalidSegment(f"token id {numbers[place]} at {place} does not lie in [0, {INT32_MAX}]")
    return TokenArrays(numbers.astype("<i4").tobytes(), np.asarray(logps, dtype="<f4").tobytes())


def ids_of(payload: Payload) -> IntArray:
    """Token ids int32 [L] of a payload; a ghost's are drawn from its seed (vocabulary of 32)."""
    if isinstance(payload, Ghost):
        return np.random.Generator(np.random.PCG64(payload.seed)).integers(0, 32, payload.length, dtype=np.int32)
    return np.frombuffer(payload.ids, dtype="<i4")


def logps_of(payload: Payload) -> FloatArray:
    """Behaviour log-probabilities float32 [L] of a payload; a ghost's are a constant -1."""
    if isinstance(payload, Ghost):
        return np.full(payload.length, -1.0, dtype=np.float32)
    return np.frombuffer(payload.logps, dtype="<f4")


def expand(runs: Runs) -> IntArray:
    """Runs to one value per token, int32 [L]."""
    values = np.array([value for value, _ in runs], dtype=np.int32)
    return np.repeat(values, [count for _, count in runs])


def join_runs(left: Runs, right: Runs) -> Runs:
    """Concatenate two run-length codings, merging where they meet."""
    if left and right and left[-1][0] == right[0][0]:
        return (*left[:-1], (left[-1][0], left[-1][1] + right[0][1]), *right[1:])
    return left + right


def charged_bytes(payload: Payload) -> int:
    """What a payload costs in credits, capacity and link time, whatever its form."""
    return payload.length * BYTES_PER_TOKEN


def attached_bytes(segment: Segment) -> int:
    """What a segment's attachments weigh."""
    return sum(len(one.body) + len(one.name.encode()) for one in segment.attachments) if segment.attachments else 0


def segment_bytes(segment: Segment) -> int:
    """What a segment costs in credits, capacity and link time."""
    return charged_bytes(segment.payload) + attached_bytes(segment)


def check_segment(segment: Segment) -> None:
    """Raise `InvalidSegment`, naming the rule, if the parts of a segment do not fit together."""
    length = segment.payload.length
    if segment.start < 0:
        raise InvalidSegment(f"start {segment.start} is negative")
    if length == 0 and segment.end == "cut":
        raise InvalidSegment("a cut segment without tokens says nothing")
    for name, runs in (("versions", segment.versions), ("produced", segment.produced)):
        total = 0
        for _, count in runs:
            if count <= 0:
                raise InvalidSegment(f"{name} holds a run of {count} tokens")
            total += count
        if total != length:
            raise InvalidSegment(f"{name} covers {total} of {length} tokens")
    last = 0
    for version, _ in segment.versions:
        if version < last:
            raise InvalidSegment(f"version {version} follows {last}")
        last = version
    for flag, _ in segment.produced:
        if not TOOL <= flag <= USER:
            raise InvalidSegment(f"produced holds {flag}, which is none of 0 (tool), 1 (model), 2 (masked), 3 (user)")
    if isinstance(segment.payload, TokenArrays) and length:
        logps = logps_of(segment.payload)
        # a NaN passes through both reductions and fails both comparisons
        if not (np.minimum.reduce(logps) > -np.inf and np.maximum.reduce(logps) <= 0.0):
            place = int(np.argmin((logps > -np.inf) & (logps <= 0.0)))
            raise InvalidSegment(f"a log-probability is positive or not finite: {logps[place]} at {place}")
        ids = ids_of(segment.payload)
        if np.minimum.reduce(ids) < 0:
            place = int(np.argmax(ids < 0))
            raise InvalidSegment(f"a token id is negative: {ids[place]} at {place}")


def slice_payload(payload: Payload, start: int, stop: int) -> Payload:
    """Tokens [start, stop) of a payload; a ghost's slice is a ghost."""
    if start == 0 and stop == payload.length:
        return payload
    if isinstance(payload, Ghost):
        return Ghost(stop - start, payload.seed)
    return TokenArrays(payload.ids[4 * start : 4 * stop], payload.logps[4 * start : 4 * stop])
