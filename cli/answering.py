"""Answers from a model folder, in this process: what `braid eval` and `braid sample` share."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from buffers.errors import BraidError, UsageError
from buffers.segment import Payload, Segment
from policies.engine import EngineEvent, EngineFailed, Job, JobFailed, Sampling, SegmentDone
from policies.engines.torch_engine import TorchEngine, TorchEngineConfig
from policies.models import use_threads

SLOTS = 64
"""Questions that are answered at once."""


class Question(msgspec.Struct, frozen=True):
    """One prompt to answer."""

    prompt: Payload
    sampling: Sampling


class EngineBroken(BraidError):
    """The engine could not answer."""


def answer(model: Path, questions: Sequence[Question], max_tokens: int) -> Iterator[tuple[int, Segment]]:
    """(index of the question, its whole response), in order of completion."""
    use_threads(1)
    longest = max(question.prompt.length for question in questions)
    events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
    config = TorchEngineConfig(model=str(model), slots=min(SLOTS, len(questions)), context_tokens=longest + max_tokens)
    engine = TorchEngine(config, events.put)
    try:
        for index, question in enumerate(questions):
            engine.submit(Job(index, 0, question.prompt, None, 0, max_tokens, max_tokens, question.sampling))
        left = len(questions)
        while left:
            event = events.get()
            if isinstance(event, SegmentDone):
                left -= 1
                yield event.trajectory, event.segment
            elif isinstance(event, JobFailed | EngineFailed):
                raise EngineBroken(f"{model}: {event.reason}")
    finally:
        engine.close()


def existing_model(folder: str) -> Path:
    """The path of a model folder, or of the newest version of a run's folder; `UsageError` if there is none."""
    path = Path(folder)
    if not path.is_dir():
        raise UsageError(f"there is no folder {folder}; name a run's folder, or one of its versions/v*")
    versions = sorted(found.parent for found in path.glob("versions/v*/config.json"))
    path = versions[-1] if versions else path
    if not (path / "config.json").is_file():
        raise UsageError(f"{folder} is no Hugging Face model folder (no config.json); try RUN/versions/v00000100")
    return path
