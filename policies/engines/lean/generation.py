"""Jobs and their rows, turn by turn, without a thread: what the torch engine does between two looks at its commands.

    submit, abort, forget, install   ->   turn(): plan, take rows, fill, decode until something changes, settle

A turn ends as soon as a job ends, a context was filled, the plan runs out, or `interrupted` says so. Versions change
between two turns only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from buffers.errors import ContractError
from buffers.segment import EndReason, Segment, token_arrays
from policies.batching import Admission, Batching, BatchingConfig
from policies.engine import Emit, Job, JobFailed, SegmentDone
from policies.engines.acceptance import known_ids, refusal
from policies.engines.lean.cache import Cache
from policies.engines.lean.jobs import Work
from policies.engines.lean.rows import Batch, Ints, Recorded, Rows
from policies.engines.lean.shape import Shape
from policies.engines.lean.step import FillBatch, decode, fill
from policies.engines.lean.weights import Weights
from policies.repetition import RepetitionRule, looping
from policies.sampling import draw, uniforms

_ORDER_EVERY = 8
"""Steps between two looks at the order of the rows."""
_NO_ROWS: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a generation may hold and when it stops a response."""

    batching: BatchingConfig
    context_tokens: int
    """The longest prompt and response together."""
    device: torch.device
    repetition: RepetitionRule | None


@dataclass(slots=True)
class Counters:
    """What was done since the counters were made."""

    busy_s: float = 0.0
    steps: int = 0
    decoded_tokens: int = 0
    prefill_tokens: int = 0
    context_tokens: int = 0
    """Sum of context lengths over rows and steps."""
    cached_tokens: int = 0


