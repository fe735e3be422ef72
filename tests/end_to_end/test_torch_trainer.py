"""The torch trainer behind its port: order, durability, exact resume, abandonment."""

import json
import queue
import threading
import time

import pytest
import torch

from buffers.errors import ContractError
from buffers.segment import Segment, token_arrays
from policies.card import Card, FileLocks
from policies.models import TinyConfig, load_model, save_model, tiny_model
from policies.objectives import mirror_descent
from policies.tokens import character_tokenizer
from policies.trainer import (
    Checkpointed,
    Exposed,
    Member,
    StepDone,
    TrainerFailed,
    TrainerReady,
    TrainGroup,
    UpdateJob,
)
from policies.trainers import checkpoint
from policies.trainers.torch_trainer import Config, TorchTrainer
from policies.trainers.update import Config as UpdateConfig
from policies.trainers.update import Update
from policies.weights import read_weights

SMALL = TinyConfig(width=16, layers=1, heads=2, kv_heads=1, head_width=8, feed_forward=16)


def make_job(seed, groups=2, members=4, version=0):
    rng = torch.Generator().manual_seed(seed)
    built = []
    for index in range(groups):
        rows = []
        for place in range(members):
            ids = torch.randint(2, 60, (5 + place,), generator=rng).tolist()
            payload = token_arrays(ids, [-3.5] * len(ids))
            segment = Segment(0, payload, ((version, len(ids)),), ((1, len(ids)),), "stop")
            rows.append(Member(place, (segment,), {"outcome": float(place % 2)}))
        built.append(TrainGroup(seed * 10 + index, 1, token_arrays([3, 4], [0, 0]), 1.0, tuple(rows)))
    return UpdateJob(seed, version, tuple(built))


@pytest.fixture
def model_folder(tmp_path):
    save_model(tiny_model(SMALL, 1), character_tokenizer(), tmp_path / "model")
    return tmp_path / "model"


class Holder:
    """A trainer and the events that it emitted."""

    def __init__(self, folder, root, card=None, **more):
        self.events = queue.Queue()
        settings = UpdateConfig(rate=1e-2, rise_updates=3, updates_per_reference=3)
        config = Config(str(folder), str(root), f"test-{root.name}-{id(self)}", update=settings, **more)
        self.trainer = TorchTrainer(self.events.put, config, card=card)

    def next(self):
        return self.events.get(timeout=60)

    def do(self, *calls):
        for name, *arguments in calls:
            getattr(self.trainer, name)(*arguments)
        return [self.next() for _ in calls]


@pytest.fixture
def hold(model_folder, tmp_path):
    holders = []

    def make(root="run", **more):
        holders.append(Holder(model_folder, tmp_path / root, **more))
        return holders[-1]

    yield make
    for holder in holders:
        holder.trainer.close()


def weights_of(folder):
    return torch.cat([weight.flatten() for weight in load_model(folder).state_dict().values()])


def test_commands_are_carried_out_in_order_with_one_event_each(hold):
    events = hold().do(("start",), ("step", make_job(1)), ("checkpoint", 1), ("expose", 1))
    assert [type(event) for event in events] == [TrainerReady, StepDone, Checkpointed, Exposed]
    assert (events[0].version, events[0].steps, events[0].applied) == (0, 0, ())
    assert read_weights(0, events[0].source)[0] == 0
    assert (events[1].lease, events[1].trained_tokens) == (1, 52)
    assert [group for group, _ in events[1].feedback] == [10, 11]
    assert events[1].metrics["outcome"] == 0.5


