"""A whole cluster as processes of this machine or of many: the cast with its supervisor, built from a run's settings.

The supervisor and the recorder live in the launcher's own process, every other actor in one of its own, somewhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.cast import cast_of, supervisor_of
from actors.live.launch import LaunchConfig, Launcher
from actors.live.places import Places
from actors.messages import KINDS, StopRun
from actors.supervisor import Supervisor

HERE = "launcher"


class Cluster:
    """One start of a run. A context manager: at its end nothing is left running."""

    def __init__(
        self, config: dict[str, Any], ports: dict[str, str], launch: LaunchConfig, places: Places | None = None
    ) -> None:
        specs = cast_of(config, ports)
        recorder = config["roster"].get("recorder", "")
        specs = tuple(msgspec.structs.replace(spec, process=HERE) if spec.name == recorder else spec for spec in specs)
        boss = supervisor_of(config, specs)
        self._supervisor = boss.name
        self.launcher = Launcher(msgspec.structs.replace(launch, process=HERE, supervisor=boss.name), KINDS, places)
        self.launcher.start([msgspec.structs.replace(boss, process=HERE)])
        self.outcome = ""
        """Why the run ended, once it has."""

    def run(self, seconds: float | None = None) -> bool:
        """Run until the supervisor has left (True), or for so long."""
        self.launcher.run(seconds, self._over)
        return self._over()

    def ask_to_stop(self, reason: str) -> None:
        """Let the supervisor end the run orderly."""
        life = self.launcher.host.lives.get(self._supervisor)
        if life is not None:
            self.launcher.loop.soon(lambda _: life.cell.take(StopRun(reason)))

    def _over(self) -> bool:
        life = self.launcher.host.lives.get(self._supervisor)
        if life is None:
            return bool(self.outcome)
        actor = life.cell.actor
        if isinstance(actor, Supervisor) and actor.outcome:
            self.outcome = actor.outcome
        return False

    def close(self) -> None:
        """Stop whatever still runs."""
        self.launcher.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
