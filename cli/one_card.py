"""One card for generator, evaluator and learner: whether all of it fits, and what each of them gets.

    config + model --plan_card--> Plan: words for a person, changes of the run's settings

By time everything that is held must fit together (`cache = "drop"`: without the keys and values of whoever waits); by
memory each must fit its part, and an engine with too many rows gets fewer. Estimates: `policies/memory.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from buffers.errors import UsageError
from cli.run_config import RunConfig
from policies.card import Share
from policies.device import card_bytes, context_bytes, find_device
from policies.memory import GIB, Need, Size, engine_need, fit_engine, size_of, trainer_need

GENERATOR, EVALUATOR, LEARNER = "generator-0", "evaluator", "learner"
Settings = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Who gets what of a card."""

    words: str
    own: dict[str, dict[str, dict[str, Any]]]
    """Changes of single actors' settings: actor to section to key."""
    card: Share

    def applied(self, settings: Settings, folder: Path) -> Settings:
        """A run's settings with these changes."""
        card = msgspec.structs.replace(self.card, folder=str((folder / "card").resolve()) if self.card.by else "")
        own = {**settings.get("own", {})}
        for actor, sections in self.own.items():
            before = own.get(actor, {})
            own[actor] = {**before, **{name: {**before.get(name, {}), **keys} for name, keys in sections.items()}}
        return {**settings, "card": msgspec.to_builtins(card), "own": msgspec.to_builtins(own)}


def plan_card(config: RunConfig, model: str | Path) -> Plan:
    """Share the card that a config names; `UsageError` if the model does not fit it."""
    device = find_device(config.trainer.device)
    whole = round(config.cluster.memory_gib * GIB) or card_bytes(device)
    room = whole - 3 * context_bytes(device)
    size = size_of(model)
    return by_time(config, size, room) if config.cluster.share == "time" else by_memory(config, size, room)


def by_time(config: RunConfig, size: Size, room: int) -> Plan:
    """In turns."""
    evaluator = dataclasses.replace(config.engine, cached_rows=0)
    needs = {
        GENERATOR: engine_need(size, config.engine),
        EVALUATOR: engine_need(size, evaluator),
        LEARNER: trainer_need(size, config.trainer.update.micro_tokens),
    }
    caches = [need.cache for need in needs.values()]
    working = max(need.working for need in needs.values())
    if config.cluster.cache == "drop":
        most = max(need.working + need.cache for need in needs.values())
    else:
        most = working + sum(caches)
    total = sum(need.resident for need in needs.values()) + most
    words = told(needs, total, room)
    if total > room:
        raise UsageError(
            f"{words}: lower engine.slots, engine.cached_rows, engine.context_tokens or trainer.update.micro_tokens, "
            "or set cluster.cache = 'drop'"
        )
    return Plan(
        words,
        {EVALUATOR: {"engine": {"cached_rows": 0}}},
        Share("time", cache=config.cluster.cache, turn_s=config.cluster.turn_s),
    )


def by_memory(config: RunConfig, size: Size, room: int) -> Plan:
    """At once, each in its part."""
    cluster = config.cluster
    parts = {GENERATOR: cluster.engine_memory, EVALUATOR: cluster.evaluator_memory}
    parts[LEARNER] = 1.0 - sum(parts.values())
    fitted = {}
    if config.generates_with != "sglang":
        key = f"cluster.engine_memory = {parts[GENERATOR]}"
        fitted[GENERATOR] = fit_engine(size, config.engine, round(parts[GENERATOR] * room), key)
    key = f"cluster.evaluator_memory = {parts[EVALUATOR]}"
    evaluator = dataclasses.replace(config.engine, cached_rows=0)
    fitted[EVALUATOR] = fit_engine(size, evaluator, round(parts[EVALUATOR] * room), key)
    learner = trainer_need(size, config.trainer.update.micro_tokens)
    if learner.most > parts[LEARNER] * room:
        raise UsageError(
            f"cluster.engine_memory and cluster.evaluator_memory leave the learner {parts[LEARNER] * room / GIB:.2f} "
            f"GiB; it needs {learner.most / GIB:.2f}: lower them, or trainer.update.micro_tokens"
        )
    needs = {name: engine_need(size, engine) for name, engine in fitted.items()} | {LEARNER: learner}
    own: dict[str, dict[str, dict[str, Any]]] = {name: {"card": {"memory": part}} for name, part in parts.items()}
    for name, engine in fitted.items():
        own[name]["engine"] = {"slots": engine.slots, "cached_rows": engine.cached_rows}
    if config.generates_with == "sglang" and config.sglang.device == "cuda":
        part = ("--mem-fraction-static", str(parts[GENERATOR]))
        own[GENERATOR]["sglang"] = {"arguments": (*config.sglang.arguments, *part)}
    words = told(needs, sum(need.most for need in needs.values()), room)
    if GENERATOR in fitted and fitted[GENERATOR] != config.engine:
        rows = own[GENERATOR]["engine"]
        words += f"; its part holds engine.slots = {rows['slots']}, engine.cached_rows = {rows['cached_rows']}"
    return Plan(words, own, Share("memory"))


def gib(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / GIB:.2f} GiB" if count > 0.1 * GIB else f"{count / (1 << 20):.1f} MiB"


def told(needs: dict[str, Need], total: int, room: int) -> str:
    """One line about the card."""
    parts = []
    for name, need in needs.items():
        cache = f" + {gib(need.cache)} of keys and values" if need.cache else ""
        parts.append(f"{name} {gib(need.resident)}{cache} (+ {gib(need.working)} at work)")
    return f"the card: about {gib(total)} of {gib(room)}: {', '.join(parts)}"
