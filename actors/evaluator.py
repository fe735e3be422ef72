"""The evaluator: held-out accuracy of checkpoints, on an Engine of its own, with fixed seeds, outside the ledger.

A newer durable checkpoint named by the learner's heartbeat is evaluated when it is due (every `every` versions, and the
last of the run): install it, answer each problem once greedily and `samples` times at temperature 1, score, report.
Where the run turns out to have ended with a version that was evaluated with fewer samples, it is evaluated once more.
Only the newest checkpoints stay (`trainer.keep`): where one is gone before it is read, a heartbeat names a newer one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors.kernel.context import Context, Started
from actors.kernel.operations import Message
from actors.messages import Alive, Evaluated, LearnerState, Stopped, StopRun
from actors.roster import Beat, Numbers, Pace, Roster
from actors.turns import note_turn
from buffers.segment import Payload
from policies.card import Held
from policies.engine import Engine, EngineFailed, Installed, InstallFailed, Job, JobFailed, Sampling, SegmentDone
from rewards.reward import Reward, Scored, ScoreJob, ScoringFailed

MOST_DIFFICULTIES = 32
"""With more of them accuracy is not told by difficulty."""


class Problem(msgspec.Struct, frozen=True):
    """One held-out problem."""

    prompt: Payload
    answer: str
    difficulty: float = 0.0


class EvaluatorConfig(msgspec.Struct, frozen=True):
    """How held-out accuracy is measured."""

    every: int = 10
    """Versions between evaluations; the last version is always evaluated, version 0 too."""
    samples: int = 8
    """Answers sampled at temperature 1 per problem before the first and after the last version; with 8: `pass8`."""
    samples_between: int = 1
    """The same for the versions between."""
    max_response_tokens: int = 256
    """Cap on an answer; a run takes `schedule.max_response_tokens`."""
    seed: int = 1
    """Of the sampling."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end an answer; a run takes the tokenizer's."""


