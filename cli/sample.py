"""`braid sample MODEL_DIR "prompt"`: what a model answers."""

from __future__ import annotations

import argparse

NAME = "sample"
HELP = "print a model folder's answers to a prompt"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", help="a run's folder, or a Hugging Face model folder, e.g. RUN/versions/v00000100")
    parser.add_argument("prompt", help='e.g. "a6b+c*d(="')
    parser.add_argument("-n", type=int, default=4, help="answers")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest tokens of this share")
    parser.add_argument("--max-tokens", type=int, default=208, help="longest answer")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling")
    parser.add_argument("--chat", action="store_true", help="put the prompt through the tokenizer's chat template")


def main(args: argparse.Namespace) -> int:
    """Sample and print; the exit status."""
    import numpy as np

    from buffers.errors import UsageError
    from buffers.segment import ids_of, logps_of, token_arrays
    from cli.answering import Question, answer, existing_model
    from policies.engine import Sampling
    from policies.tokens import chat_text, decode, encode, load_tokenizer, stop_ids

    if args.n < 1 or args.max_tokens < 1 or args.temperature < 0 or not 0 < args.top_p <= 1:
        raise UsageError("-n and --max-tokens must be at least 1, --temperature 0 or more, --top-p in (0, 1]")
    folder = existing_model(args.model)
    codec = load_tokenizer(folder)
    ids = encode(codec, chat_text(codec, args.prompt) if args.chat else args.prompt)
    if not len(ids):
        raise UsageError("the prompt is empty; give some text")
    prompt = token_arrays(ids, np.zeros(len(ids), np.float32))
    sampling = Sampling(args.temperature, args.top_p, args.seed, stop_ids(codec))
    answers = dict(answer(folder, [Question(prompt, sampling)] * args.n, args.max_tokens))
    for number in range(args.n):
        segment = answers[number]
        logp = float(logps_of(segment.payload).sum())
        text = decode(codec, ids_of(segment.payload))
        print(f"{text}    [{segment.length} tokens, {segment.end}, log-prob {logp:.2f}]")
    return 0
