"""Whatever happens to a trajectory on its way, its tokens are those that its key and transformers' forward say.

Trajectories are generated in segments, aborted, preempted, evicted and resumed, with and without the cache, in batches
of any size. Then each is checked by itself: transformers' logits of the finished text, drawn with the trajectory's own
uniforms, must give the same tokens (but where the margin is below `CLOSE_MARGIN`) and the same log-probabilities.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buffers.segment import check_segment, expand, ids_of, logps_of, token_arrays
from policies.batching import BatchingConfig
from policies.engine import Job, JobFailed, Sampling, SegmentDone
from policies.engines.lean import generation as generation_module
from policies.engines.lean import rows as rows_module
from policies.engines.lean.generation import Generation, Limits
from policies.engines.lean.shape import shape_of
from policies.engines.lean.weights import fuse
from policies.repetition import RepetitionRule, stop_length
from policies.sampling import CLOSE_MARGIN, draw, rule, uniforms
from tests.property.tiny_models import VOCABULARY, tiny_model

CPU = torch.device("cpu")
CONTEXT = 96
LOOPS = RepetitionRule(times=3, tokens=16, longest_phrase=8, every=4)


@pytest.fixture(autouse=True, scope="module")
def rows_move_often():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_GROUP_ROWS", 2), ("_MOVE_COST", 0)):
            patch.setattr(rows_module, name, value)
        patch.setattr(generation_module, "_ORDER_EVERY", 1)
        yield


@dataclass(frozen=True)
class Plan:
    """One trajectory, and how it is cut."""

    prompt: list[int]
    longest: int
    temperature: float
    seed: int
    stop_ids: tuple[int, ...]
    segment: int
    with_prefix: bool


@dataclass(frozen=True)
class Upset:
    """What happens before some turn."""

    turn: int
    kind: str
    which: int


@dataclass
class Progress:
    """What came back of one trajectory."""

    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    end: str = "cut"


PLANS = st.builds(
    Plan,
    prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30),
    longest=st.integers(1, 50),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 3),
    stop_ids=st.sampled_from([(), (5,), (7, 9, 11)]),
    segment=st.integers(1, 60),
    with_prefix=st.booleans(),
)
UPSETS = st.builds(
    Upset, st.integers(0, 60), st.sampled_from(["abort", "keep", "recompute", "forget"]), st.integers(0, 9)
)
BATCHINGS = st.builds(
    lambda slots, more, kv, prefill, refill: BatchingConfig(slots, slots + more, kv, prefill, refill, headroom=1),
    st.integers(1, 8),
    st.integers(0, 4),
    st.sampled_from([CONTEXT, 150, 10_000]),
    st.integers(3, 64),
    st.integers(1, 4),
)


def generate(architecture, batching, plans, upsets, repetition=LOOPS):
    """Drive a generation until every trajectory ended; returns their progress."""
    model = tiny_model(architecture)
    shape = shape_of(model.config)
    weights = fuse(shape, model.state_dict(), CPU)
    generation = Generation(shape, Limits(batching, CONTEXT, CPU, repetition))
    generation.install(0, weights, recompute=False)
    done = [Progress() for _ in plans]
    events = []

    def submit(name, with_prefix):
        plan, so_far = plans[name], done[name]
        prefix = token_arrays(so_far.ids, so_far.logps) if with_prefix else None
        prompt = token_arrays(plan.prompt, np.zeros(len(plan.prompt)))
        sampling = Sampling(temperature=plan.temperature, seed=plan.seed, stop_ids=plan.stop_ids)
        job = Job(name, 0, prompt, prefix, len(so_far.ids), plan.segment, plan.longest, sampling)
        generation.submit(job, events.append)

    for name in range(len(plans)):
        submit(name, with_prefix=True)
    turn, left = 0, len(plans)
    while left:
        assert turn < 5000
        for upset in (upset for upset in upsets if upset.turn == turn):
            if upset.kind == "abort":
                generation.abort(upset.which, events.append)
            elif upset.kind == "forget":
                generation.forget(upset.which)
            else:
                generation.install(generation.version + 1, weights, recompute=upset.kind == "recompute")
        generation.turn(events.append, interrupted=lambda single=turn % 3 == 0: single)
        turn += 1
        taken, events[:] = list(events), []
        for event in taken:
            name = event.trajectory
            if isinstance(event, JobFailed):
                assert event.reason == "not cached"
                submit(name, with_prefix=True)
                continue
            left -= note(plans[name], done[name], event)
            if event.segment.end == "cut":
                submit(name, plans[name].with_prefix)
    assert generation.idle
    return done, generation


def note(plan, so_far, event):
    """Append a segment; whether it is the trajectory's last."""
    assert isinstance(event, SegmentDone)
    segment = event.segment
    assert segment.start == len(so_far.ids)
    assert segment.length <= plan.segment
    if segment.length:
        check_segment(segment)
    so_far.ids += ids_of(segment.payload).tolist()
    so_far.logps += logps_of(segment.payload).tolist()
    so_far.versions += expand(segment.versions).tolist()
    so_far.end = segment.end
    return segment.end != "cut"


