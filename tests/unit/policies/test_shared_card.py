"""The torch engine on a card that another party uses too: it stops for it, goes on, and draws the same tokens."""

import queue
import time

import numpy as np
import pytest

from buffers.segment import ids_of, token_arrays
from policies.card import TOKEN, Card, FileLocks, Held
from policies.engine import EngineReport, Installed, Job, Sampling, SegmentDone
from policies.engines.lean.checkpoint import read_checkpoint
from policies.engines.torch_engine import TorchEngine, TorchEngineConfig
from tests.property.tiny_models import tiny_model

LONG = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model("qwen3").save_pretrained(path)
    return str(path)


class Desk:
    """An engine on a shared card, what it reported, and the hand of another party."""

    def __init__(self, folder, locks, drops=False, report_every_s=60.0):
        config = TorchEngineConfig(
            model=folder,
            slots=2,
            cached_rows=2,
            context_tokens=500,
            repetition=False,
            report_every_s=report_every_s,
        )
        self.events = queue.SimpleQueue()
        self.locks = FileLocks(locks)
        self.other = Card("learner", self.locks, time.monotonic_ns)
        card = Card("generator", FileLocks(locks), time.monotonic_ns, drops)
        self.engine = TorchEngine(config, self.events.put, read_checkpoint, card)

    def next(self, kind):
        while True:
            event = self.events.get(timeout=30)
            if isinstance(event, kind):
                return event

    def job(self, trajectory, **changes):
        prompt = token_arrays([3, 1, 4], np.zeros(3))
        settings = {"prompt": prompt, "prefix": None, "start": 0, "max_tokens": LONG, "max_response_tokens": LONG}
        self.engine.submit(Job(trajectory, 1, **{**settings, "sampling": Sampling(), **changes}))

    def take(self):
        assert self.other.take(lambda: False)

    def until_wanted(self):
        """Whether the engine waits for the card that the other party has; it may have no reason to any more."""
        end = time.monotonic() + 5
        while not self.other.wanted() and time.monotonic() < end:
            time.sleep(0.001)
        return self.other.wanted()

    def interrupt(self):
        """Take the card in the midst of a job, once it has begun, and give it back; whether the job waited."""
        end = time.monotonic() + 5
        while not self.locks.locked(TOKEN) and time.monotonic() < end:
            time.sleep(0.0005)
        self.take()
        waited = self.until_wanted()
        self.other.give()
        return waited


@pytest.fixture
def desk(folder, tmp_path):
    desks = []

    def make(**settings):
        desks.append(Desk(folder, tmp_path / f"card-{len(desks)}", **settings))
        return desks[-1]

    yield make
    for made in desks:
        made.other.close()
        made.engine.close()


def test_an_engine_without_a_job_does_not_keep_the_card(desk):
    here = desk()
    here.next(Installed)
    turn = here.next(Held)
    assert turn.asked_ns <= turn.since_ns < turn.until_ns
    here.take()


def test_a_job_stops_between_two_steps_and_goes_on_when_the_card_is_back(desk):
    here = desk()
    here.next(Held)
    here.job(7)
    assert any(here.interrupt() for _ in range(3))
    assert here.next(SegmentDone).segment.length == LONG


@pytest.mark.parametrize("drops", [False, True])
def test_the_tokens_do_not_depend_on_the_turns_even_where_the_cache_is_dropped(desk, drops):
    alone, here = desk(), desk(drops=drops)
    for one in (alone, here):
        one.job(7)
        one.job(8, sampling=Sampling(seed=5))
    for _ in range(3):
        here.interrupt()
        time.sleep(0.02)
    ended = {}
    for name, one in (("alone", alone), ("here", here)):
        done = [one.next(SegmentDone), one.next(SegmentDone)]
        ended[name] = {event.trajectory: ids_of(event.segment.payload).tolist() for event in done}
    assert ended["here"] == ended["alone"]
    assert {len(ids) for ids in ended["here"].values()} == {LONG}


@pytest.mark.parametrize("drops", [False, True])
def test_a_cache_that_was_dropped_is_filled_again_and_a_kept_one_is_not(desk, drops):
    here = desk(drops=drops, report_every_s=0.05)
    here.next(Held)
    here.job(7)
    assert any(here.interrupt() for _ in range(3))
    filled, ended = 0, False
    while not ended:
        event = here.next((SegmentDone, EngineReport))
        filled += event.prefill_tokens if isinstance(event, EngineReport) else 0
        ended = isinstance(event, EngineReport) and event.steps == 0 and not here.engine._generation._works
    assert (filled > 3) == drops


def test_commands_are_obeyed_while_another_has_the_card(desk):
    here = desk(report_every_s=0.05)
    here.next(Installed)
    here.take()
    here.job(7)
    here.until_wanted()
    report = here.next(EngineReport)
    assert (report.busy_s, report.steps) == (0.0, 0)
    here.engine.abort(7)
    ended = here.next(SegmentDone)
    assert (ended.segment.length, ended.segment.end) == (0, "cut")
    while here.other.wanted():
        here.other.give()
        here.take()


def test_new_weights_wait_for_the_card_and_their_stall_does_not_count_the_wait(desk, folder):
    here = desk()
    here.next(Installed)
    here.next(Held)
    here.take()
    here.engine.install(3, f"file:{folder}")
    here.until_wanted()
    time.sleep(0.3)
    assert here.events.empty()
    here.other.give()
    done = here.next(Installed)
    assert done.version == 3
    assert done.stall_s < 0.25
    assert here.next(Held).behind == "learner"


def test_an_engine_that_waits_for_the_card_can_be_closed(desk, folder):
    here = desk()
    here.next(Installed)
    here.next(Held)
    here.take()
    here.job(7)
    here.engine.install(3, f"file:{folder}")
    here.until_wanted()
    here.engine.close()
    assert not here.engine._thread.is_alive()
