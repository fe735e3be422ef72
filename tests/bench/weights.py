"""Weights from a trainer's process to other processes through the shared-memory ring, against a plain memory copy.

256 MiB in 32 tensors. "whole way": from the call of `publish` in one process until every reader has the tensors in
private memory (so twice a copy at least); "read": the reader's part alone; both in bytes a second beside one warm
`memcpy` of the same size in the same process, which is the peer. At two readers the rate is of each. "stall": how long
an engine that decodes with the tiny model stands still for an install, beside one of its decode steps.
"""

from __future__ import annotations

import multiprocessing
import queue
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from buffers.segment import token_arrays
from policies.engine import EngineReport, Installed, Job, Sampling
from policies.engines.torch_engine import TorchEngine, TorchEngineConfig
from policies.models import TinyConfig, load_model, save_model, tiny_model
from policies.tokens import character_tokenizer
from policies.weights import RingPublisher, RingReader
from tests.bench.alternate import Row, row

MIB = 256
TENSORS = 32
RUNS = 9
INSTALLS = 20


def run() -> Iterator[Row]:
    torch.set_num_threads(1)
    for readers in (1, 2):
        yield from _ring(readers)
    yield _stall()


def _ring(readers: int) -> Iterator[Row]:
    name = f"bench-{uuid.uuid4().hex[:12]}"
    tensors = {f"t{index}": torch.full((MIB * 2**20 // TENSORS // 4,), float(index)) for index in range(TENSORS)}
    publisher, spawn = RingPublisher(name), multiprocessing.get_context("spawn")
    pairs = [spawn.Pipe() for _ in range(readers)]
    processes = [spawn.Process(target=_read, args=(name, far), daemon=True) for _, far in pairs]
    for process in processes:
        process.start()
    source, target = np.ones(MIB * 2**20, np.uint8), np.zeros(MIB * 2**20, np.uint8)
    ways, reads, copies = [], [], []
    try:
        for near, _ in pairs:
            near.recv()
        for version in range(RUNS + 2):
            began = time.perf_counter()
            publisher.publish(version, tensors)
            for near, _ in pairs:
                near.send(version)
            took = [near.recv() for near, _ in pairs]
            ways.append(time.perf_counter() - began)
            reads.append(statistics.mean(took))
            began = time.perf_counter()
            np.copyto(target, source)
            copies.append(time.perf_counter() - began)
    finally:
        for near, _ in pairs:
            near.send(-1)
        for process in processes:
            process.join(30)
        publisher.close()
    rates = [MIB / 1024 / statistics.median(times[2:]) for times in (ways, reads, copies)]
    for case, rate in (("whole way", rates[0]), ("read", rates[1])):
        yield row(f"{case}, {readers} reader(s)", round(rate, 2), "memcpy", round(rates[2], 2), "GiB/s", RUNS, "more")


def _read(name: str, pipe: Connection) -> None:
    """A reader's process: reads each version that it is told of, says how long that took."""
    torch.set_num_threads(1)
    reader = RingReader()
    pipe.send(True)
    while (version := pipe.recv()) >= 0:
        began = time.perf_counter()
        found, tensors = reader(version, f"shm:{name}")
        pipe.send(time.perf_counter() - began)
        assert found == version, (found, version)
        assert all(float(tensors[f"t{index}"][-1]) == index for index in range(TENSORS))


def _stall() -> Row:
    """Milliseconds of an install while 64 rows decode, beside a decode step of them."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    name = f"bench-{uuid.uuid4().hex[:12]}"
    publisher = RingPublisher(name)
    with tempfile.TemporaryDirectory() as folder:
        save_model(tiny_model(TinyConfig(), 0), character_tokenizer(), folder)
        state = dict(load_model(folder).named_parameters())
        config = TorchEngineConfig(model=folder, slots=64, cached_rows=0, context_tokens=1000, repetition=False)
        engine = TorchEngine(config, events.put, RingReader())
        stalls, reports = [], []
        try:
            prompt = token_arrays(list(range(3, 23)), np.zeros(20, np.float32))
            for number in range(64):
                engine.submit(Job(number, 0, prompt, None, 0, 900, 900, Sampling()))
            for version in range(1, INSTALLS + 1):
                engine.install(version, publisher.publish(version, state))
                while not (isinstance(event := events.get(timeout=60), Installed) and event.version == version):
                    reports += [event] if isinstance(event, EngineReport) else []
                stalls.append(1e3 * event.stall_s)
                time.sleep(0.02)
            while not reports or not reports[-1].steps:
                event = events.get(timeout=60)
                reports += [event] if isinstance(event, EngineReport) else []
        finally:
            engine.close()
            publisher.close()
    step_ms = 1e3 * sum(one.busy_s for one in reports) / sum(one.steps for one in reports)
    stall_ms = statistics.median(stalls)
    return row("stall of a generator", round(stall_ms, 3), "decode step", round(step_ms, 3), "ms", INSTALLS, "less")
