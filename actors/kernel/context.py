"""The context: the only door between an actor and its world.

An actor is state plus `receive(message, context)`. `receive` is a plain function that runs to its end; the state
changes only there. Whatever takes time is asked for here and comes back as an ordinary message.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from actors.kernel.operations import Message


class Ticket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a reply goes: the asker, its incarnation and the serial number of its ask. May be kept and used later."""

    to: str
    incarnation: int
    serial: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The end of an ask that was made with `context.ask`: the reply, or None after a timeout."""

    to: str
    request: Message
    reply: Message | None


class Started(msgspec.Struct, frozen=True):
    """The first message of every actor's life."""

    incarnation: int


class Timer(Protocol):
    """A handle for `context.cancel`."""


class Actor(Protocol):
    """State + receive. A class that holds ports also has `close()`, called once when the actor stops or dies."""

    def receive(self, message: Message, context: Context) -> None:
        """Take one message to its end."""


class ActorSpec(msgspec.Struct, frozen=True):
    """What a world needs to start an actor: who builds it, from which settings, where it sits."""

    name: str
    builder: str
    """`module:function`, called with (spec, shop, emit)."""
    config: dict[str, Any] = {}
    process: str = ""
    """Name of the process that hosts it in the live world; by default one of its own."""
    ports: dict[str, str] = {}
    """Port name to `module:name` of what to put behind it."""


class Context(Protocol):
    """What an actor may do."""

    name: str
    incarnation: int
    sender: str
    """Who sent the message being received; the actor itself for timers, tasks and ports."""
    ticket: Ticket | None
    """Where a reply to the message being received goes; None if none is wanted."""

    @property
    def now(self) -> int:
        """Nanoseconds on the world's clock."""

    def random(self, purpose: str) -> random.Random:
        """This actor's own stream for a purpose; the same object at each call."""

    def send(self, to: str | Ticket, message: Message) -> None:
        """Send at most once; a ticket makes it the reply to an ask."""

    def ask(self, to: str, message: Message, timeout_s: float, reply_bytes: int = 0) -> None:
        """Ask; an `Answer` comes to the mailbox. In a task use `operations.ask`."""

    def after(self, seconds: float, message: Message) -> Timer:
        """Put a message into this actor's mailbox later."""

    def cancel(self, timer: Timer) -> None:
        """Forget a timer; one that has fired is ignored."""

    def start(self, task: Coroutine[Any, Any, Message | None]) -> None:
        """Run a task; its result, if not None, comes to the mailbox."""

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor (supervisors only)."""

    def stop(self, name: str) -> None:
        """Stop an actor; its own name ends its own life after this message."""

    def note(self, name: str, value: float) -> None:
        """Record a number."""

    def decide(self, kind: str, *fields: int | str) -> None:
        """Record a decision in the event log: integers and names only."""
