"""The folder of a simulated run, filled as a live run fills its own, so that `braid report` reads either."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from actors.eventlog import SUFFIX, EventLogWriter
from actors.sinks.metrics_file import MetricsFile
from buffers.errors import UsageError
from sim.world import VirtualWorld


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; name another --run-dir")


def write_run(world: VirtualWorld, config: str, settings: Mapping[str, Any], folder: Path) -> None:
    """Write a world's events and numbers, its config (TOML) and what its cast was built from."""
    check_free(folder)
    (folder / "events").mkdir(parents=True)
    (folder / "config.toml").write_text(config, encoding="utf-8")
    (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(settings), indent=1))
    numbers = MetricsFile({"run_dir": str(folder)}, None, None)
    log = EventLogWriter(folder / "events" / f"world{SUFFIX}", "virtual", int(settings["seed"]))
    for decision in world.decisions:
        log.decision(decision)
    for at_ns, actor, name, value in world.notes:
        log.number(at_ns, actor, name, value)
        numbers.write(actor, ((name, at_ns, value),))
    log.close()
    numbers.close()
