"""Operation objects: the only things that a task may await.

A task is an `async def` that is given values, touches no actor state and awaits operations; whatever drives its world
performs them. Awaiting yields the operation itself, so no world's scheduler is visible, and anything else that a task
yields (a foreign awaitable) is a `ContractError` in every world.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

NS = 1_000_000_000
"""Nanoseconds in a second."""

Message = Any
"""A frozen `msgspec.Struct`: one of the registered kinds, a port's event, or a task's result."""


def ns(seconds: float) -> int:
    """Seconds to integer nanoseconds, rounded once."""
    return round(seconds * NS)


class Operation:
    """What a task awaits. Subclasses are the whole vocabulary: `Sleep`, `Ask`, `Wait`."""

    __slots__ = ()

    def __await__(self) -> Generator[Operation, Any, Any]:
        """Yield the operation to whatever drives the task."""
        return (yield self)


class Sleep(Operation):
    """Resume after `delay_ns`; the result is None."""

    __slots__ = ("delay_ns",)

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns


class Ask(Operation, msgspec.Struct, frozen=True, eq=False):
    """Send a message that wants a reply; the result is the reply, or None `timeout_ns` after it was sent.

    The ask waits its turn in the window of its link, and its time begins when it goes out: what was not sent yet needs
    no second try, and asks that gave up in the queue could starve each other for ever. `reply_bytes` is the space
    reserved for the reply, and with the request's own weight it is what the window's bytes are charged.
    """

    to: str
    message: Message
    timeout_ns: int
    reply_bytes: int = 0


class Wait(Operation):
    """Ask all of them at once; the result is the list of their results, in order, when the last has ended."""

    __slots__ = ("asks",)

    def __init__(self, asks: list[Ask]) -> None:
        self.asks = asks


def sleep(seconds: float) -> Sleep:
    """Pause a task."""
    return Sleep(ns(seconds))


def ask(to: str, message: Message, timeout_s: float, reply_bytes: int = 0) -> Ask:
    """Ask an actor from a task: `reply = await ask(...)`, None on timeout."""
    return Ask(to, message, ns(timeout_s), reply_bytes)


def wait(asks: list[Ask]) -> Wait:
    """Await several asks at once: `replies = await wait([...])`."""
    return Wait(asks)