def check(architecture, name, plan, progress):
    """The trajectory against transformers."""
    text = torch.tensor([plan.prompt + progress.ids])
    with torch.inference_mode():
        logits = tiny_model(architecture)(text).logits[0, len(plan.prompt) - 1 : -1].float()
    count = len(progress.ids)
    numbers = torch.from_numpy(uniforms(plan.seed, name, 0, count))
    drawn = draw(logits, numbers, rule(np.full(count, plan.temperature, np.float32), np.ones(count), CPU))
    differs = drawn.ids_B != text[0, len(plan.prompt) :]
    assert (drawn.margins_B[differs] < CLOSE_MARGIN).all()
    expected = torch.log_softmax(logits / (plan.temperature or 1.0), -1).gather(1, text[:, len(plan.prompt) :].T)[:, 0]
    assert np.abs(expected.numpy() - np.array(progress.logps)).max() < 1e-4
    assert progress.versions == sorted(progress.versions)
    check_end(plan, progress)


def check_end(plan, progress):
    """It ended where it had to, for the first reason that applied."""
    stops = [position + 1 for position, token in enumerate(progress.ids) if token in plan.stop_ids]
    loops = stop_length(np.array(progress.ids), LOOPS)
    reasons = [(stops[0], 0, "stop")] if stops else []
    reasons += [(loops, 1, "repetition")] if loops else []
    reasons += [(plan.longest, 2, "length")]
    length, _, reason = min(reasons)
    assert (len(progress.ids), progress.end) == (length, reason)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["qwen3", "qwen2", "llama"]),
    BATCHINGS,
    st.lists(PLANS, min_size=1, max_size=8),
    st.lists(UPSETS, max_size=12),
)
@torch.inference_mode()
def test_a_trajectory_depends_on_its_key_and_the_weights_alone(architecture, batching, plans, upsets):
    done, _ = generate(architecture, batching, plans, upsets)
    for name, (plan, progress) in enumerate(zip(plans, done, strict=True)):
        check(architecture, name, plan, progress)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["qwen3", "qwen2", "llama"]), st.integers(2, 9), st.integers(0, 8), st.data())
@torch.inference_mode()
def test_at_equal_batch_shapes_a_trajectory_is_equal_bit_by_bit_whatever_its_neighbours(architecture, slots, own, data):
    prompts = st.lists(st.integers(0, VOCABULARY - 1), min_size=6, max_size=6)
    mine = Plan(data.draw(prompts), 30, 1.0, 1, (), 30, True)
    batching = BatchingConfig(slots, slots, 10_000, 1000, 1)
    outcomes = []
    for seed in (1, 2):
        neighbours = [Plan(data.draw(prompts), 30, 1.0, seed, (), 30, True) for _ in range(slots)]
        plans = [mine if name == own % slots else neighbour for name, neighbour in enumerate(neighbours)]
        done, _ = generate(architecture, batching, plans, [], repetition=None)  # nobody ends early
        outcomes.append(done[own % slots])
    assert outcomes[0] == outcomes[1]
