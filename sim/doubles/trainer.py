"""The Trainer's double: each command takes what the cost model says; its checkpoint lives on the disk of its place.

    start -> TrainerReady          step -> [devices?] -> update parts -> StepDone
    checkpoint -> Checkpointed     expose -> Exposed

Commands are carried out one after the other, as the port promises. The weights are their version and the number of
updates in them; what is applied is stored with the checkpoint, so that a crash rolls back what a real one would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.kernel.backend import Clock
from policies.trainer import Checkpointed, Exposed, StepDone, TrainerEvent, TrainerReady, UpdateJob
from sim.costs.cost import TrainerCost
from sim.doubles.device import Device
from sim.doubles.meter import Meter
from sim.doubles.sharing import Sharing
from sim.doubles.turn import Turn

NS = 1e9


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """What a checkpoint holds."""

    version: int
    steps: int
    applied: tuple[tuple[int, int], ...]


class TrainerDouble:
    """See the module."""

    def __init__(
        self,
        cost: TrainerCost,
        emit: Callable[[TrainerEvent], None],
        clock: Clock,
        device: Device,
        meter: Meter,
        sharing: Sharing | None = None,
    ) -> None:  # what it costs, whom it tells, what it runs on
        self._cost = cost
        self._emit = emit
        self._clock = clock
        self._device = device
        self._meter = meter
        self._sharing = sharing
        self._steps = 0
        self._applied: list[tuple[int, int]] = []
        self._closed = False
        self._turn = Turn(clock.now, emit)

    def start(self) -> None:
        """Restore the newest checkpoint."""
        data = self._clock.disk.get("checkpoint")
        stored = Stored(0, 0, ()) if data is None else msgspec.msgpack.decode(data, type=Stored)
        self._steps = stored.steps
        self._emit(TrainerReady(stored.version, stored.steps, stored.applied, f"double:{stored.version}"))

    def step(self, job: UpdateJob) -> None:
        """Apply one update."""
        if self._sharing is not None:
            self._turn.ask("generation")
            self._sharing.take(self._clock, self._begin, job)
        else:
            self._begin(job)

    def _begin(self, job: UpdateJob) -> None:
        if self._closed:
            return
        lengths = []
        responses = 0
        for group in job.groups:
            prompt = group.prompt.length
            for member in group.members:
                response = sum(segment.payload.length for segment in member.segments)
                responses += response
                lengths.append(prompt + response)
        parts = self._cost.update(lengths)
        for name, took in parts.ns.items():
            self._meter.training[name] += took
        total = parts.total_ns
        self._turn.begin()
        self._meter.trained_tokens += responses

        def done() -> None:
            self._steps += 1
            self._meter.updates += 1
            self._applied.extend((group.group, group.use) for group in job.groups)
            if self._sharing is not None:
                self._turn.end()
                self._sharing.give()
            metrics = {f"{name}_s": took / NS for name, took in parts.ns.items()}
            feedback = tuple((group.group, 1.0) for group in job.groups)
            self._emit(StepDone(job.lease, metrics, feedback, responses, total / NS))

        self._do(total, done)

    def checkpoint(self, version: int) -> None:
        """Make the weights durable."""

        def done() -> None:
            state = Stored(version, self._steps, tuple(self._applied))
            self._clock.disk["checkpoint"] = msgspec.msgpack.encode(state)
            self._applied.clear()
            self._emit(Checkpointed(version, f"double:{version}"))

        took = self._cost.checkpoint()
        self._meter.training["checkpoint"] += took
        self._do(took, done)

    def expose(self, version: int) -> None:
        """Let generators pull the weights."""
        took = self._cost.expose()
        self._meter.training["expose"] += took
        self._do(took, lambda: self._emit(Exposed(version, f"double:{version}")))

    def close(self) -> None:
        """Stop; a running step is abandoned."""
        if not self._closed:
            self._closed = True
            self._meter.train(self._clock.now(), False)
            if self._sharing is not None:
                self._sharing.abandon()
            self._device.close()

    def _do(self, took: int, done: Callable[[], None]) -> None:
        self._device.busy(True)
        self._meter.train(self._clock.now(), True)
        self._device.call_at(self._device.now() + took, self._done, done)

    def _done(self, done: Any) -> None:
        self._device.busy(False)
        self._meter.train(self._clock.now(), False)
        done()
