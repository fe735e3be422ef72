"""The torch engine's commands and events; what it generates is checked in tests/property/test_keyed_generation.py."""

import queue
import threading
import time

import numpy as np
import pytest
import torch
from transformers import AutoConfig, Qwen3Config

from buffers.errors import ContractError, UsageError
from buffers.segment import Ghost, check_segment, ids_of, logps_of, token_arrays
from policies.engine import EngineFailed, EngineReport, Installed, InstallFailed, Job, JobFailed, Sampling, SegmentDone
from policies.engines.lean.checkpoint import read_checkpoint
from policies.engines.torch_engine import TorchEngine, TorchEngineConfig
from tests.property.tiny_models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model("qwen3").save_pretrained(path)
    return str(path)


class Desk:
    """An engine and what it reported."""

    def __init__(self, folder, reader=read_checkpoint, **settings):
        settings = {"slots": 2, "cached_rows": 2, "context_tokens": 500, "repetition": False, **settings}
        self.events = queue.SimpleQueue()
        self.engine = TorchEngine(TorchEngineConfig(model=folder, **settings), self.events.put, reader)

    def next(self, kind):
        """The next event of a kind; others are passed over."""
        while True:
            event = self.events.get(timeout=30)
            if isinstance(event, kind):
                return event

    def job(self, trajectory, **changes):
        settings = {"prompt": prompt(3, 1, 4), "prefix": None, "start": 0, "max_tokens": 10, "max_response_tokens": 10}
        self.engine.submit(Job(trajectory, 1, **{**settings, "sampling": Sampling(), **changes}))


def prompt(*ids):
    return token_arrays(ids, np.zeros(len(ids)))


@pytest.fixture
def desk(folder):
    desks = []

    def make(**settings):
        desks.append(Desk(folder, **settings))
        return desks[-1]

    yield make
    for made in desks:
        made.engine.close()


def test_the_first_weights_are_version_0_and_a_job_ends_in_one_segment(desk):
    here = desk()
    assert here.next(Installed).version == 0
    here.job(7)
    done = here.next((SegmentDone, JobFailed))
    check_segment(done.segment)
    assert (done.trajectory, done.attempt, done.segment.length, done.segment.end) == (7, 1, 10, "length")
    assert done.segment.versions == ((0, 10),)


def test_segments_with_and_without_prefix_join_to_what_one_long_segment_gives(desk):
    here = desk()
    here.job(7, max_response_tokens=24, max_tokens=24)
    whole = here.next(SegmentDone).segment.payload
    here.job(7, max_response_tokens=24, max_tokens=9)
    first = here.next(SegmentDone).segment
    here.job(7, max_response_tokens=24, max_tokens=9, start=9)
    second = here.next(SegmentDone).segment
    so_far = [*ids_of(first.payload), *ids_of(second.payload)]
    here.engine.forget(7)
    here.job(7, max_response_tokens=24, max_tokens=9, start=18, prefix=token_arrays(so_far, np.zeros(18)))
    third = here.next(SegmentDone).segment
    assert [first.end, second.end, third.end] == ["cut", "cut", "length"]
    assert [*so_far, *ids_of(third.payload)] == ids_of(whole).tolist()
    logps = np.concatenate([logps_of(segment.payload) for segment in (first, second, third)])
    assert np.allclose(logps, logps_of(whole), atol=1e-4)


def test_what_is_not_cached_is_asked_for_again(desk):
    here = desk()
    here.job(7, start=5)
    assert here.next((JobFailed, SegmentDone)).reason == "not cached"
    here.job(7, max_tokens=5)
    here.next(SegmentDone)
    here.engine.forget(7)
    here.job(7, start=5)
    assert here.next((JobFailed, SegmentDone)).reason == "not cached"


def test_abort_cuts_a_running_job_and_empties_a_waiting_one(desk):
    here = desk(slots=1, cached_rows=0)
    here.job(1, max_tokens=400, max_response_tokens=400)
    here.job(2)
    here.engine.abort(99)
    here.engine.abort(2)
    waiting = here.next(SegmentDone)
    assert (waiting.trajectory, waiting.segment.length, waiting.segment.end) == (2, 0, "cut")
    here.engine.abort(1)
    running = here.next(SegmentDone)
    assert (running.trajectory, running.segment.end) == (1, "cut")
    assert running.segment.length < 400


@pytest.mark.parametrize("on_install", ["keep", "recompute"])
def test_each_token_carries_the_version_that_drew_it(desk, folder, on_install):
    here = desk(on_install=on_install, report_every_s=0.02)
    here.job(1, max_tokens=480, max_response_tokens=480)
    while not here.next(EngineReport).decoded_tokens:
        pass
    here.engine.install(4, f"file:{folder}")
    assert here.next((Installed, SegmentDone)).version == 4
    segment = here.next(SegmentDone).segment
    check_segment(segment)
    assert [version for version, _ in segment.versions] == [0, 4]


