"""The CPU example against TRL's GRPOTrainer: wall time to the same held-out accuracy, from the same warmed-up model.

Both get the task's training prompts, 8 prompts x 8 samples an update at temperature 1, at most 208 tokens, GRPO with
clips .2 and .28, AdamW 5e-4 (.9, .95), clipping at 1. TRL draws its prompts uniformly, is on policy, generates with
transformers' `generate`, and has the better of 1 and 2 torch threads (both are shown); Braid runs asynchronously in
its processes of one thread each. The exam: greedy accuracy on the 256 held-out problems after every 10 updates. TRL's
clock stands still in exams; Braid's goes on, with its evaluator on the same cores. `ours` and `theirs` are seconds
from the first weights to the first examined version at `GOAL`; where TRL does not come to it within `MOST_S`, `theirs`
is a lower bound, and `reached` says so.

    python -m tests.bench trl
    python -m tests.bench.trl MODEL SEED THREADS          one try of TRL's
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from actors.eventlog import read_events
from actors.kernel.backend import Decision
from tests.bench.runs import ROOT, Run, train

SEED = 231
GOAL = 0.85
EXAM_EVERY = 10
MOST_S = 300.0
KEYS = {
    "trainer.objective": "grpo",
    "trainer.objective_settings": '{divide_by = "tokens"}',
    "trainer.update.updates_per_reference": 1,
    "evaluator.every": EXAM_EVERY,
    "evaluator.samples": 0,
    "evaluator.samples_between": 0,
}


def run() -> Iterator[dict[str, Any]]:
    ours = train(SEED, KEYS)
    took = reached(ours)
    for threads in (1, 2):
        words = [sys.executable, "-m", "tests.bench.trl", str(ours.folder / "model"), str(SEED), str(threads)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        theirs = json.loads(done.stdout.splitlines()[-1])
        yield {
            "case": f"time to {GOAL} greedy, TRL on {threads} thread(s)",
            "ours": round(took, 1),
            "peer": "TRL's GRPOTrainer",
            "theirs": theirs["seconds"],
            "ratio": theirs["seconds"] / took,
            "unit": "s",
            "runs": 1,
            "reached": theirs["reached"],
            "exams": theirs["exams"],
        }


def reached(ours: Run) -> float:
    """Seconds from the first version to the first examined one at the goal."""
    published: dict[int, int] = {}
    for one in read_events([ours.folder / "events"]):
        if isinstance(one, Decision) and one.kind == "publish":
            published.setdefault(int(one.fields[0]), one.at_ns)
        elif isinstance(one, Decision) and one.kind == "evaluated" and int(one.fields[1]) >= 1000 * GOAL:
            return (published[int(one.fields[0])] - published[0]) / 1e9
    raise RuntimeError(f"no examined version came to {GOAL}")


def one_try(model: str, seed: int, threads: int) -> dict[str, Any]:
    """TRL's seconds to the goal, and what its exams said."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from policies.generate import Lockstep
    from policies.models import load_checkpoint
    from policies.tokens import decode, encode
    from rewards.tasks.chains import Config, Task

    torch.set_num_threads(threads)
    task, (policy, codec) = Task(Config(seed=seed)), load_checkpoint(model)
    codec.padding_side = "left"  # type: ignore[attr-defined]
    held_out = task.prompts("held_out", 256)

    def right(completion_ids: list[list[int]], answer: list[str], **_: object) -> list[float]:
        texts = [decode(codec, np.array(ids)) for ids in completion_ids]
        return [task.outcome(text, one) for text, one in zip(texts, answer, strict=True)]

    def accuracy() -> float:
        done = Lockstep(policy).generate(
            [encode(codec, prompt.text) for prompt in held_out],
            max_tokens=208,
            stop_id=codec.eos_token_id,
            temperature=0.0,
            rng=torch.Generator(),
        )
        return float(np.mean(right([one.ids.tolist() for one in done], [prompt.answer for prompt in held_out])))

    class Exams(TrainerCallback):  # type: ignore[misc]
        """Stops the clock for an exam every so many updates, and the training at the goal."""

        def __init__(self) -> None:
            self.paused, self.began, self.seconds = 0.0, 0.0, 0.0
            self.marks: list[tuple[int, float, float]] = []

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:
            self.began = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
            if state.global_step % EXAM_EVERY:
                return
            stopped = time.monotonic()
            self.seconds = stopped - self.began - self.paused
            self.marks.append((state.global_step, round(self.seconds, 1), accuracy()))
            control.should_training_stop = self.marks[-1][2] >= GOAL or self.seconds > MOST_S
            self.paused += time.monotonic() - stopped

    exams = Exams()
    prompts = task.prompts("train", 2048)
    with tempfile.TemporaryDirectory(prefix="braid-trl-") as folder:
        trainer = GRPOTrainer(
            model=policy,
            reward_funcs=right,
            args=GRPOConfig(
                output_dir=folder,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to="none",
                save_strategy="no",
                logging_steps=EXAM_EVERY,
                disable_tqdm=True,
                seed=seed,
                max_steps=1000,
                per_device_train_batch_size=64,
                num_generations=8,
                max_completion_length=208,
                temperature=1.0,
                learning_rate=5e-4,
                lr_scheduler_type="constant",
                adam_beta1=0.9,
                adam_beta2=0.95,
                max_grad_norm=1.0,
                beta=0.0,
                epsilon=0.2,
                epsilon_high=0.28,
            ),
            train_dataset=Dataset.from_list([{"prompt": one.text, "answer": one.answer} for one in prompts]),
            processing_class=codec,
            callbacks=[exams],
        )
        trainer.train()
    came = bool(exams.marks) and exams.marks[-1][2] >= GOAL
    return {"seconds": round(exams.seconds, 1), "reached": came, "exams": exams.marks}


if __name__ == "__main__":
    print(json.dumps(one_try(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
