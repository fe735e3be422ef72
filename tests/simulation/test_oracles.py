"""Closed forms that the doubles, the cost models and whole scenarios must meet.

    queues       M/M/1 and M/D/1 under processor sharing on `Cores`, M/D/c first come first served on `EngineDouble`
    Little       what is there on average = rate x time spent there
    roofline     the limits of one step: all memory, all arithmetic, the ridge between them
    scenarios    a synchronous step of n equal generators; asynchronous throughput = min(generation, training)

Tolerances: sums over one history are equal up to 1 ns of rounding an event. Queue means are drawn: they must lie within
four standard errors of the exact one (by the means of 40 batches), and the error itself must be below 5 % of it so that
the test says something. Scenarios add what their closed forms leave out, messages and the step that prefills: 1 %.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp
from statistics import fmean, stdev

import msgspec
import numpy as np
import pytest

from buffers.segment import Ghost
from policies.batching import BatchingConfig
from policies.engine import Job, Sampling, SegmentDone
from sim.costs.cost import Install, Step
from sim.costs.curve import Curve
from sim.costs.hardware import Efficiency, gpu
from sim.costs.model import model
from sim.costs.rewards import Scoring
from sim.costs.roofline import Roofline
from sim.costs.training import Layout, Training
from sim.costs.weights import WeightsCost
from sim.doubles.device import Cores, Dedicated, Share
from sim.doubles.engine import EngineDouble, EngineModel
from sim.doubles.meter import Meter
from sim.kernel import Kernel
from sim.outcome import Outcome, run
from sim.scenario import EngineSection, LengthSection, Scenario, Simulation, plant
from tests.kernel_clock import KernelClock

SECOND = 1_000_000_000
BATCHES = 40


def arrivals(rate, count, seed):
    """Times (ns) of a Poisson process."""
    draws = random.Random(seed)
    at = 0.0
    times = []
    for _ in range(count):
        at += draws.expovariate(rate)
        times.append(round(at * SECOND))
    return times


def assert_mean(values, exact):
    """The mean is the exact one within four standard errors, which are below 5 % of it."""
    kept = values[len(values) // 10 :]
    size = len(kept) // BATCHES
    means = [fmean(kept[size * n : size * (n + 1)]) for n in range(BATCHES)]
    error = stdev(means) / BATCHES**0.5
    assert error < 0.05 * exact
    assert abs(fmean(means) - exact) <= 4 * error, (fmean(means), exact, error)


def shared_cores(count, times, works):
    """Time in the system (s) of each job on shared cores, and the integral (s) of how many there are."""
    kernel = Kernel()
    clock = KernelClock(kernel)
    cores = Cores(count)
    spent = [0.0] * len(times)
    area, since = 0, 0

    def count_up_to_now():
        nonlocal area, since
        area += cores.active * (kernel.now - since)
        since = kernel.now

    def arrive(number):
        count_up_to_now()
        share = Share(cores, clock)
        share.busy(True)
        share.call_at(share.now() + works[number] * SECOND, leave, (number, share))

    def leave(job):
        count_up_to_now()
        number, share = job
        share.busy(False)
        spent[number] = (kernel.now - times[number]) / SECOND

    for number, at in enumerate(times):
        kernel.call_at(at, 0, arrive, number)
    kernel.run()
    return spent, area / SECOND


def test_a_core_with_exponential_work_is_an_m_m_1_queue():
    draws = random.Random(2)
    works = [draws.expovariate(1.0) for _ in range(40_000)]
    spent, _ = shared_cores(1, arrivals(0.6, len(works), 1), works)
    assert_mean(spent, 1 / (1.0 - 0.6))


def test_sharing_a_core_makes_fixed_work_no_quicker_than_exponential_work():
    """The mean time under processor sharing depends on the mean work only."""
    spent, _ = shared_cores(1, arrivals(0.6, 40_000, 3), [1.0] * 40_000)
    assert_mean(spent, 1 / (1.0 - 0.6))


def test_shared_cores_obey_littles_law():
    times = arrivals(2.0, 5_000, 4)
    draws = random.Random(5)
    spent, area = shared_cores(3, times, [draws.expovariate(1.0) for _ in times])
    assert area == pytest.approx(sum(spent), abs=2e-9 * len(times))


class Steady(msgspec.Struct, frozen=True):
    """Every step takes the same, whatever it holds."""

    step_ns: float

    def decode(self, batch: int) -> Curve:
        return Curve([0], [self.step_ns], 0)

    def mixed(self, step: Step) -> float:
        return self.step_ns

    def install(self, version: int) -> Install:
        return Install(0, 0, False)


class Fixed(msgspec.Struct, frozen=True):
    """Every response has the same length."""

    tokens: int

    def response_tokens(self, trajectory: int, cap: int) -> int:
        return self.tokens

    def prompt_tokens(self, prompt: int) -> int:
        return 1


STEPS = 2_000
STEP_NS = SECOND // STEPS


def engine_queue(slots, times):
    """Time in the system (s) of jobs of one second each on an engine with `slots` slots, and its account."""
    kernel = Kernel()
    clock = KernelClock(kernel)
    meter = Meter()
    spent = [0.0] * len(times)

    def emit(event):
        if isinstance(event, SegmentDone):
            spent[event.trajectory - 1] = (kernel.now - times[event.trajectory - 1]) / SECOND

    batching = BatchingConfig(slots=slots, rows=1 << 20, kv_tokens=1 << 40, prefill_tokens=1 << 20)
    engine = EngineDouble(EngineModel(Steady(STEP_NS), Fixed(STEPS), batching), emit, Dedicated(clock), (meter, "e"))
    engine.install(0, "")

    def arrive(number):
        engine.submit(job(number + 1))

    for number, at in enumerate(times):
        kernel.call_at(at, 0, arrive, number)
    kernel.run()
    return spent, meter.engines["e"]


def job(trajectory):
    """A whole response in one segment."""
    return Job(
        trajectory=trajectory, attempt=0, prompt=Ghost(1, trajectory), start=0, prefix=None, max_tokens=STEPS,
        max_response_tokens=STEPS, sampling=Sampling(),
    )  # fmt: skip


def time_in_m_d_c(rate, servers):
    """Mean time in an M/D/c queue of unit work: N(t + 1) = max(0, N(t) - c) + Poisson(rate), solved numerically."""
    size = 400
    poisson = np.zeros(size)
    poisson[0] = exp(-rate)
    for n in range(1, size):
        poisson[n] = poisson[n - 1] * rate / n
    there = np.zeros(size)
    there[0] = 1.0
    for _ in range(600):
        left = np.zeros(size)
        left[0] = there[: servers + 1].sum()
        left[1 : size - servers] = there[servers + 1 :]
        there = np.convolve(left, poisson)[:size]
        there /= there.sum()
    return float(there @ np.arange(size)) / rate


def test_the_numerical_solution_is_the_known_formula_for_one_server():
    assert time_in_m_d_c(0.7, 1) == pytest.approx(1 + 0.7 / (2 * (1 - 0.7)), rel=1e-6)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (4, 0.8)])
def test_an_engine_whose_steps_cost_the_same_is_an_m_d_c_queue(servers, load):
    """Who comes waits for the end of a step and leaves at the end of one: up to two steps more, 0.1 % of the work."""
    rate = load * servers
    spent, _ = engine_queue(servers, arrivals(rate, 60_000, 6))
    waits = [time - 1 for time in spent]
    assert min(waits) >= 0
    assert min(waits) <= 2 / STEPS
    assert_mean(waits, time_in_m_d_c(rate, servers) - 1)


def test_an_engine_obeys_littles_law():
    """Sequences at work, integrated over time, are jobs x time at work."""
    times = arrivals(2.0, 2_000, 7)
    _, spell = engine_queue(3, times)
    assert spell.decoded == len(times) * STEPS
    assert spell.rows == pytest.approx(len(times) * STEPS * STEP_NS, abs=4.0 * len(times))


# ---- roofline ---------------------------------------------------------------------------------------------------

EVEN = Efficiency(
    flops=0.76, memory=0.84, product_us=0.0, prefill_attention=((1 << 30, 0.6),),
    decode_attention=((1e8, 0.39), (1e9, 0.73), (4e9, 0.90)), attention_floor_us=9.7, small_us=0.0,
)  # fmt: skip
BARE = Roofline(
    model("llama-3.1-8b"), msgspec.structs.replace(gpu("H100"), efficiency=EVEN), WeightsCost(), host_us=0.0
)
RATE_MEMORY = 0.84 * 3.35e12
RATE_FLOPS = 0.76 * 989e12
FLOOR_S = 32 * 9.7e-6


def step_s(cost, batch, context=0):
    return cost.decode(batch).at(context) / 1e9 - activations_s(cost, batch)


def activations_s(cost, tokens):
    """Norms, rotary embedding and gate read and write so much; reading weights and arithmetic are looked at here."""
    shape = cost.model
    wide = (shape.active_experts or 1) * shape.intermediate
    return shape.layers * tokens * (16 * shape.hidden + 6 * wide / cost.tp) / RATE_MEMORY


def test_one_sequence_reads_every_weight_once():
    active = BARE.model.active
    assert step_s(BARE, 1) - FLOOR_S == pytest.approx(2 * active / RATE_MEMORY, rel=1e-9)
    assert step_s(BARE, 64) == pytest.approx(step_s(BARE, 1), rel=1e-9)


def test_a_large_batch_costs_its_arithmetic():
    assert step_s(BARE, 4096) - FLOOR_S == pytest.approx(2 * 4096 * BARE.model.active / RATE_FLOPS, rel=1e-9)


def test_the_ridge_lies_where_both_limits_meet():
    ridge = RATE_FLOPS / RATE_MEMORY
    assert step_s(BARE, int(ridge)) == pytest.approx(step_s(BARE, 1), rel=1e-9)
    assert step_s(BARE, int(ridge) + 1) > step_s(BARE, 1)


def test_long_contexts_cost_the_reading_of_keys_and_values():
    per_token = BARE.model.kv_bytes / (0.90 * 3.35e12)
    grown = step_s(BARE, 64, 3_000_000) - step_s(BARE, 64, 2_000_000)
    assert grown == pytest.approx(1_000_000 * per_token, rel=1e-9)


def test_experts_are_read_by_who_chooses_them():
    """One token reads the experts that it chose; many read all of them."""
    cost = msgspec.structs.replace(BARE, model=model("qwen3-235b-a22b"), tp=8)
    shape = cost.model
    every = shape.layers * shape.experts * shape.mlp_weights
    rest = shape.layers * shape.attention_weights + shape.hidden * shape.vocabulary
    fixed = shape.layers * 9.7e-6

    def reads(tokens):
        took = step_s(cost, tokens) - fixed - shape.layers * 2 * cost.all_reduce_s(2 * tokens * shape.hidden)
        return took * RATE_MEMORY * 8 / 2

    assert reads(1) == pytest.approx(shape.active, rel=1e-9)
    assert reads(64) == pytest.approx(rest + every * (1 - (1 - 8 / 128) ** 64), rel=1e-9)
    assert reads(200) == pytest.approx(rest + every, rel=1e-4)


def test_measured_example_steps_are_met():
    """8B on an H100: 8.3 ms alone, 14.6 ms for 64 of 2,048 tokens, 21.2 ms for 256 of 1,024.

    Within 10 %: these were added up from kernel tables, on which the roofline errs by 8.4 %.
    """
    cost = Roofline(model("llama-3.1-8b"), gpu("H100"), WeightsCost())
    for batch, context, measured_ms in ((1, 0, 8.3), (64, 2048, 14.6), (256, 1024, 21.2)):
        assert cost.decode(batch).at(batch * context) / 1e6 == pytest.approx(measured_ms, rel=0.10)


# ---- scenarios --------------------------------------------------------------------------------------------------

LENGTH = 1000
SLOTS = 32
LEAN = Scenario(
    model="qwen2.5-7b",
    gpus=8,
    generator_gpus=4,
    lengths=LengthSection(mean=float(LENGTH), sigma=0.0, prompt=1),
    engine=EngineSection(slots=SLOTS),
    weights=WeightsCost(base_s=0.25, bytes_per_s=40e9, recompute=False),
    reward=Scoring(median_s=0.001, cores=64),
)


def scenario(generators, trainers, eta, **changes):
    """Fixed lengths, one update a version, as many responses as the generators have slots."""
    schedule = msgspec.structs.replace(
        LEAN.schedule, batch=generators * SLOTS, eta=eta, updates_per_version=1, partial=False,
        max_response_tokens=2 * LENGTH, segment_tokens=2 * LENGTH, versions=8, checkpoint_every=1000,
    )  # fmt: skip
    gpus = generators + trainers
    return replace(LEAN, gpus=gpus, generator_gpus=generators if trainers else 0, schedule=schedule, **changes)


def simulated(one):
    found = run(Simulation(one), lambda: 0.0)
    assert isinstance(found, Outcome)
    assert found.outcome == "finished"
    return found


def generation_s(one):
    """A full batch of every generator: one step that prefills, the others from the curve."""
    cost = plant(one).engine.cost
    return cost.decode(SLOTS).total(SLOTS, SLOTS, LENGTH) / 1e9


def training_s(one):
    lengths = [LENGTH + 1] * one.schedule.batch
    return plant(one).training.update(lengths).total_ns / 1e9


def install_s(one):
    return plant(one).engine.cost.install(1).stall_ns / 1e9


@pytest.mark.parametrize("generators", [1, 4, 8])
def test_a_synchronous_step_is_generation_then_training_then_weights(generators):
    """n equal generators take as long as one. Within 1 %: messages and the step that prefills."""
    one = scenario(generators, 4, 0)
    expected = generation_s(one) + one.reward.median_s + training_s(one) + install_s(one)
    assert simulated(one).step_s == pytest.approx(expected, rel=0.01)


def test_a_synchronous_step_on_shared_devices_pays_for_two_switches():
    one = scenario(8, 0, 0, switch_s=7.0)
    expected = generation_s(one) + one.reward.median_s + training_s(one) + install_s(one) + 2 * 7.0
    assert simulated(one).step_s == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("every", [1, 3, 8, 1000])
def test_a_synchronous_step_pays_for_its_share_of_a_checkpoint(every):
    """However many versions are simulated, and although every run ends with a checkpoint that may not be due."""
    one = scenario(2, 4, 0)
    one = replace(one, schedule=msgspec.structs.replace(one.schedule, checkpoint_every=every))
    expected = generation_s(one) + one.reward.median_s + training_s(one) + install_s(one)
    expected += plant(one).training.checkpoint() / 1e9 / every
    assert simulated(one).step_s == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("efficiency", "bound"), [(0.9, "generation"), (0.02, "training")], ids=["generation-bound", "training-bound"]
)
def test_asynchronous_throughput_is_the_lesser_of_generation_and_training(efficiency, bound):
    """Within 1 %, the pipeline's filling before the first version left out."""
    one = scenario(4, 4, 3, layout=Layout(efficiency=efficiency))
    per_version = one.schedule.batch * LENGTH
    rates = {
        "generation": per_version / (generation_s(one) + install_s(one)),
        "training": per_version / training_s(one),
    }
    found = simulated(one)
    assert min(rates, key=rates.__getitem__) == found.bottleneck == bound
    assert found.tokens_per_s == pytest.approx(min(rates.values()), rel=0.01)


def test_training_costs_six_flops_a_parameter_and_token():
    """Short sequences: attention is below 1 % of the products."""
    shape, card = model("llama-3.1-8b"), gpu("H100")
    cost = Training(shape, card, 64, Layout(recompute=False, efficiency=0.4))
    took = cost.update([64] * 4096).ns["train"] / 1e9
    assert took == pytest.approx(6 * shape.active * 64 * 4096 / (64 * 989e12 * 0.4), rel=0.01)
