"""One card in virtual time: by time, by memory, and two cards beside them; what is told of turns, and bad settings."""

from itertools import pairwise

import pytest

from actors.eventlog import Number
from actors.timeline import timeline
from buffers.errors import UsageError
from cli.simulating import load
from sim.cluster import finished
from sim.outcome import run
from sim.scenario import Simulation, plant

SMALL = """
model = "qwen3-0.6b"
gpu = "RTX4090"
gpus = 1
switch_s = 0.05

[cluster]
placement = "colocated"

[schedule]
batch = 32
eta = 1
updates_per_version = 1
segment_tokens = 256
max_response_tokens = 1024
versions = 5
checkpoint_every = 5

[lengths]
mean = 300
prompt = 64

[engine]
slots = 16

[weights]
base_s = 0.0
recompute = false
"""
STEP_S = 0.2
"""No decode step of this model takes as long."""


@pytest.fixture
def scenario(tmp_path):
    def make(*settings):
        path = tmp_path / "small.toml"
        path.write_text(SMALL)
        return load(path, settings)

    return make


def turns_of(simulation):
    """(asked, since, until, actor) in order of their beginning."""
    held = [one for one in simulation.world.decisions if one.kind == "held"]
    return sorted((*(int(field) for field in one.fields[:3]), one.actor) for one in held)


def played(one):
    simulation = Simulation(one, keep=True)
    assert simulation.world.run(1e6, finished)
    return simulation


def test_turns_never_overlap_and_every_update_has_one(scenario):
    simulation = played(scenario("cluster.turn_s=0.5"))
    turns = sorted((since, until, actor) for _, since, until, actor in turns_of(simulation))
    assert [pair for pair in pairwise(turns) if pair[1][0] < pair[0][1]] == []
    assert sum(actor == "learner" for *_, actor in turns) == 5
    assert sum(actor == "generator-0000" for *_, actor in turns) >= 5


def test_the_learner_waits_for_one_turn_and_one_step_and_the_change_at_most(scenario):
    waits = {}
    for turn_s in (0.0, 50.0):
        turns = turns_of(played(scenario(f"cluster.turn_s={turn_s}")))
        waits[turn_s] = max((since - asked) / 1e9 for asked, since, _, actor in turns if actor == "learner")
        assert 0.05 <= waits[turn_s] <= turn_s + 0.05 + STEP_S
    assert waits[50.0] > 0.05 + STEP_S, "a longer turn keeps it waiting, as long as there is work"


def test_waits_for_the_card_stand_in_the_simulated_trace(scenario):
    world = played(scenario()).world
    records = sorted([*world.decisions, *(Number(*note) for note in world.notes)], key=lambda record: record.at_ns)
    waits = {(one.actor, one.name) for one in timeline(records, 8).slices if one.category == "wait"}
    assert ("learner", "wait: generation has the card") in waits
    assert ("generator-0000", "wait: learner has the card") in waits


def test_what_is_predicted_has_the_order_that_the_hardware_gives(scenario):
    two = ("gpus=2", "generator_gpus=1", "cluster.placement=separate")
    names = {"keep": (), "drop": ("cluster.cache=drop",), "memory": ("cluster.share=memory",), "two": two}
    took = {name: run(Simulation(scenario(*settings)), lambda: 0.0) for name, settings in names.items()}
    assert {one.outcome for one in took.values()} == {"finished"}
    assert took["two"].simulated_s < took["keep"].simulated_s < took["drop"].simulated_s
    work = took["memory"].training_s["train"]
    assert took["memory"].step_s > took["two"].step_s, "one card does the work of two"
    assert took["two"].step_s + work < 2 * took["memory"].step_s


def test_keys_and_values_get_what_the_trainer_leaves_them(scenario):
    room = {
        name: plant(scenario(*settings)).engine.batching.kv_tokens
        for name, settings in {
            "time": (),
            "memory": ("cluster.share=memory", "cluster.engine_memory=0.3"),
            "alone": ("gpus=2", "generator_gpus=1", "cluster.placement=separate"),
        }.items()
    }
    assert room["memory"] < room["time"] < room["alone"]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (("cluster.placement=separate",), "to 0 for colocated, above 0 for separate"),
        (("gpus=2", "generator_gpus=1"), "to 0 for colocated, above 0 for separate"),
        (("cluster.share=turns",), "invalid enum value 'turns'"),
        (("cluster.engine_memory=1.0",), "give a fraction between 0 and 1"),
        (("cluster.turn_s=-1",), "must be 0 or more"),
        (("gpus=2", "cluster.share=memory"), "make them equal, or set cluster.share = 'time'"),
        (("cluster.share=memory", "cluster.engine_memory=0.9"), "or lower cluster.engine_memory"),
        (("model=qwen2.5-1.5b",), "leaves room for 0 tokens"),
    ],
)
def test_what_one_card_cannot_do_is_refused_in_one_line(scenario, settings, remedy):
    with pytest.raises(UsageError, match=remedy) as caught:
        plant(scenario(*settings))
    assert "\n" not in str(caught.value)
