"""Recorded serving runs predicted twice: from the layer tables of their own card, and from a roofline alone.

Inputs of a row: arrivals, lengths and engine limits of the run; the card's tables (measured without the run); the link
and the memory that the run's `config.json` states; the model's shape. Nothing is fitted on a run. The roofline is the
one of `sim/costs`: the card's data sheet, and what it was condensed to from the card's tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buffers.errors import UsageError
from sim.costs.cost import Chunk, Step
from sim.costs.hardware import GPUS, Gpu
from sim.costs.layer_table import Blocks, LayerTable
from sim.costs.model import MODELS, Model
from sim.costs.roofline import Roofline
from sim.costs.weights import WeightsCost
from sim.fidelity.recorded import Outcome, Recorded, read_run
from sim.fidelity.replay import StepCost, replay

RESERVED_BYTES = 3.5e9
"""Of each rank's memory, for activations and graphs (only where a run has not recorded its capacity)."""


def shape_of(name: str) -> Model:
    """The model of the list whose name a repository's name begins with."""
    short = name.rpartition("/")[2].lower()
    known = [one for one in MODELS if short.startswith(one)]
    if not known:
        raise UsageError(f"model {name!r} is not known; add it to sim/costs/model.py (there: {', '.join(MODELS)})")
    return MODELS[max(known, key=len)]


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
    shape = shape_of(model)
    run = read_run(run_folder, _capacity(shape, config))
    tables = folder / "profiler" / "perf" / card / model / "bf16" / f"tp{run.tensor_parallel}"
    table = LayerTable(tables, _blocks(shape, run, config["link_bw"] * 1e9, config["link_latency"] * 1e-9))
    free = LayerTable(tables, _blocks(shape, run, 1e18, 0.0))
    known = GPUS.get(card)
    return Served(
        run.name,
        len(run.requests),
        run.measured,
        replay(run, table.step_us),
        None if known is None else replay(run, roofline(shape, run.tensor_parallel, known)),
        None if run.tensor_parallel == 1 else replay(run, free.step_us),
    )


def _blocks(shape: Model, run: Recorded, link_bytes_per_s: float, link_latency_s: float) -> Blocks:
    return Blocks(
        shape.layers,
        shape.hidden,
        run.tensor_parallel,
        link_bytes_per_s,
        link_latency_s,
        shape.experts,
        shape.active_experts,
    )


def _capacity(shape: Model, config: dict[str, Any]) -> int:
    """Tokens that all ranks of an engine hold beside the weights."""
    one = config["nodes"][0]["instances"][0]
    memory = one["npu_mem"]
    bytes_free = one["tp_size"] * (1e9 * memory["mem_size"] * memory["mem_util"] - RESERVED_BYTES)
    return max(1, int((bytes_free - 2 * shape.total) / shape.kv_bytes))


def roofline(shape: Model, ranks: int, card: Gpu) -> StepCost:
    """A step's cost from the card's sheet and the shares of it that its kernels reach; the host is hidden behind it."""
    cost = Roofline(shape, card, WeightsCost(), ranks, host_us=0.0)

    def step_us(chunks: Sequence[Chunk], batch: int, context: float, longest: float) -> float:
        if not chunks:
            return cost.decode(batch).at(context) / 1e3
        return cost.mixed(Step(batch, round(context), chunks)) / 1e3

    return step_us
