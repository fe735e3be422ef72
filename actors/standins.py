"""Stand-in ports: an engine that emits scripted tokens after scripted times, a trainer that counts, a scripted reward.

They run on the clock of their world, so the same file serves processes on real sockets and virtual time. What they emit
is a function of the seed and of the trajectory alone: the same trajectory has the same tokens, length and outcome
whatever the batch, the segment size and the interruptions. Conformance, fault exploration and the comparison of both
worlds run on them; they compute nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from actors.evaluator import Problem
from actors.kernel.backend import Clock
from actors.kernel.operations import ns
from actors.sharing import Turns
from buffers.errors import ContractError
from buffers.rows import PromptRow
from buffers.segment import EndReason, Ghost, Payload, Runs, Segment, ids_of, join_runs, token_arrays
from policies.engine import EngineEvent, Installed, InstallFailed, Job, JobFailed, SegmentDone
from policies.trainer import Checkpointed, Exposed, StepDone, TrainerEvent, TrainerReady, UpdateJob
from rewards.reward import RewardEvent, Scored, ScoreJob, ScoringFailed

EARLY_NS = 10_000_000
"""What ends less than this before a moment waits for the next one."""
LOOK_NS = 20_000_000
"""How often a trainer that waits for its beginning looks for it."""


class Script(msgspec.Struct, frozen=True):
    """What the stand-ins do, and how long it takes."""

    seed: int = 0
    """Of lengths, outcomes and tokens."""
    payload: Literal["ghost", "arrays"] = "ghost"
    """`ghost`: tokens are counted and not made; `arrays`: they are made."""
    token_s: float = 0.001
    """Time per decoded token of one job."""
    slots: int = 8
    """Jobs that an engine runs at once."""
    mean_tokens: int = 48
    """Mean response length; lengths are spread evenly over [1, 2 * mean)."""
    install_s: float = 0.002
    """Time to install a version."""
    step_s: float = 0.05
    """Time of an update."""
    checkpoint_s: float = 0.005
    """Time of a checkpoint."""
    report_s: float = 0.0
    """From a durable checkpoint to the word of it."""
    expose_s: float = 0.0
    """From the order to expose a version to the word that it may be pulled."""
    begin_key: str = ""
    """The trainer is not ready before its disk holds this key: whoever watches the start puts it there."""
    score_s: float = 0.002
    """Time of a scoring."""
    solve_share: float = 0.5
    """Share of responses with outcome 1."""
    fail_score_every: int = 0
    """Every how many scorings fail for reasons of infrastructure (0: none)."""
    fail_job_every: int = 0
    """Every how many jobs of an engine fail (0: none)."""
    break_every: int = 0
    """Every how many segments break off as failed, with half of their tokens (0: none)."""
    late_end: bool = False
    """A response that ends where its segment does is known to have ended only by a further segment without tokens."""
    fail_install_every: int = 0
    """Every how many installations fail (0: none)."""
    flat_every: int = 0
    """Every how many groups all responses get the same outcome (0: none)."""

    tick_s: float = 0.0
    """If above 0, whatever takes time ends at a moment of its own: a whole number of ticks plus a phase. Ports whose
    phases differ then never emit together, and small delays change no order."""
    phase_s: float = 0.0
    """Of segments, updates and scores."""
    second_phase_s: float = 0.0
    """Of installations and of versions being exposed."""


class Moments:
    """When a port emits: after a time, or at the first moment behind it that nothing else of this port has taken."""

    def __init__(self, tick_s: float, phase_s: float, clock: Clock) -> None:
        self._tick_ns = ns(tick_s)
        self._phase_ns = ns(phase_s)
        self._clock = clock
        self._last = 0

    def after(self, delay_ns: int) -> int:
        """How long to wait for something that takes so long."""
        tick = self._tick_ns
        if not tick:
            return delay_ns
        now = self._clock.now()
        earliest = max(now + delay_ns + EARLY_NS, self._last + tick)
        self._last = earliest + (self._phase_ns - earliest) % tick
        return self._last - now


def script(config: dict[str, Any]) -> Script:
    """The `standins` section of a run's settings."""
    return msgspec.convert(config.get("standins", {}), Script)


