"""torchrl as a peer of `buffer.py`, run by the interpreter of an environment that has it; it imports nothing of Braid.

Reads lines "sampler|tree ITEMS BATCH SECONDS" and answers each with cycles per second; its first line is its version.
The extension of torchrl loads only on the torch that it was built for: no wheel of 0.13.1 to 0.14.1 loads on torch
2.13, hence the other environment (`pip install torchrl` with a torch that it loads on, or its extension built anew).
"""

import importlib.metadata
import os
import sys
import time

import numpy as np
import torch
from torchrl._torchrl import MinSegmentTreeFp32, SumSegmentTreeFp32
from torchrl.data import LazyTensorStorage, PrioritizedSampler

ADDED = 64
ALPHA, BETA = 0.6, 0.4
SPANS = 20
"""Cycles between two looks at the clock."""


def sampler(items, batch):
    """The sampler as a replay buffer uses it: new items get the greatest priority so far."""
    storage, index = LazyTensorStorage(items), torch.arange(items)
    storage.set(range(items), torch.zeros(items))
    peer = PrioritizedSampler(items, alpha=ALPHA, beta=BETA)
    peer.extend(index)
    peer.update_priority(index, torch.rand(items) + 0.01)
    ring, place = torch.arange(items + ADDED) % items, 0

    def cycle():
        nonlocal place
        found, info = peer.sample(storage, batch)
        peer.update_priority(found, torch.rand(batch) + 0.01)
        peer.extend(ring[place : place + ADDED])
        place = (place + ADDED) % items
        return info

    return cycle


def tree(items, batch):
    """The bare trees, one of sums and one of minima, over arrays."""
    draw, sums, least = np.random.default_rng(0), SumSegmentTreeFp32(items), MinSegmentTreeFp32(items)
    start = (draw.random(items) + 0.01).astype(np.float32)
    sums[np.arange(items)] = start
    least[np.arange(items)] = start
    ring, fresh, place = np.arange(items + ADDED) % items, np.ones(ADDED, np.float32), 0

    def put(index, values):
        sums[index] = values
        least[index] = values

    def cycle():
        nonlocal place
        total = sums.query(0, items)
        found = sums.scan_lower_bound((draw.random(batch, np.float32) * total).astype(np.float32))
        weights = (sums[found] / least.query(0, items)) ** -BETA
        put(found, ((draw.random(batch, np.float32) + 0.01) ** ALPHA).astype(np.float32))
        put(ring[place : place + ADDED], fresh)
        place = (place + ADDED) % items
        return weights

    return cycle


def main():
    """Answer until the input ends."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what torchrl logs goes to the other stream
    print(importlib.metadata.version("torchrl"), file=answers, flush=True)
    made = {}
    for line in sys.stdin:
        kind, items, batch, seconds = line.split()
        key = (kind, items, batch)
        if key not in made:
            made = {key: {"sampler": sampler, "tree": tree}[kind](int(items), int(batch))}
        cycle, cycles, begin = made[key], 0, time.perf_counter()
        while time.perf_counter() - begin < float(seconds):
            for _ in range(SPANS):
                cycle()
            cycles += SPANS
        print(cycles / (time.perf_counter() - begin), file=answers, flush=True)


if __name__ == "__main__":
    main()
