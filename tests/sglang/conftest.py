"""One real SGLang server for all tests here, on a random tiny model; `BRAID_SGLANG_PYTHON` names its interpreter."""

import os
import queue
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from buffers.segment import expand, ids_of, logps_of, token_arrays
from policies.engine import EngineFailed, EngineReport, Installed, Job, Sampling
from policies.engines.sglang.config import SGLangConfig
from policies.engines.sglang.engine import SGLangEngine
from policies.models import TinyConfig, load_model, logps_of_tokens, save_model, tiny_model
from policies.tokens import character_tokenizer

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def python():
    """The interpreter that has SGLang."""
    path = Path(os.environ.get("BRAID_SGLANG_PYTHON", ".venv-sglang/bin/python")).absolute()
    assert path.exists(), f"{path} is not there: make sglang-cpu, then make test-sglang"
    return str(path)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of two models; version v has the weights of the one at v % 2."""
    folders = []
    for seed in (0, 1):
        folders.append(str(tmp_path_factory.mktemp(f"model-{seed}")))
        save_model(tiny_model(TinyConfig(init_std=0.3), seed), character_tokenizer(), folders[-1])
    return folders


class Desk:
    """An engine, what it reported, and plain models to check it against."""

    def __init__(self, models, log, **settings):
        self.models, self.log = models, log
        self.plain = [load_model(folder).eval() for folder in models]
        self.events = queue.SimpleQueue()
        self.passed = []
        settings = {"model": models[0], "log": str(log), "context_tokens": 1000, "repetition": False, **settings}
        self.engine = SGLangEngine(SGLangConfig(**settings), self.events.put)
        self.version = self.next(Installed, 300).version

    def next(self, kind, seconds=120):
        """The next event of a kind; others wait for whoever asks for theirs."""
        for event in self.passed:
            if isinstance(event, kind):
                self.passed.remove(event)
                return event
        deadline = time.monotonic() + seconds
        while True:
            event = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            assert not isinstance(event, EngineFailed), event
            if isinstance(event, kind):
                return event
            if not isinstance(event, EngineReport):
                self.passed.append(event)

    def update(self):
        """The next version, from the other model."""
        self.version += 1
        self.engine.install(self.version, f"file:{self.models[self.version % 2]}")
        return self.next(Installed)

    def job(self, trajectory, temperature=1.0, most=64, prefix=(), attempt=1):
        sent = token_arrays(prefix, np.zeros(len(prefix))) if len(prefix) else None
        prompt = token_arrays(self.prompt(trajectory), np.zeros(5))
        job = Job(trajectory, attempt, prompt, sent, len(prefix), most, 600, Sampling(temperature))
        self.engine.submit(job)

    @staticmethod
    def prompt(trajectory):
        return [3, 5, 7, 11, 3 + trajectory % 60]

    def error(self, event, temperature, prefix=()):
        """The largest distance of a segment's log-probabilities from a plain forward pass of each token's version."""
        before = [*self.prompt(event.trajectory), *prefix]
        ids = torch.tensor([[*before, *ids_of(event.segment.payload).tolist()]])
        versions, worst = expand(event.segment.versions), 0.0
        for version in sorted(set(versions.tolist())):
            with torch.no_grad():
                plain, _ = logps_of_tokens(self.plain[version % 2], ids, temperature)
            off = np.abs(plain[0, len(before) :].numpy() - logps_of(event.segment.payload))
            worst = max(worst, float(off[versions == version].max()))
        return worst


@pytest.fixture(scope="session")
def desk(python, models, tmp_path_factory):
    """The engine that minds the one server."""
    one = Desk(models, tmp_path_factory.mktemp("server") / "server.log", python=python)
    yield one
    one.engine.close()


@pytest.fixture
def guest(desk, tmp_path):
    """Makes further engines at the same server; the first engine's version is put in again afterwards."""
    made = []

    def make(**settings):
        made.append(Desk(desk.models, tmp_path / "guest.log", url=desk.engine.server.client.url, **settings))
        return made[-1]

    yield make
    for one in made:
        one.engine.close()
    if made:
        desk.update()
