"""Actors that show what a world does: each records what happens to it as decisions, and the suite reads only those.

Probes meet before they begin (`meet` asks until it is answered), so nothing hangs on which process is up first. Every
probe answers a `Question`. A probe's class is its builder, under its name in lower case.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from actors.kernel.backend import Clock, Shop
from actors.kernel.context import ActorSpec, Answer, Context, Started, Ticket
from actors.kernel.operations import Message, ask, ns, sleep, wait
from actors.messages import ActorDied
from buffers.errors import ContractError


class Number(msgspec.Struct, frozen=True, array_like=True, tag="number"):
    n: int


class Question(msgspec.Struct, frozen=True, array_like=True, tag="question"):
    n: int
    bulk: int = 0

    def bulk_bytes(self) -> int:
        return self.bulk


class Reply(msgspec.Struct, frozen=True, array_like=True, tag="reply"):
    n: int


KINDS = (Number, Question, Reply)
"""What travels between probes."""


class Met(msgspec.Struct, frozen=True):
    """A task's result: the other is there."""


class Tick(msgspec.Struct, frozen=True):
    """A timer's message, or a port's event."""

    n: int


async def meet(*others: str) -> Met:
    """Ask each until it answers."""
    for other in others:
        while await ask(other, Question(0), 0.2) is None:
            pass
    return Met()


def _answer(message: Message, context: Context) -> bool:
    """Answer a question that only wants to meet."""
    if isinstance(message, Question) and message.n == 0 and context.ticket is not None:
        context.send(context.ticket, Reply(0))
        return True
    return False


class Collector:
    """Records the numbers it gets."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.config = spec.config

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.decide("started", message.incarnation)
        elif isinstance(message, Number):
            context.decide("got", message.n, context.sender)
            if context.ticket is not None:
                context.decide("a ticket without an ask")
        else:
            _answer(message, context)


class Sender:
    """Sends the numbers 1 to `count`, `burst` at a time, to each of `to`; a later life starts a million higher."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.to: list[str] = spec.config["to"]
        self.count: int = spec.config.get("count", 10)
        self.burst: int = spec.config.get("burst", 7)
        self.blind: bool = spec.config.get("blind", False)
        self.sent = 0

    def receive(self, message: Message, context: Context) -> None:
        if _answer(message, context):
            return
        if isinstance(message, Started) and not self.blind:
            context.start(meet(*self.to))
        elif isinstance(message, Started | Met | Tick):
            for _ in range(min(self.burst, self.count - self.sent)):
                self.sent += 1
                context.decide("sent", self.sent)
                for to in self.to:
                    context.send(to, Number(self.sent + 1_000_000 * (context.incarnation - 1)))
            if self.sent < self.count:
                context.after(0.005, Tick(0))


class Beater:
    """Sends the number of its incarnation every 10 ms, from a task that never ends."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.to: str = spec.config["to"]

    def receive(self, message: Message, context: Context) -> None:
        if _answer(message, context):
            return
        if isinstance(message, Started):
            context.start(meet(self.to))
        else:
            context.send(self.to, Number(context.incarnation))
            context.start(self._beat())

    async def _beat(self) -> Tick:
        await sleep(0.01)
        return Tick(0)


class Echo:
    """Answers each question after `hold_s`, but not the first `mute` ones. Records how many are open."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.hold_s: float = spec.config.get("hold_s", 0.0)
        self.mute: int = spec.config.get("mute", 0)
        self.open: list[tuple[Ticket, Question]] = []

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.decide("started", message.incarnation)
        elif _answer(message, context):
            pass
        elif isinstance(message, Question):
            assert context.ticket is not None
            self.open.append((context.ticket, message))
            context.decide("asked", message.n, context.sender)
            context.decide("open", len(self.open), sum(question.bulk for _, question in self.open))
            if self.mute:
                self.mute -= 1
                self.open.pop()
            elif self.hold_s:
                context.after(self.hold_s, Tick(0))
            else:
                self._reply(context)
        elif isinstance(message, Tick):
            self._reply(context)

    def _reply(self, context: Context) -> None:
        ticket, question = self.open.pop(0)
        context.send(ticket, Reply(question.n))