class Generation:
    """Everything that the engine knows of its jobs; driven by one thread."""

    def __init__(self, shape: Shape, limits: Limits) -> None:
        self._shape = shape
        self._longest = limits.context_tokens
        self._device = limits.device
        self._batching = Batching(limits.batching)
        self._rows = Rows(limits.batching.rows, limits.context_tokens, limits.device)
        self._cache = Cache(shape, limits.batching.rows, limits.context_tokens, limits.device)
        self._repetition = limits.repetition
        self._steps = 0
        self._unordered, self._order_again_at = False, 0
        self._works: dict[int, Work] = {}
        self._weights: Weights | None = None
        self.version = -1
        self.counters = Counters()

    @property
    def idle(self) -> bool:
        """Whether there is no job."""
        return not self._works

    def submit(self, job: Job, emit: Emit) -> None:
        """Take a job, or say at once why not."""
        cached = self._cached_ids(job.trajectory)
        reason = self._refusal(job, cached)
        if reason:
            emit(JobFailed(job.trajectory, job.attempt, reason))
            return
        ids = known_ids(job, cached)
        if cached is not None and not np.array_equal(cached, ids[: len(cached)]):
            self.forget(job.trajectory)
        work = self._works[job.trajectory] = Work(job, ids, begin=len(ids), marked=len(ids))
        self._batching.submit(job.trajectory, work.begin, work.end)

    def abort(self, trajectory: int, emit: Emit) -> None:
        """End a job as it is; what is held of it stays cached."""
        if trajectory in self._works:
            self._finish(trajectory, "cut", emit)

    def forget(self, trajectory: int) -> None:
        """Free what is cached of a trajectory without a job."""
        if trajectory not in self._works:
            self._batching.forget(trajectory)
            self._rows.free(trajectory)

    def install(self, version: int, weights: Weights, recompute: bool) -> None:
        """Draw every following token from these weights; `recompute` what is held with them, or keep it."""
        for trajectory, work in self._works.items():
            work.mark(self.version, self._known(trajectory, work))
        self._weights, self.version = weights, version
        if recompute:
            self._batching.recompute()
            for work in self._works.values():
                work.filled = 0

    def drop_cache(self) -> None:
        """Free the memory of all keys and values; what goes on is filled again, prefixes are no longer cached."""
        self._batching.recompute()
        for work in self._works.values():
            work.filled = 0
        self._cache.release()

    def turn(self, emit: Emit, interrupted: Callable[[], bool]) -> bool:
        """Carry out one plan until something changes; False if there is nothing to do."""
        began = time.perf_counter()
        plan = self._batching.plan()
        for trajectory in plan.evicted:
            self._rows.free(trajectory)
        for trajectory in plan.preempted:
            self._put_back(trajectory)
        for admission in plan.admitted:
            self._take_up(admission)
        if plan.steps == 0:
            return False
        if self._weights is None:
            raise ContractError("nothing can be generated before weights are installed")
        self._fill(plan.prefill)
        steps = 1
        ended: list[tuple[int, EndReason]] = []
        if plan.decoding:
            steps, ended = self._decode(1 if plan.prefill else plan.steps, interrupted)
        self._batching.advance(steps)
        for trajectory, end in ended:
            self._finish(trajectory, end, emit)
        self.counters.busy_s += time.perf_counter() - began
        return True

    def _decode(self, most: int, interrupted: Callable[[], bool]) -> tuple[int, list[tuple[int, EndReason]]]:
        """Decode up to `most` steps, until a job ends; returns the steps done, and who ended and why."""
        rows, cache, weights = self._rows, self._cache, self._weights
        assert weights is not None
        self._order()
        batch = rows.batch(self._batching.decoding)
        looks = self._looks(batch)
        steps = 0
        ended: list[tuple[int, EndReason]] = []
        while not ended and steps < most and not (steps and interrupted()):
            cache.ensure(max(batch.lengths))
            logits = decode(self._shape, weights, cache, rows.feed(batch, cache.span))
            recorded = rows.record(batch, draw(logits, rows.uniforms(batch), batch.rule))
            steps += 1
            looping = self._looping(looks[steps % len(looks)]) if looks else _NO_ROWS
            if recorded.any_ended or len(looping):
                ended = self._ends(recorded, looping)
        self._count(batch, steps)
        return steps, ended

    def _looks(self, batch: Batch) -> list[Ints]:
        """At index (steps from now, modulo `every`): the live rows whose repetition is to be looked at then."""
        if self._repetition is None:
            return []
        every = self._repetition.every
        rows = batch.index_B[batch.live_B]
        due = -self._rows.response_lengths(rows) % every
        return [rows[due == phase] for phase in range(every)]

    def _looping(self, rows: Ints) -> Ints:
        """Those of the rows whose response loops."""
        if self._repetition is None:
            return _NO_ROWS
        lengths = self._rows.response_lengths(rows)
        rows, lengths = rows[lengths >= self._repetition.tokens], lengths[lengths >= self._repetition.tokens]
        if not len(rows):
            return _NO_ROWS
        return rows[looping(self._rows.tails(rows, self._repetition.width), lengths, self._repetition)]

    def _ends(self, recorded: Recorded, looping_rows: Ints) -> list[tuple[int, EndReason]]:
        """Which trajectories end with this step and why: a stop token, a loop, the longest response, or the budget."""
        ends: list[tuple[int, EndReason]] = []
        for row in np.union1d(np.flatnonzero(recorded.stopped_B | recorded.ended_B), looping_rows).tolist():
            trajectory = int(self._rows.trajectory_R[row])
            work = self._works[trajectory]
            if recorded.stopped_B[row]:
                ends.append((trajectory, "stop"))
            elif row in looping_rows:
                ends.append((trajectory, "repetition"))
            elif self._rows.known_R[row] - work.prompt >= work.job.max_response_tokens:
                ends.append((trajectory, "length"))
            else:
                ends.append((trajectory, "cut"))
        return ends

    def _finish(self, trajectory: int, end: EndReason, emit: Emit) -> None:
        """Report a job's segment and forget the job; a cut trajectory stays cached."""
        work = self._works.pop(trajectory)
        ids, logps = self._tokens(trajectory, work)
        work.mark(self.version, len(ids))
        self._batching.remove(trajectory, keep=end == "cut")
        if not self._batching.caches(trajectory):
            self._rows.free(trajectory)
        segment = Segment(
            start=work.job.start,
            payload=token_arrays(ids[work.begin :].astype(np.int32), logps),
            versions=tuple(work.runs),
            produced=((1, len(logps)),) if len(logps) else (),
            end=end,
        )
        emit(SegmentDone(trajectory, work.job.attempt, segment))

    def _take_up(self, admission: Admission) -> None:
        """Give an admitted job a row that holds what it knows."""
        work = self._works[admission.trajectory]
        job, known = work.job, len(work.ids)
        row = self._rows.take(job.trajectory)
        numbers = uniforms(job.sampling.seed, job.trajectory, known - work.prompt, work.end - known)
        self._rows.load(row, work.prompt, work.ids, work.logps, numbers)
        self._rows.set_sampling(row, job.sampling.temperature, job.sampling.top_p, job.sampling.stop_ids)
        work.filled, work.running = admission.cached, True
        self.counters.cached_tokens += admission.cached
        self._unordered = True

    def _put_back(self, trajectory: int) -> None:
        """Take the row from a preempted job, which waits with all its tokens."""
        work = self._works[trajectory]
        work.ids, work.logps = self._tokens(trajectory, work)
        work.running = False
        self._rows.free(trajectory)

    def _tokens(self, trajectory: int, work: Work) -> tuple[Ints, npt.NDArray[np.float32]]:
        """A job's known tokens and its segment's log-probabilities, as copies."""
        if not work.running:
            return work.ids, work.logps
        row = self._rows.row_of[trajectory]
        known = int(self._rows.known_R[row])
        return self._rows.ids_RL[row, :known].copy(), self._rows.logps_RL[row, work.begin : known].copy()

    def _known(self, trajectory: int, work: Work) -> int:
        """Known tokens of a job."""
        return int(self._rows.known_R[self._rows.row_of[trajectory]]) if work.running else len(work.ids)

    def _fill(self, chunks: tuple[tuple[int, int], ...]) -> None:
        """Fill the cache of rows with known tokens; rows of about equal counts together."""
        assert self._weights is not None
        for group in _alike(chunks):
            works = [self._works[trajectory] for trajectory, _ in group]
            rows = np.array([self._rows.row_of[trajectory] for trajectory, _ in group])
            starts = np.array([work.filled for work in works])
            counts = np.array([count for _, count in group])
            columns = np.minimum(starts[:, None] + np.arange(counts.max()), self._longest)
            span = int((starts + counts).max())
            self._cache.ensure(span)
            parts = (self._rows.ids_RL[rows[:, None], columns], rows, starts, counts)
            ids, row_ids, first, many = (torch.from_numpy(part).to(self._device) for part in parts)
            fill(self._shape, self._weights, self._cache, FillBatch(ids, row_ids, first, many, span))
            self.counters.prefill_tokens += int(counts.sum())
            for work, count in zip(works, counts.tolist(), strict=True):
                work.filled += count

    def _order(self) -> None:
        """Bring rows together and into the order of their lengths, where that pays."""
        if not self._unordered or self._steps < self._order_again_at:
            return
        self._unordered, self._order_again_at = False, self._steps + _ORDER_EVERY
        sources, targets = self._rows.moves(self._batching.running)
        if sources:
            self._cache.move(sources, targets, self._rows.relocate(sources, targets))

    def _count(self, batch: Batch, steps: int) -> None:
        """Add `steps` steps of a batch, after they were done, to the counters."""
        rows = int(batch.live_B.sum())
        self._steps += steps
        self.counters.steps += steps
        self.counters.decoded_tokens += rows * steps
        contexts = int(batch.written_B[batch.live_B].sum())
        self.counters.context_tokens += contexts * steps - rows * (steps * (steps - 1) // 2)

    def _refusal(self, job: Job, cached: Ints | None) -> str | None:
        """Why a job cannot be taken; None if it can."""
        if job.trajectory in self._works:
            return "has a job already"
        longest = job.prompt.length + job.max_response_tokens
        if longest <= self._longest and not self._batching.fits(longest):
            return f"{longest} tokens exceed kv_tokens {self._batching.config.kv_tokens}"
        return refusal(job, cached, self._longest, self._shape.vocabulary)

    def _cached_ids(self, trajectory: int) -> Ints | None:
        """Known tokens of a trajectory that is cached; None if it has a job or nothing is cached."""
        if trajectory in self._works or trajectory not in self._rows.row_of:
            return None
        row = self._rows.row_of[trajectory]
        return self._rows.ids_RL[row, : self._rows.known_R[row]].copy()


def _alike(chunks: tuple[tuple[int, int], ...]) -> list[list[tuple[int, int]]]:
    """Group (trajectory, tokens) so that padding each group to its widest wastes less than half."""
    groups: list[list[tuple[int, int]]] = []
    for chunk in sorted(chunks, key=lambda chunk: -chunk[1]):
        if groups and 2 * chunk[1] > groups[-1][0][1]:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups
