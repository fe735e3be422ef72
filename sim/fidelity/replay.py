"""A recorded serving run again, through the batching scheduler and a cost of its steps, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.batching import Batching, BatchingConfig
from sim.costs.cost import Chunk
from sim.fidelity.recorded import Outcome, Recorded, Request

StepCost = Callable[[Sequence[Chunk], int, float, float], float]
"""(chunks, batch, sum of contexts, longest context) -> microseconds."""


def replay(run: Recorded, step_us: StepCost) -> Outcome:
    """Predict a run's means; requests go to its replicas in turn, which do not wait for each other."""
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    numbered = list(enumerate(run.requests))
    for replica in range(run.replicas):
        _replica(numbered[replica :: run.replicas], run.limits, step_us, first, last)
    order = range(len(numbered))
    return Outcome.of(run.requests, [first[number] for number in order], [last[number] for number in order])


def _replica(
    requests: list[tuple[int, Request]],
    limits: BatchingConfig,
    step_us: StepCost,
    first: dict[int, float],
    last: dict[int, float],
) -> None:
    """One engine; fills in when each of its requests got its first and its last token (s)."""
    batching = Batching(limits)
    now_s = 0.0
    come = 0
    known: dict[int, int] = {}
    target: dict[int, int] = {}
    filled: dict[int, int] = {}
    while come < len(requests) or known:
        while come < len(requests) and requests[come][1].arrival_s <= now_s:
            number, one = requests[come]
            known[number], target[number] = one.prompt, one.prompt + one.response
            batching.submit(number, one.prompt, one.prompt + one.response)
            come += 1
        plan = batching.plan()
        for admission in plan.admitted:
            filled[admission.trajectory] = admission.cached
        if not plan.steps:
            now_s = requests[come][1].arrival_s
            continue
        decoding = batching.decoding
        contexts = [known[number] - 1 for number in decoding]
        chunks = [Chunk(tokens, filled[number]) for number, tokens in plan.prefill]
        now_s += 1e-6 * step_us(chunks, len(decoding), sum(contexts), max(contexts, default=0))
        batching.advance()
        for number, tokens in plan.prefill:
            filled[number] += tokens
        for number in decoding:
            known[number] += 1
            first.setdefault(number, now_s)
            if known[number] == target[number]:
                last[number] = now_s
                del known[number]
                batching.remove(number, keep=True)
