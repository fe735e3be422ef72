"""`braid eval MODEL_DIR`: accuracy of a model on the held-out problems of a task."""

from __future__ import annotations

import argparse
import json
from typing import Any

NAME = "eval"
HELP = "measure a model folder's accuracy on the held-out problems of a task"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", help="a Hugging Face model folder, e.g. RUN/versions/v00000100")
    parser.add_argument("--task", default="chains", help="a file of rewards/tasks (default: chains)")
    parser.add_argument("--task-seed", type=int, default=7, help="seed of the task's problems (a run's own seed)")
    parser.add_argument("-n", type=int, default=256, help="problems")
    parser.add_argument("--samples", type=int, default=8, help="answers sampled at temperature 1 per problem")
    parser.add_argument("--max-tokens", type=int, default=208)
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
    settings: dict[str, Any] = {"seed": args.task_seed}
    task = find_task(args.task, settings)
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
