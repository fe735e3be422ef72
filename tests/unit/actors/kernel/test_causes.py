"""What a decision says of its cause: whose message it came of, and how much that sender had decided before."""

import msgspec

from actors.kernel.context import ActorSpec, Answer, Started
from actors.kernel.operations import ask, sleep, wait
from sim.world import VirtualWorld

HERE = "tests.unit.actors.kernel.test_causes"


class Question(msgspec.Struct, frozen=True, array_like=True, tag="question"):
    """Wants a reply."""


class Reply(msgspec.Struct, frozen=True, array_like=True, tag="reply"):
    """One."""


class Result(msgspec.Struct, frozen=True):
    """Of a task."""

    kind: str


class Oracle:
    """Decides once, then replies."""

    def __init__(self, spec, shop, emit):
        pass

    def receive(self, message, context):
        if isinstance(message, Question):
            context.decide("asked")
            context.send(context.ticket, Reply())


async def asking():
    await ask("oracle", Question(), 1.0)
    return Result("task")


async def asking_twice():
    await wait([ask("oracle", Question(), 1.0), ask("oracle", Question(), 1.0)])
    return Result("both")


async def sleeping():
    await ask("oracle", Question(), 1.0)
    await sleep(0.5)
    return Result("slept")


async def unanswered():
    await ask("nobody", Question(), 1.0)
    return Result("timeout")


class Asker:
    """Asks in every way there is, one after the other, and decides at each end."""

    def __init__(self, spec, shop, emit):
        self.tasks = iter([asking, asking_twice, sleeping, unanswered])

    def receive(self, message, context):
        if isinstance(message, Started):
            context.ask("oracle", Question(), 1.0)
            return
        context.decide("answer" if isinstance(message, Answer) else message.kind)
        task = next(self.tasks, None)
        if task is not None:
            context.start(task())


def test_the_end_of_an_ask_is_caused_by_who_replied():
    world = VirtualWorld([Question, Reply])
    world.start([ActorSpec("oracle", f"{HERE}:Oracle"), ActorSpec("asker", f"{HERE}:Asker")])
    world.run(5)
    causes = {one.kind: (one.cause, one.cause_index) for one in world.decisions if one.actor == "asker"}
    assert causes == {
        "answer": ("oracle", 1),
        "task": ("oracle", 2),
        "both": ("oracle", 4),
        "slept": ("asker", 3),
        "timeout": ("asker", 4),
    }