class Evaluator:
    """See the module."""

    def __init__(
        self, roster: Roster, pace: Pace, config: EvaluatorConfig, problems: tuple[Problem, ...], ports: Ports
    ) -> None:
        self._roster = roster
        self._pace = pace
        self._config = config
        self._problems = problems
        self._engine = ports.engine
        self._reward = ports.reward
        self._version = -1
        """Being evaluated; -1 when idle."""
        self._newest = -1
        """Newest evaluated."""
        self._whole = False
        """With all samples."""
        self._final = -1
        """Version that the run ends with, once the learner has said so."""
        self._left = 0
        self._installing = False
        self._rounds = 1
        """Answers to each problem: one greedy, the others sampled."""
        self._outcomes: dict[int, float] = {}
        self._lengths: dict[int, int] = {}
        self._numbers = Numbers(roster.recorder)
        self._results: dict[str, float] = {}
        """Of the newest."""
        self._handlers: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_beat,
            Beat: self._on_beat,
            LearnerState: self._on_learner_state,
            Installed: self._on_installed,
            InstallFailed: self._on_install_failed,
            EngineFailed: self._on_engine_failed,
            Held: self._on_turn,
            SegmentDone: self._on_segment,
            JobFailed: self._on_lost,
            Scored: self._on_scored,
            ScoringFailed: self._on_lost,
            StopRun: self._on_stop,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, context)

    def close(self) -> None:
        """Close both ports."""
        self._engine.close()
        self._reward.close()

    def _on_learner_state(self, message: LearnerState, context: Context) -> None:
        version = message.checkpoint
        final = message.finished and version == message.version
        if final and self._final != version:
            self._final = version
            if self._whole and self._newest == version:
                self._report(context)
        if self._version >= 0 or version > message.version or version < self._newest:
            return
        if version == self._newest and (self._whole or not final):
            return
        if version - self._newest >= self._config.every or final or self._newest < 0:
            self._version = version
            ends = final or self._newest < 0
            self._installing = True
            self._rounds = 1 + (self._config.samples if ends else self._config.samples_between)
            self._engine.install(version, message.checkpoint_source)

    def _on_install_failed(self, event: InstallFailed, context: Context) -> None:
        if self._installing:
            self._installing = False
            self._version = -1

    def _on_turn(self, event: Held, context: Context) -> None:
        note_turn(self._numbers, context, event)

    def _on_engine_failed(self, event: EngineFailed, context: Context) -> None:
        raise RuntimeError(f"{context.name}: the engine failed: {event.reason}")

    def _on_installed(self, event: Installed, context: Context) -> None:
        if not self._installing:
            return
        self._installing = False
        self._outcomes.clear()
        self._lengths.clear()
        rounds = self._rounds
        self._left = len(self._problems) * rounds
        cap = self._config.max_response_tokens
        for number in range(self._left):
            greedy = number % rounds == 0
            sampling = Sampling(0.0 if greedy else 1.0, 1.0, self._config.seed, self._config.stop_ids)
            prompt = self._problems[number // rounds].prompt
            self._engine.submit(Job(number, self._version, prompt, None, 0, cap, cap, sampling))

    def _on_segment(self, event: SegmentDone, context: Context) -> None:
        if event.attempt == self._version:
            problem = self._problems[event.trajectory // self._rounds]
            self._lengths[event.trajectory] = event.segment.length
            self._engine.forget(event.trajectory)
            payload, end = event.segment.payload, event.segment.end
            self._reward.score(ScoreJob(event.trajectory, event.attempt, problem.prompt, payload, problem.answer, end))

    def _on_scored(self, event: Scored, context: Context) -> None:
        if event.attempt == self._version:
            self._outcomes[event.trajectory] = event.components.get("outcome", 0.0)
            self._one_less(context)

    def _on_lost(self, event: JobFailed | ScoringFailed, context: Context) -> None:
        if event.attempt == self._version:
            context.decide("unanswered", event.trajectory, event.reason)
            self._one_less(context)

    def _one_less(self, context: Context) -> None:
        self._left -= 1
        if self._left:
            return
        results = summarize(self._outcomes, self._lengths, self._rounds)
        self._newest = self._version
        self._whole = self._rounds == 1 + self._config.samples
        self._version = -1
        self._results = results
        context.decide("evaluated", self._newest, round(1000 * results.get("greedy", 0.0)))
        for name, value in results.items():
            self._numbers.add(context, f"eval_{name}", value)
        difficulties = [problem.difficulty for problem in self._problems]
        for difficulty, shares in by_difficulty(self._outcomes, difficulties, self._rounds).items():
            for name, value in shares.items():
                self._numbers.add(context, f"eval_{name}_at_{difficulty:g}", value)
        self._report(context)

    def _report(self, context: Context) -> None:
        if self._newest >= 0 and self._roster.supervisor:
            final = self._whole and self._newest == self._final
            context.send(self._roster.supervisor, Evaluated(self._newest, self._results, final))

    def _on_beat(self, message: Beat | Started, context: Context) -> None:
        context.after(self._pace.heartbeat_s, Beat())
        self._report(context)
        self._numbers.flush(context)
        if self._roster.supervisor:
            context.send(self._roster.supervisor, Alive())

    def _on_stop(self, message: StopRun, context: Context) -> None:
        self._numbers.flush(context)
        context.send(self._roster.supervisor, Stopped())
        context.stop(context.name)


class Ports(msgspec.Struct, frozen=True):
    """The two ports that an evaluator holds."""

    engine: Engine
    reward: Reward


def summarize(outcomes: dict[int, float], lengths: dict[int, int], rounds: int) -> dict[str, float]:
    """Accuracies and mean length; answer i is to problem i // rounds, the first of each is greedy, the rest sampled."""
    greedy = [value for number, value in outcomes.items() if number % rounds == 0]
    sampled = [value for number, value in outcomes.items() if number % rounds]
    solved: dict[int, float] = {}
    for number, value in outcomes.items():
        if number % rounds:
            solved[number // rounds] = max(solved.get(number // rounds, 0.0), value)
    sampled_lengths = [length for number, length in lengths.items() if number % rounds]
    results = {"n": float(len(greedy)), "greedy": mean(greedy), "sampled": mean(sampled)}
    results["tokens"] = mean([float(length) for length in sampled_lengths])
    if rounds > 2:
        results[f"pass{rounds - 1}"] = mean(list(solved.values()))
    return results


def by_difficulty(
    outcomes: dict[int, float], difficulties: Sequence[float], rounds: int
) -> dict[float, dict[str, float]]:
    """`n`, `greedy` and `sampled` of each difficulty, easiest first; nothing if there are one or very many of them."""
    found: dict[float, dict[int, float]] = defaultdict(dict)
    for number, value in outcomes.items():
        found[difficulties[number // rounds]][number] = value
    if not 1 < len(found) <= MOST_DIFFICULTIES:
        return {}
    result = {}
    for difficulty, some in sorted(found.items()):
        greedy = [value for number, value in some.items() if number % rounds == 0]
        sampled = [value for number, value in some.items() if number % rounds]
        result[difficulty] = {"n": float(len(greedy)), "greedy": mean(greedy), "sampled": mean(sampled)}
    return result


def mean(values: list[float]) -> float:
    """Arithmetic mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