def test_exposed_and_checkpointed_weights_are_the_same_and_load_anywhere(hold):
    events = hold().do(("start",), ("step", make_job(1)), ("checkpoint", 1), ("expose", 1))
    version, pulled = read_weights(1, events[3].source)
    _, durable = read_weights(1, events[2].source)
    loaded = load_model(events[2].source.removeprefix("file:")).state_dict()
    assert version == 1
    assert "lm_head.weight" not in pulled
    for name, tensor in pulled.items():
        assert torch.equal(tensor, durable[name])
        assert torch.equal(tensor, loaded[name])


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_resumed_run_goes_on_exactly_as_the_unbroken_one(hold, tmp_path, cut):
    jobs = [("step", make_job(seed)) for seed in range(1, 6)]
    hold("whole").do(("start",), *jobs, ("checkpoint", 5))
    first = hold("torn")
    first.do(("start",), *jobs[:cut], ("checkpoint", cut))
    first.do(jobs[-1])  # lost with the crash
    first.trainer.close()
    second = hold("torn")
    (ready,) = second.do(("start",))
    assert (ready.version, ready.steps) == (cut, cut)
    assert ready.applied == tuple((seed * 10 + index, 1) for seed in range(1, cut + 1) for index in range(2))
    second.do(*jobs[cut:], ("checkpoint", 5))
    whole, torn = tmp_path / "whole" / "v00000005", tmp_path / "torn" / "v00000005"
    assert torch.equal(weights_of(whole), weights_of(torn))
    assert (whole / "trainer.safetensors").read_bytes() == (torn / "trainer.safetensors").read_bytes()


def test_the_record_of_uses_covers_two_intervals(hold):
    holder = hold()
    holder.do(("start",), ("step", make_job(1)), ("checkpoint", 1), ("step", make_job(2)), ("checkpoint", 2))
    holder.do(("step", make_job(3)), ("checkpoint", 3))
    holder.trainer.close()
    (ready,) = hold().do(("start",))
    assert ready.applied == ((20, 1), (21, 1), (30, 1), (31, 1))


def test_old_checkpoints_go_and_pinned_ones_stay(hold, tmp_path):
    holder = hold()
    holder.do(("start",), ("checkpoint", 1))
    (tmp_path / "run" / "v00000001" / checkpoint.PIN).touch()
    holder.do(*(("checkpoint", version) for version in (2, 3, 4)))
    assert checkpoint.versions(tmp_path / "run") == [1, 3, 4]


def test_what_a_crash_left_of_a_draft_is_not_a_checkpoint_and_is_swept(hold, tmp_path):
    holder = hold()
    holder.do(("start",), ("checkpoint", 1))
    holder.trainer.close()
    draft = tmp_path / "run" / "draft-2"
    draft.mkdir()
    (draft / "trainer.json").write_text("{")
    other = hold()
    assert other.do(("start",))[0].version == 1
    other.do(("checkpoint", 2))
    assert not draft.exists()


def test_a_checkpoint_can_be_made_twice_under_one_number(hold, tmp_path):
    hold().do(("start",), ("checkpoint", 1), ("step", make_job(1)), ("checkpoint", 1))
    assert checkpoint.versions(tmp_path / "run") == [1]
    assert json.loads((tmp_path / "run" / "v00000001" / "trainer.json").read_text())["counters"]["updates"] == 1


def test_a_crash_at_any_point_of_a_save_leaves_whole_checkpoints_only(tmp_path, monkeypatch):
    objective = mirror_descent.Objective(mirror_descent.Config())
    update, other = (Update(tiny_model(SMALL, 1), objective, UpdateConfig()) for _ in range(2))
    codec, plain = character_tokenizer(), checkpoint._sync
    checkpoint.save(tmp_path, update, codec, 1, ())
    seen = []
    for crash in range(20):
        calls = iter(range(100))

        def sync(path, calls=calls, crash=crash):
            if next(calls) == crash:
                raise OSError("the power went")
            plain(path)

        monkeypatch.setattr(checkpoint, "_sync", sync)
        with torch.no_grad():
            update.model.lm_head.weight.fill_(crash)
        try:
            checkpoint.save(tmp_path, update, codec, 2, ((crash, 1),))
        except OSError:
            newest = checkpoint.versions(tmp_path)[-1]
            ledger = checkpoint.restore(tmp_path, newest, other)
            if newest == 2:
                assert ledger.applied == ((crash, 1),)
                assert (other.model.lm_head.weight == crash).all()
            seen.append(newest)
        else:
            break
    assert seen[0] == 1
    assert seen[-1] == 2, "only the last sync comes after the folder is there"
    assert seen == sorted(seen)


