"""Which jobs an engine takes, and what it starts from; the same for every engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from buffers.segment import Ghost, ids_of
from policies.engine import Job

Ints = npt.NDArray[np.int64]


def budget(job: Job) -> int:
    """The most tokens that a job adds."""
    return min(job.max_tokens, job.max_response_tokens - job.start)


def known_ids(job: Job, cached: Ints | None) -> Ints:
    """Prompt and response so far, int64; a job without a prefix goes on after what is cached."""
    if job.prefix is None and job.start and cached is not None:
        return cached
    parts = [ids_of(part) for part in (job.prompt, job.prefix) if part is not None]
    return np.concatenate(parts).astype(np.int64)


def refusal(job: Job, cached: Ints | None, context_tokens: int, vocabulary: int) -> str | None:
    """Why a job cannot be done, given what is cached of its trajectory; None if it can."""
    prompt = job.prompt.length
    if isinstance(job.prompt, Ghost) or isinstance(job.prefix, Ghost):
        return "ghost tokens: this engine needs real ones"
    if prompt == 0:
        return "the prompt is empty"
    if job.max_tokens < 1 or not 0 <= job.start < job.max_response_tokens:
        return f"nothing to generate: start {job.start}, max_tokens {job.max_tokens} of {job.max_response_tokens}"
    if prompt + job.max_response_tokens > context_tokens:
        return f"prompt {prompt} + max_response_tokens {job.max_response_tokens} exceed context {context_tokens}"
    if job.prefix is not None and job.prefix.length != job.start:
        return f"prefix of {job.prefix.length} tokens, start is {job.start}"
    if job.prefix is None and job.start and (cached is None or not _continues(job, cached)):
        return "not cached"
    ids = known_ids(job, cached)
    if ids.min() < 0 or ids.max() >= vocabulary:
        return f"token ids from {ids.min()} to {ids.max()}, the vocabulary has {vocabulary}"
    if job.sampling.temperature < 0 or not 0 < job.sampling.top_p <= 1:
        return f"temperature {job.sampling.temperature} or top_p {job.sampling.top_p} is out of range"
    return None


def _continues(job: Job, cached: Ints) -> bool:
    """Whether a job without a prefix goes on where the cached tokens end."""
    prompt = ids_of(job.prompt)
    return len(cached) == len(prompt) + job.start and np.array_equal(cached[: len(prompt)], prompt)
