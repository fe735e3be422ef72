"""Recorded serving runs predicted twice: from the layer tables of their own card, and from a roofline alone.

Inputs of a row: arrivals, lengths and engine limits of the run; the card's tables (measured without the run); the link
and the memory that the run's `config.json` states; the model's shape. Nothing is fitted on a run. The roofline has the
card's data sheet and the efficiencies that GEMM and attention tables of another card (H100, SGLang) show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buffers.errors import UsageError
from sim.costs.cost import Chunk
from sim.costs.layer_table import Blocks, LayerTable
from sim.fidelity.recorded import Outcome, Recorded, read_run
from sim.fidelity.replay import StepCost, replay

RESERVED_BYTES = 3.5e9
"""Of each rank's memory, for activations and graphs (only where a run has not recorded its capacity)."""
FLOPS_SHARE, BYTES_SHARE, KERNEL_US, KV_SHARE = 0.76, 0.84, 4.0, 0.73
"""Of an H100: shares of the peaks that GEMMs reach, what each costs besides, and the share of decode attention."""


@dataclass(frozen=True)
class Shape:
    """What a model's config says."""

    layers: int
    hidden: int
    inner: int
    """Width of the feed-forward part, or of one expert."""
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    experts: int = 0
    chosen: int = 0

    @property
    def projections(self) -> list[tuple[int, int]]:
        """(in, out) of the matrices of one block that each token meets."""
        wide = self.heads * self.head
        gates = 3 * max(1, self.chosen)
        return [
            (self.hidden, wide + 2 * self.kv_heads * self.head),
            (wide, self.hidden),
            (self.hidden, gates * self.inner),
        ]

    @property
    def parameters(self) -> float:
        """All of them, embeddings not tied."""
        block = sum(rows * columns for rows, columns in self.projections[:2])
        block += 3 * self.hidden * self.inner * max(1, self.experts)
        return self.layers * block + 2.0 * self.vocabulary * self.hidden

    @property
    def kv_bytes(self) -> int:
        """Of one token, in two bytes a number."""
        return 4 * self.layers * self.kv_heads * self.head


SHAPES = {
    "meta-llama/Llama-3.1-8B": Shape(32, 4096, 14336, 32, 8, 128, 128256),
    "Qwen/Qwen3-32B": Shape(64, 5120, 25600, 64, 8, 128, 151936),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": Shape(48, 2048, 768, 32, 4, 128, 151936, 128, 8),
}
"""From the models' config.json."""

PEAKS = {"RTX4090": (165e12, 1.008e12), "RTXPRO6000": (252e12, 1.597e12)}
"""Dense bfloat16 FLOP/s with float32 sums and bytes/s of memory, by the makers' data sheets."""


@dataclass(frozen=True)
class Served:
    """One recorded run and its predictions."""

    name: str
    requests: int
    measured: Outcome
    table: Outcome
    roofline: Outcome | None
    """None for a card whose data sheet is not listed."""
    no_link: Outcome | None
    """The tables with ranks joined at no cost: what the stated link contributes; None for one rank."""


def served(folder: Path) -> list[Served]:
    """Every run below folder/bench/CARD/MODEL/vllm whose card's tables are below folder/profiler/perf/CARD."""
    runs = sorted(folder.glob("bench/*/*/vllm/requests.jsonl"))
    if not runs:
        raise UsageError(f"no runs at {folder}/bench/CARD/MODEL/vllm; name the folder of recorded serving runs")
    return [_one(folder, path.parent) for path in runs]


def _one(folder: Path, run_folder: Path) -> Served:
    card = run_folder.parent.parent.name
    config = json.loads((run_folder.parent / "config.json").read_bytes())
    model = config["nodes"][0]["instances"][0]["model_name"]
    if model not in SHAPES:
        raise UsageError(f"{run_folder}: model {model!r} is not known; take one of {', '.join(SHAPES)}")
    shape = SHAPES[model]
    run = read_run(run_folder, _capacity(shape, config))
    tables = folder / "profiler" / "perf" / card / model / "bf16" / f"tp{run.tensor_parallel}"
    table = LayerTable(tables, _blocks(shape, run, config["link_bw"] * 1e9, config["link_latency"] * 1e-9))
    free = LayerTable(tables, _blocks(shape, run, 1e18, 0.0))
    peaks = PEAKS.get(card)
    return Served(
        run.name,
        len(run.requests),
        run.measured,
        replay(run, table.step_us),
        None if peaks is None else replay(run, roofline(shape, run.tensor_parallel, *peaks)),
        None if run.tensor_parallel == 1 else replay(run, free.step_us),
    )


def _blocks(shape: Shape, run: Recorded, link_bytes_per_s: float, link_latency_s: float) -> Blocks:
    return Blocks(
        shape.layers,
        shape.hidden,
        run.tensor_parallel,
        link_bytes_per_s,
        link_latency_s,
        shape.experts,
        shape.chosen,
    )


def _capacity(shape: Shape, config: dict[str, Any]) -> int:
    """Tokens that all ranks of an engine hold beside the weights."""
    one = config["nodes"][0]["instances"][0]
    memory = one["npu_mem"]
    bytes_free = one["tp_size"] * (1e9 * memory["mem_size"] * memory["mem_util"] - RESERVED_BYTES)
    return max(1, int((bytes_free - 2 * shape.parameters) / shape.kv_bytes))


def roofline(shape: Shape, ranks: int, flops: float, bytes_per_s: float) -> StepCost:
    """A step's cost from peaks and efficiencies of another card; ranks are joined at no cost."""

    def matrix_us(rows: int, columns: int, tokens: int) -> float:
        work = 2.0 * tokens * rows * columns / (FLOPS_SHARE * flops)
        moved = 2.0 * (rows * columns + tokens * (rows + columns)) / (BYTES_SHARE * bytes_per_s)
        return 1e6 * max(work, moved) / ranks + KERNEL_US

    def step_us(chunks: Sequence[Chunk], batch: int, context: float, longest: float) -> float:
        tokens = batch + sum(chunk.tokens for chunk in chunks)
        block = sum(matrix_us(rows, columns, tokens) for rows, columns in shape.projections)
        head = matrix_us(shape.hidden, shape.vocabulary, batch + len(chunks))
        held = context + sum(chunk.context + chunk.tokens for chunk in chunks)
        attention = 1e6 * held * shape.kv_bytes / (KV_SHARE * bytes_per_s) / ranks
        pairs = sum(chunk.tokens * (chunk.context + chunk.tokens / 2) for chunk in chunks)
        attention += 1e6 * 4.0 * shape.layers * shape.heads * shape.head * pairs / (FLOPS_SHARE * flops) / ranks
        return shape.layers * block + attention + head

    return step_us
