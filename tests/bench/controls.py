"""Controls at equal time: what else could be done with the seconds that reinforcement takes?

From the very model that reinforcement starts from (the warm-up of the example, same seed), in one process of one
thread:
    same mix      more supervised training on the mix that the warm-up ended with
    careful       supervised training on careful traces alone: better data than reinforcement ever sees
    rejection     sample (16 prompts x 8, temperature 1: twice an update of the example), fine-tune on what is right
Each gets as many CPU seconds as the example's reinforcement takes on the clock (`SECONDS`); that reinforcement keeps
two cores busy, so `rejection`, the only one that is not done long before, is measured at twice that time too. `ours`
is the control's sampled accuracy, `theirs` the starting model's; `after` holds greedy accuracy and tokens.

    python -m tests.bench controls           seeds 201 and 202
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from buffers.segment import ids_of
from policies import warmup
from policies.generate import Lockstep
from policies.models import logps_of_tokens
from tests.bench.one_process import Bench, Settings

SEEDS = (201, 202)
SECONDS = 60.0
RATE = 5e-4
"""Of rejection sampling's AdamW: reinforcement's own."""
Learn = Callable[[], None]


def run() -> Iterator[dict[str, Any]]:
    torch.set_num_threads(1)
    for seed in SEEDS:
        for name, build, seconds in (
            ("same mix", lambda bench: supervised(bench, warmup.Config().mix_b, 1), SECONDS),
            ("careful traces", lambda bench: supervised(bench, (0.0, 0.0, 1.0), 8), SECONDS),
            ("rejection sampling", rejection, SECONDS),
            ("rejection sampling, twice the time", rejection, 2 * SECONDS),
        ):
            yield measure(seed, name, build, seconds)


def measure(seed: int, name: str, build: Callable[[Bench], Learn], seconds: float) -> dict[str, Any]:
    """One control from the warmed-up model of a seed."""
    bench = Bench(Settings(seed=seed))
    before = bench.evaluate(1.0)
    learn, began, steps = build(bench), time.process_time(), 0
    while time.process_time() - began < seconds:
        learn()
        steps += 1
    greedy, after = bench.evaluate(0.0), bench.evaluate(1.0)
    return {
        "case": f"{name}, seed {seed}",
        "ours": after[0],
        "peer": "the same model before",
        "theirs": before[0],
        "ratio": after[0] / max(before[0], 1e-9),
        "unit": "held-out accuracy, sampled at temperature 1",
        "runs": 1,
        "seconds": seconds,
        "steps": steps,
        "after": {"greedy": greedy[0], "tokens": after[1]},
    }


def supervised(bench: Bench, mix: Sequence[float], pool: int) -> Learn:
    """Go on with the warm-up's small rates, held, on a mix of traces."""
    config = warmup.Config()
    rng = np.random.Generator(np.random.PCG64([bench.settings.seed, 72]))
    source = warmup.batches(bench.task, bench.codec, rng, config, lambda: (mix, config.hardest, pool))
    pupil = warmup.Pupil(bench.model, (config.muon_rate_b, config.adam_rate_b), config.decay)
    return lambda: pupil.learn(next(source), 1.0) and None


def rejection(bench: Bench) -> Learn:
    """Sample a batch with the present weights, fine-tune one pass on the right responses."""
    size = bench.settings
    optimizer = torch.optim.AdamW(bench.model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    turn = 0

    def learn() -> None:
        nonlocal turn
        groups = bench.roll_out(Lockstep(bench.model), 0, turn % (len(bench.prompts) // size.groups))
        turn += 1
        rows = [
            (ids_of(group.prompt), ids_of(member.segments[0].payload))
            for group in groups
            for member in group.members
            if member.components["outcome"] > 0.5
        ]
        if not rows:
            return
        width = max(len(prompt) + len(response) for prompt, response in rows)
        ids_BT, mask_BT = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.float32)
        for place, (prompt, response) in enumerate(rows):
            ids_BT[place, : len(prompt) + len(response)] = np.concatenate([prompt, response])
            mask_BT[place, len(prompt) : len(prompt) + len(response)] = 1.0
        logp_BT, _ = logps_of_tokens(bench.model, torch.from_numpy(ids_BT), 1.0)
        mask = torch.from_numpy(mask_BT)
        (-(logp_BT * mask).sum() / mask.sum()).backward()
        torch.nn.utils.clip_grad_norm_(bench.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return learn
