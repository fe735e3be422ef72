"""The synchronous core of a trainer: a packed batch in, new weights and numbers out.

    every R updates: reference <- weights; optimizer reset, if asked
    advantages over the whole batch
    per micro-batch: l_ref (a pass of the reference, or l itself right after a refresh), l, loss / divisor, backward
    clip, optimizer step; a gradient that is not finite is skipped, and too many in a row are an error

Micro-batches are rows of similar length within a budget of padded tokens; the gradient does not depend on the cut.
Holds no thread, no files, no messages: those are the port's (`torch_trainer.py`) and `checkpoint.py`'s.

Legend: B rows, T columns; l log-probabilities at the recorded temperature.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from buffers.errors import BraidError, UsageError
from buffers.histogram import RATIOS, bucket_counts, read_bucket
from policies.models import logps_of_tokens
from policies.objectives.objective import Objective, Tokens
from policies.packing import Batch

Tensor = torch.Tensor


MISMATCH_EDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Of the histogram of engine mismatch: the shares of fresh tokens whose log-probabilities differ by more."""


def over(edge: float) -> str:
    """Name of the number that says which share of fresh tokens lies over an edge."""
    return f"mismatch_over_{edge:.0e}"


class TrainingDiverged(BraidError):
    """Gradients were not finite too many updates in a row."""


class Abandoned(BraidError):
    """The update was given up before its step, because its holder closes."""


@dataclass(frozen=True)
class Config:
    """How weights move."""

    rate: float = 5e-4
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""
    epsilon: float = 1e-8
    """AdamW's."""
    weight_decay: float = 0.0
    """AdamW's."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    rise_updates: int = 6
    """Updates over which the rate rises, from the start and after each optimizer reset."""
    updates_per_reference: int = 2
    """R: updates between two refreshes of the reference."""
    reset_optimizer: bool = False
    """Forget the optimizer's moments at each refresh, as the paper does."""
    temperature: float = 1.0
    """Of the recorded behaviour log-probabilities."""
    micro_tokens: int = 16384
    """Padded tokens per micro-batch."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the products of matrices; weights, moments, gradients and log-probabilities are float32 either way."""
    most_skipped: int = 3
    """So many gradients in a row may fail to be finite."""


@dataclass(frozen=True)
class Applied:
    """What one update did."""

    metrics: dict[str, float]
    feedback: tuple[float, ...]
    """One number >= 0 per group: mean size of its advantages."""
    trained_tokens: int


@dataclass
class Counters:
    """What an update's course depends on beside weights and moments."""

    updates: int = 0
    since_reset: int = 0
    since_reference: int = 0
    last_version: int = -1
    """Version that the last update started from."""
    reference_version: int = -1
    """Version whose weights the reference holds; -1 if it was taken between two versions."""
    skipped_in_row: int = 0


@dataclass(frozen=True)
class _Arrays:
    """A batch as tensors, with its advantages."""

    ids_BT: Tensor
    behaviour_BT: Tensor
    mask_BT: Tensor
    fresh_BT: Tensor
    """1 at loss-bearing tokens drawn by the very weights that the reference holds: the engines should agree there."""
    advantage_B: Tensor
    weight_B: Tensor
    lengths_B: npt.NDArray[np.int32]
    divisor: float


