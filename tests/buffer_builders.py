"""Short ways to a buffer in a certain state; builders instead of mocks."""

from __future__ import annotations

from buffers.answers import Leased, Opened
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.priorities import Signal
from buffers.prompts import PromptConfig, make_prompts
from buffers.segment import EndReason, Ghost, Segment, token_arrays


def ghost(start: int, length: int, version: int = 0, end: EndReason = "cut") -> Segment:
    """A segment of one version, all of it produced by the model."""
    runs = ((version, length),) if length else ()
    return Segment(start, Ghost(length, 7), runs, ((1, length),) if length else (), end)


def real(start: int, length: int, version: int = 0, end: EndReason = "cut") -> Segment:
    """The same with real tokens."""
    payload = token_arrays(list(range(start, start + length)), [-0.5] * length)
    return Segment(start, payload, ((version, length),), ((1, length),), end)


def config(**changes: object) -> BufferConfig:
    """Two responses a prompt, four a version."""
    settings: dict[str, object] = {"k": 2, "batch": 4, "max_response_tokens": 20, "eta": 1}
    return BufferConfig(**(settings | changes))  # type: ignore[arg-type]


def filled(settings: BufferConfig | None = None, prompts: int = 5) -> Buffer:
    """A buffer with prompts of 3 tokens, epoch 1, and learner 0 at version 0."""
    buffer = Buffer(settings or config())
    buffer.load_prompts(make_prompts([Ghost(3, seed) for seed in range(prompts)], [str(n) for n in range(prompts)]))
    buffer.snapshot()
    buffer.hello(0, 0, ())
    return buffer


def opened(buffer: Buffer, count: int, ordinal: int = 1) -> list[int]:
    """Open groups; the trajectories."""
    answer = buffer.open_groups(buffer.epoch, ordinal, count)
    assert isinstance(answer, Opened), answer
    return [member.trajectory for member in answer.members]


def finish(buffer: Buffer, trajectory: int, outcome: float = 1.0, length: int = 5) -> None:
    """End a fresh or cut trajectory and score it."""
    view = buffer.view(trajectory)
    assert view is not None
    segment = ghost(view.length, length, buffer.highest, "stop")
    stored = buffer.append(trajectory, view.attempt, segment)
    buffer.score(trajectory, stored.next_attempt, {"outcome": outcome})  # type: ignore[union-attr]


def eligible(buffer: Buffer, count: int, ordinal: int = 1) -> list[int]:
    """Open and finish groups with a solved and an unsolved member; the trajectories."""
    trajectories = opened(buffer, count, ordinal)
    for trajectory in trajectories:
        finish(buffer, trajectory, float(trajectory % 2))
    return trajectories


def leased(buffer: Buffer, update: int = 1, incarnation: int = 0) -> Leased:
    """Take the next lease."""
    answer = buffer.lease(incarnation, update, buffer.highest)
    assert isinstance(answer, Leased), answer
    return answer


def passes(epochs: int | None = None) -> PromptConfig:
    """Prompts in passes."""
    return PromptConfig(order="passes", epochs=epochs)


class ByFeedback:
    """A priority rule of one's own: the group that the learner valued most is taken."""

    proportional = False

    def priority(self, signal: Signal) -> float:
        return signal.feedback


class Nothing:
    """A broken one."""

    proportional = True

    def priority(self, signal: Signal) -> float:
        return 0.0
