"""Supervised warm-up of a tiny model: phase A plants an ability, phase B hides it behind habits.

    A  nearly all careful traces --> exam (averaged weights, careful start forced), passed? --no--> more of A
    B  mostly direct answers, few careful ones --> exam once more, failed? --> A with small rates, then B again

Reinforcement then finds the careful mode. The exams matter: it selects what the warm-up has planted and finds nothing
else. Hidden matrices learn by Muon, the rest by AdamW. The result is a function of the config and the lesson; `ensure`
keeps it in a folder named by their digest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import msgspec
import numpy as np
import torch
from torch import nn

from policies.generate import Lockstep
from policies.models import TinyConfig, logps_of_tokens, save_model, tiny_model
from policies.tokens import Codec, IntArray, encode, stop_ids

Tensor = torch.Tensor
Rng = np.random.Generator


@dataclass(frozen=True)
class Config:
    """How the warm-up goes."""

    seed: int = 0
    """Of weights and traces; a run takes its own seed."""
    batch: int = 32
    """Traces per step."""
    muon_rate: float = 0.03
    """Phase A's rate of the hidden matrices."""
    adam_rate: float = 5e-3
    """Phase A's rate of everything else."""
    decay: float = 0.98
    """Of the exponential average of the weights."""
    rise_steps: int = 50
    """Steps until phase A's rate is full."""
    flat_steps: int = 250
    """Step at which it begins to fall."""
    fall_steps: int = 700
    """Phase A's rate rises to `rise_steps`, is flat to `flat_steps`, then falls to a fifth at `fall_steps`."""
    most_steps: int = 900
    """Steps of phase A at most."""
    exam_from: int = 200
    """First step with an exam."""
    exam_every: int = 50
    """Steps between exams."""
    pass_mark: float = 0.93
    """Forced accuracy that ends phase A."""
    mix_a: tuple[float, ...] = (0.05, 0.05, 0.90)
    """Phase A's probabilities of the lesson's kinds of trace."""
    mix_b: tuple[float, ...] = (0.70, 0.15, 0.15)
    """Probabilities of the lesson's kinds of trace; B's are what the model shows before reinforcement."""
    steps_b: int = 100
    """Steps of phase B, and of each return to A's mix."""
    muon_rate_b: float = 6e-3
    """Phase B's rate of the hidden matrices."""
    adam_rate_b: float = 1e-3
    """Phase B's rate of everything else."""
    pass_mark_b: float = 0.93
    """Forced accuracy that ends phase B."""
    rounds: int = 3
    """How often phase B runs at most."""
    easiest: int = 4
    """Terms of the longest problem at first."""
    hardest: int = 16
    """Terms of the longest problem in the end."""
    growth_steps: int = 55
    """The longest problem grows from `easiest` to `hardest` over so many steps."""
    skip_share: float = 0.0
    """Probability that positions skip at a joint of a trace: a model that saw short traces only has then seen far
    positions too. It needs a lesson that knows its joints."""
    skip_most: int = 24
    """Most positions that one skip leaves out."""


class Lesson(Protocol):
    """Where traces come from. Where positions skip it also has `joints(prompt, response) -> places` (see `Jointed`)."""

    def trace(self, rng: Rng, mix: Sequence[float], longest: int) -> tuple[str, str]:
        """A prompt and a supervised response."""

    def outcome(self, response: str, answer: str) -> float:
        """1 if the response's answer is right."""


class Jointed(Lesson, Protocol):
    """A lesson whose traces have joints."""

    def joints(self, prompt: str, response: str) -> Sequence[int]:
        """Rising places in prompt + response, in tokens, before which positions may skip."""


@dataclass(frozen=True)
class Exam:
    """Problems that decide whether the ability is there: each response is forced to begin with `force`."""

    problems: tuple[tuple[str, str], ...]
    """(prompt, answer) pairs, none of them among those that later measure learning."""
    force: str
    max_tokens: int = 208


class Report(msgspec.Struct, frozen=True):
    """What a warm-up came to."""

    steps: int
    """Of phase A."""
    passed: bool
    planted: float
    """Forced accuracy after phase A."""
    forced: float
    """Forced accuracy after phase B."""
    rounds: int


