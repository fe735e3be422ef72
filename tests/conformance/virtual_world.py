"""The virtual world under the suite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from actors.kernel.asks import Window
from actors.kernel.backend import Decision
from actors.kernel.context import ActorSpec
from sim.world import VirtualWorld, WorldConfig
from tests.conformance import probes
from tests.conformance.world import Until


class VirtualWorldUnderTest:
    """A `VirtualWorld` that begins at `start`."""

    def __init__(self, *, codec: bool = True) -> None:
        self.codec = codec
        self.world = VirtualWorld(probes.KINDS)

    def start(
        self,
        specs: Sequence[ActorSpec],
        *,
        seed: int = 0,
        window: Window = Window(),  # noqa: B008
        codec_kinds: Iterable[type[msgspec.Struct]] = probes.KINDS,
        supervisor: str = "",
    ) -> None:
        errors: Literal["raise", "death"] = "death" if supervisor else "raise"
        config = WorldConfig(window=window, codec=self.codec, supervisor=supervisor, errors=errors)
        self.world = VirtualWorld(codec_kinds, seed, config)
        self.world.start(specs)

    def run(self, seconds: float, until: Until | None = None) -> list[Decision]:
        if until is None or not until(self.world.decisions):
            self.world.run(seconds, None if until is None else lambda world: until(world.decisions))
        return list(self.world.decisions)

    def crash(self, name: str) -> None:
        self.world.crash(name)

    def restart(self, name: str) -> None:
        self.world.restart(name)

    def pause(self, name: str) -> None:
        self.world.pause(name)

    def unpause(self, name: str) -> None:
        self.world.unpause(name)

    def inject(self, data: bytes, to: str) -> None:
        self.world.inject(data, to)

    def strangers(self) -> int:
        return len(self.world.refusals)

    def close(self) -> None:
        for name in self.world.alive:
            self.world.stop(name)
