"""The cell: an actor, its tasks, timers and asks. It implements `Context` over a `Backend`, once for every world.

    envelope --> fence (newest incarnation of each sender) --> reply? --> ask book --> task or Answer
                                                          +-> actor.receive(message, context)
    port event, timer, task result ------------------------> actor.receive(message, context)

Invariants: `receive` never nests (what arrives while it runs waits in the mailbox, first in first out); a task is
driven only between receives or from within `start`; after `kill` nothing of this actor runs any more; a message from an
older incarnation of its sender, and a reply to an older incarnation of this actor, change nothing.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from actors.kernel.asks import AskBook, Pending, Window
from actors.kernel.backend import Backend, Decision, Envelope
from actors.kernel.context import Actor, ActorSpec, Answer, Started, Ticket
from actors.kernel.operations import Ask, Message, Operation, Sleep, Wait, ns
from actors.kernel.streams import stream
from buffers.errors import ContractError

SMALL_BYTES = 64
"""What a message without bulk is charged."""

Resume = Callable[[Any], None]


def weight_of(message: Message) -> int:
    """Bytes that a message is charged: its `bulk_bytes()` if it carries bulk, else a small constant."""
    bulk = getattr(message, "bulk_bytes", None)
    return SMALL_BYTES if bulk is None else SMALL_BYTES + int(bulk())


class Cell:
    """One life of one actor in some world."""

    __slots__ = (
        "_actor",
        "_asks",
        "_backend",
        "_busy",
        "_cause",
        "_cause_index",
        "_leaving",
        "_mailbox",
        "_newest",
        "_streams",
        "_tasks",
        "alive",
        "decisions",
        "incarnation",
        "name",
        "sender",
        "ticket",
    )

    def __init__(self, name: str, incarnation: int, backend: Backend, window_of: Callable[[str], Window]) -> None:
        self.name = name
        self.incarnation = incarnation
        self.alive = True
        self.decisions = 0
        self.sender = name
        self.ticket: Ticket | None = None
        self._actor: Actor | None = None
        self._asks = AskBook(window_of)
        self._backend = backend
        self._busy = False
        self._cause = ""
        self._cause_index = 0
        self._leaving = False
        self._mailbox: deque[Message] = deque()
        self._newest: dict[str, int] = {}
        self._streams: dict[str, random.Random] = {}
        self._tasks: dict[Coroutine[Any, Any, Any], None] = {}

    # ---- for the world ------------------------------------------------------------------------------------------

    def begin(self, actor: Actor) -> None:
        """Give the cell its actor and let it receive `Started`."""
        self._actor = actor
        self.take(Started(self.incarnation))

    @property
    def actor(self) -> Actor:
        """The actor, for inspection by tests and invariant checkers."""
        assert self._actor is not None
        return self._actor

    def deliver(self, envelope: Envelope) -> None:
        """Take an envelope from the world."""
        if not self.alive:
            return
        sender = envelope.sender
        newest = self._newest.get(sender, 0)
        if envelope.incarnation != newest:
            if envelope.incarnation < newest:
                return
            self._newest[sender] = envelope.incarnation
        serial = envelope.serial
        if serial >= 0:
            ticket = Ticket(sender, envelope.incarnation, serial) if serial else None
            self._run(envelope.message, sender, ticket, envelope.cause)
        elif envelope.to_incarnation == self.incarnation:
            self._end_ask(-serial, envelope.message, sender, envelope.cause)

    def take(self, message: Message) -> None:
        """Take a message of this actor's own: a timer's, a port's event, a task's result."""
        if self.alive:
            self._run(message, self.name, None, self.decisions)

    def kill(self) -> None:
        """End this life: tasks are closed, ports too; nothing is sent any more."""
        if not self.alive:
            return
        self.alive = False
        self._mailbox.clear()
        for task in list(self._tasks):
            task.close()
        self._tasks.clear()
        close = getattr(self._actor, "close", None)
        if close is not None:
            close()

    # ---- the context --------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Nanoseconds on the world's clock."""
        return self._backend.now()

    def random(self, purpose: str) -> random.Random:
        """This actor's own stream for a purpose."""
        found = self._streams.get(purpose)
        if found is None:
            found = stream(self._backend.seed, self.name, self.incarnation, purpose)
            self._streams[purpose] = found
        return found

    def send(self, to: str | Ticket, message: Message) -> None:
        """Send at most once; a ticket makes it the reply to an ask."""
        if isinstance(to, str):
            envelope = Envelope(to, self.name, self.incarnation, 0, 0, self.decisions, message)
        else:
            envelope = Envelope(to.to, self.name, self.incarnation, -to.serial, to.incarnation, self.decisions, message)
        self._backend.transmit(envelope)

    def ask(self, to: str, message: Message, timeout_s: float, reply_bytes: int = 0) -> None:
        """Ask; an `Answer` comes to the mailbox."""
        self._ask(Ask(to, message, ns(timeout_s), reply_bytes), None)

    def after(self, seconds: float, message: Message) -> Any:
        """Put a message into this actor's mailbox later."""
        return self._backend.call_later(ns(seconds), self.take, message)

    def cancel(self, timer: Any) -> None:
        """Forget a timer."""
        self._backend.cancel(timer)

    def start(self, task: Coroutine[Any, Any, Message | None]) -> None:
        """Run a task; its result, if not None, comes to the mailbox."""
        self._tasks[task] = None
        self._drive(task, None)

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor."""
        self._backend.spawn(spec, incarnation)

    def stop(self, name: str) -> None:
        """Stop an actor; the own name takes effect after the message being received."""
        if name == self.name:
            self._leaving = True
        else:
            self._backend.stop(name)

    def note(self, name: str, value: float) -> None:
        """Record a number."""
        self._backend.note(self.name, name, value)

    def decide(self, kind: str, *fields: int | str) -> None:
        """Record a decision."""
        self.decisions += 1
        decision = Decision(
            self._backend.now(),
            self.name,
            self.incarnation,
            self.decisions,
            kind,
            fields,
            self._cause,
            self._cause_index,
        )
        self._backend.record(decision)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _take_caused(self, message: Message) -> None:
        """Take a message of this actor's own that came of another's reply: the reply is its cause."""
        if self.alive:
            self._run(message, self.name, None, self._cause_index, self._cause)

    def _run(self, message: Message, sender: str, ticket: Ticket | None, cause_index: int, cause: str = "") -> None:
        if self._busy:
            if ticket is not None or sender != self.name:
                raise ContractError(f"{self.name}: a world delivered {message!r} while a message was being received")
            self._mailbox.append(message)
            return
        assert self._actor is not None
        self._busy = True
        try:
            while True:
                self.sender = sender
                self.ticket = ticket
                self._cause = cause or sender
                self._cause_index = cause_index
                self._actor.receive(message, self)
                if self._leaving or not self._mailbox:
                    break
                message, sender, ticket, cause_index = self._mailbox.popleft(), self.name, None, self.decisions
                cause = ""
        finally:
            self._busy = False
        if self._leaving and self.alive:
            self._backend.stop(self.name)

    def _drive(self, task: Coroutine[Any, Any, Any], value: Any) -> None:
        try:
            operation = task.send(value)
        except StopIteration as end:
            self._tasks.pop(task, None)
            if end.value is not None:
                self._take_caused(end.value)
            return
        self._perform(operation, partial(self._resume, task), task)

    def _resume(self, task: Coroutine[Any, Any, Any], result: Any) -> None:
        if self.alive and task in self._tasks:
            self._drive(task, result)

    def _perform(self, operation: Any, resume: Resume, task: Coroutine[Any, Any, Any]) -> None:
        if isinstance(operation, Ask):
            self._ask(operation, resume)
        elif isinstance(operation, Sleep):
            self._backend.call_later(operation.delay_ns, self._wake, (resume, None))
        elif isinstance(operation, Wait):
            self._wait(operation.asks, resume)
        else:
            self._tasks.pop(task, None)
            task.close()
            kind = "an operation without a meaning" if isinstance(operation, Operation) else "a foreign awaitable"
            raise ContractError(f"{self.name}: a task awaited {kind}, {operation!r}; await sleep, ask or wait only")

    def _wake(self, due: tuple[Resume, Any]) -> None:
        resume, result = due
        self._cause = self.name
        self._cause_index = self.decisions
        resume(result)

    def _wait(self, asks: list[Ask], resume: Resume) -> None:
        results: list[Message | None] = [None] * len(asks)
        left = len(asks)
        if not left:
            self._backend.call_later(0, self._wake, (resume, results))
            return

        def done(index: int, reply: Message | None) -> None:
            nonlocal left
            results[index] = reply
            left -= 1
            if not left:
                resume(results)

        for index, one in enumerate(asks):
            self._ask(one, lambda reply, index=index: done(index, reply))  # type: ignore[misc]

    def _ask(self, ask: Ask, done: Resume | None) -> None:
        pending, goes = self._asks.open(ask, weight_of(ask.message), done)
        if goes:
            self._transmit(pending)

    def _transmit(self, pending: Pending) -> None:
        ask = pending.ask
        pending.timer = self._backend.call_later(ask.timeout_ns, self._expire, pending.serial)
        envelope = Envelope(ask.to, self.name, self.incarnation, pending.serial, 0, self.decisions, ask.message)
        self._backend.transmit(envelope)

    def _expire(self, serial: int) -> None:
        if self.alive:
            self._end_ask(serial, None, self.name, self.decisions)

    def _end_ask(self, serial: int, reply: Message | None, sender: str, cause_index: int) -> None:
        pending, released = self._asks.close(serial)
        if pending is None:
            return
        self._backend.cancel(pending.timer)
        for one in released:
            self._transmit(one)
        self._cause = sender
        self._cause_index = cause_index
        if pending.done is not None:
            pending.done(reply)
        else:
            self._take_caused(Answer(pending.ask.to, pending.ask.message, reply))
