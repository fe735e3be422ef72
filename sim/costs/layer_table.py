"""An engine's cost from tables that a profiler measured on one card, layer by layer: no formula and no fitted constant.

A folder of tables (the layout of LLMServingSim's profiler, MIT; times in microseconds, of one layer on one rank):

    dense.csv         layer, tokens                                            what depends on a step's tokens alone
    per_sequence.csv  layer, sequences                                         what depends on its sequences alone
    attention.csv     prefill_chunk, kv_prefill, n_decode, kv_decode          one chunk beside a batch of equal contexts
    skew.csv          ..., t_mean_us, t_max_us, t_skew_us                      (may lack) batches of unequal contexts
    moe.csv           tokens, activated_experts                                (may lack) the experts of one layer

A step = blocks * (dense layers + attention + experts + two all-reduces) + embedding, last norm and head. Attention of
unequal contexts lies between that of their mean and that of their longest; how far is the least-squares share over
skew.csv, of that card. Chunks beyond the first add their attention alone. Between measured points times are linear;
before the first they are the first, behind the last they go on with the last slope.

Left out: time of the host between steps (serving engines prepare the next step while one runs), sampling with top-k.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from buffers.errors import UsageError
from sim.costs.cost import Chunk, Install, Step
from sim.costs.curve import Curve

ONCE = ("embedding", "final_layernorm")
"""Dense layers that a model has once; every other one is in each block."""
TWICE = ("layernorm",)
"""Dense layers that each block has twice."""
KNOTS = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Mean contexts at which a decode curve bends."""


@dataclass(frozen=True)
class Blocks:
    """What the tables do not say of a model and of how its ranks are joined."""

    layers: int
    hidden: int
    """Width of what the ranks add up, two bytes a number."""
    tensor_parallel: int = 1
    link_bytes_per_s: float = 0.0
    """Of one rank, in one direction."""
    link_latency_s: float = 0.0
    """Of one all-reduce."""
    experts: int = 0
    chosen: int = 0
    """Experts that a token is sent to."""

    def __post_init__(self) -> None:
        """Refuse ranks that nothing joins."""
        if self.tensor_parallel > 1 and self.link_bytes_per_s <= 0:
            raise UsageError(f"tensor_parallel = {self.tensor_parallel} needs link_bytes_per_s above 0")


