"""`braid eval MODEL_DIR`: accuracy of a model on the held-out problems of a task, as a whole and by difficulty."""

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
    parser.add_argument("--task", help="a file of rewards/tasks, or module:name (default: the run's own, else chains)")
    parser.add_argument("--task-seed", type=int, help="seed of the task's problems (default: the run's own, else 7)")
    parser.add_argument(
        "--config", default="", metavar="FILE", help="take the task from here (default: RUN/config.toml)"
    )
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
        by_difficulty = results.pop("by_difficulty", {})
        for name, value in results.items():
            print(f"{name:>10}  {value:.4g}")
        if by_difficulty:
            print("difficulty  problems  greedy  sampled")
        for difficulty, one in by_difficulty.items():
            print(f"{difficulty:>10}  {one['n']:8.0f}  {one['greedy']:6.3f}  {one['sampled']:7.3f}")
    return 0


def task_of(args: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """The task's name and settings: of `--config`, or of the run that the model folder lies in (RUN/versions/...)."""
    from cli import configuration
    from cli.run_config import RunConfig
    from rewards.tasks.finding import seeded

    beside = folder.resolve().parent.parent / "config.toml"
    path = Path(args.config) if args.config else beside if beside.is_file() else None
    config = configuration.load(RunConfig, path)
    name = args.task or config.task.name
    settings = dict(config.task.settings) if name == config.task.name else {}
    if args.task_seed is None:
        return name, seeded(name, settings, config.seed)
    settings.pop("seed", None)
    return name, seeded(name, settings, args.task_seed)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Accuracies by the evaluator's own counting; `by_difficulty` where there are several."""
    import numpy as np

    from actors.evaluator import by_difficulty, summarize
    from buffers.errors import UsageError
    from buffers.segment import ids_of, token_arrays
    from cli.answering import Question, answer, existing_model
    from policies.engine import Sampling
    from policies.tokens import decode, encode, load_tokenizer, stop_ids
    from rewards.tasks.finding import find_task

    if args.n < 1 or args.samples < 0 or args.max_tokens < 1:
        raise UsageError(f"-n {args.n} --samples {args.samples} --max-tokens {args.max_tokens}: give positive numbers")
    folder = existing_model(args.model)
    codec = load_tokenizer(folder)
    task = find_task(*task_of(args, folder))
    problems = task.prompts("held_out", args.n)
    rounds = 1 + args.samples
    stop = stop_ids(codec)
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
    shares = by_difficulty(outcomes, [problem.difficulty for problem in problems], rounds)
    told = {f"{difficulty:g}": one for difficulty, one in shares.items()}
    return {**summarize(outcomes, lengths, rounds), **({"by_difficulty": told} if told else {})}
