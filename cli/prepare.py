"""Prepares a run: checks the config, warms up the model, writes prompts, problems and settings into the run's folder.

    config.toml --check--> model (warmed up, cached) --> RUN/model, prompts, problems, run.json, config.toml

It runs as a process of its own (`python -m cli.prepare`), so that the launcher never loads torch. Bad input ends in one
line on the standard error and exit status 2, before anything is written into the folder.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from actors.cast import RunSettings, buffer_config
from actors.evaluator import EvaluatorConfig, Problem
from actors.roster import Roster
from actors.schedules.schedule import find_schedule
from buffers.buffer import Buffer
from buffers.errors import UsageError
from buffers.rows import PromptRow
from buffers.segment import token_arrays
from cli import configuration
from cli.main import complain
from cli.one_card import plan_card
from cli.run_config import RunConfig, shortened
from policies import warmup
from policies.device import find_device, named_device
from policies.engine import Sampling
from policies.engines.sglang.config import SGLangConfig
from policies.models import use_threads
from policies.objectives.objective import find_objective
from policies.tokens import Codec, character_tokenizer, encode, load_tokenizer, stop_ids
from rewards.scorer import Config as ScorerConfig
from rewards.scorer import check as check_rewards
from rewards.tasks.chains import CAREFUL
from rewards.tasks.finding import find_task, seeded
from rewards.tasks.task import Prompt, Task

DISK_BYTES = 1 << 30
"""Free space that a run wants at least."""


class Order(msgspec.Struct, frozen=True):
    """What the launcher asks for."""

    config: str
    """Path of a TOML file; empty: all defaults."""
    settings: tuple[str, ...] = ()
    """`part.key=value` of the command line."""
    run_dir: str = ""
    """Empty: check only."""
    short: bool = False
    """Make it a look rather than a result (`cli.run_config.shortened`)."""


def main(argv: list[str]) -> int:
    """Carry out the order in `argv[0]` (JSON); the exit status."""
    use_threads(1)
    try:
        prepare(msgspec.json.decode(argv[0], type=Order), lambda line: print(line, flush=True))
    except UsageError as error:
        return complain(error, 2, False)
    except KeyboardInterrupt:
        return 130
    return 0


def prepare(order: Order, say: Callable[[str], None]) -> None:
    """Check everything; then, if a folder is named, fill it."""
    config = configuration.load(RunConfig, Path(order.config) if order.config else None, order.settings)
    config = with_seed(shortened(config) if order.short else config)
    task = find_task(config.task.name, config.task.settings)
    check_plugins(config)
    if "wandb" in config.sinks and importlib.util.find_spec("wandb") is None:
        raise UsageError('sinks names wandb, which is not installed; pip install "braid-rl[wandb]" or leave it out')
    if config.model.path:
        if not Path(config.model.path).is_dir():
            raise UsageError(
                f"model.path = {config.model.path!r}: there is no such folder; download a Hugging Face model there, or "
                "name one that is here"
            )
        if not stop_ids(load_tokenizer(config.model.path)):
            raise UsageError(
                f"model.path = {config.model.path!r}: its tokenizer has no end-of-sequence token, so every response "
                "would be as long as it may; name one as eos_token in tokenizer_config.json"
            )
    if config.generates_with == "sglang":
        find_sglang(config.sglang)
    if not order.run_dir:
        if config.cluster.colocated:
            find_device(config.trainer.device)
            if config.model.path:
                say(plan_card(config, config.model.path).words)
        return
    folder = Path(order.run_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; name another --run-dir") from None
    if shutil.disk_usage(folder).free < DISK_BYTES:
        raise UsageError(f"{folder}: less than {DISK_BYTES >> 20} MiB of disk are free; name another --run-dir")
    model = Path(config.model.path) if config.model.path else warmed_up(config, task, say)
    shutil.copytree(model, folder / "model")
    codec = load_tokenizer(folder / "model")
    longest = write_prompts(config, task, codec, folder)
    needed = longest + config.schedule.max_response_tokens
    for section, room in config.contexts().items():
        if needed > room:
            raise UsageError(
                f"{section}.context_tokens = {room}: the longest prompt ({longest} tokens) and "
                f"schedule.max_response_tokens need {needed}"
            )
    settings = run_settings(config, folder, codec)
    if config.cluster.colocated:
        plan = plan_card(config, folder / "model")
        say(plan.words)
        settings = plan.applied(settings, folder)
    (folder / "config.toml").write_text(configuration.dump(config), encoding="utf-8")
    (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(settings), indent=1))


def check_plugins(config: RunConfig) -> None:
    """See that what the config names can be made: devices, objective, schedule, priority rule, rewards."""
    for device in (config.trainer.device, config.engine.device):
        named_device(device)
    objective = find_objective(config.trainer.objective, config.trainer.objective_settings)
    objective.check(config.trainer.update.updates_per_reference)
    find_schedule(config.rule, config.schedule)
    Buffer(buffer_config(RunSettings(schedule=config.schedule, buffer=config.buffer)))  # refuses what cannot work
    check_rewards(msgspec.convert(scorer_section(config), ScorerConfig))


def find_sglang(config: SGLangConfig) -> None:
    """See that servers can be started where the config says; one that runs already is looked for later."""
    if importlib.util.find_spec("aiohttp") is None:
        raise UsageError("generates_with = 'sglang' needs aiohttp here: pip install 'braid-rl[sglang]'")
    if config.url:
        return
    python = config.python or sys.executable
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sglang') is None)"
    try:
        status = subprocess.run([python, "-P", "-c", look], capture_output=True, check=False).returncode
    except OSError as problem:
        raise UsageError(f"sglang.python = {python!r} cannot be run ({problem.strerror}); make sglang-cpu") from None
    if status:
        raise UsageError(f"sglang.python = {python!r} has no SGLang; name the interpreter that make sglang-cpu makes")


def with_seed(config: RunConfig) -> RunConfig:
    """Let the task's and the warm-up's seeds follow the run's."""
    task = dataclasses.replace(config.task, settings=seeded(config.task.name, config.task.settings, config.seed))
    rise = dataclasses.replace(config.model.warmup, seed=config.seed)
    return dataclasses.replace(config, task=task, model=dataclasses.replace(config.model, warmup=rise))


