"""Checkpoints of a trainer: a model folder that any tool opens, and what an exact resume needs beside it.

    ROOT/v00000012/   config.json, model.safetensors, tokenizer files      the policy, as anyone may load it
                      trainer.safetensors                                  moments and reference weights
                      trainer.json                                         counters, version, applied uses

A folder appears whole: it is written under another name, every file is synced, then it is renamed and the root synced.
So each `v*` folder is complete, and what a crash left of a draft is swept at the next save. Nothing is pickled. An
update draws no random number (dropout is off), so there is no random state to keep. The newest `keep` folders stay, and
those that hold a file called `pinned`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file

from buffers.errors import UsageError
from policies.models import save_model
from policies.tokens import Codec
from policies.trainers.update import Counters, Update

PIN = "pinned"
Uses = tuple[tuple[int, int], ...]


class Ledger(msgspec.Struct, frozen=True):
    """The side file: what the weights contain, and where the trainer stands."""

    version: int
    applied: Uses
    """(group, use) pairs of this checkpoint's interval and the one before."""
    counters: Counters


def path_of(root: Path, version: int) -> Path:
    """The folder of a version."""
    return root / f"v{version:08d}"


def versions(root: Path) -> list[int]:
    """Versions that are durable under `root`, oldest first."""
    return sorted(int(path.name[1:]) for path in root.glob("v*") if path.name[1:].isdigit())


def save(root: Path, update: Update, codec: Codec, version: int, applied: Uses) -> Path:
    """Make the update's whole state durable as `version`; its folder."""
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob("draft-*"):
        shutil.rmtree(leftover)
    draft, folder = root / f"draft-{version}", path_of(root, version)
    save_model(update.model, codec, draft)
    save_file(_tensors(update), str(draft / "trainer.safetensors"))
    (draft / "trainer.json").write_bytes(msgspec.json.encode(Ledger(version, applied, update.counters)))
    for path in draft.iterdir():
        _sync(path)
    _sync(draft)
    if folder.exists():
        folder.rename(root / f"draft-{version}-replaced")  # swept at the next save
    draft.rename(folder)
    _sync(root)
    return folder


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tensors(update: Update) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, weight in update.reference.named_parameters():
        found[f"reference.{name}"] = weight.detach().clone()
    for name, weight in update.model.named_parameters():
        for key, value in update.optimizer.state.get(weight, {}).items():
            found[f"optimizer.{key}.{name}"] = value.detach().clone()
    return found


def restore(root: Path, version: int, update: Update) -> Ledger:
    """Put the checkpoint called `version` into `update`; its ledger."""
    folder = path_of(root, version)
    try:
        ledger = msgspec.json.decode((folder / "trainer.json").read_bytes(), type=Ledger)
        weights = load_file(str(folder / "model.safetensors"))
        extra = load_file(str(folder / "trainer.safetensors"))
    except (OSError, msgspec.DecodeError) as problem:
        raise UsageError(
            f"checkpoint {str(folder)!r} is not whole ({problem}); remove it to use the one before"
        ) from None
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in extra.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            part, _, name = rest.partition(".")
            moments.setdefault(name, {})[part] = value
    with torch.no_grad():
        for (name, weight), frozen in zip(update.model.named_parameters(), update.reference.parameters(), strict=True):
            weight.copy_(weights[name])
            frozen.copy_(extra[f"reference.{name}"])
            if name in moments:
                state = {part: value.to(weight.device) for part, value in moments[name].items() if part != "step"}
                update.optimizer.state[weight] = {"step": moments[name]["step"].to(weight.device), **state}
    update.counters = ledger.counters
    return ledger


def prune(root: Path, keep: int) -> None:
    """Remove all but the newest `keep` and the pinned ones."""
    for version in versions(root)[:-keep]:
        if not (path_of(root, version) / PIN).exists():
            shutil.rmtree(path_of(root, version))
