"""The cast's builders: from a spec and a shop of ports to an actor. Both worlds start actors through these functions.

Every spec of a run carries the same settings (`RunSettings` as plain data, so that it can be written to a file and
read in another process); ports read their own sections from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from actors.controller import Controller
from actors.evaluator import Evaluator, EvaluatorConfig, Ports
from actors.generator import Generator
from actors.kernel.backend import Shop
from actors.kernel.context import Actor, ActorSpec
from actors.kernel.operations import Message
from actors.kernel.supervision import RestartPolicy
from actors.learner import Learner
from actors.recorder import Recorder
from actors.replay import Replay
from actors.rewarder import Rewarder
from actors.roster import Pace, Roster
from actors.schedules.schedule import ScheduleConfig, find_schedule
from actors.supervisor import Supervisor
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.leasing import LeasingConfig
from buffers.prompts import PromptConfig
from policies.engine import Sampling

Emit = Callable[[Message], None]


LIVES_PER_START = 1_000_000
"""Incarnations that one start of a run may use."""


class BufferSettings(msgspec.Struct, frozen=True):
    """What a run may choose about its buffer beyond its schedule."""

    max_attempts: int = 3
    """Failures of infrastructure of one trajectory that fail its group."""
    no_signal: Literal["train", "evict"] = "train"
    """What becomes of a group whose outcomes are all equal."""
    max_gen_batches: int = 0
    """End after so many leases' worth of groups were evicted without signal while one lease was being filled; 0: never.
    Only with `evict`."""
    capacity_tokens: int = 0
    """Tokens that may be held or reserved; 0: no limit."""
    capacity_bytes: int = 0
    """The same in bytes: 13 a token, and attachments; 0: no limit."""
    max_attached_bytes: int = 0
    """Attachments that a response may carry (images, files of tools); 0: none."""
    priority: str = "spread_freshness"
    """A file of `buffers/priorities`, or `module:name`."""
    priority_options: dict[str, float] = {}
    """Fields of that rule: a half-life in versions, a floor ..."""
    leasing: LeasingConfig = LeasingConfig()
    """How groups are drawn by priority: with or without replacement, stratified, weighted."""
    keep_closed: bool = False
    """Leave what is closed in the store, for looking at; it grows without end."""
    prompts: PromptConfig = PromptConfig()
    """Which prompt a fresh group gets: by success, and by a curriculum of difficulties."""


class RunSettings(msgspec.Struct, frozen=True):
    """The settings that the cast shares."""

    seed: int = 0
    roster: Roster = Roster()
    pace: Pace = Pace()
    schedule: ScheduleConfig = ScheduleConfig()
    rule: str = "actors.schedules.schedule:Schedule"
    """The class that decides by these settings (`module:name`)."""
    sampling: Sampling = Sampling()
    buffer: BufferSettings = BufferSettings()
    evaluator: EvaluatorConfig = EvaluatorConfig()
    restarts: RestartPolicy = RestartPolicy()
    starts: int = 0
    """How often the run was started before: a resumed run's incarnations lie above the earlier ones'."""


def first_life(settings: RunSettings) -> int:
    """The incarnation that everybody has first in this start of the run."""
    return 1 + LIVES_PER_START * settings.starts


def settings_of(spec: ActorSpec) -> RunSettings:
    """The shared settings in a spec; sections of ports are left to the ports."""
    return msgspec.convert(spec.config, RunSettings)


def buffer_config(settings: RunSettings) -> BufferConfig:
    """The buffer's config that follows from a run's settings."""
    schedule, buffer = settings.schedule, settings.buffer
    return BufferConfig(
        k=schedule.group,
        batch=schedule.batch,
        max_response_tokens=schedule.max_response_tokens,
        eta=schedule.eta,
        oversample=schedule.oversample,
        updates_per_version=schedule.updates_per_version,
        reuse=schedule.reuse,
        checkpoint_every=schedule.checkpoint_every,
        max_attempts=buffer.max_attempts,
        no_signal=buffer.no_signal,
        max_gen_batches=buffer.max_gen_batches,
        capacity_tokens=buffer.capacity_tokens or None,
        capacity_bytes=buffer.capacity_bytes or None,
        max_attached_bytes=buffer.max_attached_bytes,
        priority=buffer.priority,
        priority_options=buffer.priority_options,
        leasing=buffer.leasing,
        keep_closed=buffer.keep_closed,
        prompts=buffer.prompts,
        seed=settings.seed,
    )


def controller(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build the controller with the run's schedule."""
    settings = settings_of(spec)
    schedule = find_schedule(settings.rule, settings.schedule)
    return Controller(settings.roster, settings.pace, schedule, settings.schedule.eta)