def mix(*numbers: int) -> int:
    """A 64-bit hash of integers (splitmix64 finalizer), the same everywhere."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ number) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state


def response_length(one: Script, trajectory: int, cap: int) -> int:
    """Length in tokens of a trajectory's whole response."""
    return min(cap, 1 + mix(one.seed, trajectory, 1) % max(1, 2 * one.mean_tokens - 1))


def response_payload(one: Script, trajectory: int, start: int, stop: int) -> Payload:
    """Tokens [start, stop) of a trajectory's response; keyed by (seed, trajectory, position)."""
    if one.payload == "ghost":
        return Ghost(stop - start, mix(one.seed, trajectory, start, 2) >> 1)
    ids = [mix(one.seed, trajectory, position, 2) % 32 for position in range(start, stop)]
    return token_arrays(ids, np.full(stop - start, -1.0, dtype=np.float32))


class Run:
    """One job that the scripted engine is at."""

    __slots__ = ("count", "done", "end", "job", "since", "timer", "versions")

    def __init__(self, job: Job, count: int, end: EndReason, since: int) -> None:
        self.job = job
        self.count = count
        self.end = end
        self.since = since
        """When token number `done` was begun (ns)."""
        self.done = 0
        self.versions: Runs = ()
        self.timer: Any = None


