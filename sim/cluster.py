"""A whole cluster in virtual time: the cast with its supervisor, built from a run's settings.

world = cluster(config)          config: RunSettings as plain data, plus `standins`, `prompts`, `store` sections
world.run(seconds=600, until=finished)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.cast import STANDINS, cast_of, supervisor_of
from actors.kernel.context import ActorSpec
from actors.messages import KINDS
from sim.disk import VirtualStore
from sim.life import Maker
from sim.world import VirtualWorld, WorldConfig

PORTS: dict[str, str | Maker] = {STANDINS["store"]: VirtualStore}
"""What virtual time puts in the place of ports that need a real machine."""


def cluster(
    config: dict[str, Any],
    physics: WorldConfig | None = None,
    ports: Mapping[str, str] | None = None,
    doubles: Mapping[str, str | Maker] | None = None,
) -> VirtualWorld:
    """A world whose supervisor is about to start the cast; `ports` and `doubles` replace stand-ins."""
    boss = supervised(config, ports)
    physics = physics or WorldConfig(supervisor=boss.name)
    world = VirtualWorld(KINDS, int(config.get("seed", 0)), physics, {**PORTS, **(doubles or {})})
    world.start([boss])
    return world


def supervised(config: dict[str, Any], ports: Mapping[str, str] | None = None) -> ActorSpec:
    """The spec of the supervisor that starts the whole cast."""
    return supervisor_of(config, cast_of(config, {**STANDINS, **(ports or {})}))


def finished(world: VirtualWorld) -> bool:
    """Whether the supervisor has left: the run is over."""
    return not world.living and world.now > 0
