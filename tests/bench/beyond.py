"""Does reinforcement go beyond its supervision? `examples/cpu_beyond.toml`, by number of terms.

Supervised traces exist for 3 to 7 terms; the frontier climbs to 24. Three models of each seed are compared: the one
that the warm-up made (`before`), the one that reinforcement made of it, and the control, which goes on from the same
warm-up with its own traces and position skips, at its full rate falling to a fifth (averaged weights, as in the
warm-up), for as many CPU seconds as all processes of reinforcement took together. Each answers the same held-out
problems, about 64 of each number of terms. A trace is true if it names every step of the chain in order, with its right
operand and result (steps written twice count once).

A line for each band of lengths: `ours` is greedy accuracy after reinforcement, `theirs` the control's; accuracy at
each length stands in `greedy`, and beside it what was sampled at temperature 1 and the share of true traces. Seeds 311
to 313 were fixed before any of them was run; whatever was tuned was tuned on others.

    python -m tests.bench beyond
"""

from __future__ import annotations

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cli import configuration
from cli.run_config import RunConfig
from policies import warmup
from policies.generate import Lockstep
from policies.models import load_checkpoint
from policies.tokens import character_tokenizer, decode, encode
from rewards.tasks.chains import Chain, Task, write_trace
from rewards.tasks.chains import Config as ChainsConfig
from rewards.tasks.task import Prompt
from tests.bench.runs import Run, train

EXAMPLE = "examples/cpu_beyond.toml"
SEEDS = (311, 312, 313)
KEYS = {"evaluator.samples": 0, "pace.hang_s": 300}
"""The benchmark holds its own exams; and a loaded machine is no hanging actor."""
OF_EACH = 64
PROCESSES = 2
"""Controls at a time, one thread each; their seconds are those of a processor."""
BANDS = ((3, 7), (8, 12), (13, 18), (19, 24))
Figures = dict[str, dict[int, float]]


def run() -> Iterator[dict[str, Any]]:
    runs = [train(seed, KEYS, EXAMPLE) for seed in SEEDS]
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for seed, result, figures in zip(SEEDS, runs, pool.map(compared, runs), strict=True):
            yield from lines(seed, result, figures)


def compared(result: Run) -> dict[str, Figures]:
    """The exams of the three models of a seed, the control trained first."""
    torch.set_num_threads(1)
    config = configuration.load(RunConfig, result.folder / "config.toml")
    task = Task(ChainsConfig(**config.task.settings))
    figures = {"before": exam(task, result.folder / "model"), "after": exam(task, result.model)}
    return figures | {"control": exam(task, control(task, result, config.model.warmup, result.training_cpu_s))}


def lines(seed: int, result: Run, figures: dict[str, Figures]) -> Iterator[dict[str, Any]]:
    """One line for each band."""
    for low, high in BANDS:
        greedy, sampled, true = (
            {name: mean_over(one[kind], low, high) for name, one in figures.items()}
            for kind in ("greedy", "sampled", "true")
        )
        yield {
            "case": f"seed {seed}, {low} to {high} terms",
            "ours": greedy["after"],
            "peer": "more supervised training",
            "theirs": greedy["control"],
            "ratio": greedy["after"] / max(greedy["control"], 1e-9),
            "unit": "held-out accuracy, greedy",
            "runs": 1,
            "before": greedy["before"],
            "sampled": sampled,
            "true_traces": true,
            "greedy": {name: one["greedy"] for name, one in figures.items()},
            "prepare_s": round(result.prepare_s),
            "training_s": round(result.training_s),
            "training_cpu_s": round(result.training_cpu_s),
            "wall_s": round(result.wall_s),
        }


def mean_over(shares: dict[int, float], low: int, high: int) -> float:
    """The mean over the lengths of a band."""
    return float(np.mean([share for terms, share in shares.items() if low <= terms <= high]))


def exam(task: Task, folder: Path) -> Figures:
    """Shares by number of terms: right greedily, right when sampled, and true traces among the greedy ones."""
    model, codec = load_checkpoint(folder)
    chosen: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in task.prompts("held_out", OF_EACH * (task.config.longest - task.config.shortest + 1)):
        chosen[int(prompt.difficulty)].append(prompt)
    found: Figures = {"greedy": {}, "sampled": {}, "true": {}}
    for terms, prompts in sorted(chosen.items()):
        for kind, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            done = Lockstep(model).generate(
                [encode(codec, prompt.text) for prompt in prompts],
                max_tokens=208,
                stop_id=codec.eos_token_id,
                temperature=temperature,
                rng=torch.Generator().manual_seed(7),
            )
            texts = [decode(codec, one.ids) for one in done]
            right = [task.outcome(text, prompt.answer) for text, prompt in zip(texts, prompts, strict=True)]
            found[kind][terms] = float(np.mean(right))
            if kind == "greedy":
                true = [is_true(text, prompt.text) for text, prompt in zip(texts, prompts, strict=True)]
                found["true"][terms] = float(np.mean(true))
    return found


def is_true(response: str, prompt: str) -> bool:
    """Whether a response is the careful trace of a prompt, but for steps that are written twice."""
    chain = Chain(prompt[0] + prompt[2:-1:2], int(prompt[1]), prompt[3:-1:2])
    steps = response[1:].replace("?", "?|").replace("!", "!|").split("|")
    once = [step for place, step in enumerate(steps) if not step.endswith("?") or steps[place + 1][:-1] != step[:-1]]
    return response[:1] + "".join(once) == write_trace(
        chain, "careful", ChainsConfig(repeat=0.0), np.random.default_rng(0)
    )


def control(task: Task, result: Run, config: warmup.Config, seconds: float) -> Path:
    """The folder of the warmed-up model after so many CPU seconds more of the supervised phase."""
    model, _ = load_checkpoint(result.folder / "model")
    codec = character_tokenizer()
    rng = np.random.Generator(np.random.PCG64([config.seed, 72]))
    source = warmup.batches(task, codec, rng, config, lambda: (config.mix_a, config.hardest, 8))
    pupil = warmup.Pupil(model, (config.muon_rate, config.adam_rate), config.decay)
    began = time.process_time()
    while (used := (time.process_time() - began) / seconds) < 1.0:
        pupil.learn(next(source), 1.0 - 0.8 * used)
    folder = result.folder / "control"
    warmup.save_model(pupil.averaged(), codec, folder)
    return folder
