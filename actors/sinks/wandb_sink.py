"""The Weights & Biases sink, with the names of the TensorBoard charts. The only door to `wandb`, which is an extra.

`sinks = ["tensorboard", "wandb"]`; WANDB_MODE=offline keeps everything on this machine. The step is the version.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import wandb

from actors.messages import Sample
from actors.sinks.charts import chart
from actors.sinks.samples_file import text_of
from buffers.histogram import read_bucket
from policies.decoding import load_decoder


class WeightsAndBiases:
    """One run of the project `braid`, named like the run's folder."""

    def __init__(self, config: dict[str, Any], emit: object, clock: object) -> None:
        folder = Path(config["run_dir"])
        self._decode = load_decoder(config["model"]) if config.get("model") else None
        self._run = wandb.init(project="braid", name=folder.name, dir=str(folder), config=config, resume="allow")
        self._run.define_metric("*", step_metric="version")
        self._version = 0

    def write(self, actor: str, rows: tuple[tuple[str, int, float], ...]) -> None:
        """Take (name, time ns, value) rows of one actor."""
        told: dict[str, Any] = {}
        buckets: dict[str, dict[tuple[float, float], float]] = {}
        for name, _, value in rows:
            if name == "version":
                self._version = int(value)
            bucket = read_bucket(name)
            if bucket is None:
                told[chart(actor, name)] = value
            else:
                buckets.setdefault(bucket[0], {})[bucket[1:]] = value
        for name, counts in buckets.items():
            told[chart(actor, name)] = wandb.Histogram(np_histogram=columns(counts))
        self._run.log({"version": self._version, **told})

    def show(self, samples: tuple[Sample, ...]) -> None:
        """Take responses that were trained on."""
        if self._decode is None:
            return
        for number, sample in enumerate(samples):
            text = text_of(sample, self._decode)
            body = "".join(f"<p>{piece.segment} (v{piece.version}): {html.escape(piece.text)}" for piece in text.pieces)
            name = f"samples/{('slowest', 'first')[number % 2]}"
            self._run.log({"version": self._version, name: wandb.Html(f"<p>{html.escape(text.prompt)}{body}")})

    def close(self) -> None:
        """Send what is left and close."""
        self._run.finish()


def columns(counts: dict[tuple[float, float], float]) -> tuple[list[float], list[float]]:
    """(counts, edges) of buckets, with the empty ones between."""
    edges: list[float] = []
    values: list[float] = []
    for left, right in sorted(counts):
        if not edges:
            edges.append(left)
        elif left > edges[-1]:
            edges.append(left)
            values.append(0.0)
        edges.append(right)
        values.append(counts[left, right])
    return values, edges
