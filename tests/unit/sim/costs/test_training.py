"""What an update takes, part by part."""

import msgspec
import pytest

from sim.costs.hardware import gpu
from sim.costs.model import model
from sim.costs.training import Layout, Training

LENGTHS = [1000] * 64


def training(gpus=8, **layout):
    return Training(model("llama-3.1-8b"), gpu("H100"), gpus, Layout(**layout))


def test_recomputation_costs_a_forward_pass_more():
    with_it, without = (training(recompute=on).update(LENGTHS).ns for on in (True, False))
    assert with_it["train"] / without["train"] == pytest.approx(4 / 3, rel=1e-9)
    assert with_it["train"] - without["train"] == pytest.approx(with_it["logprob"], abs=2)


def test_attention_grows_with_the_square_of_a_sequence():
    """The same tokens in sequences ten times as long cost more, by 6 x layers x width x tokens x what is longer."""
    cost = training(efficiency=0.4, recompute=False)
    more = cost.update([10_000] * 8).ns["train"] - cost.update([1000] * 80).ns["train"]
    flops = 6 * 32 * 4096 * 80_000 * (10_000 - 1000)
    assert more / 1e9 == pytest.approx(flops / (8 * 989e12 * 0.4), rel=1e-6)


def test_an_update_takes_as_long_as_its_longest_sequence_on_one_rank():
    """Eight ranks, one sequence ten times as long as the others; one rank of eight devices waits for nobody."""
    lengths = [1000] * 8 + [10_000]
    alone = training(1).update([10_000]).ns["train"]
    assert training(8).update(lengths).ns["train"] == pytest.approx(alone, rel=1e-9)
    wide = training(8, tensor=8, efficiency=0.4).update(lengths).ns["train"]
    assert wide == pytest.approx(training(1, efficiency=0.4).update(lengths).ns["train"] / 8, rel=1e-9)


def test_passes_that_are_off_cost_nothing():
    bare = training(logprob_pass=False).update(LENGTHS).ns
    assert "logprob" not in bare
    assert "reference" not in bare
    more = training(logprob_pass=True, reference_pass=True).update(LENGTHS).ns
    assert more["reference"] == more["logprob"] > 0


def test_a_pipeline_stands_still_for_its_share_of_the_time():
    """(p - 1) / (m + p - 1) of the passes and the bubble together."""
    parts = training(pipeline=4, microbatches=16).update(LENGTHS).ns
    passes = parts["train"] + parts["logprob"]
    assert parts["bubble"] / (passes + parts["bubble"]) == pytest.approx(3 / 19, rel=1e-6)
    assert training().update(LENGTHS).ns["bubble"] == 0


def test_twice_the_devices_take_half_the_time_but_for_the_base():
    one, two = training(8).update(LENGTHS), training(16).update(LENGTHS)
    base = one.ns["base"]
    assert (one.total_ns - base) / (two.total_ns - base) == pytest.approx(2.0, rel=1e-6)
    assert one.total_ns == sum(one.ns.values())


def test_tensor_parallelism_over_machines_halves_the_efficiency():
    assert Layout(tensor=16).mfu(8) == pytest.approx(0.5 * 0.45 * 0.92**4)
    assert Layout(tensor=8).mfu(8) == pytest.approx(0.45 * 0.92**3)
    assert Layout(tensor=16, efficiency=0.3).mfu(8) == 0.3


def test_machines_write_a_checkpoint_together():
    """14 bytes of each parameter: weights, and the optimizer's state in single precision."""
    one, four = training(8), training(32)
    assert one.checkpoint() / 1e9 == pytest.approx(14 * one.model.total / 2e9, rel=1e-9)
    assert one.checkpoint() == pytest.approx(4 * four.checkpoint(), abs=4)


def test_weights_are_exposed_after_the_time_that_was_given():
    assert msgspec.structs.replace(training(), expose_s=2.5).expose() == 2_500_000_000
