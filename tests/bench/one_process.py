"""One process that warms up a tiny model and reinforces it: does the example learn, and what does it cost?

Alternates lockstep generation and updates with the very pieces that the actors use (task, warm-up, packing, update,
objective), and imitates asynchrony: each batch is drawn with weights exactly `stale` versions old and carries their
log-probabilities and numbers. Control, to be stated with every figure: more supervised training on careful traces alone
does at least as well; reinforcement here selects a mode that the model already has. Run it by hand:

    python -m tests.bench.one_process --seeds 101,102 --stale 1
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from buffers.segment import Segment, token_arrays
from policies import warmup
from policies.generate import Lockstep
from policies.models import load_model
from policies.objectives.objective import find_objective
from policies.packing import Config as PackConfig
from policies.packing import pack
from policies.tokens import character_tokenizer, decode, encode
from policies.trainer import Member, TrainGroup, UpdateJob
from policies.trainers.update import Config as UpdateConfig
from policies.trainers.update import Update
from rewards.tasks.chains import CAREFUL, Task
from rewards.tasks.chains import Config as ChainsConfig
from tests.bench.alternate import Row, row

RUN_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Settings:
    """A run."""

    seed: int
    stale: int = 0
    versions: int = 50
    groups: int = 16
    members: int = 8
    updates: int = 2
    max_tokens: int = 208
    objective: str = "mirror_descent"
    objective_settings: tuple[tuple[str, object], ...] = (("divide_by", "tokens"),)
    rate: float = 5e-4
    drop: bool = True
    cache: str = str(Path(tempfile.gettempdir()) / "braid-warmups")


class Bench:
    """Everything of one run."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.codec = settings, character_tokenizer()
        self.task = Task(ChainsConfig(seed=settings.seed))
        exam = warmup.Exam(tuple((p.text, p.answer) for p in self.task.prompts("validation", 128)), CAREFUL)
        begun = time.process_time()
        folder, self.report, self.cached = warmup.ensure(
            settings.cache, self.task, exam, self.codec, warmup.Config(seed=settings.seed), lambda line: None
        )
        self.model = load_model(folder)
        self.warmup_s = time.process_time() - begun
        self.held_out = self.task.prompts("held_out", 256)
        self.prompts = self.task.prompts("train", (settings.versions + 8) * settings.groups)
        self.random = torch.Generator().manual_seed(settings.seed)

    def evaluate(self, temperature: float) -> tuple[float, float, float]:
        """Accuracy, mean and 90th percentile of tokens on the held-out problems."""
        done = Lockstep(self.model).generate(
            [encode(self.codec, prompt.text) for prompt in self.held_out],
            max_tokens=self.settings.max_tokens,
            stop_id=self.codec.eos_token_id,
            temperature=temperature,
            rng=torch.Generator().manual_seed(7),
        )
        right = [
            self.task.outcome(decode(self.codec, one.ids), prompt.answer)
            for one, prompt in zip(done, self.held_out, strict=True)
        ]
        lengths = [len(one.ids) for one in done]
        return float(np.mean(right)), float(np.mean(lengths)), float(np.percentile(lengths, 90))

    def roll_out(self, policy: Lockstep, version: int, turn: int) -> list[TrainGroup]:
        """The groups of one batch, drawn by `policy`, which is called `version`."""
        size = self.settings
        chosen = self.prompts[turn * size.groups : (turn + 1) * size.groups]
        ids = [encode(self.codec, prompt.text) for prompt in chosen]
        done = policy.generate(
            [one for one in ids for _ in range(size.members)],
            max_tokens=size.max_tokens,
            stop_id=self.codec.eos_token_id,
            temperature=1.0,
            rng=self.random,
        )
        groups = []
        for index, prompt in enumerate(chosen):
            members = []
            for place in range(index * size.members, (index + 1) * size.members):
                one = done[place]
                count = len(one.ids)
                segment = Segment(
                    0, token_arrays(one.ids, np.minimum(one.logps, 0)), ((version, count),), ((1, count),), "stop"
                )
                right = self.task.outcome(decode(self.codec, one.ids), prompt.answer)
                members.append(Member(place, (segment,), {"outcome": right}))
            blank = token_arrays(ids[index], np.zeros(len(ids[index]), np.float32))
            groups.append(TrainGroup(turn * size.groups + index, 1, blank, 1.0, tuple(members)))
        return groups

    def reinforce(self) -> list[dict[str, float]]:
        """Alternate rollouts and updates; the metrics of each version's last update."""
        size = self.settings
        update = Update(
            self.model,
            find_objective(size.objective, dict(size.objective_settings)),
            UpdateConfig(rate=size.rate, updates_per_reference=size.updates),
        )
        queue = deque([(Lockstep(self.model), 0)])
        rows, share = [], size.groups // size.updates
        for version in range(size.versions):
            begun = time.process_time()
            groups = self.roll_out(*queue[0], version)
            drawn = time.process_time()
            metrics: dict[str, float] = {}
            for part in range(size.updates):
                lease = groups[part * share : (part + 1) * share]
                outcomes = [m.components["outcome"] for g in lease for m in g.members]
                if size.drop:
                    lease = [g for g in lease if len({m.components["outcome"] for m in g.members}) > 1]
                if not lease:
                    continue
                metrics = update.apply(pack(UpdateJob(0, version, tuple(lease)), PackConfig())).metrics
                metrics["drawn_outcome"] = float(np.mean(outcomes))
            queue.append((Lockstep(self.model), version + 1))
            if len(queue) > size.stale + 1:
                queue.popleft()
            metrics |= {"generate_s": drawn - begun, "train_s": time.process_time() - drawn}
            rows.append(metrics)
        return rows


