"""What each role of a run needs of a cluster, and which roles stand together: decisions only, no cluster is touched.

trunk       learner, replay, controller, rewarders, evaluator     packed: few machines, short ways to the learner
generators                                                        spread: one dead machine takes few of them
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from actors.roster import Roster
from buffers.errors import UsageError


class Needs(msgspec.Struct, frozen=True):
    """What one process of a role takes of a node."""

    cpus: float = 0.1
    gpus: float = 0.0
    memory_gb: float = 0.0
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
    """What the roles need, where a run is placed on a cluster."""

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
