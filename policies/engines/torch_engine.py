"""The embedded engine: small Qwen3, Qwen2 and Llama models in one thread of this process, on a CPU or one GPU.

    holder's thread                         engine's thread
    submit, abort, install, ... --queue-->  obey commands; one turn of `lean.generation` (plan, fill, decode); report
                                <--emit---  SegmentDone, JobFailed, Installed, EngineReport, EngineFailed

Invariants
- A token is a function of (weights, seed, trajectory, position) and of nothing else, up to rounding: whatever the
  batch, the segment budget and the interruptions, two runs give the same tokens up to the first whose sampling margin
  is below `sampling.CLOSE_MARGIN`. At equal batch shapes they are equal bit by bit.
- Commands take effect between two steps, `install` therefore between two tokens of everything that runs; each token
  carries the version that drew it.
- Every job ends in exactly one `SegmentDone` or `JobFailed`, unless the engine fails or is closed before.
- An error inside becomes one `EngineFailed`, after which nothing follows.
- With a card that is shared by time, steps and installs are done while it is held only; it is given between two steps,
  when another waits for it or there is no job.

What this leaves out: several devices, lower precision than float32, prefixes shared between trajectories. Larger models
go to the SGLang engine.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from buffers.errors import ContractError, UsageError
from policies.batching import BatchingConfig
from policies.card import Card
from policies.device import settle
from policies.engine import Emit, EngineEvent, EngineFailed, EngineReport, Installed, InstallFailed, Job
from policies.engines.lean.checkpoint import WeightsReader, read_checkpoint, read_shape
from policies.engines.lean.generation import Counters, Generation, Limits
from policies.engines.lean.weights import fuse
from policies.repetition import RepetitionRule
from policies.weights import WeightsUnavailable

_log = logging.getLogger(__name__)

_REFILL_SHARE = 16
_CLOSE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class TorchEngineConfig:
    """What the embedded engine runs, and within which limits."""

    model: str = ""
    """Folder written by transformers' `save_pretrained`; the weights in it are version 0."""
    slots: int = 64
    """How many jobs run at once."""
    cached_rows: int = 64
    """How many cut trajectories beside those are kept, to go on without prefill; each costs the memory of a slot."""
    context_tokens: int = 4096
    """The longest prompt and response together."""
    kv_tokens: int = 0
    """How many tokens are held, running or cached; 0: all that fit the rows."""
    prefill_tokens: int = 1024
    """How many tokens one step prefills."""
    refill: int = 0
    """How many free slots to wait for before new jobs are prefilled together; 0: a sixteenth of the slots."""
    on_install: Literal["keep", "recompute"] = "keep"
    """What happens to keys and values computed with older weights."""
    repetition: bool = True
    """Whether looping responses are stopped, by the default rule of `policies/repetition.py`."""
    threads: int = 1
    """Torch threads of this process; more than one per process is ruinous where processes share cores."""
    device: str = "cpu"
    """As torch names it: cpu, cuda, cuda:1 ..."""
    report_every_s: float = 1.0
    """How often the engine reports its throughput."""

    def __post_init__(self) -> None:
        """Refuse what could not run; `BatchingConfig` checks the rest."""
        if self.on_install not in ("keep", "recompute"):
            raise UsageError(f"on_install={self.on_install!r} is neither keep nor recompute")
        if self.context_tokens < 2:
            raise UsageError(f"context_tokens={self.context_tokens} must be at least 2")

    def limits(self) -> Limits:
        """The limits in the generation's terms."""
        rows = self.slots + self.cached_rows
        batching = BatchingConfig(
            slots=self.slots,
            rows=rows,
            kv_tokens=self.kv_tokens or rows * self.context_tokens,
            prefill_tokens=self.prefill_tokens,
            refill=self.refill or max(1, self.slots // _REFILL_SHARE),
        )
        repetition = RepetitionRule() if self.repetition else None
        return Limits(batching, self.context_tokens, torch.device(self.device), repetition)


class TorchEngine:
    """An `Engine`; see `policies/engine.py` for what its commands promise.

    `reader` turns addresses other than `file:DIR` into weights. The engine keeps no reference to what it returns.
    `card` is its hand on a card that others use too.
    """

    def __init__(
        self,
        config: TorchEngineConfig,
        emit: Emit,
        reader: WeightsReader = read_checkpoint,
        card: Card | None = None,
    ) -> None:
        self.slots = config.slots
        self._config = config
        self._emit_event = emit
        self._reader = reader
        self._card = card
        self._shape = read_shape(Path(config.model))
        if config.context_tokens > self._shape.positions:
            raise UsageError(f"context_tokens={config.context_tokens} exceeds the model's {self._shape.positions}")
        self._generation = Generation(self._shape, config.limits())
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._report_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="torch-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take a job; more than `slots` wait."""
        self._order(lambda: self._generation.submit(job, self._emit))

    def abort(self, trajectory: int) -> None:
        """End this trajectory's job early; it stays cached."""
        self._order(lambda: self._generation.abort(trajectory, self._emit))

    def forget(self, trajectory: int) -> None:
        """Free what is cached of a trajectory."""
        self._order(lambda: self._generation.forget(trajectory))

    def install(self, version: int, source: str) -> None:
        """Go over to a version between two tokens; one that is not newer than the present is confirmed, not read."""
        self._order(lambda: self._install(version, source))

    def close(self) -> None:
        """Stop within a step; nothing is emitted afterwards."""
        self._closed.set()
        self._commands.put(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _order(self, command: Callable[[], None]) -> None:
        if self._closed.is_set():
            raise ContractError("the engine is closed")
        self._commands.put(command)

    def _emit(self, event: EngineEvent) -> None:
        if not self._closed.is_set():
            self._emit_event(event)

    def _run(self) -> None:
        """The engine's thread."""
        try:
            torch.set_num_threads(self._config.threads)
            with torch.inference_mode():
                self._install(0, f"file:{self._config.model}")
                self._work()
        except Exception as error:
            _log.exception("the engine failed")
            self._emit(EngineFailed(f"{type(error).__name__}: {error}"))
        finally:
            if self._card is not None:
                self._card.close()

    def _work(self) -> None:
        """Obey, generate and report until closed."""
        while not self._closed.is_set():
            due_s = self._report_at + self._config.report_every_s - time.monotonic()
            if due_s <= 0:
                self._report()
                continue
            if self._generation.idle or self._wanted():
                self._give()
            self._obey(due_s if self._generation.idle else 0.0)
            if not self._generation.idle and (self._card is None or self._card.take(self._called)):
                self._generation.turn(self._emit, self._interrupted)

    def _interrupted(self) -> bool:
        """Whether there is something to do other than the next step."""
        return self._called() or self._wanted()

    def _called(self) -> bool:
        """Whether there is a command, or a report is due."""
        due = time.monotonic() >= self._report_at + self._config.report_every_s
        return due or not self._commands.empty() or self._closed.is_set()

    def _wanted(self) -> bool:
        """Whether another waits for the card."""
        return self._card is not None and self._card.wanted()

    def _give(self) -> None:
        """Let others have the card, with everything done that was asked of it, and as much memory as was agreed."""
        if self._card is None:
            return
        if self._card.held:
            if self._card.drops:
                self._generation.drop_cache()
            settle(self._config.device)
        turn = self._card.give()
        if turn is not None:
            self._emit(turn)

    def _obey(self, patience_s: float) -> None:
        """Carry out the commands that are there; without any, wait for one as long as `patience_s`."""
        if patience_s > 0:
            try:
                self._commands.get(timeout=patience_s)()
            except queue.Empty:
                return
        while not self._commands.empty() and not self._closed.is_set():
            self._commands.get_nowait()()

    def _install(self, version: int, source: str) -> None:
        generation = self._generation
        if version <= generation.version:
            self._emit(Installed(generation.version, 0.0))
            return
        if self._card is not None and not self._card.held:
            self._card.give()  # reading takes a while, and needs no card
        began = time.monotonic()
        reader = read_checkpoint if source.startswith("file:") else self._reader
        try:
            found, state = reader(version, source)
        except WeightsUnavailable as problem:
            _log.warning("version %d is not installed: %s", version, problem)
            self._emit(InstallFailed(version, str(problem)))
            return
        if self._card is not None:
            waits = time.monotonic()
            if not self._card.take(self._closed.is_set):
                return
            began += time.monotonic() - waits
        weights = fuse(self._shape, state, torch.device(self._config.device))
        recompute = self._config.on_install == "recompute"
        generation.install(found, weights, recompute=recompute)
        self._emit(Installed(found, time.monotonic() - began, recompute))

    def _report(self) -> None:
        """Say what was done since the last report."""
        now = time.monotonic()
        done, self._generation.counters = self._generation.counters, Counters()
        steps = max(1, done.steps)
        self._emit(
            EngineReport(
                seconds=now - self._report_at,
                busy_s=done.busy_s,
                steps=done.steps,
                decoded_tokens=done.decoded_tokens,
                prefill_tokens=done.prefill_tokens,
                mean_batch=done.decoded_tokens / steps,
                context_tokens=done.context_tokens // steps,
                cached_tokens=done.cached_tokens,
            )
        )
        self._report_at = now