def measure(settings: Settings, verbose: bool = False) -> dict[str, Any]:
    """One seed's figures."""
    bench = Bench(settings)
    before = {"greedy": bench.evaluate(0.0), "sampled": bench.evaluate(1.0)}
    rows = bench.reinforce()
    if verbose:
        for index, row in enumerate(rows):
            if index % 5 == 4:
                print(index, {key: float(f"{value:.3g}") for key, value in row.items()}, flush=True)
    after = {"greedy": bench.evaluate(0.0), "sampled": bench.evaluate(1.0)}
    return {
        "seed": settings.seed,
        "stale": settings.stale,
        "warmup": {
            "s": round(bench.warmup_s, 1),
            "steps": bench.report.steps,
            "planted": bench.report.planted,
            "forced": bench.report.forced,
            "rounds": bench.report.rounds,
            "cached": bench.cached,
        },
        "before": before,
        "after": after,
        "generate_s": round(sum(row.get("generate_s", 0.0) for row in rows), 1),
        "train_s": round(sum(row.get("train_s", 0.0) for row in rows), 1),
        "mismatch": round(float(np.mean([row["mismatch"] for row in rows if "mismatch" in row])), 6),
        "truncated": round(float(np.mean([row["truncated_share"] for row in rows if "mismatch" in row])), 5),
    }


def run() -> Iterator[Row]:
    """Held-out accuracy after reinforcement from the same warm-ups: mirror descent beside GRPO, two versions stale."""
    for seed in RUN_SEEDS:
        ours, theirs = (
            measure(Settings(seed=seed, stale=2, objective=name))["after"] for name in ("mirror_descent", "grpo")
        )
        for way in ("sampled", "greedy"):
            case = f"chains, {way} accuracy, 50 versions, seed {seed}"
            yield row(case, ours[way][0], "grpo", theirs[way][0], "share", 1, "more")


def main() -> None:
    """Measure the seeds of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--stale", type=int, default=0)
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--objective", default="mirror_descent")
    parser.add_argument("--settings", default='{"divide_by": "tokens"}')
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds.split(","):
        settings = Settings(
            seed=int(seed),
            stale=given.stale,
            versions=given.versions,
            objective=given.objective,
            objective_settings=tuple(json.loads(given.settings).items()),
            rate=given.rate,
            drop=not given.keep,
        )
        print(json.dumps(measure(settings, given.verbose)), flush=True)


if __name__ == "__main__":
    main()
