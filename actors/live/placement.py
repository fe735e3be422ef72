"""What each role of a run needs of a cluster, and which roles stand together: decisions only, no cluster is touched.

On one machine, `placement = "colocated"` lets generator, evaluator and learner use one card: in turns
(`policies/card.py`), or at once, each with its part of the memory.

On many machines:

trunk       learner, replay, controller, rewarders, evaluator     packed: few machines, short ways to the learner
generators                                                        spread: one dead machine takes few of them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from actors.roster import Roster
from buffers.errors import UsageError


class Needs(msgspec.Struct, frozen=True):
    """What one process of a role takes of a node."""

    cpus: float = 0.1
    """Cores."""
    gpus: float = 0.0
    """Accelerators; a fraction shares one."""
    memory_gb: float = 0.0
    """Memory in GiB; 0: not asked for."""
    resources: dict[str, float] = {}
    """Further resources by the names that the nodes give them: the disk that replay needs, a kind of GPU."""

    def __post_init__(self) -> None:
        """Ray places nothing that takes nothing."""
        amounts = (self.cpus, self.gpus, self.memory_gb, *self.resources.values())
        if min(amounts) < 0 or max(amounts) == 0:
            raise UsageError(f"cluster: cpus = {self.cpus}, gpus = {self.gpus}: none must be below 0, and one above")

    def amounts(self) -> dict[str, float]:
        """In Ray's names and units."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_gb * 2**30, **self.resources}
        return {name: amount for name, amount in named.items() if amount}


class ClusterConfig(msgspec.Struct, frozen=True):
    """Where the roles stand: on one card of one machine, or what they need where a run is placed on a cluster."""

    placement: Literal["separate", "colocated"] = "separate"
    """colocated: generator, evaluator and learner use one card."""
    share: Literal["time", "memory"] = "time"
    """How they share it: in turns, or at once, each with its part of the memory."""
    cache: Literal["keep", "drop"] = "keep"
    """With time: what becomes of an engine's keys and values while another has the card."""
    turn_s: float = 0.25
    """With time: how long an engine that still has work keeps the card although others wait for it."""
    engine_memory: float = 0.4
    """With memory: the generator's part of the card's memory."""
    evaluator_memory: float = 0.1
    """With memory: the evaluator's; the learner gets the rest."""
    memory_gib: float = 0.0
    """Memory of the card that the run may count on; 0: all that the device has."""
    learner: Needs = Needs(cpus=1.0)
    generator: Needs = Needs(cpus=1.0)
    replay: Needs = Needs()
    controller: Needs = Needs()
    rewarder: Needs = Needs()
    evaluator: Needs = Needs()
    modules: tuple[str, ...] = ()
    """Folders of packages of one's own (rewards, schedules) that every node gets beside Braid's."""
    patience_s: float = 60.0
    """How long a start waits for resources that others hold."""

    def __post_init__(self) -> None:
        """Fractions are fractions, and leave the learner something."""
        for key, value in (("engine_memory", self.engine_memory), ("evaluator_memory", self.evaluator_memory)):
            if not 0 < value < 1:
                raise UsageError(f"cluster.{key} = {value}: give a fraction of the card's memory between 0 and 1")
        if self.engine_memory + self.evaluator_memory >= 1:
            raise UsageError(
                f"cluster.engine_memory = {self.engine_memory} and cluster.evaluator_memory = {self.evaluator_memory} "
                "leave the learner nothing: their sum must be below 1"
            )
        if self.memory_gib < 0:
            raise UsageError(f"cluster.memory_gib = {self.memory_gib}: give GiB, or 0 for all that the device has")
        if not 0 <= self.turn_s < 60:
            raise UsageError(f"cluster.turn_s = {self.turn_s}: give 0 to 60 seconds; the learner waits as long")

    @property
    def colocated(self) -> bool:
        """Whether one card is shared."""
        return self.placement == "colocated"


class Group(msgspec.Struct, frozen=True):
    """Processes that are placed by one rule."""

    name: str
    strategy: str
    """Ray's name of the rule."""
    members: dict[str, dict[str, float]]
    """Process to what it takes."""


def groups_of(roster: Roster, config: ClusterConfig) -> tuple[Group, ...]:
    """Every process of a run but the driver's, in its group."""
    trunk = [(roster.learner, config.learner), (roster.replay, config.replay), (roster.controller, config.controller)]
    trunk += [(name, config.rewarder) for name in roster.rewarders]
    trunk += [(roster.evaluator, config.evaluator)] if roster.evaluator else []
    generators = [(name, config.generator) for name in roster.generators]
    return (
        Group("trunk", "PACK", {name: needs.amounts() for name, needs in trunk}),
        Group("generators", "SPREAD", {name: needs.amounts() for name, needs in generators}),
    )


def shortage(groups: tuple[Group, ...], nodes: tuple[Mapping[str, float], ...]) -> str:
    """Why these groups can never be placed on nodes of these resources; empty if nothing speaks against it."""
    total: dict[str, float] = {}
    for group in groups:
        for process, amounts in group.members.items():
            for name, amount in amounts.items():
                total[name] = total.get(name, 0.0) + amount
            if not any(all(node.get(name, 0.0) >= amount for name, amount in amounts.items()) for node in nodes):
                return f"{process} needs {shown(amounts)} of one node, and no node has that"
    have = {name: sum(node.get(name, 0.0) for node in nodes) for name in total}
    if any(have[name] < amount - 1e-6 for name, amount in total.items()):
        return f"the run needs {shown(total)}, the cluster has {shown(have)}"
    return ""


def shown(amounts: Mapping[str, float]) -> str:
    """Amounts as a person reads them."""
    parts = [
        f"memory {amount / 2**30:.3g} GiB" if name == "memory" else f"{name} {amount:.4g}"
        for name, amount in sorted(amounts.items())
    ]
    return ", ".join(parts)
