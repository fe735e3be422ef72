"""Weights from a folder that transformers wrote: `file:DIR`, holding `config.json` and safetensors, one or many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from transformers import AutoConfig

from buffers.errors import UsageError
from policies.engines.lean.shape import Shape, shape_of
from policies.weights import read_folder

WeightsReader = Callable[[int, str], tuple[int, dict[str, Tensor]]]
"""(version, source) -> (version, state dict under transformers' names).

The version returned may be newer than the one asked for: a reader that loses the race against its writer takes the
newest. The tensors are copied before the reader is called again.
"""


def read_shape(folder: Path) -> Shape:
    """The shape of the model in a folder; `UsageError` if there is none that the lean step can compute."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no config.json; name a folder written by transformers' save_pretrained")
    return shape_of(AutoConfig.from_pretrained(folder))


def read_checkpoint(version: int, source: str) -> tuple[int, dict[str, Tensor]]:
    """A `WeightsReader` of `file:DIR`; the version is the one asked for.

    Raises as `read_folder` does.
    """
    kind, _, address = source.partition(":")
    if kind != "file":
        raise UsageError(f"weights source {source!r} is not file:DIR; give the engine a reader that knows {kind!r}")
    return version, read_folder(Path(address))
