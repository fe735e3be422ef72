"""The real ports of a run, as its specs name them (`actors.ports:torch_engine` ...); each is opened in its own process.

Every function takes (config, emit, clock) like any port; what it needs lies in its own section of the run's settings.
Torch is imported where it is needed only, so that replay, rewarders and controllers stay small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.evaluator import Problem
from buffers.rows import PromptRow
from policies.card import Card, Share, card_of
from policies.engine import Engine
from policies.trainer import Trainer
from rewards.reward import Reward

Emit = Callable[[Any], None]
Config = dict[str, Any]

REAL = {
    "engine": "actors.ports:torch_engine",
    "trainer": "actors.ports:torch_trainer",
    "reward": "actors.ports:scorer",
    "store": "buffers.lmdb_store:open_store",
    "prompts": "actors.ports:prompts",
    "problems": "actors.ports:problems",
}
"""Ports of a real run; sinks are the launcher's choice."""

SGLANG = {"engine": "actors.ports:sglang_engine"}
"""What a run with SGLang engines has instead."""


def torch_engine(config: Config, emit: Emit, clock: Any) -> Engine:
    """The embedded engine, with weights from the ring or from a checkpoint folder."""
    from policies.engines.torch_engine import TorchEngine, TorchEngineConfig
    from policies.weights import RingReader

    settings = msgspec.convert(config["engine"], TorchEngineConfig)
    card = hand_on_card(config, clock, settings.device)
    wire = getattr(clock, "wire", None)
    if wire is None:
        return TorchEngine(settings, emit, RingReader(), card)
    from actors.live.chunks import fetch_chunks

    keys = wire[1]
    return TorchEngine(settings, emit, RingReader(lambda address, version: fetch_chunks(address, version, keys)), card)


def sglang_engine(config: Config, emit: Emit, clock: object) -> Engine:
    """An SGLang server of its own (or one that runs), with weights from the ring or from a checkpoint folder."""
    from policies.engines.sglang.config import SGLangConfig
    from policies.engines.sglang.engine import SGLangEngine

    return SGLangEngine(msgspec.convert(config["sglang"], SGLangConfig), emit)


def torch_trainer(config: Config, emit: Emit, clock: Any) -> Trainer:
    """The torch trainer."""
    from policies.trainers.torch_trainer import Config as TrainerConfig
    from policies.trainers.torch_trainer import TorchTrainer

    settings = msgspec.convert(config["trainer"], TrainerConfig)
    card = hand_on_card(config, clock, settings.device)
    wire = getattr(clock, "wire", None)
    if wire is None:
        return TorchTrainer(emit, settings, card=card)
    from actors.live.chunks import ChunkServer
    from policies.weights import RingPublisher

    return TorchTrainer(emit, settings, ChunkServer(RingPublisher(settings.ring), *wire), card)


def hand_on_card(config: Config, clock: Any, device: str) -> Card | None:
    """This process's part of a card that others use too: its hand for turns, or a limit of memory (from now on)."""
    share = msgspec.convert(config.get("card", {}), Share)
    if share.by == "memory":
        from policies.device import keep_to

        keep_to(device, share.memory)
    return card_of(share, clock.name, clock.now)


def scorer(config: Config, emit: Emit, clock: object) -> Reward:
    """The rewards of the run in their sandbox."""
    from policies.decoding import load_decoder
    from rewards.scorer import Config as ScorerConfig
    from rewards.scorer import Scorer

    return Scorer(msgspec.convert(config["scorer"], ScorerConfig), load_decoder(config["model"]), emit)


def prompts(config: Config, emit: Emit, clock: object) -> tuple[PromptRow, ...]:
    """The tokenized prompt set that was written when the run was prepared."""
    return msgspec.msgpack.decode(Path(config["prompts"]["path"]).read_bytes(), type=tuple[PromptRow, ...])


def problems(config: Config, emit: Emit, clock: object) -> tuple[Problem, ...]:
    """The tokenized held-out problems, likewise."""
    return msgspec.msgpack.decode(Path(config["problems"]["path"]).read_bytes(), type=tuple[Problem, ...])
