"""`braid eval MODEL_DIR`: accuracy of a model on the held-out problems of a task."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

NAME = "eval"
HELP = "measure a model folder's accuracy on the held-out problems of a task"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", help="a run's folder, or a Hugging Face model folder, e.g. RUN/versions/v00000100")
    parser.add_argument("--task", default="", help="a file of rewards/tasks, or module:name (default: the run's own)")
    parser.add_argument("--task-seed", type=int, help="seed of the task's problems (default: the run's own)")
    parser.add_argument("-n", type=int, default=256, help="problems")
    parser.add_argument("--samples", type=int, default=8, help="answers sampled at temperature 1 per problem")
    parser.add_argument("--max-tokens", type=int, default=208, help="longest answer")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sampling")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Measure and print; the exit status."""
    results = evaluate(args)
    if args.json:
        print(json.dumps(results))
    else:
        for name, value in results.items():
            print(f"{name:>10}  {value:.4g}")
    return 0


def evaluate(args: argparse.Namespace) -> dict[str, float]:
    """Accuracies by the evaluator's own counting."""
    import numpy as np

    from actors.evaluator import summarize
    from buffers.errors import UsageError
    from buffers.segment import ids_of, token_arrays
    from cli.answering import Question, answer, existing_model
    from policies.engine import Sampling
    from policies.tokens import decode, encode, load_tokenizer
    from rewards.tasks.finding import find_task

    if args.n < 1 or args.samples < 0 or args.max_tokens < 1:
        raise UsageError(f"-n {args.n} --samples {args.samples} --max-tokens {args.max_tokens}: give positive numbers")
    folder = existing_model(args.model)
    codec = load_tokenizer(folder)
    task = find_task(*chosen_task(folder, args.task, args.task_seed))
    problems = task.prompts("held_out", args.n)
    rounds = 1 + args.samples
    stop = (codec.eos_token_id,)
    questions = []
    for problem in problems:
        ids = encode(codec, problem.text)
        prompt = token_arrays(ids, np.zeros(len(ids), np.float32))
        questions.append(Question(prompt, Sampling(0.0, 1.0, args.seed, stop)))
        questions += [Question(prompt, Sampling(1.0, 1.0, args.seed, stop))] * args.samples
    outcomes: dict[int, float] = {}
    lengths: dict[int, int] = {}
    for number, segment in answer(folder, questions, args.max_tokens):
        text = decode(codec, ids_of(segment.payload))
        outcomes[number] = task.outcome(text, problems[number // rounds].answer)
        lengths[number] = segment.length
    return summarize(outcomes, lengths, rounds)


def chosen_task(folder: Path, name: str, seed: int | None) -> tuple[str, dict[str, Any]]:
    """Name and settings of the task: as asked, or else of the run that the model folder lies in (RUN/versions/...)."""
    from cli.configuration import read_table
    from rewards.tasks.finding import seeded

    config = folder.resolve().parent.parent / "config.toml"
    own: dict[str, Any] = read_table(config).get("task", {}) if config.is_file() else {}
    settings = {} if name else dict(own.get("settings", {}))
    name = name or own.get("name", "chains")
    if seed is not None:
        settings.pop("seed", None)
    return name, seeded(name, settings, 7 if seed is None else seed)
