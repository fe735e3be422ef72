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
    parser.add_argument("--task", default="", help="a file of rewards/tasks, or module:name (default: the run's own)")
    parser.add_argument("--task-seed", type=int, help="seed of the task's problems (default: the run's own)")
    parser.add_argument("--config", default="", metavar="FILE", help="take the task from this config instead")
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


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Accuracies by the evaluator's own counting; `by_difficulty` where there are several."""
    import numpy as np

    from actors.evaluator import by_difficulty, summarize
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
    task = find_task(*chosen_task(folder, args.task, args.task_seed, args.config))
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
    shares = by_difficulty(outcomes, [problem.difficulty for problem in problems], rounds)
    told = {f"{difficulty:g}": one for difficulty, one in shares.items()}
    return {**summarize(outcomes, lengths, rounds), **({"by_difficulty": told} if told else {})}


def chosen_task(folder: Path, name: str, seed: int | None, source: str = "") -> tuple[str, dict[str, Any]]:
    """Name and settings of the task: as asked, or else of a config: `source`, or the run's that the folder lies in."""
    from cli.configuration import read_table
    from rewards.tasks.finding import seeded

    config = Path(source) if source else folder.resolve().parent.parent / "config.toml"
    table = read_table(config) if source or config.is_file() else {}
    own: dict[str, Any] = table.get("task", {})
    settings = {} if name else dict(own.get("settings", {}))
    name = name or own.get("name", "chains")
    if seed is not None:
        settings.pop("seed", None)
    return name, seeded(name, settings, table.get("seed", 7) if seed is None else seed)
