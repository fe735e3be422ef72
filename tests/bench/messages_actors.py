"""The actors of the benchmark `messages`: one asks or sends and takes the time, the other answers or counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from actors.kernel.backend import Shop
from actors.kernel.context import ActorSpec, Answer, Context, Started
from actors.kernel.operations import Message
from actors.messages import KINDS, Append, GeneratorState, Score, Settled
from buffers.answers import Appended
from buffers.segment import Segment, token_arrays

__all__ = ["KINDS"]

WARM_UP = 300


def append(tokens: int) -> Append:
    """An append of a segment of so many real tokens."""
    payload = token_arrays(np.arange(tokens, dtype=np.int32), np.full(tokens, -1.5, dtype=np.float32))
    return Append(7, 3, Segment(4096, payload, ((5, tokens),), ((1, tokens),), "cut"))


class Asker:
    """Keeps `flight` asks outstanding until `count` are answered, and records how long that took."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.count: int = spec.config["count"] + WARM_UP
        self.flight: int = spec.config["flight"]
        tokens: int = spec.config["tokens"]
        self.message: Any = append(tokens) if tokens else Score(1, 7, 3, 11, 512)
        self.sent = 0
        self.done = 0
        self.begun = 0

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Answer):
            if message.reply is None:
                self.sent -= 1
            else:
                self.done += 1
                if self.done == WARM_UP:
                    self.begun = context.now
                elif self.done == self.count:
                    context.decide("took", context.now - self.begun)
            if self.sent < self.count:
                self.sent += 1
                context.ask("answerer", self.message, 5.0, 64)
            if self.done == 1:
                for _ in range(self.flight - 1):
                    self.sent += 1
                    context.ask("answerer", self.message, 5.0, 64)
        elif isinstance(message, Started):
            self.sent += 1
            context.ask("answerer", self.message, 5.0, 64)


class Answerer:
    """Answers each ask shortly."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.appended = Appended(7, 4, 6144, 5, "cut")
        self.settled = Settled(7, 3, 4, False)

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Append):
            assert context.ticket is not None
            context.send(context.ticket, self.appended)
        elif isinstance(message, Score):
            assert context.ticket is not None
            context.send(context.ticket, self.settled)


class Teller:
    """Sends `count` control messages, a burst at a time as the counter acknowledges the one before."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.bursts: int = spec.config["count"] // spec.config["flight"]
        self.flight: int = spec.config["flight"]
        self.message = GeneratorState(1, 5, 8, ((1, 2), (3, 4), (5, 6), (7, 8)))
        self.begun = 0

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.ask("counter", Score(1, 0, 0, 0, 0), 5.0)
        elif isinstance(message, Answer):
            if not self.begun:
                self.begun = context.now
            if not self.bursts:
                context.decide("took", context.now - self.begun)
                return
            self.bursts -= 1
            for _ in range(self.flight):
                context.send("counter", self.message)
            context.ask("counter", Score(1, 0, 0, 0, 0), 5.0)


class Counter:
    """Counts control messages."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.count = 0

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, GeneratorState):
            self.count += 1
        elif isinstance(message, Score):
            assert context.ticket is not None
            context.decide("counted", self.count)
            context.send(context.ticket, Settled(0, 0, 0, False))
