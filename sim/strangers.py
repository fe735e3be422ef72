"""Commands from nowhere: late, doubled, from the dead, or plain wrong; whoever gets them must change nothing.

    after some events --> one wrong command, made from what replay, a generator or a rewarder holds just then
                          --> replay answers it as the reference does; a worker's book is what it was before

They are delivered at once, as if they had been on their way for long, from a name that nobody bears, so that nobody
hears the answer. Drawn from a stream of its own. What could rightly be obeyed is never sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from actors.cast import RunSettings
from actors.generator import Generator
from actors.kernel.backend import Envelope
from actors.kernel.context import Actor
from actors.kernel.operations import Message
from actors.kernel.streams import stream
from actors.messages import (
    Append,
    Assignment,
    Complete,
    Dispatch,
    DropJobs,
    FailAttempt,
    FetchShare,
    Hello,
    OpenGroups,
    PutScore,
    Reassign,
    Score,
)
from actors.replay import Replay
from actors.rewarder import Rewarder
from buffers.segment import Ghost, Segment
from sim.violation import InvariantViolated
from sim.world import VirtualWorld

NAME = "stranger"
SHARE = 0.02
"""Of the events that are followed by a wrong command."""


class Strangers:
    """Attach it to a world before its first event."""

    def __init__(self, world: VirtualWorld, settings: RunSettings, seed: int) -> None:
        self._draw: random.Random = stream(seed, "strangers")
        self._roster = settings.roster
        self._most = settings.schedule.max_response_tokens
        self._serial = 0
        self._before = world.after_event
        world.after_event = self._after_event

    def _after_event(self, world: VirtualWorld) -> None:
        if self._before is not None:
            self._before(world)
        if self._draw.random() >= SHARE:
            return
        names = (self._roster.replay, *self._roster.generators, *self._roster.rewarders)
        life = world.life(names[0] if self._draw.random() < 0.7 else self._draw.choice(names[1:]))
        if life is None or not life.begun or world.place(life.name).paused:
            return
        actor = life.cell.actor
        make: dict[type, Callable[[Any], Message | None]] = {
            Replay: self._to_replay, Generator: self._to_worker, Rewarder: self._to_worker
        }  # fmt: skip
        message = make[type(actor)](actor)
        if message is None:
            return
        self._serial += 1
        before = _book(actor)
        asked = self._serial if isinstance(actor, Replay) else 0
        life.cell.deliver(Envelope(life.name, NAME, 1, asked, 0, 0, message))
        if _book(actor) != before:
            raise InvariantViolated(12, f"{life.name} obeyed {message}, its epoch is {before[0]}")

    def _to_replay(self, replay: Replay) -> Message | None:
        """A command that is refused, or gets the answer that it got before."""
        held, draw = replay.buffer._held, self._draw
        meta = held.meta
        rows = list(held.trajectories.values())
        number, attempt, length, version = meta.next_trajectory, 1, 0, 0
        if rows and draw.random() < 0.9:
            row = draw.choice(rows)
            number, attempt, length, version = row.trajectory, row.attempt, row.length, row.last_version
        wrong = attempt + draw.choice([-2, -1, 1])
        past = Segment(length, Ghost(1, 0), ((version, 1),), ((1, 1),), "stop")
        lease = draw.choice([*held.leases, meta.next_lease, meta.completed[0]])
        age = meta.incarnation
        commands: list[Message] = [
            Append(number, wrong, past),
            Append(number, attempt - 1, Segment(max(0, length - 1), Ghost(1, 0), ((version, 1),), ((1, 1),), "cut")),
            Append(number, attempt, Segment(length + 1, Ghost(1, 0), ((meta.highest, 1),), ((1, 1),), "cut")),
            Append(number, attempt, Segment(length, Ghost(1, 0), ((meta.highest + 1, 1),), ((1, 1),), "cut")),
            Append(number, attempt, Segment(length, Ghost(2, 0), ((1, 1), (0, 1)), ((1, 2),), "cut")),
            Append(number, attempt, _long(length, self._most, meta.highest)),
            PutScore(number, wrong, {"outcome": 1.0}),
            FailAttempt(number, wrong, "from nowhere"),
            Reassign(meta.epoch - 1, number, attempt),
            Reassign(meta.epoch, number, attempt + 1),
            OpenGroups(meta.epoch - 1, 1, 1),
            OpenGroups(meta.epoch, draw.choice([*held.opens, meta.forgotten_ordinal]), 1),
            Complete(age, lease, meta.highest + 2, True, ()),
            Complete(age, lease, meta.highest - 1, False, ()),
            Complete(age - 1, lease, meta.highest, False, ()),
            Complete(age + 1, lease, meta.highest, True, ()),
            Complete(age, meta.next_lease, meta.highest, True, ()),
            Hello(age - 1, meta.highest, ()),
            FetchShare(draw.choice([0, lease]), (number,)),
        ]
        if version > 0:
            older = Segment(length, Ghost(1, 0), ((version - 1, 1),), ((1, 1),), "cut")
            commands.append(Append(number, attempt, older))
        chosen = draw.choice(commands)
        if isinstance(chosen, OpenGroups) and chosen.epoch == meta.epoch and chosen.ordinal < 0:
            return None
        return chosen

    def _to_worker(self, worker: Generator | Rewarder) -> Message | None:
        """Orders of a controller that was superseded."""
        old = worker._epoch - 1
        held = tuple(worker._held)
        if old < 0:
            return None
        number = self._draw.choice(held) if held else 1
        if self._draw.random() < 0.5:
            return DropJobs(old, held or (1,))
        if isinstance(worker, Generator):
            return Dispatch(old, (Assignment(number, 1 << 20, 0, 0, 0, 8),))
        return Score(old, number, 1 << 20, 0, 1)


def _long(length: int, most: int, version: int) -> Segment:
    """One token more than a response may have."""
    count = most - length + 1
    return Segment(length, Ghost(count, 0), ((version, count),), ((1, count),), "length")


def _book(worker: Actor) -> tuple[Any, ...]:
    """What must not change of a worker; replay is compared with the reference."""
    if isinstance(worker, Rewarder):
        return worker._epoch, dict(worker._held)
    if not isinstance(worker, Generator):
        return ()
    holds = {number: (hold.assignment, hold.phase, hold.next) for number, hold in worker._held.items()}
    return worker._epoch, holds, worker._running
