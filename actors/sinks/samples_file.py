"""The samples file: responses that were trained on, as text, one JSON object a line; `read_samples` reads them back.

Each is cut into its segments, and each segment into runs of one version, so that it can be shown in colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from actors.messages import Sample
from policies.decoding import load_decoder

NAME = "samples.jsonl"

Decoder = Callable[[Any], str]


class Piece(msgspec.Struct, frozen=True):
    """Tokens of one segment that one version drew."""

    segment: int
    version: int
    tokens: int
    text: str


class Text(msgspec.Struct, frozen=True):
    """A response that a person can read."""

    trajectory: int
    group: int
    version: int
    """That its update started from."""
    prompt: str
    pieces: tuple[Piece, ...]
    components: dict[str, float]


class SamplesFile:
    """Appends to `samples.jsonl` in the run's folder; nothing where the run has no model to decode with."""

    def __init__(self, config: dict[str, Any], emit: object, clock: object) -> None:
        self._decode = load_decoder(config["model"]) if config.get("model") else None
        self._file: BinaryIO = (Path(config["run_dir"]) / NAME).open("ab")

    def write(self, actor: str, rows: tuple[tuple[str, int, float], ...]) -> None:
        """Numbers are other sinks'."""

    def show(self, samples: tuple[Sample, ...]) -> None:
        """Take responses that were trained on."""
        if self._decode is not None:
            for sample in samples:
                self._file.write(msgspec.json.encode(text_of(sample, self._decode)) + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def text_of(sample: Sample, decode: Decoder) -> Text:
    """A sample as text; a character whose bytes two pieces share appears as the replacement character."""
    pieces: list[Piece] = []
    for number, part in enumerate(sample.parts):
        ids = np.frombuffer(part.ids, "<i4")
        start = 0
        for version, count in part.versions:
            pieces.append(Piece(number, version, count, decode(ids[start : start + count])))
            start += count
    prompt = decode(np.frombuffer(sample.prompt, "<i4"))
    return Text(sample.trajectory, sample.group, sample.version, prompt, tuple(pieces), sample.components)


def read_samples(run_dir: Path) -> Iterator[Text]:
    """All samples of a run, in order of writing; a torn last line is skipped."""
    path = run_dir / NAME
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Text)
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield decoder.decode(line)
