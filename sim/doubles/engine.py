"""The Engine's double: the batching scheduler at the pace of a cost model, without an event per decoded token.

    submit, abort, forget, install --> noted --> next step boundary --> Batching.plan()
                                                                     |
       a plan holds for many steps: until the first segment ends, the KV space is full, or something is noted
       ns of n steps = closed form over the growth of the contexts (`Curve.total`): one event for the whole stroke

A counter of steps and a heap of the steps at which segments end stand for the tokens. What arrives during a stroke cuts
it at the end of the step that is being made (`Curve.steps_within`), as in an engine that looks at its queue between two
steps. Work time is float ns and is rounded once for each event, so nothing adds up.

Prompts of a group (`share_prompts`): who comes while another job of this engine holds the same prompt neither prefills
nor stores it again; attention still reads it for everybody. When the first holder leaves, its prompt leaves with it:
the space is then counted too small by one prompt until the next one comes.

Left out: tokens (ghosts of the true size), failures other than "not cached".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import msgspec

from buffers.errors import ContractError
from buffers.segment import EndReason, Ghost, Runs, Segment
from policies.batching import Batching, BatchingConfig, Plan
from policies.engine import EngineEvent, EngineReport, Installed, Job, JobFailed, SegmentDone
from sim.costs.cost import Chunk, EngineCost, Install, LengthModel, Step
from sim.costs.curve import Curve
from sim.doubles.device import Device
from sim.doubles.meter import Meter, Spell
from sim.doubles.sharing import Sharing
from sim.doubles.turn import Turn

NS = 1e9


class EngineModel(msgspec.Struct, frozen=True):
    """Everything that an engine's double is made of; one for many engines."""

    cost: EngineCost
    lengths: LengthModel
    batching: BatchingConfig
    share_prompts: bool = False
    report_s: float = 0.0
    """Period of `EngineReport`; 0: none."""


class Run:
    """One job of the double."""

    __slots__ = ("end", "finish", "hidden", "job", "known", "lacking", "since", "stop", "versions")

    def __init__(self, job: Job, known: int, stop: int, end: EndReason) -> None:
        self.job = job
        self.known = known
        """Known tokens, prompt and response; while it decodes, as of step `since`."""
        self.stop = stop
        """Known tokens at which the segment ends."""
        self.end = end
        self.since = -1
        """Step from which it decodes; -1 while it does not."""
        self.finish = -1
        self.lacking = 0
        """Tokens to prefill before it decodes."""
        self.hidden = 0
        """Tokens of its prompt that another job holds."""
        self.versions: Runs = ()


class Stroke(msgspec.Struct, eq=False):
    """Steps being made at a stroke."""

    plan: Plan
    steps: int
    curve: Curve | None
    """Of a stroke that only decodes; None: one step that prefills too."""
    cost: float
    """Ns of all its steps."""
    handle: Any = None


