"""The torch trainer behind the Trainer port: a thread of its own around the synchronous core.

    learner --start, step, checkpoint, expose--> queue --> thread: pack -> Update -> checkpoint.py, weights.py
                                                             '--emit--> TrainerReady, StepDone, Checkpointed, Exposed

Commands return at once and are carried out in order. The model, the optimizer and every file belong to the thread. An
error ends the thread with one `TrainerFailed`; the supervisor makes a new trainer, which restores the newest durable
checkpoint. `close` abandons a running step between two micro-batches; nothing of it is in any checkpoint. A card that
is shared by time is held while an update runs; packing, checkpoints and exposure, which only copy, go on beside others.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from buffers.errors import BraidError, ContractError
from policies import packing
from policies.card import Card, Held
from policies.device import settle
from policies.models import load_model
from policies.objectives.objective import find_objective
from policies.tokens import load_tokenizer
from policies.trainer import (
    Checkpointed,
    Emit,
    Exposed,
    StepDone,
    TrainerEvent,
    TrainerFailed,
    TrainerReady,
    UpdateJob,
)
from policies.trainers import checkpoint as checkpoints
from policies.trainers.update import Abandoned, Update
from policies.trainers.update import Config as UpdateConfig
from policies.weights import RingPublisher, WeightsPublisher


@dataclass(frozen=True)
class Config:
    """What is trained, how, and where its traces lie."""

    model: str = ""
    """Folder of the initial weights and the tokenizer (version 0)."""
    checkpoints: str = ""
    """Folder that checkpoints are kept in."""
    ring: str = ""
    """Name of the shared-memory ring that weights are exposed in."""
    objective: str = "mirror_descent"
    """A file of `policies/objectives`, or `module:name` of a function or class."""
    objective_settings: Mapping[str, object] = field(default_factory=dict)
    """Keys of the objective's own config."""
    update: UpdateConfig = field(default_factory=UpdateConfig)
    packing: packing.Config = field(default_factory=packing.Config)
    keep: int = 2
    """Newest checkpoints that stay; pinned ones stay beside them."""
    device: str = "cpu"
    """As torch names it: cpu, cuda, cuda:1 ..."""
    threads: int = 1
    """Threads of torch."""


@dataclass(frozen=True)
class _Start:
    pass


@dataclass(frozen=True)
class _Checkpoint:
    version: int


@dataclass(frozen=True)
class _Expose:
    version: int


_Command = _Start | UpdateJob | _Checkpoint | _Expose | None


class TorchTrainer:
    """One model on one device, trained in a thread."""

    def __init__(
        self, emit: Emit, config: Config, publisher: WeightsPublisher | None = None, card: Card | None = None
    ) -> None:
        self._emit, self._config, self._card = emit, config, card
        self._publisher = publisher or RingPublisher(config.ring)
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._door = threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._live, name="trainer", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Restore the newest durable checkpoint, or the initial weights as version 0."""
        self._take(_Start())

    def step(self, job: UpdateJob) -> None:
        """Apply one update."""
        self._take(job)

    def checkpoint(self, version: int) -> None:
        """Make the current weights durable under this number."""
        self._take(_Checkpoint(version))

    def expose(self, version: int) -> None:
        """Let generators pull the current weights under this number."""
        self._take(_Expose(version))

    def close(self) -> None:
        """Stop; a running step is abandoned. May be called twice."""
        with self._door:
            first = not self._closed.is_set()
            self._closed.set()
        if first:
            self._commands.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=60.0)

    def _take(self, command: _Command) -> None:
        if self._closed.is_set():
            raise ContractError(f"{type(command).__name__} after close; make a new trainer")
        self._commands.put(command)

    def _say(self, event: TrainerEvent) -> None:
        with self._door:
            if not self._closed.is_set():
                self._emit(event)

    def _live(self) -> None:
        """The thread: carry out commands until closed or broken."""
        try:
            torch.set_num_threads(self._config.threads)
            hand = _Hand(self._config, self._publisher, self._closed.is_set, self._card)
            while (command := self._commands.get()) is not None and not self._closed.is_set():
                event = hand.carry_out(command)
                if hand.turn is not None:
                    self._say(hand.turn)
                self._say(event)
        except Abandoned:
            pass
        except Exception as problem:  # the port's edge: an error becomes its one event
            reason = str(problem) if isinstance(problem, BraidError) else f"{type(problem).__name__}: {problem}"
            self._say(TrainerFailed(reason))
        finally:
            if self._card is not None:
                self._card.close()
            self._publisher.close()


class _Hand:
    """What the thread owns."""

    def __init__(
        self, config: Config, publisher: WeightsPublisher, closed: Callable[[], bool], card: Card | None
    ) -> None:
        self.config, self.publisher, self.root = config, publisher, Path(config.checkpoints)
        self.closed, self.card = closed, card
        self.turn: Held | None = None
        """The turn on the card that the last command took."""
        self.codec = load_tokenizer(config.model)
        model = load_model(config.model).to(config.device)
        model.eval()
        objective = find_objective(config.objective, config.objective_settings)
        self.update = Update(model, objective, config.update, stopped=closed)
        self.before: checkpoints.Uses = ()
        self.since: list[tuple[int, int]] = []
        self.started = False

    def carry_out(self, command: _Start | UpdateJob | _Checkpoint | _Expose) -> TrainerEvent:
        """One command; its event."""
        self.turn = None
        if isinstance(command, _Start):
            return self.restore()
        if not self.started:
            raise ContractError(f"{type(command).__name__} before start; start restores the newest checkpoint first")
        if isinstance(command, UpdateJob):
            return self.step(command)
        if isinstance(command, _Checkpoint):
            return self.save(command.version)
        tensors = {name: weight.detach() for name, weight in self.update.model.named_parameters()}
        return Exposed(command.version, self.publisher.publish(command.version, tensors))

    def restore(self) -> TrainerReady:
        """Go back to the newest checkpoint."""
        self.started = True
        durable = checkpoints.versions(self.root)
        if not durable:
            return TrainerReady(0, 0, (), f"file:{self.config.model}")
        ledger = checkpoints.restore(self.root, durable[-1], self.update)
        self.before, self.since = ledger.applied, []
        source = f"file:{checkpoints.path_of(self.root, ledger.version)}"
        return TrainerReady(ledger.version, ledger.counters.updates, ledger.applied, source)

    def step(self, job: UpdateJob) -> StepDone:
        """One update."""
        begun = time.perf_counter()
        batch = packing.pack(job, self.config.packing)
        if self.card is not None:
            waits = time.perf_counter()
            if not self.card.take(self.closed):
                raise Abandoned(f"the update of lease {job.lease} is abandoned")
            begun += time.perf_counter() - waits
        done = self.update.apply(batch)
        if self.card is not None:
            settle(self.config.device)
            self.turn = self.card.give()
        self.since += [(group.group, group.use) for group in job.groups]
        feedback = tuple((group.group, size) for group, size in zip(job.groups, done.feedback, strict=True))
        return StepDone(job.lease, done.metrics, feedback, done.trained_tokens, time.perf_counter() - begun)

    def save(self, version: int) -> Checkpointed:
        """Make everything durable; the record keeps this interval's uses and the previous one's."""
        since = tuple(self.since)
        folder = checkpoints.save(self.root, self.update, self.codec, version, self.before + since)
        self.before, self.since = since, []
        checkpoints.prune(self.root, self.config.keep)
        return Checkpointed(version, f"file:{folder}")
