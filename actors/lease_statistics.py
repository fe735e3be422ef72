"""What a lease says about staleness, segments and lengths: numbers for the log, no decisions."""

from __future__ import annotations

from buffers.answers import Leased
from buffers.group import spread_of
from buffers.histogram import VERSIONS, bucket_counts, weighted_counts
from policies.trainer import UpdateJob


def lease_statistics(leased: Leased, job: UpdateJob) -> dict[str, float]:
    """Means and maxima over the groups, trajectories and tokens of one update.

    `age` in versions per group; `lag` in versions per token (learner version at lease - version of the token);
    `segments` and `tokens` per trajectory; shares of trajectories with two or more segments or versions. The ages of
    groups and the lags of tokens also as histograms (`buffers/histogram.py`). `spread` of outcomes per group.
    """
    ages = [group.age for group in leased.groups]
    spreads = [spread_of([one.components.get("outcome", 0.0) for one in group.members]) for group in leased.groups]
    segments = tokens = lag = multi = mixed = members = 0
    lags: list[tuple[float, float]] = []
    for group in job.groups:
        for member in group.members:
            members += 1
            segments += len(member.segments)
            multi += len(member.segments) > 1
            versions = set()
            for segment in member.segments:
                tokens += segment.length
                for version, count in segment.versions:
                    versions.add(version)
                    lag += (leased.version - version) * count
                    lags.append((leased.version - version, count))
            mixed += len(versions) > 1
    whole = max(1, members)
    return {
        "age_mean": sum(ages) / max(1, len(ages)),
        "age_max": float(max(ages, default=0)),
        "spread": sum(spreads) / max(1, len(spreads)),
        "lag_mean": lag / max(1, tokens),
        "lag_max": float(max((behind for behind, _ in lags), default=0)),
        "segments_mean": segments / whole,
        "multi_segment_share": multi / whole,
        "mixed_version_share": mixed / whole,
        "response_tokens": tokens / whole,
        "trajectories": float(members),
        **bucket_counts("age", ages, VERSIONS),
        **weighted_counts("lag", lags, VERSIONS),
    }
