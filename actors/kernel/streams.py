"""Random streams: one per (root seed, owner, purpose), so that an extra draw in one never shifts another."""

from __future__ import annotations

import hashlib
import random


def fork(seed: int, *labels: str | int) -> int:
    """A 64-bit seed for a labelled purpose under a root seed; independent of hash seeds and platforms."""
    text = "\x1f".join([str(seed), *map(str, labels)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def stream(seed: int, *labels: str | int) -> random.Random:
    """A stream of its own for a labelled purpose."""
    return random.Random(fork(seed, *labels))
