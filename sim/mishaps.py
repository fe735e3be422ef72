"""Faults of a scenario: what befalls an actor at a time, and when it is repaired.

    [[faults]]
    verb = "crash"              verb        what happens to the target              repaired after for_s
    target = "generator-0003"   crash       it dies                                 it can be started there again
    at_s = 120.0                slow        its device works `factor` times slower  full speed
    for_s = 60.0                pause       it freezes                              it goes on
                                partition   "a,b" are cut off from everybody else   rejoined
                                drop        loses a `share` of its messages         lifted
                                delay       holds its messages back by `span_s`     lifted

What heals it otherwise is the cast's own work: the supervisor restarts, the controller gives lost jobs to others. Slow
are engines, the trainer and rewarders, for these alone have a device; messages of the others can be delayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from actors.kernel.operations import ns
from buffers.errors import UsageError
from sim.doubles.device import Cores
from sim.faults import Act, FaultPlan
from sim.world import VirtualWorld


class Mishap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault; see the module."""

    verb: Literal["crash", "slow", "pause", "partition", "drop", "delay"]
    target: str
    """An actor; of a partition several, with commas between them."""
    at_s: float
    for_s: float
    factor: float = 4.0
    share: float = 1.0
    span_s: float = 1.0

    def check(self, number: int, actors: Sequence[str], devices: Sequence[str]) -> None:
        """Refuse what cannot happen, naming key, value and remedy."""
        where = f"faults[{number}]"
        known = devices if self.verb == "slow" else actors
        for name in self.target.split(","):
            if name not in known:
                few = ", ".join(known[:3])
                raise UsageError(
                    f"{where}.target = {name!r}: {self.verb} can befall none of that name; name one, e.g. {few}"
                )
        for key, value, least in (("at_s", self.at_s, 0.0), ("for_s", self.for_s, 0.0), ("span_s", self.span_s, 0.0)):
            if not value >= least:
                raise UsageError(f"{where}.{key} = {value}: must be {least:g} or more")
        if not self.factor >= 1:
            raise UsageError(f"{where}.factor = {self.factor}: must be 1 or more; 2 is half the speed")
        if not 0 < self.share <= 1:
            raise UsageError(f"{where}.share = {self.share}: must be a share of messages in (0, 1]")


def befall(world: VirtualWorld, mishaps: Sequence[Mishap], hosts: Mapping[str, Cores]) -> None:
    """Put every fault into a world's future; `hosts` are the devices that can be slowed."""
    acts = []
    for one in mishaps:
        at = ns(one.at_s)
        if one.verb == "slow":
            host = hosts[one.target]
            later(world, at, f"slow {one.target}", partial(throttle, world, host, 1 / one.factor))
            later(world, at + ns(one.for_s), f"end of slow {one.target}", partial(throttle, world, host, 1.0))
            continue
        if one.verb == "crash":
            later(world, at, f"close {one.target}", partial(close, world, one.target, at + ns(one.for_s)))
        span = ns(one.span_s) if one.verb == "delay" else 0
        acts.append(Act(at, one.verb, one.target, one.share, span, ns(one.for_s)))
    FaultPlan(tuple(acts)).apply(world)


def throttle(world: VirtualWorld, host: Cores, speed: float, _: Any) -> None:
    """Let a device work at a share of its speed from now on."""
    host.throttle(world.now, speed)


def close(world: VirtualWorld, name: str, until: int, _: Any) -> None:
    """Nobody can be started at a place before then."""
    world.place(name).opens_at = until


def later(world: VirtualWorld, at: int, name: str, call: Any) -> None:
    """Put a call into a world's future."""
    world.kernel.call_at(at, world.kernel.code(name), call)