class Traces(NamedTuple):
    """A batch of supervised traces."""

    ids_BT: Tensor
    """int64, right-padded with 0."""
    mask_BT: Tensor
    """float32, 1 in responses."""
    positions_BT: Tensor | None
    """int64; None where they are 0, 1, 2 ..."""


def batches(
    lesson: Lesson, codec: Codec, rng: Rng, config: Config, draw: Callable[[], tuple[Sequence[float], int, int]]
) -> Iterator[Traces]:
    """Endless batches of supervised traces; `draw` gives (mix, longest, pool).

    `pool` batches are drawn at once and sorted by length, so that little is padded. With more than one batch in a pool
    the short kinds stand apart and weigh more in a mean over tokens.
    """
    size = config.batch
    while True:
        mix, longest, pool = draw()
        pairs = [lesson.trace(rng, mix, longest) for _ in range(size * pool)]
        pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        for start in rng.permutation(pool) * size:
            rows = [
                (encode(codec, prompt), encode(codec, response)) for prompt, response in pairs[start : start + size]
            ]
            width = max(len(prompt) + len(response) for prompt, response in rows)
            ids_BT, mask_BT = np.zeros((size, width), np.int64), np.zeros((size, width), np.float32)
            for row, (prompt, response) in enumerate(rows):
                ids_BT[row, : len(prompt) + len(response)] = np.concatenate([prompt, response])
                mask_BT[row, len(prompt) : len(prompt) + len(response)] = 1.0
            positions_BT = None
            if config.skip_share:
                steps_BT = np.ones((size, width), np.int64)
                for row, pair in enumerate(pairs[start : start + size]):
                    places = np.array(cast(Jointed, lesson).joints(*pair))
                    skips = rng.integers(1, config.skip_most + 1, len(places))
                    steps_BT[row, places] += skips * (rng.random(len(places)) < config.skip_share)
                positions_BT = torch.from_numpy(steps_BT.cumsum(1) - 1)
            yield Traces(torch.from_numpy(ids_BT), torch.from_numpy(mask_BT), positions_BT)


def forced_accuracy(model: nn.Module, lesson: Lesson, codec: Codec, exam: Exam) -> float:
    """Share of the exam's problems that greedy decoding solves when the response begins with `force`."""
    prompts: list[IntArray] = [encode(codec, text + exam.force) for text, _ in exam.problems]
    (stop_id,) = stop_ids(codec)
    done = Lockstep(model).generate(
        prompts, max_tokens=exam.max_tokens, stop_id=stop_id, temperature=0.0, rng=torch.Generator()
    )
    texts = [exam.force + codec.decode(one.ids.tolist()) for one in done]
    return float(
        np.mean([lesson.outcome(text, answer) for text, (_, answer) in zip(texts, exam.problems, strict=True)])
    )


class Pupil:
    """A model, its two optimizers, and the exponential average of its weights."""

    def __init__(self, model: nn.Module, rates: tuple[float, float], decay: float) -> None:
        self.model, self.decay, self.rates = model, decay, rates
        hidden = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
        chosen = {id(weight) for weight in hidden}
        rest = [weight for weight in model.parameters() if id(weight) not in chosen]
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(hidden, lr=rates[0], momentum=0.95, weight_decay=0.0),
            torch.optim.AdamW(rest, lr=rates[1], betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        )
        self.mean = [weight.detach().clone() for weight in model.parameters()]
        self.count = 0

    def learn(self, traces: Traces, scale: float) -> float:
        """One step at `scale` of the rates; the loss is the mean over response tokens."""
        logp_BT, _ = logps_of_tokens(self.model, traces.ids_BT, 1.0, positions_BT=traces.positions_BT)
        loss = -(logp_BT * traces.mask_BT).sum() / traces.mask_BT.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.count += 1
        weight = 1.0 - min(self.decay, (1.0 + self.count) / (10.0 + self.count))
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, list(self.model.parameters()), weight)
        return float(loss.detach())

    def averaged(self) -> nn.Module:
        """A copy of the model that holds the averaged weights."""
        twin = type(self.model)(self.model.config)
        with torch.no_grad():
            for target, source in zip(twin.parameters(), self.mean, strict=True):
                target.copy_(source)
        return twin


