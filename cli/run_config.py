"""The config of a training run: one table for each part, every key with its meaning in the class that it configures.

    [task]      rewards/tasks/*          what is asked, and what counts as right
    [model]     policies/warmup.py       a model folder, or a tiny model that is warmed up first
    [schedule]  actors/schedules         batch, staleness, segments, publication
    [engine]    policies/engines/torch_engine.py, [sglang] policies/engines/sglang/config.py; `generates_with` chooses
    [sampling]  [rewards]  [trainer]  [buffer]  [evaluator]  [pace]
    [cluster]   actors/live/placement.py    one card for all, or what the roles need of a cluster

What follows from other keys or from the run's folder (paths, seeds, names) is filled in by `cli/prepare.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from actors.cast import BufferSettings
from actors.evaluator import EvaluatorConfig
from actors.kernel.supervision import RestartPolicy
from actors.live.placement import ClusterConfig
from actors.roster import Pace
from actors.schedules.schedule import ScheduleConfig
from buffers.errors import UsageError
from policies import warmup
from policies.engines.sglang.config import SGLangConfig
from policies.engines.torch_engine import TorchEngineConfig
from policies.trainers.torch_trainer import Config as TrainerConfig


@dataclass(frozen=True)
class TaskSection:
    """What is asked."""

    name: str = "chains"
    """A file of `rewards/tasks`, or `module:name` of a person's function or class."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of the task's own config; `seed` follows the run's unless it is given here."""
    train_prompts: int = 2048
    """Size of the prompt set."""
    held_out: int = 256
    """Problems that accuracy is measured on."""


@dataclass(frozen=True)
class ModelSection:
    """What is trained."""

    path: str = ""
    """A Hugging Face folder; empty: a tiny model, warmed up on the task's own traces."""
    warmup: warmup.Config = field(default_factory=warmup.Config)
    cache: str = ""
    """Folder that warmed-up models are kept in; empty: `braid/warmups` in the user's cache folder."""
    exam: int = 128
    """Problems of the warm-up's exams."""


@dataclass(frozen=True)
class SamplingSection:
    """How training tokens are drawn."""

    temperature: float = 1.0
    """Divides the logits; recorded log-probabilities are those of the divided ones."""

    def __post_init__(self) -> None:
        """Training needs a distribution to correct for."""
        if self.temperature <= 0:
            raise UsageError(f"sampling.temperature = {self.temperature}: training samples; it must be above 0")


@dataclass(frozen=True)
class RewardsSection:
    """How responses are scored (`rewards/scorer.py`)."""

    rewards: tuple[str, ...] = ()
    """Files of `rewards/` or `module:name`; empty: the task's own outcome."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reward to the keys of its own config."""
    seconds: float = 10.0
    """Wall time of one answer."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that `braid train` reads."""

    name: str = "run"
    """What the run is called in its charts."""
    seed: int = 7
    """Of everything: task, warm-up, sampling, draws."""
    generators: int = 1
    """Generator processes."""
    rewarders: int = 1
    """Rewarder processes."""
    generates_with: str = "torch"
    """The generators' engine: torch ([engine]) or sglang ([sglang])."""
    rule: str = "actors.schedules.schedule:Schedule"
    """The class that schedules (`module:name`)."""
    task: TaskSection = field(default_factory=TaskSection)
    model: ModelSection = field(default_factory=ModelSection)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampling: SamplingSection = field(default_factory=SamplingSection)
    engine: TorchEngineConfig = field(default_factory=TorchEngineConfig)
    sglang: SGLangConfig = field(default_factory=SGLangConfig)
    rewards: RewardsSection = field(default_factory=RewardsSection)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    buffer: BufferSettings = field(default_factory=BufferSettings)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    pace: Pace = field(default_factory=Pace)
    restarts: RestartPolicy = field(default_factory=RestartPolicy)
    sinks: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    """Where charts go, beside the run's own files; wandb is an extra."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot fit together."""
        schedule = self.schedule
        if self.generators < 1 or self.rewarders < 1:
            raise UsageError(f"generators = {self.generators}, rewarders = {self.rewarders}: at least 1 each is needed")
        if schedule.partial and schedule.segment_tokens > schedule.max_response_tokens:
            raise UsageError(
                f"schedule.segment_tokens = {schedule.segment_tokens} exceeds schedule.max_response_tokens = "
                f"{schedule.max_response_tokens}: make it smaller, or set schedule.partial = false"
            )
        if self.generates_with not in ("torch", "sglang"):
            raise UsageError(f"generates_with = {self.generates_with!r}: take torch or sglang")
        for section, room in self.contexts().items():
            if schedule.max_response_tokens >= room:
                raise UsageError(
                    f"schedule.max_response_tokens = {schedule.max_response_tokens} leaves no room for a prompt in "
                    f"{section}.context_tokens = {room}: raise the latter"
                )
        if self.trainer.update.temperature != self.sampling.temperature:
            raise UsageError(
                f"trainer.update.temperature = {self.trainer.update.temperature} differs from sampling.temperature = "
                f"{self.sampling.temperature}: log-probabilities are recorded at the latter; make them equal"
            )

        if self.cluster.colocated:
            self._check_one_card()

    def _check_one_card(self) -> None:
        """Refuse what one card cannot do."""
        if self.generators > 1:
            raise UsageError(
                f"generators = {self.generators} with cluster.placement = 'colocated': one card has one generator; set "
                "generators = 1 and raise engine.slots instead"
            )
        sglang = self.generates_with == "sglang"
        if sglang and self.cluster.share == "time":
            raise UsageError(
                "cluster.share = 'time' needs the embedded engine, which gives the card back between two steps; set "
                "cluster.share = 'memory', or generates_with = 'torch'"
            )
        if sglang and (self.sglang.url or self.sglang.evaluator == "sglang"):
            raise UsageError(
                "cluster.placement = 'colocated' starts one SGLang server with its part of the memory: leave "
                "sglang.url empty and set sglang.evaluator = 'torch'"
            )
        devices = {"trainer.device": self.trainer.device, "engine.device": self.engine.device}
        devices |= {"sglang.device": self.sglang.device} if sglang else {}
        if len({device.replace("cuda:0", "cuda") for device in devices.values()}) > 1:
            said = ", ".join(f"{key} = {device!r}" for key, device in devices.items())
            raise UsageError(f"{said} with cluster.placement = 'colocated': name one device in all of them")

    def contexts(self) -> dict[str, int]:
        """The longest contexts of the engines in use, by their section."""
        both = self.generates_with == "sglang"
        used = {"sglang": self.sglang.context_tokens} if both else {}
        if not both or self.sglang.evaluator == "torch":
            used["engine"] = self.engine.context_tokens
        return used


def shortened(config: RunConfig) -> RunConfig:
    """A config lowered to what shows in a minute whether everything works; it shows no result."""
    schedule, evaluator, rise = config.schedule, config.evaluator, config.model.warmup
    few = replace(
        rise, pass_mark=min(rise.pass_mark, 0.75), pass_mark_b=min(rise.pass_mark_b, 0.5), rounds=min(rise.rounds, 1)
    )
    return replace(
        config,
        task=replace(
            config.task, train_prompts=min(config.task.train_prompts, 512), held_out=min(config.task.held_out, 32)
        ),
        model=replace(config.model, warmup=few),
        schedule=msgspec.structs.replace(schedule, versions=min(schedule.versions, 5)),
        evaluator=msgspec.structs.replace(evaluator, every=1000, samples=min(evaluator.samples, 2)),
    )