def test_a_command_before_start_fails_the_trainer(hold):
    (event,) = hold().do(("checkpoint", 1))
    assert isinstance(event, TrainerFailed)
    assert "before start" in event.reason


def test_a_wrong_model_folder_fails_the_trainer_in_one_line(tmp_path):
    holder = Holder(tmp_path, tmp_path / "run")
    event = holder.next()
    assert isinstance(event, TrainerFailed)
    assert "no tokenizer in" in event.reason
    assert "\n" not in event.reason.strip()
    holder.trainer.close()


def test_after_close_nothing_is_emitted_and_commands_are_refused(hold):
    holder = hold()
    holder.do(("start",))
    for seed in range(20):
        holder.trainer.step(make_job(seed, groups=16))
    holder.trainer.close()
    count = holder.events.qsize()
    assert count < 20
    assert not holder.trainer._thread.is_alive()
    holder.trainer.close()
    with pytest.raises(ContractError, match="after close"):
        holder.trainer.start()
    assert holder.events.qsize() == count


def test_what_is_done_after_close_is_not_told(model_folder, tmp_path):
    closed = threading.Event()

    class Closing:
        def publish(self, version, tensors):
            trainer.close()
            return "shm:none"

        def close(self):
            closed.set()

    events = queue.Queue()
    trainer = TorchTrainer(events.put, Config(str(model_folder), str(tmp_path / "run"), "none"), Closing())
    trainer.start()
    trainer.expose(1)
    assert closed.wait(60)
    assert [type(events.get_nowait()) for _ in range(events.qsize())] == [TrainerReady]


def test_close_may_be_called_from_the_emit_itself(model_folder, tmp_path):
    heard, trainer = threading.Event(), None

    def emit(event):
        built.wait(60)
        trainer.close()
        heard.set()

    built = threading.Event()
    trainer = TorchTrainer(emit, Config(str(model_folder), str(tmp_path / "run"), "test-close"))
    built.set()
    trainer.start()
    assert heard.wait(60)
    trainer._thread.join(60)
    assert not trainer._thread.is_alive()


def test_a_torn_checkpoint_is_named(tmp_path, hold):
    holder = hold()
    holder.do(("start",), ("checkpoint", 1))
    holder.trainer.close()
    (tmp_path / "run" / "v00000001" / "trainer.json").write_text("{")
    event = hold().do(("start",))[0]
    assert isinstance(event, TrainerFailed)
    assert "is not whole" in event.reason


def test_a_trainer_on_a_shared_card_updates_while_it_has_it_only_and_says_so(hold, tmp_path):
    alone = hold("plain").do(("start",), ("step", make_job(1)), ("checkpoint", 1))
    engine = Card("generator", FileLocks(tmp_path / "card"), time.monotonic_ns)
    assert engine.attempt()
    shared = hold("shared", card=Card("learner", FileLocks(tmp_path / "card"), time.monotonic_ns))
    assert isinstance(shared.do(("start",))[0], TrainerReady)
    shared.trainer.step(make_job(1))
    while not engine.wanted():
        time.sleep(0.001)
    time.sleep(0.2)
    assert shared.events.empty()
    given = engine.give()
    turn, done = shared.next(), shared.next()
    assert given.until_ns <= turn.since_ns < turn.until_ns
    assert (turn.behind, turn.since_ns - turn.asked_ns >= 0.2e9) == ("generator", True)
    assert done.busy_s < (turn.until_ns - turn.asked_ns) / 1e9, "the wait is no work"
    assert engine.attempt(), "given back after the update"
    assert [type(event) for event in shared.do(("checkpoint", 1), ("expose", 1))] == [Checkpointed, Exposed]
    assert torch.equal(*(weights_of(tmp_path / root / "v00000001") for root in ("plain", "shared")))
    assert alone[1].metrics == done.metrics
    shared.trainer.step(make_job(2))
    shared.trainer.close()
    assert not shared.trainer._thread.is_alive(), "whoever waits for the card can be closed"
    engine.close()
