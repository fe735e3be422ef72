"""What the suite needs of a world, live or virtual."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from actors.kernel.asks import Window
from actors.kernel.backend import Decision
from actors.kernel.context import ActorSpec
from tests.conformance import probes

Until = Callable[[list[Decision]], bool]


class WorldUnderTest(Protocol):
    """A world that starts probes and hands out what they decided."""

    def start(
        self,
        specs: Sequence[ActorSpec],
        *,
        seed: int = 0,
        window: Window = Window(),  # noqa: B008
        codec_kinds: Iterable[type[msgspec.Struct]] = probes.KINDS,
        supervisor: str = "",
    ) -> None:
        """Begin a world with these actors; the supervisor hears of deaths, without one an exception may end the run."""

    def run(self, seconds: float, until: Until | None = None) -> list[Decision]:
        """Let it go on for so long, or until the condition holds; all decisions so far, in order of arrival."""

    def crash(self, name: str) -> None:
        """Kill an actor without a goodbye."""

    def restart(self, name: str) -> None:
        """Start its next incarnation."""

    def pause(self, name: str) -> None:
        """Freeze it."""

    def unpause(self, name: str) -> None:
        """Let it go on."""

    def inject(self, data: bytes, to: str) -> None:
        """Raw bytes to an actor's inbox, as a stranger would send them."""

    def strangers(self) -> int:
        """How many were refused so far."""

    def close(self) -> None:
        """End everything."""


def probe(name: str, kind: str, ports: dict[str, str] | None = None, **config: Any) -> ActorSpec:
    """A probe of `tests/conformance/probes.py`, by the name of its builder."""
    return ActorSpec(name, f"tests.conformance.probes:{kind}", config, ports=ports or {})


def fields(decisions: Iterable[Decision], kind: str, actor: str = "") -> list[tuple[int | str, ...]]:
    """The fields of the decisions of a kind (and of one actor), in order."""
    return [found.fields for found in decisions if found.kind == kind and actor in ("", found.actor)]


def times(kind: str, count: int, actor: str = "") -> Until:
    """Until this was decided so often."""
    return lambda decisions: len(fields(decisions, kind, actor)) >= count
