"""Faults as data: a plan is a list of acts, each a verb on the world at a time; scripted, or drawn from a seed.

    verb        target                          what it does                              ended by for_ns
    drop        link                            loses a share of the messages             lifted
    delay       link                            holds a share of them back by span_ns     lifted
    duplicate   link                            sends a share of them twice               lifted
    reorder     link                            draws up to span_ns more for each         lifted
    partition   actors, "a,b"                   cuts them, as one island, off             healed
    crash       actor                           kills it                                  restarted (*)
    restart     actor                           starts its next incarnation               -
    pause       actor                           freezes it                                goes on
    slow        actor                           each message takes it span_ns             lifted
    heal        actor, link or "*"              lifts whatever lies on the target         -

(*) if it is still dead and no supervisor looks after it.
A link is "*", "name" (either end), "a->b", "a->*" or "*->b". With `for_ns` 0 a fault stays until something heals it.
A drawn plan ends every fault before its horizon, so a run that goes on behind it must make progress again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal, cast

import msgspec

from actors.kernel.operations import NS
from actors.kernel.streams import stream
from sim.network import EVERYWHERE, Harm, LinkFault
from sim.world import VirtualWorld

Verb = Literal[
    "drop", "delay", "duplicate", "reorder", "partition", "crash", "restart", "pause", "slow", "heal"
]  # fmt: skip

LINK_VERBS: Final[tuple[Verb, ...]] = ("drop", "delay", "duplicate", "reorder")
DRAWN_VERBS: Final[tuple[Verb, ...]] = (*LINK_VERBS, "partition", "crash", "pause", "slow")
"""What `draw_plan` draws from: restarts and heals follow from `for_ns`."""


class Act(msgspec.Struct, frozen=True):
    """One verb on the world."""

    at_ns: int
    verb: Verb
    target: str
    share: float = 1.0
    """Of the messages that are hit (drop, delay, duplicate)."""
    span_ns: int = 0
    """Of time (delay, reorder, slow)."""
    for_ns: int = 0
    """How long it lasts; 0: until something heals it."""

    def __str__(self) -> str:
        """One line for a report."""
        details = [f"share {self.share:g}"] if self.share != 1.0 else []
        details += [
            f"{name} {value / NS:g} s" for name, value in (("span", self.span_ns), ("for", self.for_ns)) if value
        ]
        return f"{self.at_ns / NS:g} s: " + ", ".join([f"{self.verb} {self.target}", *details])


class FaultPlan(msgspec.Struct, frozen=True):
    """What happens to a world, in order of time."""

    acts: tuple[Act, ...] = ()

    def apply(self, world: VirtualWorld) -> None:
        """Put every act into the world's future."""
        for act in self.acts:
            _schedule(world, act.at_ns, f"{act.verb} {act.target}", partial(perform, world, act))

    def __str__(self) -> str:
        """One line an act."""
        return "\n".join(map(str, self.acts)) or "no faults"


def perform(world: VirtualWorld, act: Act) -> None:
    """Do one act now, and order its end."""
    undo = _BEGIN[act.verb](world, act)
    if undo is not None and act.for_ns:
        _schedule(world, world.now + act.for_ns, f"end of {act.verb} {act.target}", undo)


def draw_plan(
    seed: int, actors: Sequence[str], horizon_ns: int, count: int, verbs: Sequence[Verb] = DRAWN_VERBS
) -> FaultPlan:
    """Draw `count` faults on these actors and the links between them; all of them end before the horizon.

    Each act has a stream of its own, so a plan of n acts begins with the n - 1 of a shorter one (before sorting).
    """
    acts = []
    for index in range(count):
        draw = stream(seed, "fault", index)
        verb = draw.choice(verbs)
        at_ns = draw.randrange(max(1, horizon_ns * 3 // 4))
        for_ns = 1 + draw.randrange(max(1, min(horizon_ns // 4, horizon_ns - at_ns)))
        if verb in LINK_VERBS:
            target = "->".join(draw.sample(list(actors), 2)) if len(actors) > 1 and draw.random() < 0.7 else EVERYWHERE
        elif verb == "partition":
            target = ",".join(sorted(draw.sample(list(actors), draw.randint(1, max(1, len(actors) // 2)))))
        else:
            target = draw.choice(actors)
        share = round(draw.uniform(0.05, 1.0), 3) if verb in ("drop", "delay", "duplicate") else 1.0
        span_ns = 1 + draw.randrange(max(1, horizon_ns // 50)) if verb in ("delay", "reorder", "slow") else 0
        acts.append(Act(at_ns, verb, target, share, span_ns, for_ns))
    return FaultPlan(tuple(sorted(acts, key=lambda act: act.at_ns)))


def _schedule(world: VirtualWorld, at_ns: int, name: str, call: Callable[[], None]) -> None:
    kernel = world.kernel
    kernel.call_at(at_ns, kernel.code(name), lambda _: call())


Undo = Callable[[], None] | None


def _harm(world: VirtualWorld, act: Act) -> Undo:
    fault = cast(LinkFault, act.verb)
    world.network.harm(fault, act.target, Harm(act.share, act.span_ns))
    return lambda: world.network.relieve(fault, act.target)


def _partition(world: VirtualWorld, act: Act) -> Undo:
    names = act.target.split(",")
    world.network.partition(names)

    def rejoin() -> None:
        for name in names:
            world.network.rejoin(name)

    return rejoin


def _crash(world: VirtualWorld, act: Act) -> Undo:
    world.crash(act.target)
    if world.config.supervisor not in ("", act.target):
        return None  # the supervisor counts incarnations; nobody else may start one
    return lambda: None if world.place(act.target).lives else world.restart(act.target)


def _restart(world: VirtualWorld, act: Act) -> Undo:
    world.restart(act.target)
    return None


def _pause(world: VirtualWorld, act: Act) -> Undo:
    world.pause(act.target)
    return lambda: world.unpause(act.target)


def _slow(world: VirtualWorld, act: Act) -> Undo:
    world.slow(act.target, act.span_ns)
    return lambda: world.slow(act.target, 0)


def _heal(world: VirtualWorld, act: Act) -> Undo:
    world.heal(act.target)
    return None


_BEGIN: dict[Verb, Callable[[VirtualWorld, Act], Undo]] = {
    "drop": _harm,
    "delay": _harm,
    "duplicate": _harm,
    "reorder": _harm,
    "partition": _partition,
    "crash": _crash,
    "restart": _restart,
    "pause": _pause,
    "slow": _slow,
    "heal": _heal,
}
