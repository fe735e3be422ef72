"""The host's record of each row of the cache: its tokens, what they are drawn with, and when its segment ends.

    take, load, set_sampling -> batch -> (step by step: feed, uniforms, record) -> free, or kept as a cached prefix

A row that decodes is *live*. A step computes the rows 0 .. B - 1, B being one more than the highest live row; rows
among them that are not live (free, cached, being filled) are computed for nothing. `moves` says how to bring live rows
together, the longest first, so that adjacent rows attend to about the same number of positions.

Positions here count the whole context from 0, prompt included. Axes: R rows, B rows of the batch, L longest context.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from policies.engines.lean.step import DecodeBatch, Group
from policies.sampling import Draw, Rule, rule

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

_NEVER = 2**62
_SPAN_STEP = 8
"""Spans are multiples of this, which suits the inner loops of products."""
_GROUP_ROWS = 16
"""Rows that attend together; more groups read less and cost more operators."""
_ROW_COST = 64
"""What a row costs in a step beside its attention, in tokens read."""
_MOVE_COST = 4
"""What moving a token costs, in reads of one: two copies, each read and written."""
_MOVE_PAYS_WITHIN = 32
"""Rows are put in order if that saves more than it costs within so many steps."""


@dataclass(slots=True)
class Batch:
    """The rows 0 .. B - 1 between two changes; `Rows.record` moves positions, ids and lengths on."""

    index_B: Ints
    live_B: Flags
    written_B: Ints
    """Where each row's next token is written, after all that it knows."""
    positions_B: Ints
    """What the model is told: of the last known token in live rows, 0 in others."""
    ids_B: Tensor
    """Each row's last known token."""
    targets_B: Tensor
    """Where keys and values go: the row itself, or the spill row if it is not live."""
    lengths: list[int]
    """The longest context of the live rows of each group."""
    ends_B: Ints
    """Known tokens at which a row's segment ends; never for rows that are not live."""
    stop_ids_BM: Ints
    rule: Rule


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one step drew; flags are false for rows that are not live."""

    stopped_B: Flags
    """The token is a stop token."""
    ended_B: Flags
    """The segment has its last token."""
    any_ended: bool
    """Whether any row stopped or ended."""


class Rows:
    """Tokens and endings by row."""

    def __init__(self, rows: int, longest: int, device: torch.device) -> None:
        self._device = device
        self._spill_row = rows
        self.row_of: dict[int, int] = {}
        self._free = list(range(rows))
        # One column more than the longest context: a full row that is not live still writes after its tokens.
        self.ids_RL: Ints = np.zeros((rows, longest + 1), np.int64)
        self.logps_RL = np.zeros((rows, longest + 1), np.float32)
        self._uniforms_RL = np.zeros((rows, longest + 1), np.float64)
        self.known_R: Ints = np.zeros(rows, np.int64)
        self._end_R: Ints = np.full(rows, _NEVER, np.int64)
        """The number of known tokens at which the segment ends."""
        self._prompt_R: Ints = np.zeros(rows, np.int64)
        self._stop_ids_RM: Ints = np.full((rows, 1), -1, np.int64)
        self._temperatures_R = np.ones(rows, np.float32)
        self._top_ps_R = np.ones(rows, np.float64)
        self.trajectory_R: Ints = np.full(rows, -1, np.int64)
        """Whose row it is; stale where it is free."""

    def take(self, trajectory: int) -> int:
        """The row of a trajectory; the lowest free one if it has none yet."""
        if trajectory not in self.row_of:
            row = self.row_of[trajectory] = heapq.heappop(self._free)
            self.trajectory_R[row] = trajectory
        return self.row_of[trajectory]

    def free(self, trajectory: int) -> None:
        """Give a trajectory's row back; nothing happens if it has none."""
        row = self.row_of.pop(trajectory, None)
        if row is not None:
            heapq.heappush(self._free, row)

    def load(self, row: int, prompt: int, ids: Ints, logps: Floats, uniforms: npt.NDArray[np.float64]) -> None:
        """Fill a row's record.

        Args:
            row: the row.
            prompt: how many of the known tokens are the prompt's.
            ids: known tokens [n].
            logps: log-probabilities of the last of them [m <= n].
            uniforms: one number for each token still to come.
        """
        known = len(ids)
        self._prompt_R[row] = prompt
        self.known_R[row] = known
        self.ids_RL[row, :known] = ids
        self.logps_RL[row, known - len(logps) : known] = logps
        self._uniforms_RL[row, known : known + len(uniforms)] = uniforms
        self._end_R[row] = known + len(uniforms)

    def set_sampling(self, row: int, temperature: float, top_p: float, stop_ids: tuple[int, ...]) -> None:
        """How the row draws, and which tokens end it."""
        self._temperatures_R[row], self._top_ps_R[row] = temperature, top_p
        missing = len(stop_ids) - self._stop_ids_RM.shape[1]
        if missing > 0:
            self._stop_ids_RM = np.pad(self._stop_ids_RM, ((0, 0), (0, missing)), constant_values=-1)
        self._stop_ids_RM[row] = -1
        self._stop_ids_RM[row, : len(stop_ids)] = stop_ids

    def batch(self, running: Iterable[int]) -> Batch:
        """The rows of trajectories that decode, as they are now; good until any row changes."""
        rows = [self.row_of[trajectory] for trajectory in running]
        size = max(rows) + 1
        index = np.arange(size)
        live = np.zeros(size, np.bool_)
        live[rows] = True
        written = self.known_R[:size].copy()
        lengths = np.where(live, written, 1)
        last = np.maximum(written - 1, 0)
        return Batch(
            index_B=index,
            live_B=live,
            written_B=written,
            positions_B=lengths - 1,
            ids_B=torch.from_numpy(self.ids_RL[index, last]).to(self._device),
            targets_B=torch.from_numpy(np.where(live, index, self._spill_row)).to(self._device),
            lengths=[int(lengths[lo : lo + _GROUP_ROWS].max()) for lo in range(0, size, _GROUP_ROWS)],
            ends_B=np.where(live, self._end_R[:size], _NEVER),
            stop_ids_BM=np.where(live[:, None], self._stop_ids_RM[:size], -1),
            rule=rule(self._temperatures_R[:size], self._top_ps_R[:size], self._device),
        )

    def feed(self, batch: Batch, longest: int) -> DecodeBatch:
        """What the next step computes; spans do not exceed `longest`."""
        size = len(batch.index_B)
        groups: list[Group] = []
        for number, length in enumerate(batch.lengths):
            lo, hi = number * _GROUP_ROWS, min(size, (number + 1) * _GROUP_ROWS)
            span = min(longest, -(-length // _SPAN_STEP) * _SPAN_STEP)
            if groups and groups[-1][2] == span:
                lo = groups.pop()[0]
            groups.append((lo, hi, span))
        # A copy: the positions move on in place while the device may still read.
        positions = torch.from_numpy(batch.positions_B.copy()).to(self._device)
        return DecodeBatch(batch.ids_B, positions, batch.targets_B, tuple(groups))

    def uniforms(self, batch: Batch) -> Tensor:
        """Uniform numbers float64 [B] of the tokens that the next step draws."""
        return torch.from_numpy(self._uniforms_RL[batch.index_B, batch.written_B]).to(self._device)

    def record(self, batch: Batch, drawn: Draw) -> Recorded:
        """Append one token to each live row. The others write where nobody reads, after their own known tokens."""
        ids = drawn.ids_B.cpu().numpy()
        self.ids_RL[batch.index_B, batch.written_B] = ids
        self.logps_RL[batch.index_B, batch.written_B] = drawn.logps_B.cpu().numpy()
        self.known_R[: len(ids)] += batch.live_B
        batch.written_B += batch.live_B
        batch.positions_B += batch.live_B
        batch.lengths = [length + 1 for length in batch.lengths]
        batch.ids_B = drawn.ids_B
        stopped = (ids[:, None] == batch.stop_ids_BM).any(axis=1)
        ended = batch.written_B >= batch.ends_B
        return Recorded(stopped, ended, bool((stopped | ended).any()))

    def response_lengths(self, rows: Ints) -> Ints:
        """Response tokens [len(rows)] that rows know."""
        return self.known_R[rows] - self._prompt_R[rows]

    def tails(self, rows: Ints, width: int) -> Ints:
        """The last `width` known tokens [len(rows), width] of rows; what is before a row's first is its first."""
        columns = self.known_R[rows][:, None] + np.arange(-width, 0)
        tails: Ints = self.ids_RL[rows[:, None], np.maximum(columns, 0)]
        return tails

    def moves(self, running: Iterable[int]) -> tuple[list[int], list[int]]:
        """(rows, rows that they go to) that bring running trajectories together, the longest first.

        Empty if that does not pay soon. A row that is in the right group already stays where it is; a cached row in
        the way goes where room was made.
        """
        rows = np.array([self.row_of[trajectory] for trajectory in running])
        lengths = self.known_R[rows]
        rank = np.empty(len(rows), np.int64)
        rank[np.argsort(-lengths, kind="stable")] = np.arange(len(rows))
        stays = (rows < len(rows)) & (rows // _GROUP_ROWS == rank // _GROUP_ROWS)
        sources = rows[~stays][np.argsort(rank[~stays])]
        targets = np.setdiff1d(np.arange(len(rows)), rows[stays])
        ordered = np.empty_like(lengths)
        ordered[rank] = lengths
        spread = np.zeros(int(rows.max()) + 1, np.int64)
        spread[rows] = lengths
        saved = (_cost(spread) - _cost(ordered)) * _MOVE_PAYS_WITHIN
        if saved <= _MOVE_COST * int(lengths[~stays].sum()):
            return [], []
        held = set(self.row_of.values())
        displaced = [row for row in np.setdiff1d(targets, rows).tolist() if row in held]
        vacated = np.setdiff1d(sources, targets).tolist()
        return sources.tolist() + displaced, targets.tolist() + vacated[: len(displaced)]

    def relocate(self, sources: list[int], targets: list[int]) -> int:
        """Carry `moves` out for the host's part; returns how many positions of the cache have to move along."""
        longest = int(self.known_R[sources].max())
        for per_token in (self.ids_RL, self.logps_RL):
            per_token[targets, :longest] = per_token[sources, :longest]
        self._uniforms_RL[targets] = self._uniforms_RL[sources]
        self._stop_ids_RM[targets] = self._stop_ids_RM[sources]
        for per_row in (self.trajectory_R, self.known_R, self._prompt_R, self._end_R):
            per_row[targets] = per_row[sources]
        for setting in (self._temperatures_R, self._top_ps_R):
            setting[targets] = setting[sources]
        at = dict(zip(sources, targets, strict=True))
        self.row_of = {trajectory: at.get(row, row) for trajectory, row in self.row_of.items()}
        self._free = sorted(set(range(len(self.known_R))) - set(self.row_of.values()))
        return longest


def _cost(lengths: Ints) -> int:
    """What a step costs, in tokens read, whose rows have these lengths (0: not running)."""
    groups = [lengths[lo : lo + _GROUP_ROWS] for lo in range(0, len(lengths), _GROUP_ROWS)]
    return sum(len(group) * (int(group.max()) + _ROW_COST) for group in groups)