class EngineDouble:
    """See the module."""

    __slots__ = (
        "_aborted",
        "_arrived",
        "_at",
        "_batching",
        "_cached",
        "_closed",
        "_context",
        "_context_steps",
        "_cost",
        "_curves",
        "_decoding",
        "_device",
        "_emit",
        "_ends",
        "_forgotten",
        "_hidden",
        "_install",
        "_meter",
        "_model",
        "_order",
        "_prompts",
        "_reported",
        "_runs",
        "_settling",
        "_sharing",
        "_spell",
        "_stalled",
        "_step",
        "_stroke",
        "_turn",
        "_version",
        "_version_steps",
        "_versions",
        "_waiting",
        "_wakes",
        "name",
        "slots",
    )

    def __init__(
        self, model: EngineModel, emit: Callable[[EngineEvent], None], device: Device, account: tuple[Meter, str]
    ) -> None:
        self.slots = model.batching.slots
        self._model = model
        self._cost = model.cost
        self._emit = emit
        self._device = device
        self._meter, self.name = account
        self._spell: Spell = self._meter.engine(self.name, device.now())
        self._batching = Batching(model.batching)
        self._runs: dict[int, Run] = {}
        self._cached: dict[int, int] = {}
        """Trajectory -> response tokens that the cache holds."""
        self._hidden: dict[int, int] = {}
        """Trajectory -> tokens of its prompt that it does not hold itself."""
        self._prompts: dict[tuple[int, int], int] = {}
        """(length, seed) of a prompt -> the trajectory that holds it for the others."""
        self._ends: list[tuple[int, int, Run]] = []
        """Heap of (step, order, run): where segments end."""
        self._order = 0
        self._step = 0
        self._context = 0
        """Sum of the known tokens of what decodes."""
        self._decoding = 0
        self._waiting = 0
        """Jobs that were submitted to the batching and do not run."""
        self._at = 0.0
        """Work time of the last boundary."""
        self._stroke: Stroke | None = None
        self._wakes = False
        """A boundary without a stroke is on its way."""
        self._settling = False
        self._arrived: list[Run] = []
        self._aborted: list[int] = []
        self._forgotten: list[int] = []
        self._version = -1
        self._version_steps: list[int] = []
        self._versions: list[int] = []
        self._install: tuple[int, Install] | None = None
        self._stalled = False
        self._sharing: Sharing | None = None
        self._turn: Turn | None = None
        self._closed = False
        self._reported = (0.0, 0.0, 0, 0, 0, 0, 0.0)
        self._context_steps = 0.0
        self._curves: dict[int, Curve] = {}
        """By batch."""
        if model.report_s:
            self._report_later()

    # ---- commands -----------------------------------------------------------------------------------------------

    def share_devices(self, sharing: Sharing, now: Callable[[], int]) -> None:
        """Work only while the devices are ours; `now` is the world's clock, for what is told of turns."""
        self._sharing = sharing
        self._turn = Turn(now, self._emit)
        sharing.join(self)

    def submit(self, job: Job) -> None:
        """Take a job."""
        if self._version < 0:
            raise ContractError("a job was submitted before any weights were installed")
        trajectory = job.trajectory
        if job.start and job.prefix is None and self._cached.get(trajectory) != job.start:
            self._emit(JobFailed(trajectory, job.attempt, "not cached"))
            return
        total = self._model.lengths.response_tokens(trajectory, job.max_response_tokens)
        count = total - job.start
        if count > job.max_tokens:
            count = job.max_tokens
        if count < 1:
            raise ContractError(f"trajectory {trajectory} goes on at {job.start}, its response has {total} tokens")
        end: EndReason = "cut"
        if job.start + count >= total:
            end = "length" if total == job.max_response_tokens else "stop"
        known = job.prompt.length + job.start
        run = self._runs[trajectory] = Run(job, known, known + count, end)
        self._arrived.append(run)
        if not self._waiting:
            self._interrupt()

    def abort(self, trajectory: int) -> None:
        """End a job at the next boundary."""
        if trajectory in self._runs:
            self._aborted.append(trajectory)
            self._interrupt()

    def install(self, version: int, source: str) -> None:
        """Fetch a version, then put it in between two steps."""
        install = self._cost.install(version)
        device = self._device
        device.call_at(device.now() + install.fetch_ns, self._fetched, (version, install))

    def forget(self, trajectory: int) -> None:
        """Free what is cached, at the next boundary."""
        if self._cached.pop(trajectory, None) is not None:
            self._forgotten.append(trajectory)

    def close(self) -> None:
        """Stop."""
        if not self._closed:
            self._closed = True
            self._meter.rest(self._spell, self._device.now())
            if self._sharing is not None:
                self._sharing.leave(self)
            self._device.close()

    # ---- time ---------------------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """Something was noted: let the stroke end with the step that is being made."""
        if self._settling or self._wakes or self._stalled:
            return
        stroke, device = self._stroke, self._device
        if stroke is None:
            self._wakes = True
            device.call_at(device.now(), self._wake, None)
            return
        if stroke.curve is None or stroke.steps <= 1:
            return
        passed = device.now() - self._at
        done = stroke.curve.steps_within(self._context, self._decoding, passed + 0.5)
        if done and self._at + stroke.curve.total(self._context, self._decoding, done) < device.now() - 0.5:
            done += 1
        elif not done and passed > 0.5:
            done = 1
        if done < stroke.steps:
            stroke.steps = done
            device.cancel(stroke.handle)
            stroke.cost = stroke.curve.total(self._context, self._decoding, done)
            stroke.handle = device.call_at(self._at + stroke.cost, self._boundary, None)

    def _wake(self, _: None) -> None:
        self._wakes = False
        if self._stroke is None and not self._stalled:
            self._at = self._device.now()
            self._settle()

    def _boundary(self, _: None) -> None:
        """A stroke has ended."""
        stroke = self._stroke
        assert stroke is not None
        self._stroke = None
        steps, decoding, spell = stroke.steps, self._decoding, self._spell
        if steps:
            took = stroke.cost
            self._at += took
            spell.busy += took
            spell.steps += steps
            spell.decoded += steps * decoding
            spell.rows += took * decoding
            self._context_steps += steps * (self._context + 0.5 * decoding * (steps - 1))
            self._batching.advance(steps)
            self._step += steps
            self._context += steps * decoding
            for trajectory, count in stroke.plan.prefill:
                run = self._runs[trajectory]
                run.lacking -= count
                spell.prefilled += count
                if not run.lacking:
                    self._decode(run)
        self._settle()

    def _settle(self) -> None:
        """At a boundary: report what ended, take what was noted, and go on."""
        self._settling = True
        ends, step = self._ends, self._step
        while ends and ends[0][0] <= step:
            _, _, run = heappop(ends)
            if run.finish == step and run.since >= 0:
                self._finish(run, run.end)
        for trajectory in self._aborted:
            if trajectory in self._runs:
                self._abort(self._runs[trajectory])
        self._aborted.clear()
        for trajectory in self._forgotten:
            if trajectory not in self._runs:
                self._batching.forget(trajectory)
                self._hidden.pop(trajectory, None)
        self._forgotten.clear()
        for run in self._arrived:
            if self._runs.get(run.job.trajectory) is run:
                self._enter(run)
        self._arrived.clear()
        self._settling = False
        if not self._closed:
            self._go()

    def _go(self) -> None:
        """Begin the next stroke, or stand still."""
        if self._install is not None:
            self._stall()
            return
        if self._sharing is not None and not self._sharing.lets(self):
            self._rest()
            if self._runs and self._turn is not None:
                self._turn.ask("learner")
            return
        plan = self._batching.plan()
        if plan.admitted or plan.preempted or plan.evicted:
            self._change(plan)
        if not plan.steps:
            self._rest()
            return
        if self._spell.since is not None:
            self._device.busy(True)
            self._meter.work(self._spell, self._device.now())
        if self._turn is not None:
            self._turn.begin()
        if plan.prefill:
            runs = self._runs
            chunks = [Chunk(count, runs[one].known - 1 - runs[one].lacking) for one, count in plan.prefill]
            cost = self._cost.mixed(Step(self._decoding, self._context, chunks))
            stroke = Stroke(plan, 1, None, cost)
        else:
            curve = self._curves.get(self._decoding)
            if curve is None:
                curve = self._curves[self._decoding] = self._cost.decode(self._decoding)
            steps = self._next_end() - self._step
            if steps > plan.steps:
                steps = plan.steps
            cost = curve.total(self._context, self._decoding, steps)
            stroke = Stroke(plan, steps, curve, cost)
        self._stroke = stroke
        stroke.handle = self._device.call_at(self._at + cost, self._boundary, None)

    def _next_end(self) -> int:
        ends = self._ends
        while ends[0][2].finish != ends[0][0] or ends[0][2].since < 0:
            heappop(ends)
        return ends[0][0]

    def _rest(self) -> None:
        if self._spell.since is None:
            self._device.busy(False)
            self._meter.rest(self._spell, self._device.now())
        if self._turn is not None:
            self._turn.end()
        if self._sharing is not None:
            self._sharing.rests(self, not self._runs)

    # ---- jobs ---------------------------------------------------------------------------------------------------

    def _enter(self, run: Run) -> None:
        job = run.job
        trajectory = job.trajectory
        held = self._batching.caches(trajectory)
        if job.prefix is not None and held and self._cached.get(trajectory) != job.start:
            self._batching.forget(trajectory)
            held = False
        if self._model.share_prompts:
            run.hidden = self._hidden.get(trajectory, 0) if held else self._share(run)
        self._batching.submit(trajectory, run.known - run.hidden, run.stop - run.hidden)
        self._waiting += 1

    def _share(self, run: Run) -> int:
        """How much of its prompt somebody else holds."""
        prompt = run.job.prompt
        key = (prompt.length, prompt.seed if isinstance(prompt, Ghost) else hash(prompt.ids))
        holder = self._prompts.get(key)
        if holder is None or holder == run.job.trajectory or holder not in self._runs:
            self._prompts[key] = run.job.trajectory
            self._hidden.pop(run.job.trajectory, None)
            return 0
        hidden = self._hidden[run.job.trajectory] = min(prompt.length, run.known - 1)
        return hidden

    def _change(self, plan: Plan) -> None:
        """Take over what a plan changed."""
        for trajectory in plan.evicted:
            self._cached.pop(trajectory, None)
            self._hidden.pop(trajectory, None)
        for trajectory in plan.preempted:
            self._pause(self._runs[trajectory])
            self._waiting += 1
            self._spell.preempted += 1
        for admission in plan.admitted:
            run = self._runs[admission.trajectory]
            run.lacking = run.known - run.hidden - 1 - admission.cached
            self._waiting -= 1
            self._spell.cached += admission.cached
            if not run.lacking:
                self._decode(run)

    def _decode(self, run: Run) -> None:
        """A job's context is filled."""
        run.since = self._step
        run.finish = self._step + run.stop - run.known
        self._order += 1
        heappush(self._ends, (run.finish, self._order, run))
        self._context += run.known
        self._decoding += 1

    def _pause(self, run: Run) -> None:
        """A job does not decode any more; its tokens so far are booked."""
        if run.since < 0:
            return
        tokens = self._step - run.since
        if tokens:
            run.versions = self._book(run.versions, run.since, tokens)
            run.known += tokens
        self._context -= run.known
        self._decoding -= 1
        run.since = run.finish = -1

    def _book(self, runs: Runs, since: int, tokens: int) -> Runs:
        """Append (version, count) runs of the tokens made from step `since` on."""
        steps, versions = self._version_steps, self._versions
        if since >= steps[-1] and not runs:
            return ((versions[-1], tokens),)
        index = bisect_right(steps, since) - 1
        booked = list(runs)
        stop = since + tokens
        while since < stop:
            until = min(stop, steps[index + 1]) if index + 1 < len(steps) else stop
            if until > since:
                if booked and booked[-1][0] == versions[index]:
                    booked[-1] = (versions[index], booked[-1][1] + until - since)
                else:
                    booked.append((versions[index], until - since))
                since = until
            index += 1
        return tuple(booked)

    def _abort(self, run: Run) -> None:
        """End a job early."""
        self._waiting -= run not in self._arrived and run.job.trajectory in self._batching.waiting
        self._finish(run, "cut")

    def _finish(self, run: Run, end: EndReason) -> None:
        """Report a segment."""
        job = run.job
        trajectory = job.trajectory
        self._pause(run)
        del self._runs[trajectory]
        stop = run.known - job.prompt.length
        if run in self._arrived:
            self._arrived.remove(run)
        else:
            keep = end == "cut"
            self._batching.remove(trajectory, keep)
            if keep and self._batching.caches(trajectory):
                self._cached[trajectory] = stop
            else:
                self._cached.pop(trajectory, None)
                self._hidden.pop(trajectory, None)
        tokens = stop - job.start
        produced = ((1, tokens),) if tokens else ()
        segment = Segment(job.start, Ghost(tokens, trajectory), run.versions, produced, end)
        self._emit(SegmentDone(trajectory, job.attempt, segment))

    # ---- weights ------------------------------------------------------------------------------------------------

    def _fetched(self, ordered: tuple[int, Install]) -> None:
        self._install = ordered
        self._interrupt()

    def _stall(self) -> None:
        """Stand still for new weights."""
        assert self._install is not None
        self._stalled = True
        stall = self._install[1].stall_ns
        if self._spell.since is None:
            self._spell.stalled += stall
        self._at = max(self._at, self._device.now()) + stall
        self._device.call_at(self._at, self._installed, None)

    def _installed(self, _: None) -> None:
        assert self._install is not None
        version, install = self._install
        self._install = None
        self._stalled = False
        self._version = version
        if self._version_steps and self._version_steps[-1] == self._step:
            self._versions[-1] = version
        else:
            self._version_steps.append(self._step)
            self._versions.append(version)
        if install.recompute:
            self.drop_cache()
        self._settling = True
        self._emit(Installed(version, install.stall_ns / NS))
        self._settle()

    def drop_cache(self) -> None:
        """Everything held is stale: what runs prefills again, what is cached is gone."""
        for trajectory in self._batching.running:
            run = self._runs[trajectory]
            self._pause(run)
            run.lacking = run.known - run.hidden - 1
        self._batching.recompute()
        for trajectory in self._batching.running:
            if not self._runs[trajectory].lacking:
                self._decode(self._runs[trajectory])

    def resume(self) -> None:
        """The devices are ours again."""
        self._interrupt()

    # ---- reports ------------------------------------------------------------------------------------------------

    def _report_later(self) -> None:
        self._device.call_at(self._device.now() + self._model.report_s * NS, self._report, None)

    def _report(self, _: None) -> None:
        spell, now = self._spell, self._device.now()
        current = (now, spell.busy, spell.steps, spell.decoded, spell.prefilled, spell.cached, self._context_steps)
        then, busy, steps, decoded, prefilled, cached, context = self._reported
        made = max(1, spell.steps - steps)
        self._emit(
            EngineReport(
                seconds=(now - then) / NS,
                busy_s=(spell.busy - busy) / NS,
                steps=spell.steps - steps,
                decoded_tokens=spell.decoded - decoded,
                prefill_tokens=spell.prefilled - prefilled,
                mean_batch=(spell.decoded - decoded) / made,
                context_tokens=round((self._context_steps - context) / made),
                cached_tokens=spell.cached - cached,
            )
        )
        self._reported = current
        self._report_later()