class Asker:
    """Asks each of `to` the questions 1 to `count`, all at once or in turn; with `own`, one, numbered by incarnation.

    `patient` asks each again until it is answered; `blind` does not meet the others first; `bulks` gives some numbers a
    weight of their own.
    """

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        config = spec.config
        self.to: list[str] = config["to"]
        self.count: int = config.get("count", 1)
        self.at_once: bool = config.get("at_once", False)
        self.timeout_s: float = config.get("timeout_s", 1.0)
        self.bulk: int = config.get("bulk", 0)
        self.bulks: dict[str, int] = config.get("bulks", {})
        self.reply_bytes: int = config.get("reply_bytes", 0)
        self.patient: bool = config.get("patient", False)
        self.own: bool = config.get("own", False)
        self.blind: bool = config.get("blind", False)

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Question):
            assert context.ticket is not None
            context.send(context.ticket, Reply(message.n))
        elif isinstance(message, Started) and not self.blind:
            context.start(meet(*self.to))
        elif isinstance(message, Started | Met):
            first = context.incarnation if self.own else 1
            for to in self.to:
                for n in range(first, self.count + 1) if self.at_once else [first]:
                    self._ask(to, n, context)
        elif isinstance(message, Answer):
            self._end(message, context)
        elif isinstance(message, Reply):
            context.decide("a reply out of turn", message.n)

    def _ask(self, to: str, n: int, context: Context) -> None:
        context.ask(to, Question(n, self.bulks.get(str(n), self.bulk)), self.timeout_s, self.reply_bytes)

    def _end(self, end: Answer, context: Context) -> None:
        n = end.request.n
        if end.reply is None:
            context.decide("timed out", n, end.to)
            if self.patient:
                self._ask(end.to, n, context)
                return
        else:
            context.decide("answered", n, end.reply.n, end.to)
        if not (self.at_once or self.own) and n < self.count:
            self._ask(end.to, n + 1, context)


class Waiter:
    """Awaits several asks at once and records their replies in order; 0 stands for a timeout."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.to: list[str] = spec.config["to"]

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.start(meet(*self.to[:-1]))
        elif isinstance(message, Met):
            context.start(self._wait())
        elif isinstance(message, Replies):
            context.decide("replies", *message.numbers)

    async def _wait(self) -> Message:
        asks = [ask(to, Question(index + 1), 0.5) for index, to in enumerate(self.to)]
        return Replies(tuple(0 if reply is None else reply.n for reply in await wait(asks)))


class Replies(msgspec.Struct, frozen=True):
    """A task's result: what was replied."""

    numbers: tuple[int, ...]


class Nester:
    """Provokes nesting: in each receive it makes its port, a task, a timer and itself speak, and records its depth."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.port: Parrot = shop.open("parrot", spec, emit)
        self.depth = 0
        self.left = 10

    def receive(self, message: Message, context: Context) -> None:
        if _answer(message, context):
            return
        self.depth += 1
        context.decide("depth", self.depth, type(message).__name__, context.sender)
        if self.left:
            self.left -= 1
            self.port.say(self.left)
            context.start(self._at_once())
            context.after(0.0, Asked(self.left))
            context.send(context.name, Number(self.left))
        self.depth -= 1

    async def _at_once(self) -> Message:
        return Met()


class Asked(msgspec.Struct, frozen=True):
    """A timer's message."""

    n: int


class Parrot:
    """A port that emits at once, and again a millisecond later."""

    def __init__(self, config: dict[str, Any], emit: Callable[[Message], None], clock: Clock) -> None:
        self.emit = emit
        self.clock = clock

    def say(self, n: int) -> None:
        self.emit(Tick(n))
        self.clock.call_later(1_000_000, self.emit, Tick(n))

    def close(self) -> None:
        """Nothing is held."""


class Timers:
    """Sets timers out of order, cancels one before and one after it fired, and records which fire."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.begun = 0
        self.first: Any = None

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            self.begun = context.now
            for n in (300, 100, 200):
                timer = context.after(n / 1000, Tick(n))
                self.first = timer if n == 100 else self.first
            context.cancel(context.after(0.15, Tick(150)))
        elif isinstance(message, Tick):
            context.decide("fired", message.n, context.sender)
            if context.now - self.begun < ns(message.n / 1000):
                context.decide("too early", message.n)
            context.cancel(self.first)


class Parent:
    """Spawns `child`, meets it, stops it, and asks it once more."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.after_s: float = spec.config.get("after_s", 0.0)
        self.stops: bool = spec.config.get("stops", True)
        child: dict[str, Any] = spec.config["child"]
        self.child = ActorSpec(child["name"], child["builder"], child["config"])

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.after(self.after_s, Tick(0))
        elif isinstance(message, Tick) and message.n == 1:
            context.ask(self.child.name, Question(1), 0.3)
        elif isinstance(message, Tick):
            context.decide("spawns")
            context.spawn(self.child, 1)
            context.start(meet(self.child.name))
        elif isinstance(message, Met):
            context.decide("met")
            if self.stops:
                context.stop(self.child.name)
                context.after(1.0, Tick(1))
        elif isinstance(message, Answer):
            context.decide("silent" if message.reply is None else "still there")


