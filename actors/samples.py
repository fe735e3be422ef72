"""Which responses of a lease a person is shown: the one that took longest to come about, and the first.

A sample carries token ids alone, cut into its segments; text is made of it by whoever shows it (`samples_file.py`).
Responses without tokens (ghosts of the virtual world) and very long ones give no sample.
"""

from __future__ import annotations

from actors.messages import Sample, SamplePart
from buffers.segment import TokenArrays
from policies.trainer import Member, TrainGroup, UpdateJob

MOST_TOKENS = 4096
"""Longer responses are not shown, so that a sample stays a small message."""


def samples_of(job: UpdateJob) -> tuple[Sample, ...]:
    """At most two samples of an update: the member with the oldest token (the longest of these), and the first."""
    shown = [(group, member) for group in job.groups for member in group.members if showable(group, member)]
    if not shown:
        return ()
    slowest = min(shown, key=lambda one: (oldest_version(one[1]), -length_of(one[1]), one[1].trajectory))
    chosen = [slowest] if shown[0] is slowest else [slowest, shown[0]]
    return tuple(sample(job.version, group, member) for group, member in chosen)


def showable(group: TrainGroup, member: Member) -> bool:
    """Whether it has tokens, and not too many."""
    if not isinstance(group.prompt, TokenArrays):
        return False
    arrays = all(isinstance(segment.payload, TokenArrays) for segment in member.segments)
    return arrays and 0 < length_of(member) <= MOST_TOKENS - group.prompt.length


def oldest_version(member: Member) -> int:
    """Version of its first token."""
    return min((version for segment in member.segments for version, _ in segment.versions), default=-1)


def length_of(member: Member) -> int:
    """Response tokens."""
    return sum(segment.length for segment in member.segments)


def sample(version: int, group: TrainGroup, member: Member) -> Sample:
    """The sample of a member."""
    parts = tuple(SamplePart(ids(segment.payload), segment.versions) for segment in member.segments)
    return Sample(member.trajectory, group.group, version, ids(group.prompt), parts, member.components)


def ids(payload: object) -> bytes:
    """Token ids as they lie in a payload: little-endian int32."""
    return payload.ids if isinstance(payload, TokenArrays) else b""
