"""Two processes, one torch thread each: a generator that pulls weights and a trainer behind its port.

    generator --groups--> queue --> trainer (TorchTrainer: pack, update, checkpoint, expose)
        '<------------ shm ring of weights, tickets for (eta + 1) batches ------------'

Everything but the actors, the buffer and the segment engine: shows that the learning pieces learn while generation and
training overlap, and what a version costs with a durable checkpoint each. Run it by hand:

    python -m tests.bench.two_processes --seeds 106,107 --eta 1
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import shutil
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.generate import Lockstep
from policies.models import load_model, save_model
from policies.trainer import Exposed, StepDone, TrainGroup, UpdateJob
from policies.trainers.torch_trainer import Config as TrainerConfig
from policies.trainers.torch_trainer import TorchTrainer
from policies.trainers.update import Config as UpdateConfig
from policies.weights import WeightsUnavailable, read_weights
from tests.bench.one_process import Bench, Settings


def generate(settings: Settings, folder: str, ring: str, tickets: Semaphore, groups: Queue[Any]) -> None:
    """The generator's process: a batch per ticket, with the newest weights there are."""
    torch.set_num_threads(1)
    bench = Bench(settings)
    model = load_model(folder)
    version = 0
    for turn in range(settings.versions + 8):
        tickets.acquire()
        try:
            version, tensors = read_weights(-1, f"shm:{ring}")
            model.load_state_dict(tensors, strict=False)
        except WeightsUnavailable:
            pass  # nothing is exposed before the first version
        begun = time.process_time()
        batch = bench.roll_out(Lockstep(model), version, turn)
        groups.put((batch, time.process_time() - begun))


def learn(settings: Settings, eta: int) -> dict[str, object]:
    """One seed's figures."""
    begun = time.perf_counter()
    bench = Bench(settings)
    before = {"greedy": bench.evaluate(0.0), "sampled": bench.evaluate(1.0)}
    root = Path(tempfile.mkdtemp(prefix="braid-"))
    save_model(bench.model, bench.codec, root / "model")
    ring = f"bench-{root.name}"
    spawn = multiprocessing.get_context("spawn")
    tickets, groups = spawn.Semaphore(eta + 1), spawn.Queue()
    process = spawn.Process(target=generate, args=(settings, str(root / "model"), ring, tickets, groups), daemon=True)
    process.start()
    events: queue.Queue[Any] = queue.Queue()
    config = TrainerConfig(
        str(root / "model"),
        str(root / "checkpoints"),
        ring,
        settings.objective,
        dict(settings.objective_settings),
        UpdateConfig(rate=settings.rate, updates_per_reference=settings.updates),
    )
    trainer = TorchTrainer(events.put, config)
    trainer.start()
    events.get()
    started, started_cpu = time.perf_counter(), time.process_time()
    figures = {"wait_s": 0.0, "step_s": 0.0, "publish_s": 0.0, "generate_s": 0.0, "tokens": 0.0}
    lags = []
    for version in range(settings.versions):
        mark = time.perf_counter()
        batch, spent = groups.get(timeout=300)
        figures["generate_s"] += spent
        figures["wait_s"] += time.perf_counter() - mark
        figures["tokens"] += sum(m.segments[0].length for g in batch for m in g.members)
        lags.append(version - batch[0].members[0].segments[0].last_version)
        figures["step_s"] += _update(trainer, events, batch, version, settings)
        mark = time.perf_counter()
        trainer.checkpoint(version + 1)
        trainer.expose(version + 1)
        done = [events.get(timeout=60) for _ in range(2)]
        assert isinstance(done[1], Exposed), done
        figures["publish_s"] += time.perf_counter() - mark
        tickets.release()
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    trainer.close()
    process.terminate()
    process.join()
    bench.model = load_model(root / "checkpoints" / f"v{settings.versions:08d}")
    after = {"greedy": bench.evaluate(0.0), "sampled": bench.evaluate(1.0)}
    shutil.rmtree(root)
    return {
        "seed": settings.seed,
        "eta": eta,
        "warmup": {"s": round(bench.warmup_s, 1), "cached": bench.cached, "forced": bench.report.forced},
        "before": before,
        "after": after,
        "rl_wall_s": round(wall_s, 1),
        "trainer_cpu_s": round(cpu_s, 1),
        "total_wall_s": round(time.perf_counter() - begun, 1),
        "mean_lag": float(np.mean(lags)),
        "max_lag": int(max(lags)),
        **{name: round(value, 1) for name, value in figures.items()},
    }


def _update(
    trainer: TorchTrainer, events: queue.Queue[Any], batch: list[TrainGroup], version: int, settings: Settings
) -> float:
    """The updates of one version; seconds that they took."""
    share, mark = settings.groups // settings.updates, time.perf_counter()
    for part in range(settings.updates):
        lease = batch[part * share : (part + 1) * share]
        if settings.drop:
            lease = [g for g in lease if len({m.components["outcome"] for m in g.members}) > 1]
        if lease:
            trainer.step(UpdateJob(version * settings.updates + part, version, tuple(lease)))
            event = events.get(timeout=120)
            assert isinstance(event, StepDone), event
    return time.perf_counter() - mark


def main() -> None:
    """Measure the seeds of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--eta", type=int, default=1)
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--objective", default="mirror_descent")
    parser.add_argument("--settings", default='{"divide_by": "tokens"}')
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds.split(","):
        settings = Settings(
            seed=int(seed),
            versions=given.versions,
            objective=given.objective,
            objective_settings=tuple(json.loads(given.settings).items()),
            drop=not given.keep,
        )
        print(json.dumps(learn(settings, given.eta)), flush=True)


if __name__ == "__main__":
    main()
