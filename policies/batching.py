"""What a generator does next: admit, prefill, decode, preempt, evict. A pure object, without a clock or a model.

The embedded engine carries its plans out; the simulator's double charges virtual time for them. One step of a generator
is: prefill some tokens (at most `prefill_tokens`), and decode one token for every job whose context is filled. Serving
engines with a paged cache and a token budget for the whole step (vLLM, SGLang) are `step_tokens`, `block_tokens` and
`shrink`.

        submit -> waiting -> prefilling -> decoding -> remove(keep) -> cached -> (submit again: no prefill)
                     ^            |            |                         |
                     +--preempted-+------------+                      evicted

    batching.submit(...), remove(...), forget(...), recompute()      what happened
    plan = batching.plan()                                           what to do, and how often (`plan.steps`)
    batching.advance(steps)                                          it was done so often, at most `plan.steps` times

A plan stays right until one of those calls, so that a driver needs no decision per decoded token: it may carry out
`plan.steps` steps at a stroke, or fewer if something arrives or finishes. `advance` takes constant time while nothing
is prefilled.

Lengths. `known` tokens of a trajectory are its prompt and response so far. The cache lacks the last one, which the next
decode step feeds: a job that decodes holds `known - 1` tokens, and prefilling is complete with as many.

Invariants
- At most `slots` jobs run; at most `rows` trajectories are held, running or cached; held tokens, counting what a
  running job still has to prefill, each trajectory's in whole blocks, never exceed `kv_tokens`.
- A step computes at most `step_tokens` tokens, if that is set: what decoding leaves of it is prefilled.
- Jobs are admitted in the order of submission. A preempted job goes before all that were never admitted, and preempted
  jobs keep the order of their admission.
- The job admitted first is never preempted, so that work always finishes. A preempted job waits at the head of the line
  for room that only a job that leaves can give, so that nothing is admitted and preempted in turn.
- Cached prefixes take nothing that a job needs: they are evicted, least recently used first, before anybody is
  preempted or kept waiting for room. With `shrink` they give way by blocks, from their end.
- A job joins others only if `headroom` tokens stay free for each; alone it always runs.
- A job waits for a slot alone only until `refill` slots are free, or enough for everybody who waits.

What this leaves out: prefixes shared between trajectories, and swapping to another memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from buffers.errors import ContractError, UsageError


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """Limits of one generator."""

    slots: int = 64
    """How many jobs run at once."""
    rows: int = 128
    """How many trajectories are held, running or cached."""
    kv_tokens: int = 131072
    """How many tokens are held, running or cached."""
    prefill_tokens: int = 1024
    """How many tokens one step prefills."""
    refill: int = 1
    """How many free slots to wait for before new jobs are prefilled together."""
    headroom: int = 32
    """Tokens per running job that must stay free when a job joins others: more of it means fewer preemptions."""
    step_tokens: int = 0
    """How many tokens one step computes, decoded ones included; 0: any number."""
    block_tokens: int = 1
    """Memory is held in blocks of so many tokens of one trajectory."""
    shrink: bool = False
    """Prefixes give way block by block, and what was held of a preempted job stays cached; False: in one piece, and
    a preempted job loses everything."""

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could run."""
        for name in ("slots", "kv_tokens", "prefill_tokens", "refill", "headroom", "block_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be at least 1")
        if self.rows < self.slots:
            raise UsageError(f"rows={self.rows} must be at least slots={self.slots}")
        if self.step_tokens and self.step_tokens <= self.slots:
            raise UsageError(f"step_tokens={self.step_tokens} must exceed slots={self.slots}, or be 0 for no limit")
        if self.kv_tokens < self.block_tokens:
            raise UsageError(f"kv_tokens={self.kv_tokens} must be at least a block, block_tokens={self.block_tokens}")