def _scale_a(step: int, config: Config) -> float:
    if step < config.rise_steps:
        return (step + 1) / config.rise_steps
    fallen = (step - config.flat_steps) / (config.fall_steps - config.flat_steps)
    return 1.0 - 0.8 * min(1.0, max(0.0, fallen))


def warm_up(
    lesson: Lesson, exam: Exam, codec: Codec, config: Config, say: Callable[[str], None]
) -> tuple[nn.Module, Report]:
    """Run both phases on a fresh tiny model; `say` gets a line per exam."""
    rng = np.random.Generator(np.random.PCG64([config.seed, 71]))
    pupil = Pupil(tiny_model(TinyConfig(), config.seed), (config.muon_rate, config.adam_rate), config.decay)

    def easy_first() -> tuple[Sequence[float], int, int]:
        grown = min(1.0, pupil.count / config.growth_steps)
        return config.mix_a, round(config.easiest + grown * (config.hardest - config.easiest)), 8

    def taught(mix: Sequence[float], pool: int) -> nn.Module:
        source = batches(lesson, codec, rng, config, lambda: (mix, config.hardest, pool))
        return _anneal(model, source, config)

    source, planted, model = batches(lesson, codec, rng, config, easy_first), 0.0, pupil.model
    while pupil.count < config.most_steps:
        loss = pupil.learn(next(source), _scale_a(pupil.count, config))
        if pupil.count >= config.exam_from and pupil.count % config.exam_every == 0:
            model = pupil.averaged()
            planted = forced_accuracy(model, lesson, codec, exam)
            say(f"phase A step={pupil.count} loss={loss:.4f} forced={planted:.3f}")
            if planted >= config.pass_mark:
                break
    steps, forced, rounds = pupil.count, planted, 0
    while rounds == 0 or (rounds < config.rounds and forced < config.pass_mark_b):
        if forced < config.pass_mark:
            model = taught(config.mix_a, 8)
        model = taught(config.mix_b, 1)
        forced, rounds = forced_accuracy(model, lesson, codec, exam), rounds + 1
        say(f"phase B round={rounds} forced={forced:.3f}")
    return model, Report(steps, forced >= config.pass_mark_b, planted, forced, rounds)


def _anneal(model: nn.Module, source: Iterator[Traces], config: Config) -> nn.Module:
    """Go on from `model` with small rates that fall to a tenth."""
    pupil = Pupil(model, (config.muon_rate_b, config.adam_rate_b), config.decay)
    for step in range(config.steps_b):
        pupil.learn(next(source), 1.0 - 0.9 * step / config.steps_b)
    return model


def ensure(
    root: str | Path, lesson: Lesson, exam: Exam, codec: Codec, config: Config, say: Callable[[str], None]
) -> tuple[Path, Report, bool]:
    """The model folder of these settings under `root`, made first where it is missing; True if it was there.

    The folder's name is a digest of the config, the exam and a sample of the lesson's traces, so other settings make
    another folder. It appears whole, by a rename.
    """
    folder = Path(root) / digest(lesson, exam, config)
    if (folder / "warmup.json").exists():
        report = msgspec.json.decode((folder / "warmup.json").read_bytes(), type=Report)
        return folder, report, True
    model, report = warm_up(lesson, exam, codec, config, say)
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    save_model(model, codec, draft)
    (draft / "warmup.json").write_bytes(msgspec.json.encode(report))
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder, report, False


def digest(lesson: Lesson, exam: Exam, config: Config) -> str:
    """A name for everything that the warm-up's result depends on, beside the code."""
    rng = np.random.Generator(np.random.PCG64(1))
    sample = [lesson.trace(rng, config.mix_a, config.hardest) for _ in range(64)]
    text = msgspec.json.encode([asdict(config), asdict(exam), sample])
    return f"warmup-{hashlib.sha256(text).hexdigest()[:16]}"