class ScriptedEngine:
    """An Engine whose jobs take `token_s` a token, `slots` at a time."""

    def __init__(self, config: dict[str, Any], emit: Callable[[EngineEvent], None], clock: Clock) -> None:
        self._script = script(config)
        self.slots = self._script.slots
        self._emit = emit
        self._clock = clock
        self._token_ns = ns(self._script.token_s)
        self._ends = Moments(self._script.tick_s, self._script.phase_s, clock)
        self._installs = Moments(self._script.tick_s, self._script.second_phase_s, clock)
        self._version = -1
        self._running: dict[int, Run] = {}
        self._queue: deque[Job] = deque()
        self._cached: dict[int, int] = {}
        self._jobs = 0
        self._segments = 0
        self._installs_done = 0
        self._closed = False
        self._turns = Turns(config, clock, emit, self._go_on, self._pause)

    def submit(self, job: Job) -> None:
        """Take a job."""
        if self._version < 0:
            raise ContractError("a job was submitted before any weights were installed")
        self._jobs += 1
        every = self._script.fail_job_every
        if every and self._jobs % every == 0:
            self._emit(JobFailed(job.trajectory, job.attempt, "scripted failure"))
        elif job.start and job.prefix is None and self._cached.get(job.trajectory) != job.start:
            self._emit(JobFailed(job.trajectory, job.attempt, "not cached"))
        elif job.prefix is not None and job.prefix.length != job.start:
            raise ContractError(f"trajectory {job.trajectory}: a prefix of {job.prefix.length} for start {job.start}")
        elif len(self._running) < self.slots:
            self._begin(job)
        else:
            self._queue.append(job)

    def _begin(self, job: Job) -> None:
        total = response_length(self._script, job.trajectory, job.max_response_tokens)
        count = min(job.max_tokens, total - job.start)
        ended: EndReason = "length" if total == job.max_response_tokens else "stop"
        end: EndReason = ended if job.start + count >= total else "cut"
        if self._script.late_end and ended == "stop" and count == job.max_tokens:
            end = "cut"
        run = Run(job, count, end, self._clock.now())
        self._running[job.trajectory] = run
        if self._turns.ours:
            self._continue(run)
        else:
            self._turns.want()

    def _continue(self, run: Run) -> None:
        """Let a job's tokens come."""
        run.since = self._clock.now()
        left = run.count - run.done
        run.timer = self._clock.call_later(self._ends.after(left * self._token_ns), self._finish, run)

    def _go_on(self) -> None:
        """The card is ours."""
        for run in self._running.values():
            self._continue(run)

    def _pause(self) -> None:
        """Another wants the card: no token comes until it is ours again."""
        for run in self._running.values():
            self._advance(run)
            self._clock.cancel(run.timer)
            run.timer = None

    def _advance(self, run: Run) -> None:
        """Bring the count of a running job's tokens up to now, under the version that is still installed."""
        passed = min((self._clock.now() - run.since) // self._token_ns, run.count - run.done)
        if run.timer is not None and passed > 0:
            run.versions = join_runs(run.versions, ((self._version, passed),))
            run.done += passed
            run.since += passed * self._token_ns

    def _finish(self, run: Run) -> None:
        self._segments += 1
        if self._script.break_every and self._segments % self._script.break_every == 0:
            run.count, run.end = (run.count + run.done) // 2, "failed"
        left = run.count - run.done
        if left:
            run.versions = join_runs(run.versions, ((self._version, left),))
            run.done = run.count
        self._release(run, run.end)

    def _release(self, run: Run, end: EndReason) -> None:
        job = run.job
        del self._running[job.trajectory]
        stop = job.start + run.done
        self._cached[job.trajectory] = stop
        payload = response_payload(self._script, job.trajectory, job.start, stop)
        produced = ((1, run.done),) if run.done else ()
        segment = Segment(job.start, payload, run.versions, produced, end)
        self._emit(SegmentDone(job.trajectory, job.attempt, segment))
        while self._queue and len(self._running) < self.slots:
            self._begin(self._queue.popleft())
        if not self._running:
            self._turns.done()

    def abort(self, trajectory: int) -> None:
        """End a job early."""
        run = self._running.get(trajectory)
        if run is not None:
            self._advance(run)
            if run.timer is not None:
                self._clock.cancel(run.timer)
            self._release(run, "cut")
            return
        for job in self._queue:
            if job.trajectory == trajectory:
                self._queue.remove(job)
                self._emit(SegmentDone(trajectory, job.attempt, Segment(job.start, Ghost(0, 0), (), (), "cut")))
                return

    def install(self, version: int, source: str) -> None:
        """Go over to a version after `install_s`."""
        self._clock.call_later(self._installs.after(ns(self._script.install_s)), self._installed, version)

    def _installed(self, version: int) -> None:
        self._installs_done += 1
        if self._script.fail_install_every and self._installs_done % self._script.fail_install_every == 0:
            self._emit(InstallFailed(version, "scripted failure"))
            return
        for run in self._running.values():
            self._advance(run)
        self._version = version
        self._emit(Installed(version, self._script.install_s))

    def forget(self, trajectory: int) -> None:
        """Free what is cached."""
        self._cached.pop(trajectory, None)

    def close(self) -> None:
        """Stop."""
        self._closed = True
        self._turns.close()


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """What the counting trainer stores."""

    version: int
    steps: int
    weights: int
    applied: tuple[tuple[int, int], ...]


class CountingTrainer:
    """A Trainer whose weights are a hash over everything ever applied to them."""

    def __init__(self, config: dict[str, Any], emit: Callable[[TrainerEvent], None], clock: Clock) -> None:
        self._script = script(config)
        self._emit = emit
        self._clock = clock
        self._updates = Moments(self._script.tick_s, self._script.phase_s, clock)
        self._exposures = Moments(self._script.tick_s, self._script.second_phase_s, clock)
        self._steps = 0
        self._weights = 1
        self._applied: list[tuple[int, int]] = []
        self._jobs: list[UpdateJob] = []
        self._turns = Turns(config, clock, emit, self._update)

    def start(self) -> None:
        """Restore the newest checkpoint, once the run may begin."""
        self._begin(None)

    def _begin(self, _: None) -> None:
        key = self._script.begin_key
        if key and key not in self._clock.disk:
            self._clock.call_later(LOOK_NS, self._begin, None)
            return
        data = self._clock.disk.get("checkpoint")
        restored = Checkpoint(0, 0, 1, ()) if data is None else msgspec.msgpack.decode(data, type=Checkpoint)
        self._steps = restored.steps
        self._weights = restored.weights
        self._emit(TrainerReady(restored.version, restored.steps, restored.applied, self._address()))

    def step(self, job: UpdateJob) -> None:
        """Apply one update after `step_s`."""
        self._jobs.append(job)
        if self._turns.ours:
            self._update()
        else:
            self._turns.want()

    def _update(self) -> None:
        """The card is ours."""
        self._clock.call_later(self._updates.after(ns(self._script.step_s)), self._stepped, self._jobs.pop())

    def _stepped(self, job: UpdateJob) -> None:
        self._turns.done()
        tokens = 0
        for group in job.groups:
            self._applied.append((group.group, group.use))
            self._weights = mix(self._weights, group.group, group.use)
            for member in group.members:
                for segment in member.segments:
                    ids_of(segment.payload) if self._script.payload == "arrays" else None
                    tokens += segment.length
        self._steps += 1
        feedback = tuple((group.group, 1.0) for group in job.groups)
        self._emit(StepDone(job.lease, {"groups": float(len(job.groups))}, feedback, tokens, self._script.step_s))

    def checkpoint(self, version: int) -> None:
        """Make the weights durable after `checkpoint_s`."""
        self._clock.call_later(ns(self._script.checkpoint_s), self._store, version)

    def _store(self, version: int) -> None:
        state = Checkpoint(version, self._steps, self._weights, tuple(self._applied))
        self._clock.disk["checkpoint"] = msgspec.msgpack.encode(state)
        self._applied.clear()
        self._clock.call_later(ns(self._script.report_s), self._emit, Checkpointed(version, self._address()))

    def expose(self, version: int) -> None:
        """Let the weights be pulled, after `expose_s`."""
        exposed = Exposed(version, self._address())
        self._clock.call_later(self._exposures.after(ns(self._script.expose_s)), self._emit, exposed)

    def _address(self) -> str:
        return f"standin:{self._weights:016x}"

    def close(self) -> None:
        """Stop."""
        self._turns.close()


class ScriptedReward:
    """A Reward whose outcomes are a function of seed and trajectory."""

    def __init__(self, config: dict[str, Any], emit: Callable[[RewardEvent], None], clock: Clock) -> None:
        self._script = script(config)
        self._emit = emit
        self._clock = clock
        self._ends = Moments(self._script.tick_s, self._script.phase_s, clock)
        self._jobs = 0

    def score(self, job: ScoreJob) -> None:
        """Score after `score_s`."""
        self._clock.call_later(self._ends.after(ns(self._script.score_s)), self._scored, job)

    def _scored(self, job: ScoreJob) -> None:
        self._jobs += 1
        every = self._script.fail_score_every
        if every and self._jobs % every == 0:
            self._emit(ScoringFailed(job.trajectory, job.attempt, "scripted failure"))
            return
        outcome = float(mix(self._script.seed, job.trajectory, 3) % 1000 < 1000 * self._script.solve_share)
        if self._script.flat_every and mix(self._script.seed, int(job.answer or 0)) % self._script.flat_every == 0:
            outcome = 1.0
        components = {"outcome": outcome}
        self._emit(Scored(job.trajectory, job.attempt, components, self._script.score_s))

    def close(self) -> None:
        """Stop."""


def numbered_prompts(config: dict[str, Any], emit: Callable[[Any], None], clock: Clock) -> tuple[PromptRow, ...]:
    """A prompt set of `prompts.count` ghosts (default 64), 4 to 19 tokens long."""
    count = int(config.get("prompts", {}).get("count", 64))
    seed = script(config).seed
    return tuple(
        PromptRow(number, Ghost(4 + number % 16, mix(seed, number) >> 1), str(number)) for number in range(count)
    )


def numbered_problems(config: dict[str, Any], emit: Callable[[Any], None], clock: Clock) -> tuple[Problem, ...]:
    """Eight held-out problems."""
    return tuple(Problem(Ghost(4, number), str(number)) for number in range(8))


class Sink:
    """Takes numbers and keeps them, for tests."""

    def __init__(self, config: dict[str, Any], emit: Callable[[Any], None], clock: Clock) -> None:
        self.rows: list[tuple[str, str, int, float]] = []

    def write(self, actor: str, rows: tuple[tuple[str, int, float], ...]) -> None:
        """Keep (actor, name, time ns, value)."""
        self.rows.extend((actor, *row) for row in rows)

    def close(self) -> None:
        """Nothing to close."""