def test_weights_change_what_is_drawn_from_the_next_token_on(desk):
    other = tiny_model("qwen3", seed=5)
    here = desk(reader=lambda version, source: (version, other.state_dict()))
    here.job(1)
    before = here.next(SegmentDone).segment
    here.engine.install(1, "ring:0")
    here.job(1)
    after = here.next(SegmentDone).segment
    assert ids_of(before.payload).tolist() != ids_of(after.payload).tolist()
    text = torch.tensor([[3, 1, 4, *ids_of(after.payload)]])
    with torch.inference_mode():
        logps = torch.log_softmax(other(text).logits[0, 2:-1], -1).gather(1, text[:, 3:].T)[:, 0]
    assert np.allclose(logps.numpy(), logps_of(after.payload), atol=1e-4)


def test_a_version_that_is_not_newer_is_confirmed_without_reading(desk):
    asked = []

    def reader(version, source):
        asked.append(version)
        return version + 2, tiny_model("qwen3").state_dict()

    here = desk(reader=reader)
    for version in (1, 2, 3):
        here.engine.install(version, "ring:0")
    assert [here.next(Installed).version for _ in range(4)] == [0, 3, 3, 3]
    assert asked == [1]


REFUSALS = {
    "ghost": {"prompt": Ghost(4, 1)},
    "prompt is empty": {"prompt": prompt()},
    "vocabulary has 64": {"prompt": prompt(3, 64)},
    "exceed context 500": {"max_response_tokens": 498},
    "exceed kv_tokens 300": {"max_response_tokens": 400},
    "nothing to generate": {"max_tokens": 0},
    "prefix of 2 tokens, start is 3": {"prefix": prompt(1, 2), "start": 3},
    "temperature -1": {"sampling": Sampling(temperature=-1.0)},
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_job_that_cannot_be_done_fails_with_its_reason_and_harms_nobody(desk, reason):
    here = desk(kv_tokens=300)
    here.job(1, **REFUSALS[reason])
    assert reason in here.next((JobFailed, EngineFailed)).reason
    here.job(1)
    assert here.next((SegmentDone, EngineFailed)).segment.length == 10


def test_a_second_job_for_a_trajectory_is_refused_and_the_first_goes_on(desk):
    here = desk()
    here.job(1, max_tokens=300, max_response_tokens=300)
    here.job(1)
    assert here.next((JobFailed, SegmentDone)).reason == "has a job already"
    assert here.next(SegmentDone).segment.length == 300


def test_unreadable_weights_fail_the_engine_once(desk, tmp_path):
    here = desk()
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    here.engine.install(1, f"file:{tmp_path}")
    here.job(1)
    assert str(tmp_path) in here.next((EngineFailed, SegmentDone)).reason
    assert here.events.empty()


def test_reports_say_what_was_done_and_come_when_idle_too(desk):
    here = desk(report_every_s=0.05)
    here.job(1, max_tokens=6)
    here.next(SegmentDone)
    done = here.next(EngineReport)
    assert (done.decoded_tokens, done.prefill_tokens, done.steps, done.mean_batch) == (6, 2, 6, 1.0)
    assert 0 < done.busy_s <= done.seconds
    assert done.context_tokens == 6  # contexts of 4 to 9 tokens after each step
    here.job(1, start=6, max_tokens=2)
    here.next(SegmentDone)
    assert here.next(EngineReport).cached_tokens == 8
    idle = here.next(EngineReport)
    assert (idle.busy_s, idle.steps) == (0.0, 0)


def test_close_ends_it_at_once_twice_and_for_good(desk):
    here = desk()
    here.job(1, max_tokens=480, max_response_tokens=480)
    here.next(Installed)
    here.engine.close()
    here.engine.close()
    while not here.events.empty():
        here.events.get()
    time.sleep(0.05)
    assert here.events.empty()
    with pytest.raises(ContractError, match="closed"):
        here.job(2)


def test_close_from_within_an_event_does_not_wait_for_itself(folder):
    closed = queue.SimpleQueue()
    made = threading.Event()

    def emit(event):
        made.wait()
        engine.close()
        closed.put(event)

    config = TorchEngineConfig(model=folder, context_tokens=100, report_every_s=0.2)
    engine = TorchEngine(config, emit)
    made.set()
    assert isinstance(closed.get(timeout=30), (Installed, EngineReport))
    engine.close()
    assert closed.empty()


def test_a_person_is_told_what_is_wrong_with_the_folder_or_config(folder, tmp_path):
    with pytest.raises(UsageError, match=r"config\.json"):
        Desk(str(tmp_path))
    with pytest.raises(UsageError, match="exceeds the model's 512"):
        Desk(folder, context_tokens=4096)
    with pytest.raises(UsageError, match="neither keep nor recompute"):
        TorchEngineConfig(model=folder, on_install="drop")
    AutoConfig.for_model("gpt2").save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="'gpt2' is not one of qwen3, qwen2, llama"):
        Desk(str(tmp_path))
    Qwen3Config(use_sliding_window=True).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="use_sliding_window=True"):
        Desk(str(tmp_path))


def test_a_version_that_was_removed_is_not_installed_and_the_engine_goes_on(desk, tmp_path, caplog):
    here = desk()
    here.next(Installed)
    here.engine.install(3, f"file:{tmp_path / 'v00000003'}")
    failed = here.next((InstallFailed, EngineFailed))
    assert (type(failed), failed.version) == (InstallFailed, 3)
    assert f"version 3 is not installed: {failed.reason}" in caplog.messages
    here.job(7)
    assert here.next(SegmentDone).segment.versions == ((0, 10),)
