"""What a run lays in shared memory: its ring of weights, and a spool for each SGLang engine. Needs no torch.

Who made them takes them away; whoever ends a run takes away what processes left that had to be killed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buffers.errors import UsageError


def ring_path(name: str) -> Path:
    """The file in shared memory (or, where there is none, in the temporary folder) behind `shm:name`."""
    if not name or "/" in name:
        raise UsageError(f"ring name {name!r}; give a plain word")
    return _root() / f"braid-{name}"


def spool_path(log: str) -> Path:
    """The folder where an SGLang engine with this log file lays weights for its server."""
    return _root() / f"braid-spool-{zlib.crc32(os.path.abspath(log or str(os.getpid())).encode()):08x}"


def remove_shared(config: Mapping[str, Any]) -> None:
    """Take away what the processes of a run with these settings have left on this machine."""
    if ring := config.get("trainer", {}).get("ring"):
        ring_path(ring).unlink(missing_ok=True)
    for settings in (config, *config.get("own", {}).values()):
        if log := settings.get("sglang", {}).get("log"):
            shutil.rmtree(spool_path(log), ignore_errors=True)


def _root() -> Path:
    root = Path("/dev/shm")
    return root if root.is_dir() else Path(tempfile.gettempdir())
