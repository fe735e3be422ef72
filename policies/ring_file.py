"""Where a ring of weights (`policies/weights.py`) lies, for those without torch: whoever ends a run takes it away."""

from __future__ import annotations

import tempfile
from pathlib import Path

from buffers.errors import UsageError


def ring_path(name: str) -> Path:
    """The file in shared memory (or, where there is none, in the temporary folder) behind `shm:name`."""
    if not name or "/" in name:
        raise UsageError(f"ring name {name!r}; give a plain word")
    root = Path("/dev/shm")
    return (root if root.is_dir() else Path(tempfile.gettempdir())) / f"braid-{name}"