class Quitter:
    """Stops itself at the number 3, in the middle of its receive, which leaves a task's result in its mailbox."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.to = spec.config["to"]

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Number):
            if message.n == 3:
                context.stop(context.name)
                context.start(self._at_once())
            context.decide("got", message.n, context.sender)
            context.send(self.to, Number(message.n))
        elif isinstance(message, Met):
            context.decide("went on")
        else:
            _answer(message, context)

    async def _at_once(self) -> Message:
        return Met()


class Overseer:
    """A supervisor: records deaths and starts `revives`, a builder of this module, in the place of the dead."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.revives: str = spec.config.get("revives", "")

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, ActorDied):
            context.decide("died", message.name, message.incarnation)
            context.decide("reason", message.reason)
            if self.revives:
                builder = f"tests.conformance.probes:{self.revives}"
                context.spawn(ActorSpec(message.name, builder), message.incarnation + 1)


class Faller:
    """Raises in its builder, in receive, or in a task."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.where: str = spec.config["where"]
        if self.where == "builder":
            raise ValueError("in builder")

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.start(self._fall())
        elif isinstance(message, Met):
            raise ValueError("in receive")

    async def _fall(self) -> Message:
        await sleep(0.1)
        if self.where == "task":
            raise ValueError("in task")
        return Met()


class Foreign:
    """Starts tasks that await what no world performs, and records how that is refused."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None: ...

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            for name, foreign in (("nap", asyncio.sleep(0)), ("sleep", asyncio.sleep(0.01)), ("yield", Stranger())):
                try:
                    context.start(self._await(foreign))
                except (ContractError, RuntimeError):  # without a running loop asyncio refuses by itself
                    context.decide("refused", name)
            context.start(self._await(sleep(0.01)))
        elif isinstance(message, Met):
            context.decide("went on")

    async def _await(self, awaitable: Any) -> Message:
        await awaitable
        return Met()


class Stranger:
    """An awaitable of somebody else's."""

    def __await__(self) -> Generator[str, None, None]:
        yield "a future of another house"


class Drawer:
    """Draws from the stream `a`, with draws from `b` in between or not."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.between: int = spec.config["between"]

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            drawn = []
            for _ in range(4):
                drawn.append(context.random("a").getrandbits(40))
                for _ in range(self.between):
                    context.random("b").random()
            context.decide("drew", *drawn)


class Keeper:
    """Keeps numbers on a disk and answers when they are durable; after a start it records what the disk holds."""

    def __init__(self, spec: ActorSpec, shop: Shop, emit: Callable[[Message], None]) -> None:
        self.disk: Disk = shop.open("disk", spec, emit)
        self.waiting: dict[int, list[Ticket]] = {}

    def receive(self, message: Message, context: Context) -> None:
        if isinstance(message, Started):
            context.decide("holds", *self.disk.held())
        elif _answer(message, context):
            pass
        elif isinstance(message, Question):
            assert context.ticket is not None
            self.waiting.setdefault(message.n, []).append(context.ticket)
            self.disk.put(message.n)
        elif isinstance(message, Tick):
            for ticket in self.waiting.pop(message.n, []):
                context.send(ticket, Reply(message.n))

    def close(self) -> None:
        self.disk.close()


class Disk:
    """A port that writes numbers to a file, 5 ms after it got them, and says then that they are durable."""

    def __init__(self, config: dict[str, Any], emit: Callable[[Message], None], clock: Clock) -> None:
        self.path: str = config["path"]
        self.emit = emit
        self.clock = clock
        self.tail: list[int] = []

    def held(self) -> list[int]:
        if not os.path.exists(self.path):
            return []
        with open(self.path) as file:
            return [int(line) for line in file if line.endswith("\n")]

    def put(self, n: int) -> None:
        self.tail.append(n)
        if len(self.tail) == 1:
            self.clock.call_later(5_000_000, self._sync, None)

    def _sync(self, _: None) -> None:
        with open(self.path, "a") as file:
            file.writelines(f"{n}\n" for n in self.tail)
        durable, self.tail = self.tail, []
        for n in durable:
            self.emit(Tick(n))

    def close(self) -> None:
        """An orderly close keeps the tail."""
        if self.tail:
            with open(self.path, "a") as file:
                file.writelines(f"{n}\n" for n in self.tail)
            self.tail = []

    def crash(self) -> None:
        """A kill loses it."""
        self.tail = []


collector, sender, beater, echo, asker, waiter = Collector, Sender, Beater, Echo, Asker, Waiter
nester, timers, parent, quitter, foreign, drawer, keeper = Nester, Timers, Parent, Quitter, Foreign, Drawer, Keeper
overseer, faller = Overseer, Faller