class Admission(msgspec.Struct, frozen=True, gc=False):
    """A job that runs from this plan on."""

    trajectory: int
    cached: int
    """Tokens of it that were still held and need no prefill."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """What one step does, and what changed since the last plan."""

    prefill: tuple[tuple[int, int], ...]
    """(trajectory, tokens) to prefill, the earliest admitted first."""
    decoding: int
    """How many jobs get one token each: those in `Batching.decoding`."""
    steps: int
    """How often this can be done before another plan is needed, if nothing happens; 0 if there is nothing to do."""
    admitted: tuple[Admission, ...] = ()
    preempted: tuple[int, ...] = ()
    """Jobs that wait again; they lost what was held of them, or with `shrink` have it cached."""
    evicted: tuple[int, ...] = ()
    """Trajectories whose cached prefix is gone."""


class _Job(msgspec.Struct, gc=False):
    """A job that waits or runs."""

    known: int
    """Known tokens; while it decodes, as of `since`."""
    filled: int = 0
    """Tokens held, up to known - 1, while it does not decode."""
    since: int | None = None
    """The step at which it began to decode; None while it does not."""


class Batching:
    """The jobs and cached prefixes of one generator."""

    def __init__(self, config: BatchingConfig) -> None:
        self.config = config
        self._block = config.block_tokens
        self._waiting: OrderedDict[int, _Job] = OrderedDict()
        self._running: dict[int, _Job] = {}
        """In the order of admission."""
        self._prefilling: dict[int, _Job] = {}
        """Those of `_running` that lack tokens, in the same order."""
        self._decoding: dict[int, _Job] = {}
        self._cached: OrderedDict[int, int] = OrderedDict()
        """Tokens held by trajectory, least recently used first."""
        self._held = 0
        """Tokens, each trajectory's in whole blocks."""
        self._phases = [0] * config.block_tokens
        """How many decoding jobs begin a new block at the steps whose number is -index modulo the block."""
        self._step = 0
        self._plan: Plan | None = None
        self._admitted: list[Admission] = []
        self._preempted: list[int] = []
        self._evicted: list[int] = []

    # What happened.

    def fits(self, longest: int) -> bool:
        """Whether a job that ends with `longest` known tokens can run at all."""
        return self._whole(longest - 1) <= self.config.kv_tokens

    def submit(self, trajectory: int, known: int, longest: int) -> None:
        """A job arrives with `known` tokens, and will have at most `longest`."""
        if trajectory in self._waiting or trajectory in self._running:
            raise ContractError(f"trajectory {trajectory} has a job already; remove it first")
        if not 0 < known < longest or not self.fits(longest):
            raise ContractError(f"a job of {known} to {longest} tokens cannot run in kv_tokens={self.config.kv_tokens}")
        if self._cached.get(trajectory, 0) >= known:
            raise ContractError(
                f"{self._cached[trajectory]} tokens of {trajectory} are cached, {known} known; forget it"
            )
        if trajectory in self._cached:
            self._cached.move_to_end(trajectory)
        self._waiting[trajectory] = _Job(known)
        self._plan = None

    def remove(self, trajectory: int, keep: bool) -> None:
        """A job finished or was aborted; `keep` what is held of it, in case it comes back."""
        self._plan = None
        if self._waiting.pop(trajectory, None) is not None:
            if not keep:
                self.forget(trajectory)
            return
        if trajectory not in self._running:
            raise ContractError(f"trajectory {trajectory} has no job")
        held = self._leave(trajectory)
        if keep and held:
            self._cache(trajectory, held)

    def forget(self, trajectory: int) -> None:
        """Drop what is cached of a trajectory, if anything is."""
        self._held -= self._whole(self._cached.pop(trajectory, 0))
        self._plan = None

    def recompute(self) -> None:
        """Everything held is stale: running jobs prefill again, cached prefixes are evicted."""
        while self._cached:
            self._evict()
        for job in self._running.values():
            job.known, job.filled, job.since = self._known(job), 0, None
        self._prefilling = dict(self._running)
        self._decoding.clear()
        self._phases = [0] * self.config.block_tokens
        for trajectory, job in self._running.items():
            self._decode_if_filled(trajectory, job)
        self._plan = None

    def advance(self, steps: int = 1) -> None:
        """The plan was carried out `steps` times."""
        plan = self.plan()
        if not 0 < steps <= plan.steps:
            raise ContractError(f"advanced by {steps} steps, the plan holds for {plan.steps}")
        self._held += self._growth(steps)
        self._step += steps
        for trajectory, count in plan.prefill:
            job = self._prefilling[trajectory]
            job.filled += steps * count
            self._decode_if_filled(trajectory, job)
        keeps = not plan.prefill and steps < plan.steps
        self._plan = Plan((), plan.decoding, plan.steps - steps) if keeps else None

    # What is.

    @property
    def decoding(self) -> tuple[int, ...]:
        """Trajectories that get a token in each step."""
        return tuple(self._decoding)

    @property
    def running(self) -> tuple[int, ...]:
        """Trajectories that were admitted, in the order of admission."""
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Trajectories that will be admitted, in this order."""
        return tuple(self._waiting)

    @property
    def cached(self) -> dict[int, int]:
        """Tokens held by trajectories that do not run, least recently used first."""
        return dict(self._cached)

    def caches(self, trajectory: int) -> bool:
        """Whether a prefix of a trajectory that does not run is held."""
        return trajectory in self._cached

    @property
    def held(self) -> int:
        """Tokens held in whole blocks, running (with what is still to be prefilled) and cached."""
        return self._held

    # What to do.

    def plan(self) -> Plan:
        """What to do now. Asking again without anything in between gives the same, less the changes."""
        if self._plan is not None:
            return self._plan
        self._make_room()
        self._admit()
        prefill = self._chunks()
        self._plan = plan = Plan(prefill, len(self._decoding), self._repeats(prefill))
        if not (self._admitted or self._preempted or self._evicted):
            return plan
        changes = tuple(self._admitted), tuple(self._preempted), tuple(self._evicted)
        self._admitted, self._preempted, self._evicted = [], [], []
        return Plan(prefill, plan.decoding, plan.steps, *changes)

    def _make_room(self) -> None:
        """Evict, then preempt the youngest, until every job that decodes can hold one token more."""
        while self._held + self._growth(1) > self.config.kv_tokens:
            if self._evict():
                continue
            youngest = next(reversed(self._running))
            known = self._known(self._running[youngest])
            filled = self._leave(youngest)
            if self.config.shrink and filled:
                self._cache(youngest, filled)
            self._waiting[youngest] = _Job(known)
            self._waiting.move_to_end(youngest, last=False)
            self._preempted.append(youngest)

    def _admit(self) -> None:
        """Let waiting jobs run, in order, as far as slots, rows and room go."""
        waiting, running, slots = self._waiting, self._running, self.config.slots
        if not waiting:
            return
        together = not running or slots - len(running) >= min(self.config.refill, len(waiting))
        while waiting and len(running) < slots:
            trajectory, job = next(iter(waiting.items()))
            cached = self._cached.get(trajectory, 0)
            if cached < job.known - 1 and not together:
                return
            if not self._evict_for(trajectory, job.known):
                return
            del waiting[trajectory]
            self._held += self._whole(job.known - 1) - self._whole(self._cached.pop(trajectory, 0))
            job.filled = cached
            running[trajectory] = self._prefilling[trajectory] = job
            self._decode_if_filled(trajectory, job)
            self._admitted.append(Admission(trajectory, cached))

    def _evict_for(self, trajectory: int, known: int) -> bool:
        """Evict others until `known` - 1 tokens can be held, everybody has headroom, and a row is free."""
        config, cached, running = self.config, self._cached, len(self._running)
        own, filled = self._whole(cached.get(trajectory, 0)), self._whole(known - 1)
        next_blocks = self._growth(1) + self._whole(known) - filled
        headroom = (running + 1) * config.headroom if running else 0
        lacking = filled - own + self._held + max(headroom, next_blocks) - config.kv_tokens
        if lacking > 0 and sum(map(self._whole, cached.values())) - own < lacking:
            return False
        rows = config.rows - running - 1
        while lacking > 0 or len(cached) - (own > 0) > rows:
            lacking -= self._evict(but=trajectory)
        return True

    def _evict(self, but: int | None = None) -> int:
        """Drop the least recently used cached prefix of others than `but`, or its last block; returns its tokens."""
        for trajectory, held in self._cached.items():
            if trajectory != but:
                freed = self.config.block_tokens if self.config.shrink else self._whole(held)
                self._held -= freed
                self._cached[trajectory] = self._whole(held) - freed
                if not self._cached[trajectory]:
                    del self._cached[trajectory]
                    self._evicted.append(trajectory)
                return freed
        return 0

    def _cache(self, trajectory: int, tokens: int) -> None:
        self._cached[trajectory] = tokens
        self._held += self._whole(tokens)

    def _whole(self, tokens: int) -> int:
        """The size of the blocks that hold so many tokens."""
        block = self._block
        return tokens if block == 1 else -(-tokens // block) * block

    def _growth(self, steps: int) -> int:
        """Tokens in the blocks that the jobs that decode begin in so many steps from now."""
        block = self._block
        if block == 1:
            return steps * len(self._decoding)
        rounds, rest = divmod(steps, block)
        begun = sum(self._phases[-(self._step + ahead) % block] for ahead in range(rest))
        return block * (rounds * len(self._decoding) + begun)

    def _leave(self, trajectory: int) -> int:
        """A running job stops running; returns the tokens that are really held of it."""
        job = self._running.pop(trajectory)
        self._prefilling.pop(trajectory, None)
        if self._decoding.pop(trajectory, None) is not None:
            self._phases[self._phase(job)] -= 1
        held = self._known(job) - 1
        self._held -= self._whole(held)
        return job.filled if job.since is None else held

    def _decode_if_filled(self, trajectory: int, job: _Job) -> None:
        if job.filled == job.known - 1:
            del self._prefilling[trajectory]
            self._decoding[trajectory] = job
            job.since = self._step
            self._phases[self._phase(job)] += 1

    def _phase(self, job: _Job) -> int:
        """What a decoding job holds, less the number of the step, modulo the block."""
        return 0 if self._block == 1 else (self._known(job) - 1 - self._step) % self._block

    def _chunks(self) -> tuple[tuple[int, int], ...]:
        """Which tokens to prefill in one step, the earliest admitted first."""
        if not self._prefilling:
            return ()
        budget = self.config.prefill_tokens
        if self.config.step_tokens:
            budget = min(budget, self.config.step_tokens - len(self._decoding))
        chunks: list[tuple[int, int]] = []
        for trajectory, job in self._prefilling.items():
            if not budget:
                break
            count = min(budget, job.known - 1 - job.filled)
            chunks.append((trajectory, count))
            budget -= count
        return tuple(chunks)

    def _repeats(self, prefill: tuple[tuple[int, int], ...]) -> int:
        """How often the same step can be done before a decision is due."""
        by_room = self._repeats_by_room() if self._decoding else None
        if not prefill:
            return by_room or 0
        trajectory, count = prefill[0]
        job = self._prefilling[trajectory]
        by_prefill = (job.known - 1 - job.filled) // count if len(prefill) == 1 else 1
        return by_prefill if by_room is None else min(by_room, by_prefill)

    def _repeats_by_room(self) -> int:
        """How many steps the jobs that decode can do before one of them finds no block."""
        block = self._block
        rounds, left = divmod((self.config.kv_tokens - self._held) // block, len(self._decoding))
        for ahead in range(block):
            left -= self._phases[-(self._step + ahead) % block]
            if left < 0:
                return rounds * block + ahead
        return (rounds + 1) * block  # not reached: a round begins as many blocks as there are jobs, and fewer are left

    def _known(self, job: _Job) -> int:
        """Known tokens of a job now."""
        return job.known if job.since is None else job.known + self._step - job.since