def warmed_up(config: RunConfig, task: Task, say: Callable[[str], None]) -> Path:
    """The folder of the tiny model after its supervised warm-up, from the cache if it is there."""
    if not hasattr(task, "trace"):
        raise UsageError(f"task {config.task.name} has no supervised traces: name a model folder with model.path")
    cache = Path(config.model.cache) if config.model.cache else Path.home() / ".cache" / "braid" / "warmups"
    cache.mkdir(parents=True, exist_ok=True)
    lesson: warmup.Lesson = cast("warmup.Lesson", task)
    exam = warmup.Exam(exam_problems(task, config.model.exam, config.model.warmup.hardest), CAREFUL)
    folder = cache / warmup.digest(lesson, exam, config.model.warmup)
    _, report, cached = warmup.ensure(cache, lesson, exam, character_tokenizer(), config.model.warmup, say)
    say(f"warm-up {'from the cache' if cached else 'done'}: forced accuracy {report.forced:.3f}, {folder}")
    return folder


def exam_problems(task: Task, count: int, hardest: float) -> tuple[tuple[str, str], ...]:
    """(prompt, answer) of the first validation problems that are no harder than what is taught."""
    asked = count
    while True:
        drawn = task.prompts("validation", asked)
        found = [(prompt.text, prompt.answer) for prompt in drawn if prompt.difficulty <= hardest]
        if len(found) >= count:
            return tuple(found[:count])
        asked *= 2


