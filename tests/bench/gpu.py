"""What a CPU cannot tell, in one command: `python -m tests.bench.gpu OUT_FOLDER [--device cuda|cpu] [--small]`.

    rates      the card's copy bandwidth and its matrix products
    engines    tokens/s of the torch engine, and of SGLang where BRAID_SGLANG_PYTHON names an interpreter that has it
    updates    how long generation stands still for new weights, in seconds and in GB/s, beside the copy bandwidth
    sharing    generating and training on one card, at the same time and in turns: seconds for the same work
    training   whole runs of the example, asynchronous and synchronous: wall time and busy shares

The model is a Qwen3 of 0.6B with random weights. `--device cpu` runs the same code on the tiny model, as `--small` does
on a card: its figures say nothing but that the command works. Writes `gpu.json` (everything) and `costs.json` (the
rates of the card in the fields of the simulator's `Gpu`; `gpu = "costs.json"` in a scenario), each whole or not at all,
after every part: a run that is cut short keeps what it had.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import torch

from buffers.segment import token_arrays
from policies.engine import (
    Engine,
    EngineEvent,
    EngineFailed,
    EngineReport,
    Installed,
    Job,
    JobFailed,
    Sampling,
    SegmentDone,
)
from policies.engines.sglang.config import SGLangConfig
from policies.engines.sglang.engine import SGLangEngine
from policies.engines.torch_engine import TorchEngine, TorchEngineConfig
from policies.models import TinyConfig, load_model, logps_of_tokens, save_model, tiny_model
from policies.tokens import character_tokenizer
from sim.costs.hardware import MEASURED
from tests.bench.runs import train

BIG = TinyConfig(1024, 28, 16, 8, 128, 3072, 1e6, 151_936, 0.02, 4096)
"""The shape of Qwen3-0.6B."""
Events = queue.SimpleQueue[EngineEvent]


class Desk:
    """An engine and its events."""

    def __init__(self, make: Callable[[Callable[[EngineEvent], None]], Engine]) -> None:
        self.events: Events = queue.SimpleQueue()
        self.passed: list[EngineEvent] = []
        self.engine = make(self.events.put)
        self.next(Installed)

    def next(self, kind: type) -> Any:
        """The next event of a kind; others wait for whoever asks for theirs."""
        for event in self.passed:
            if isinstance(event, kind):
                self.passed.remove(event)
                return event
        while True:
            event = self.events.get(timeout=600)
            if isinstance(event, EngineFailed | JobFailed):
                raise RuntimeError(event.reason)
            if isinstance(event, kind):
                return event
            if not isinstance(event, EngineReport):
                self.passed.append(event)

    def submit(self, jobs: int, tokens: int) -> None:
        prompt = np.random.default_rng(jobs).integers(3, 60, 24)
        for number in range(jobs):
            payload = token_arrays(prompt.tolist(), np.zeros(24, np.float32))
            self.engine.submit(Job(number, 1, payload, None, 0, tokens, tokens, Sampling()))

    def rate(self, jobs: int, tokens: int) -> float:
        began = time.perf_counter()
        self.submit(jobs, tokens)
        count = sum(self.next(SegmentDone).segment.length for _ in range(jobs))
        return count / (time.perf_counter() - began)


def settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], device: str, turns: int = 10) -> float:
    """Seconds of one turn."""
    work()
    settle(device)
    began = time.perf_counter()
    for _ in range(turns):
        work()
    settle(device)
    return (time.perf_counter() - began) / turns


def rates(device: str, small: bool) -> dict[str, float]:
    side = 512 if small else 8192
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    left = torch.randn(side, side, dtype=dtype, device=device)
    source = torch.empty((1 << 24) if small else (1 << 30), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    host = torch.empty_like(source, device="cpu", pin_memory=device != "cpu")
    product_s = timed(lambda: left @ left, device)
    copy_s = timed(lambda: target.copy_(source), device)
    upload_s = timed(lambda: target.copy_(host), device)
    return {
        "flops": 2.0 * side**3 / product_s,
        "memory_bytes_per_s": 2.0 * source.numel() / copy_s,
        "host_bytes_per_s": source.numel() / upload_s,
    }


def costs(name: str, found: dict[str, float], memory_bytes: int) -> dict[str, Any]:
    """The card as the simulator's `Gpu`: rates as reached, and the way to the host for want of a neighbour.

    What kernels of attention reach, as a part of these rates, is taken from the H100.
    """
    h100 = MEASURED["H100"]
    shares = msgspec.structs.replace(
        h100,
        flops=1.0,
        memory=1.0,
        prefill_attention=tuple((most, min(1.0, share / h100.flops)) for most, share in h100.prefill_attention),
        decode_attention=tuple((most, min(1.0, share / h100.memory)) for most, share in h100.decode_attention),
    )
    return {
        "name": name,
        "flops": found["flops"],
        "memory_bytes_per_s": found["memory_bytes_per_s"],
        "memory_bytes": memory_bytes,
        "link_bytes_per_s": found["host_bytes_per_s"],
        "network_bytes_per_s": found["host_bytes_per_s"],
        "per_machine": 1,
        "efficiency": msgspec.to_builtins(shares),
    }


def engines_of(folder: str, device: str, out: Path, slots: int) -> dict[str, Callable[[], Desk]]:
    context = 1000
    lean = TorchEngineConfig(
        model=folder, slots=slots, cached_rows=0, context_tokens=context, device=device, repetition=False
    )
    found: dict[str, Callable[[], Desk]] = {"torch": lambda: Desk(lambda emit: TorchEngine(lean, emit))}
    if python := os.environ.get("BRAID_SGLANG_PYTHON", ""):
        config = SGLangConfig(
            model=folder,
            python=str(Path(python).absolute()),
            log=str(out / "sglang.log"),
            device="cpu" if device == "cpu" else "cuda",
            slots=slots,
            context_tokens=context,
            repetition=False,
        )
        found["sglang"] = lambda: Desk(lambda emit: SGLangEngine(config, emit))
    return found


def measure_engine(desk: Desk, folder: str, batches: tuple[int, ...], size: int) -> dict[str, Any]:
    """Rates by batch, and the stall of an update while the largest batch runs."""
    result: dict[str, Any] = {"tokens_per_s": {str(batch): round(desk.rate(batch, 128)) for batch in batches}}
    stalls = []
    for version in (1, 2, 3):
        desk.submit(batches[-1], 400)
        time.sleep(0.3)
        desk.engine.install(version, f"file:{folder}")
        stalls.append(desk.next(Installed).stall_s)
        for _ in range(batches[-1]):
            desk.next(SegmentDone)
    stall_s = sorted(stalls)[1]
    return {**result, "stall_s": stall_s, "update_GB_per_s": size / stall_s / 1e9}


def sharing(desk: Desk, folder: str, device: str, jobs: int, updates: int) -> dict[str, float]:
    """Seconds for `jobs` segments and `updates` steps of training on one card: at the same time, and in turns."""
    model = load_model(folder).to(device).requires_grad_(True)
    ids = torch.randint(3, 60, (4, 256), device=device)

    def learn() -> None:
        for _ in range(updates):
            logps_of_tokens(model, ids, 1.0)[0].sum().backward()
            model.zero_grad()
        settle(device)

    def both() -> None:
        learner = threading.Thread(target=learn)
        learner.start()
        desk.rate(jobs, 128)
        learner.join()

    def turns() -> None:
        learn()
        desk.rate(jobs, 128)

    return {"colocated_s": timed(both, device, 2), "alternating_s": timed(turns, device, 2)}


def training(device: str, versions: int) -> dict[str, Any]:
    """Runs of the CPU example on the card: the default, and strictly synchronous."""
    shared = {"schedule.versions": versions, "engine.device": device, "trainer.device": device, "evaluator.every": 1000}
    kinds = {"asynchronous": {}, "synchronous": {"schedule.eta": 0, "schedule.partial": False}}
    found = {}
    for kind, keys in kinds.items():
        run = train(7, {**shared, **keys})
        found[kind] = {"wall_s": run.training_s, "idle_share": run.summary["idle_share"]}
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
    draft.rename(path)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny model and few turns, as always on a CPU")
    parser.add_argument("--no-training", action="store_true", help="leave the whole runs out")
    args = parser.parse_args(words)
    args.small |= args.device == "cpu"
    if args.device != "cpu" and not torch.cuda.is_available():
        print("error: no CUDA device here; --device cpu tries the command on a CPU", file=sys.stderr)
        return 2
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if args.device != "cpu" else "cpu"
    found: dict[str, Any] = {
        "device": name,
        "model": "tiny" if args.small else "qwen3-0.6b",
        "torch_version": torch.__version__,
    }
    batches = (1, 8) if args.small else (1, 8, 32, 128)
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(TinyConfig() if args.small else BIG, 0)
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        save_model(model, character_tokenizer(), folder)
        del model
        found["rates"] = rates(args.device, args.small)
        cpu = args.device == "cpu"
        memory = psutil.virtual_memory().total if cpu else torch.cuda.get_device_properties(0).total_memory
        write(out / "costs.json", costs(name, found["rates"], memory))
        found["weights_bytes"] = size
        for kind, make in engines_of(folder, args.device, out, batches[-1]).items():
            desk = make()
            try:
                found[kind] = measure_engine(desk, folder, batches, size)
                if kind == "torch":
                    found["sharing"] = sharing(desk, folder, args.device, batches[-1], 2 if args.small else 8)
            finally:
                desk.engine.close()
            write(out / "gpu.json", found)
    if not args.no_training:
        found["training"] = training(args.device, 4 if args.small else 30)
        write(out / "gpu.json", found)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
