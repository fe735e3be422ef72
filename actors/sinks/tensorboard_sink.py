"""The TensorBoard sink, in the run's folder: scalars by actor, histograms, coloured sample texts, config, five charts.

The only door to the `tensorboard` package. The step of everything is the version that was last published when it was
recorded, so that charts of all actors share their axis; before the first version it is 0. Sample texts are tables with
a coloured square for each segment, since the text dashboard keeps no styles.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from actors.messages import Sample
from actors.sinks.charts import FIRST, chart
from actors.sinks.samples_file import Text, text_of
from buffers.histogram import read_bucket
from policies.decoding import load_decoder

SQUARES = "🟦🟩🟨🟥🟪🟧"
"""Colours of segments, in turn."""
HYPERPARAMETERS = ("schedule", "trainer", "engine", "buffer", "evaluator")
"""Sections of the settings whose plain values are hyperparameters."""
Buckets = dict[tuple[float, float], float]


class TensorBoard:
    """Writes event files under `config["run_dir"]`/tensorboard."""

    def __init__(self, config: dict[str, Any], emit: object, clock: object) -> None:
        self._writer = EventFileWriter(f"{config['run_dir']}/tensorboard")
        self._version = 0
        self._at_s = 0.0
        self._decode = load_decoder(config["model"]) if config.get("model") else None
        self._begin(config)

    def write(self, actor: str, rows: tuple[tuple[str, int, float], ...]) -> None:
        """Take (name, time ns, value) rows of one actor."""
        histograms: dict[tuple[str, int], Buckets] = {}
        for name, at_ns, value in rows:
            self._at_s = at_ns / 1e9
            if name == "version":
                self._version = int(value)
            bucket = read_bucket(name)
            if bucket is None:
                self._add(Summary.Value(tag=chart(actor, name), simple_value=value))
            else:
                counts = histograms.setdefault((bucket[0], self._version), {})
                counts[bucket[1:]] = counts.get(bucket[1:], 0.0) + value
        for (name, version), counts in histograms.items():
            self._add(Summary.Value(tag=chart(actor, name), histo=histogram(counts)), version)

    def show(self, samples: tuple[Sample, ...]) -> None:
        """Take responses that were trained on."""
        if self._decode is not None:
            for number, sample in enumerate(samples):
                self._text(("slowest", "first")[number % 2], markdown(text_of(sample, self._decode)))

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()

    def _begin(self, config: dict[str, Any]) -> None:
        """What is known before the first number: the layout, the config, the hyperparameters."""
        charts = [
            layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=names))
            for title, names in FIRST.items()
        ]
        layout = layout_pb2.Layout(category=[layout_pb2.Category(title="first", chart=charts)])
        self._plugin("custom_scalars__config__", "custom_scalars", layout.SerializeToString())
        file = Path(config["run_dir"]) / "config.toml"
        if file.exists():
            self._text("config", f"```\n{file.read_text(encoding='utf-8')}\n```")
        start = plugin_data_pb2.SessionStartInfo()
        for name, value in hyperparameters(config).items():
            if isinstance(value, str):
                start.hparams[name].string_value = value
            elif isinstance(value, bool):
                start.hparams[name].bool_value = value
            else:
                start.hparams[name].number_value = value
        metrics = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in FIRST["held-out accuracy"] + FIRST["reward"]
        ]
        for tag, data in (
            (metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(
                experiment=api_pb2.Experiment(metric_infos=metrics, hparam_infos=infos(config)))),
            (metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
        ):  # fmt: skip
            self._add(Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data)))
        self._writer.flush()

    def _text(self, name: str, text: str) -> None:
        self._plugin(f"samples/{name}" if name != "config" else name, "text", text.encode())

    def _plugin(self, tag: str, plugin: str, content: bytes) -> None:
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)] if plugin == "text" else [])
        tensor = TensorProto(dtype=DT_STRING, string_val=[content], tensor_shape=shape)
        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
        self._add(Summary.Value(tag=tag, metadata=about, tensor=tensor))

    def _add(self, value: Summary.Value, version: int | None = None) -> None:
        step = self._version if version is None else version
        self._writer.add_event(Event(wall_time=self._at_s, step=step, summary=Summary(value=[value])))


def histogram(counts: Mapping[tuple[float, float], float]) -> HistogramProto:
    """Counts by (left, right] bucket as TensorBoard's histogram; empty buckets are put between."""
    edges = sorted(counts)
    limits: list[float] = [edges[0][0]]
    buckets: list[float] = [0.0]
    for left, right in edges:
        if left > limits[-1]:
            limits.append(left)
            buckets.append(0.0)
        limits.append(right)
        buckets.append(counts[left, right])
    middle = {edge: sum(edge) / 2 for edge in edges}
    return HistogramProto(
        min=edges[0][0],
        max=edges[-1][1],
        num=sum(counts.values()),
        sum=sum(middle[edge] * count for edge, count in counts.items()),
        sum_squares=sum(middle[edge] ** 2 * count for edge, count in counts.items()),
        bucket_limit=limits,
        bucket=buckets,
    )


def markdown(text: Text) -> str:
    """A response as a table: a coloured square and a row for each piece of a segment."""
    told = ", ".join(f"{name} {value:g}" for name, value in text.components.items())
    rows = [f"trajectory {text.trajectory}, trained from version {text.version}: {told}", ""]
    rows += ["| segment | version | tokens | text |", "|---|---|---|---|", f"| prompt | | | {cell(text.prompt)} |"]
    for piece in text.pieces:
        square = SQUARES[piece.segment % len(SQUARES)]
        rows.append(f"| {square} {piece.segment} | {piece.version} | {piece.tokens} | {cell(piece.text)} |")
    return "\n".join(rows)


def cell(text: str) -> str:
    """Text that stays inside a cell of a table."""
    return "<code>" + html.escape(text).replace("|", "&#124;").replace("\n", "⏎") + "</code>"


def hyperparameters(config: dict[str, Any]) -> dict[str, float | str | bool]:
    """Plain values of the sections that a person compares runs by, and the seed."""
    found: dict[str, float | str | bool] = {"seed": config.get("seed", 0)}

    def collect(prefix: str, table: dict[str, Any]) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                collect(f"{prefix}.{name}", value)
            elif isinstance(value, int | float | str):
                found[f"{prefix}.{name}"] = value
            elif isinstance(value, list | tuple):
                found[f"{prefix}.{name}"] = json.dumps(value)

    for section in HYPERPARAMETERS:
        collect(section, config.get(section) or {})
    return found


def infos(config: dict[str, Any]) -> list[Any]:
    """Names and types of the hyperparameters."""
    kinds = {str: api_pb2.DATA_TYPE_STRING, bool: api_pb2.DATA_TYPE_BOOL}
    return [
        api_pb2.HParamInfo(name=name, type=kinds.get(type(value), api_pb2.DATA_TYPE_FLOAT64))
        for name, value in hyperparameters(config).items()
    ]