def generator(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build a generator around its engine."""
    settings = settings_of(spec)
    engine = shop.open("engine", spec, emit)
    return Generator(settings.roster, settings.pace, settings.schedule, settings.sampling, engine)


def rewarder(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build a rewarder around its scorer."""
    settings = settings_of(spec)
    return Rewarder(settings.roster, settings.pace, shop.open("reward", spec, emit))


def replay(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build replay over its store: recover what the store holds, and put the prompt set in if it holds none."""
    settings = settings_of(spec)
    store = shop.open("store", spec, emit)
    buffer = Buffer.recover(buffer_config(settings), store.rows())
    buffer.load_prompts(shop.open("prompts", spec, emit))
    return Replay(settings.roster, settings.pace, buffer, store, first_life(settings))


def learner(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build the learner around its trainer."""
    settings = settings_of(spec)
    return Learner(settings.roster, settings.pace, settings.schedule, shop.open("trainer", spec, emit))


def evaluator(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build the evaluator around an engine and a scorer of its own."""
    settings = settings_of(spec)
    ports = Ports(shop.open("engine", spec, emit), shop.open("reward", spec, emit))
    problems = shop.open("problems", spec, emit)
    return Evaluator(settings.roster, settings.pace, settings.evaluator, problems, ports)


def recorder(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build the recorder over its sinks."""
    settings = settings_of(spec)
    sinks: Any = tuple(shop.open(port, spec, emit) for port in spec.ports)
    return Recorder(settings.roster, settings.pace, sinks)


def supervisor(spec: ActorSpec, shop: Shop, emit: Emit) -> Actor:
    """Build the supervisor of the specs listed under `cast` in its own."""
    settings = settings_of(spec)
    cast = msgspec.convert(spec.config["cast"], tuple[ActorSpec, ...])
    return Supervisor(settings.roster, settings.pace, cast, settings.restarts, first_life(settings))


STANDINS = {
    "engine": "actors.standins:ScriptedEngine",
    "trainer": "actors.standins:CountingTrainer",
    "reward": "actors.standins:ScriptedReward",
    "store": "buffers.lmdb_store:open_store",
    "prompts": "actors.standins:numbered_prompts",
    "problems": "actors.standins:numbered_problems",
    "sink": "actors.standins:Sink",
}
"""Ports of a run without a model."""


def cast_of(config: dict[str, Any], ports: dict[str, str]) -> tuple[ActorSpec, ...]:
    """The specs of a whole run: one actor for every name in the roster but the supervisor, each its own process.

    `ports` names what stands behind `engine`, `trainer`, `reward`, `store`, `prompts`, `problems` and every `sink...`;
    `engine@NAME` is the engine of that actor alone, and so are others with a name after `@`.
    The section `own` holds what single actors have different: `own.NAME.SECTION` changes keys of that section for NAME.
    """
    roster = msgspec.convert(config, RunSettings).roster
    parts: list[tuple[str, str, tuple[str, ...]]] = [
        (roster.replay, "replay", ("store", "prompts")),
        (roster.controller, "controller", ()),
        (roster.learner, "learner", ("trainer",)),
        *((name, "generator", ("engine",)) for name in roster.generators),
        *((name, "rewarder", ("reward",)) for name in roster.rewarders),
        (roster.evaluator, "evaluator", ("engine", "reward", "problems")),
        (roster.recorder, "recorder", tuple(port for port in ports if port.startswith("sink"))),
    ]
    return tuple(
        ActorSpec(
            name,
            f"actors.cast:{part}",
            own(config, name),
            name,
            {port: ports.get(f"{port}@{name}", ports[port]) for port in needed},
        )
        for name, part, needed in parts
        if name
    )


def own(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings of one actor: the run's, with its own changes."""
    changes: dict[str, dict[str, Any]] = config.get("own", {}).get(name, {})
    return {**config, **{section: {**config.get(section, {}), **keys} for section, keys in changes.items()}}


def supervisor_of(config: dict[str, Any], cast: tuple[ActorSpec, ...]) -> ActorSpec:
    """The spec of the supervisor of a cast."""
    name = msgspec.convert(config, RunSettings).roster.supervisor
    return ActorSpec(name, "actors.cast:supervisor", {**config, "cast": msgspec.to_builtins(cast)}, name)