@dataclass
class Update:
    """A model that learns by one objective."""

    model: nn.Module
    objective: Objective
    config: Config
    counters: Counters = field(default_factory=Counters)
    stopped: Callable[[], bool] = lambda: False
    """Asked before each micro-batch; True gives the update up."""

    def __post_init__(self) -> None:
        """Check the config against the objective; take the first reference."""
        if self.config.temperature <= 0:
            raise UsageError(f"temperature {self.config.temperature}: greedy samples cannot be trained on")
        self.objective.check(self.config.updates_per_reference)
        self.weights = list(self.model.parameters())
        self.device = self.weights[0].device
        self.optimizer = self._fresh_optimizer()
        self.reference = type(self.model)(self.model.config).to(self.device)
        self.reference.requires_grad_(False)
        self.take_reference()

    def _fresh_optimizer(self) -> torch.optim.AdamW:
        settings = self.config
        return torch.optim.AdamW(
            self.weights,
            lr=settings.rate,
            betas=settings.betas,
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def take_reference(self) -> None:
        """Freeze the current weights as the reference."""
        self.reference.load_state_dict(self.model.state_dict())
        self.counters.since_reference = 0

    def apply(self, batch: Batch) -> Applied:
        """One optimizer update."""
        counters = self.counters
        if counters.since_reference >= self.config.updates_per_reference:
            self.take_reference()
            if self.config.reset_optimizer:
                self.optimizer, counters.since_reset = self._fresh_optimizer(), 0
        if counters.since_reference == 0:
            counters.reference_version = batch.version if batch.version != counters.last_version else -1
        counters.last_version = batch.version
        arrays = self._arrays(batch)
        sums: defaultdict[str, float] = defaultdict(float)
        for rows in micro_batches(arrays.lengths_B, self.config.micro_tokens):
            if self.stopped():
                self.optimizer.zero_grad(set_to_none=True)
                raise Abandoned(f"update {counters.updates + 1} is abandoned")
            for name, value in self._accumulate(arrays, rows).items():
                sums[name] += value
        norm = float(nn.utils.clip_grad_norm_(self.weights, self.config.clip))
        stepped = math.isfinite(norm) and math.isfinite(sums["loss"])
        if stepped:
            self.optimizer.param_groups[0]["lr"] = self.rate()
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        counters.skipped_in_row = 0 if stepped else counters.skipped_in_row + 1
        if counters.skipped_in_row > self.config.most_skipped:
            raise TrainingDiverged(
                f"{counters.skipped_in_row} gradients in a row are not finite at update {counters.updates}; "
                f"lower rate (now {self.config.rate}) or resume from an older checkpoint"
            )
        counters.updates += 1
        counters.since_reset += 1
        counters.since_reference += 1
        tokens = int(batch.mask_BT.sum())
        return Applied(_metrics(batch, arrays, sums, norm, stepped), _feedback(batch, arrays), tokens)

    def rate(self) -> float:
        """The learning rate of the next update."""
        return self.config.rate * min(1.0, (self.counters.since_reset + 1) / max(1, self.config.rise_updates))

    def _arrays(self, batch: Batch) -> _Arrays:
        device = self.device
        mask_BT = torch.from_numpy(batch.mask_BT).to(device).float()
        groups_B = torch.from_numpy(batch.groups_B.astype(np.int64)).to(device)
        rewards_B = torch.from_numpy(batch.rewards_B).to(device)
        count = float(batch.mask_BT.sum()) if self.objective.divide_by == "tokens" else float(len(batch.lengths_B))
        return _Arrays(
            ids_BT=torch.from_numpy(batch.ids_BT.astype(np.int64)).to(device),
            behaviour_BT=torch.from_numpy(batch.behaviour_BT).to(device),
            mask_BT=mask_BT,
            fresh_BT=mask_BT * torch.from_numpy(batch.versions_BT == self.counters.reference_version).to(device),
            advantage_B=self.objective.advantages(rewards_B, groups_B),
            weight_B=torch.from_numpy(batch.weight_B).to(device),
            lengths_B=batch.lengths_B,
            divisor=max(1.0, count),
        )

    def _logps(self, model: nn.Module, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        return logps_of_tokens(model, ids_BT, self.config.temperature, self.config.precision)

    def _accumulate(self, arrays: _Arrays, rows: Tensor) -> dict[str, float]:
        """Add one micro-batch's gradient; its sums."""
        width = int(arrays.lengths_B[rows.numpy()].max())
        rows = rows.to(self.device)
        ids_BT = arrays.ids_BT[rows, :width]
        logp_BT, entropy_BT = self._logps(self.model, ids_BT)
        if self.counters.since_reference == 0:
            reference_BT = logp_BT.detach()
        else:
            with torch.no_grad():
                reference_BT, _ = self._logps(self.reference, ids_BT)
        mask_BT, behaviour_BT = arrays.mask_BT[rows, :width], arrays.behaviour_BT[rows, :width]
        tokens = Tokens(logp_BT, reference_BT, behaviour_BT, mask_BT, arrays.advantage_B[rows], arrays.weight_B[rows])
        loss = self.objective.loss(tokens)
        (loss.total / arrays.divisor).backward()  # type: ignore[no-untyped-call]
        off_BT = (reference_BT - behaviour_BT).abs()
        ratios = (reference_BT - behaviour_BT).exp()[mask_BT > 0].cpu().tolist()
        sums = {
            **loss.sums,
            "loss": loss.total.detach(),
            "entropy": (entropy_BT * mask_BT).sum(),
            "mismatch": (off_BT * arrays.fresh_BT[rows, :width]).sum(),
            "off_policy": (off_BT * mask_BT).sum(),
        }
        fresh_BT = arrays.fresh_BT[rows, :width]
        sums |= {over(edge): ((off_BT > edge) * fresh_BT).sum() for edge in MISMATCH_EDGES}
        return {**{name: float(value) for name, value in sums.items()}, **bucket_counts("ratio", ratios, RATIOS)}


def micro_batches(lengths_B: npt.NDArray[np.int32], budget: int) -> Iterator[Tensor]:
    """Row numbers int64 [b] of each micro-batch: similar lengths, b x longest <= budget (one row at least)."""
    rows: list[int] = []
    for row in np.argsort(-lengths_B, kind="stable").tolist():
        if rows and (len(rows) + 1) * int(lengths_B[rows[0]]) > budget:
            yield torch.tensor(rows)
            rows = []
        rows.append(row)
    yield torch.tensor(rows)


def _feedback(batch: Batch, arrays: _Arrays) -> tuple[float, ...]:
    size_B = arrays.advantage_B.abs().cpu().numpy()
    totals, counts = np.bincount(batch.groups_B, size_B), np.bincount(batch.groups_B)
    return tuple(float(total / count) for total, count in zip(totals, counts, strict=True))


def _metrics(batch: Batch, arrays: _Arrays, sums: dict[str, float], norm: float, stepped: bool) -> dict[str, float]:
    tokens, fresh = max(1.0, float(batch.mask_BT.sum())), max(1.0, float(arrays.fresh_BT.sum()))
    counts = np.bincount(batch.groups_B)
    right = np.bincount(batch.groups_B, batch.outcomes_B)
    response_B = batch.produced_BT.sum(1)
    lag_BT = (batch.version - batch.versions_BT) * batch.mask_BT
    metrics = {
        "loss": sums["loss"] / arrays.divisor,
        "gradient_norm": norm,
        "skipped": float(not stepped),
        "reward": float(batch.rewards_B.mean()),
        "outcome": float(batch.outcomes_B.mean()),
        "all_right_share": float((right == counts).mean()),
        "all_wrong_share": float((right == 0).mean()),
        "entropy": sums["entropy"] / tokens,
        "truncated_share": sums["truncated"] / tokens,
        "penalty": sums["penalty"] / arrays.divisor,
        "mismatch": sums["mismatch"] / fresh,
        "fresh_tokens": float(arrays.fresh_BT.sum()),
        **{over(edge): sums[over(edge)] / fresh for edge in MISMATCH_EDGES},
        "off_policy": sums["off_policy"] / tokens,
        "masked_share": batch.masked_share,
        "mean_lag": float(lag_BT.sum()) / tokens,
        "mean_response_tokens": float(response_B.mean()),
        "longest_response_tokens": float(response_B.max()),
    }
    if "clipped" in sums:
        metrics["clipped_share"] = sums["clipped"] / tokens
    return metrics | {name: count for name, count in sums.items() if read_bucket(name) is not None}
