"""What the port knows of a job, and how the answers of a server become its segment.

A job may take several calls: an update or a dying server ends one, the next goes on after what it brought. A chunk of
a stream holds what the chunks before it held, and only the last one names versions, so the last one is what is taken.

Invariants: ids, log-probabilities and versions of a segment stay equally long; an answer whose parts contradict each
other is refused (`Unusable`), never trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from buffers.errors import BraidError
from buffers.segment import EndReason, Segment, token_arrays
from policies.engine import Job
from policies.engines.acceptance import budget
from policies.engines.sglang.client import Answer, Span
from policies.repetition import RepetitionRule, looping

Ints = npt.NDArray[np.int64]


class Unusable(BraidError):
    """A server's answer makes no sense."""


@dataclass(slots=True)
class Work:
    """A job, and what is known of its segment."""

    job: Job
    ids: list[int]
    """Prompt and response so far."""
    begin: int
    """Known tokens when the job came: where its segment begins."""
    logps: list[float] = field(default_factory=list)
    """Of the segment's tokens."""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """(version, tokens) of the segment."""
    rid: str = ""
    """Of the call that runs now; empty if none does."""
    before: int = 0
    """Tokens that the segment had when that call began."""
    version: int = -1
    """Of the weights when that call began."""
    chunk: Answer | None = None
    """The last chunk of that call, if it is a stream: only the last of all names versions."""
    cached: int = 0
    """Tokens of that call's prompt that the server had."""
    aborting: bool = False

    @property
    def left(self) -> int:
        """Tokens that the segment may still get."""
        return budget(self.job) - len(self.logps)

    @property
    def response(self) -> int:
        """Length of the response so far."""
        return len(self.ids) - self.job.prompt.length

    def call(self, rid: str, version: int) -> None:
        """A call begins."""
        self.rid, self.version, self.before, self.chunk, self.cached = rid, version, len(self.logps), None, 0

    def salvage(self, version: int) -> None:
        """A stream broke off: take its last chunk, if the weights were the same all the while."""
        if self.chunk is not None and version == self.version:
            spans = [Span(str(version), 0, len(self.chunk.output_ids))]
            meta = msgspec.structs.replace(self.chunk.meta_info, weight_versions=spans)
            self.take(Answer(self.chunk.output_ids, meta))

    def chunk_loops(self, rule: RepetitionRule) -> bool:
        """Whether the response loops with the tokens of the last chunk."""
        if self.chunk is None or (self.response + len(self.chunk.output_ids)) % rule.every:
            return False
        response = [*self.ids[self.job.prompt.length :], *self.chunk.output_ids]
        tail = [-1] * (rule.width - len(response)) + response[-rule.width :]
        return bool(looping(np.asarray([tail], np.int64), np.asarray([len(response)]), rule)[0])

    def take(self, answer: Answer) -> None:
        """Take what is new in an answer of the present call."""
        ids, logps = answer.output_ids, answer.meta_info.output_token_logprobs
        self.cached = answer.meta_info.cached_tokens
        have, count = len(self.logps) - self.before, min(len(ids), len(logps), self.before + budget(self.job))
        if count <= have:
            return
        if any(entry[1] != token or entry[0] is None for entry, token in zip(logps, ids, strict=False)):
            raise Unusable(f"{self.rid}: ids and log-probabilities are not of the same tokens")
        for version, many in _runs(answer.meta_info.weight_versions, have, count):
            if self.runs and version < self.runs[-1][0]:
                raise Unusable(f"{self.rid}: a token of version {version} follows one of {self.runs[-1][0]}")
            if self.runs and self.runs[-1][0] == version:
                many += self.runs.pop()[1]
            self.runs.append((version, many))
        self.ids.extend(ids[have:count])
        self.logps.extend(min(0.0, float(entry[0])) for entry in logps[have:count])  # type: ignore[arg-type]

    def cut_to(self, response: int) -> None:
        """Forget the tokens after the first `response` of the response."""
        surplus = self.response - response
        if surplus <= 0:
            return
        del self.ids[-surplus:], self.logps[-surplus:]
        while surplus:
            version, many = self.runs.pop()
            if many > surplus:
                self.runs.append((version, many - surplus))
            surplus -= min(many, surplus)

    def loops_at(self, rule: RepetitionRule, since: int) -> int | None:
        """The response length, above `since`, at which the rule would have stopped the response; None if nowhere."""
        first = max(since + 1, rule.tokens)
        lengths = np.arange(-(-first // rule.every) * rule.every, self.response + 1, rule.every)
        if not len(lengths):
            return None
        response = np.asarray(self.ids[self.job.prompt.length :], np.int64)
        padded = np.concatenate([np.full(rule.width, -1, np.int64), response])
        tails = np.stack([padded[length : length + rule.width] for length in lengths.tolist()])
        found = np.flatnonzero(looping(tails, lengths, rule))
        return int(lengths[found[0]]) if len(found) else None

    def end(self, answer: str) -> EndReason:
        """Why the segment ends, given how the last answer ended."""
        if answer == "stop":
            return "stop"
        return "length" if self.response >= self.job.max_response_tokens else "cut"

    def segment(self, end: EndReason) -> Segment:
        """The segment that is known."""
        count = len(self.logps)
        return Segment(
            start=self.job.start,
            payload=token_arrays(self.ids[self.begin :], self.logps),
            versions=tuple(self.runs),
            produced=((1, count),) if count else (),
            end=end,
        )


def _runs(spans: Sequence[Span] | None, have: int, count: int) -> list[tuple[int, int]]:
    """(version, tokens) over output tokens [have, count); `Unusable` unless the spans cover them."""
    if not spans:
        raise Unusable("the server names no version of each token (`weight_versions`); use SGLang 0.5.23 or newer")
    runs, at = [], have
    for span in spans:
        if span.start <= at < span.end:
            stop = min(span.end, count)
            runs.append((number_of(span.version), stop - at))
            at = stop
        if at == count:
            return runs
    raise Unusable(f"versions are named for {at} of {count} tokens")


def number_of(version: str) -> int:
    """The number of a server's version; `Unusable` if nobody of this house gave it."""
    if not version.isdecimal():
        raise Unusable(f"the server's weights are called {version!r}, which is no version of this run")
    return int(version)