def write_prompts(config: RunConfig, task: Task, codec: Codec, folder: Path) -> int:
    """Write the tokenized prompt set and the held-out problems; the longest prompt's tokens."""
    rows = tuple(
        PromptRow(number, payload_of(prompt, codec), prompt.answer, prompt.difficulty)
        for number, prompt in enumerate(task.prompts("train", config.task.train_prompts))
    )
    problems = tuple(
        Problem(payload_of(prompt, codec), prompt.answer, prompt.difficulty)
        for prompt in task.prompts("held_out", config.task.held_out)
    )
    (folder / "prompts.msgpack").write_bytes(msgspec.msgpack.encode(rows))
    (folder / "problems.msgpack").write_bytes(msgspec.msgpack.encode(problems))
    return max(row.payload.length for row in rows)


def payload_of(prompt: Prompt, codec: Codec) -> Any:
    """A prompt's ids with log-probabilities of zero."""
    ids = encode(codec, prompt.text)
    return token_arrays(ids, np.zeros(len(ids), np.float32))


def run_settings(config: RunConfig, folder: Path, codec: Codec) -> dict[str, Any]:
    """The settings that every actor of the run gets, with the sections of the ports."""
    generators = tuple(f"generator-{number}" for number in range(config.generators))
    rewarders = tuple(f"rewarder-{number}" for number in range(config.rewarders))
    roster = Roster(
        generators=generators,
        rewarders=rewarders,
        evaluator="evaluator",
        recorder="recorder",
        supervisor="supervisor",
    )
    ends = stop_ids(codec)
    evaluator = msgspec.structs.replace(
        config.evaluator, stop_ids=ends, max_response_tokens=config.schedule.max_response_tokens
    )
    shared = RunSettings(
        seed=config.seed,
        roster=roster,
        pace=config.pace,
        schedule=config.schedule,
        rule=config.rule,
        sampling=Sampling(config.sampling.temperature, 1.0, config.seed, ends),
        buffer=config.buffer,
        restarts=config.restarts,
        evaluator=EvaluatorConfig(**msgspec.structs.asdict(evaluator)),
    )
    model = str((folder / "model").resolve())
    engine = dataclasses.replace(config.engine, model=model)
    trainer = dataclasses.replace(
        config.trainer, model=model, checkpoints=str((folder / "versions").resolve()), ring=ring_name(folder)
    )
    python = str(Path(config.sglang.python).absolute()) if config.sglang.python else ""
    logs = folder.resolve() / "logs"
    sglang = dataclasses.replace(config.sglang, model=model, python=python, log=str(logs / "sglang.log"))
    names = (*generators, *(("evaluator",) if config.sglang.evaluator == "sglang" else ()))
    sections = {
        "run_dir": str(folder.resolve()),
        "sinks": config.sinks,
        "model": model,
        "generates_with": config.generates_with,
        "cluster": config.cluster,
        "engine": engine,
        "sglang": sglang,
        "own": {name: {"sglang": {"log": str(logs / f"sglang-{name}.log")}} for name in names},
        "trainer": trainer,
        "scorer": scorer_section(config),
        "store": {"path": str((folder / "store").resolve())},
        "prompts": {"path": str((folder / "prompts.msgpack").resolve())},
        "problems": {"path": str((folder / "problems.msgpack").resolve())},
    }
    return {**msgspec.to_builtins(shared), **msgspec.to_builtins(sections)}


def scorer_section(config: RunConfig) -> dict[str, Any]:
    """The scorer's section: the rewards of the config, or the task's own outcome."""
    names = config.rewards.rewards or ("task_outcome",)
    own = {"task_outcome": {"task": config.task.name, "settings": config.task.settings}}
    settings = {**(own if "task_outcome" in names else {}), **config.rewards.settings}
    return {"rewards": names, "settings": settings, "seconds": config.rewards.seconds}


def ring_name(folder: Path) -> str:
    """A name for the weights' shared memory that no other run on this machine has."""
    return f"{folder.resolve().name}-{zlib.crc32(str(folder.resolve()).encode()):08x}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