@dataclass(frozen=True)
class Line:
    """Measured points, linear in between."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def at(self, x: float) -> float:
        """The value at x; before the first point it is the first."""
        if x <= self.xs[0] or len(self.xs) == 1:
            return self.ys[0]
        left = min(bisect_right(self.xs, x), len(self.xs) - 1) - 1
        share = (x - self.xs[left]) / (self.xs[left + 1] - self.xs[left])
        return self.ys[left] + share * (self.ys[left + 1] - self.ys[left])


class Grid:
    """Times by several coordinates, one within the other; which points there are may differ from branch to branch."""

    def __init__(self, rows: Sequence[tuple[tuple[int, ...], float]]) -> None:
        branches: dict[int, list[tuple[tuple[int, ...], float]]] = defaultdict(list)
        for (first, *rest), value in rows:
            branches[first].append((tuple(rest), value))
        self._xs = sorted(branches)
        self._leaf = len(rows[0][0]) == 1
        self._values = [branches[x][0][1] for x in self._xs]
        self._branches = [] if self._leaf else [Grid(branches[x]) for x in self._xs]

    def at(self, *point: float) -> float:
        """The value at a point: linear along each coordinate; before the first it is the first."""
        x, *rest = point
        xs = self._xs
        if x <= xs[0] or len(xs) == 1:
            return self._value(0, rest)
        left = min(bisect_right(xs, x), len(xs) - 1) - 1
        share = (x - xs[left]) / (xs[left + 1] - xs[left])
        below = self._value(left, rest)
        return below if share == 0 else below + share * (self._value(left + 1, rest) - below)

    def _value(self, index: int, rest: Sequence[float]) -> float:
        return self._values[index] if self._leaf else self._branches[index].at(*rest)


class LayerTable:
    """The cost of an engine whose card was profiled; an `EngineCost`, and what a replay asks with more detail."""

    def __init__(self, folder: Path, blocks: Blocks, install: Install | None = None) -> None:
        self.blocks = blocks
        self._install = install or Install(0, 0, False)
        self._dense = {name: _line(points) for name, points in _lines(folder / "dense.csv", "tokens").items()}
        sequences = _lines(folder / "per_sequence.csv", "sequences")
        self._sequences = [_line(points) for points in sequences.values()]
        columns = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
        self._attention = Grid(_grid(folder / "attention.csv", columns))
        experts = folder / "moe.csv"
        self._experts = Grid(_grid(experts, ("tokens", "activated_experts"))) if experts.exists() else None
        if self._experts is not None and not 0 < blocks.chosen <= blocks.experts:
            raise UsageError(
                f"{experts} has experts: blocks.experts = {blocks.experts} must reach chosen = {blocks.chosen} > 0"
            )
        self.skew = _skew(folder / "skew.csv")
        """How far attention of unequal contexts lies from that of their mean towards that of their longest."""

    def decode(self, batch: int) -> Curve:
        """See `EngineCost`; contexts are taken as equal."""
        ys: list[float] = []
        for mean in KNOTS:
            time_ns = 1e3 * self.step_us((), batch, batch * mean, mean)
            ys.append(max([time_ns, *ys[-1:]]))
        xs = [batch * mean for mean in KNOTS]
        return Curve(xs, ys, (ys[-1] - ys[-2]) / (xs[-1] - xs[-2]))

    def mixed(self, step: Step) -> float:
        """See `EngineCost`; contexts are taken as equal."""
        mean = step.context / step.batch if step.batch else 0.0
        return 1e3 * self.step_us(step.chunks, step.batch, step.context, mean)

    def install(self, version: int) -> Install:
        """See `EngineCost`."""
        return self._install

    def step_us(self, chunks: Sequence[Chunk], batch: int, context: float, longest: float) -> float:
        """One step: chunks to prefill, and `batch` sequences of `context` held tokens in all that decode."""
        tokens = batch + sum(chunk.tokens for chunk in chunks)
        block = sum(line.at(tokens) * (1 + (name in TWICE)) for name, line in self._dense.items() if name not in ONCE)
        block += self._attention_us(chunks, batch, context, longest) + self._joins_us(tokens)
        if self._experts is not None:
            one = self.blocks
            touched = one.experts * (1 - (1 - one.chosen / one.experts) ** tokens)
            block += self._experts.at(tokens, touched)
        once = sum(self._dense[name].at(tokens) for name in ONCE if name in self._dense)
        once += sum(line.at(max(1, batch + len(chunks))) for line in self._sequences)
        return self.blocks.layers * block + once

    def _attention_us(self, chunks: Sequence[Chunk], batch: int, context: float, longest: float) -> float:
        first = chunks[0] if chunks else Chunk(0, 0)
        mean = context / batch if batch else 0.0
        even = self._attention.at(first.tokens, first.context, batch, mean)
        if batch > 1 and longest > mean and self.skew:
            even += self.skew * (self._attention.at(first.tokens, first.context, batch, longest) - even)
        return even + sum(self._attention.at(chunk.tokens, chunk.context, 0, 0) for chunk in chunks[1:])

    def _joins_us(self, tokens: int) -> float:
        """Two all-reduces of a block, in rings: each rank sends 2 (t - 1) / t of the bytes."""
        one = self.blocks
        if one.tensor_parallel == 1:
            return 0.0
        sent = 2 * one.hidden * tokens * 2 * (one.tensor_parallel - 1) / one.tensor_parallel
        return 2e6 * (one.link_latency_s + sent / one.link_bytes_per_s)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"no table at {path}: name a folder with dense.csv, per_sequence.csv and attention.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UsageError(f"{path} holds no rows; name a table with measurements")
    return rows


def _lines(path: Path, column: str) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, row in enumerate(_rows(path), 2):
        try:
            lines[row["layer"]].append((float(row[column]), float(row["time_us"])))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path}:{number}: layer, {column} and time_us are needed, as numbers ({error})") from None
    return lines


def _line(points: list[tuple[float, float]]) -> Line:
    points.sort()
    return Line(tuple(x for x, _ in points), tuple(y for _, y in points))


def _grid(path: Path, columns: Sequence[str]) -> list[tuple[tuple[int, ...], float]]:
    rows = []
    for number, row in enumerate(_rows(path), 2):
        try:
            rows.append((tuple(int(row[column]) for column in columns), float(row["time_us"])))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path}:{number}: {', '.join(columns)}, time_us are needed ({error})") from None
    return rows


def _skew(path: Path) -> float:
    """The share s that minimizes the squares of skew - (mean + s (longest - mean)); 0 without a table."""
    if not path.is_file():
        return 0.0
    above = below = 0.0
    for row in _rows(path):
        mean, longest, measured = (float(row[name]) for name in ("t_mean_us", "t_max_us", "t_skew_us"))
        above += (measured - mean) * (longest - mean)
        below += (longest - mean) ** 2
    return above / below if below else 0.0
