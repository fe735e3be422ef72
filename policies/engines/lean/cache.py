"""Keys and values of every row, in memory that is allocated rarely and never moved between steps.

A row belongs to one trajectory, running or cached. The tensors hold one row more than asked for, the *spill row*: what
must be computed but not kept (padding of a fill, rows of a batch that nobody runs in) is written there.

The length dimension grows by doubling, up to the longest context; new memory is zero, so that what a mask hides is
always finite. `release` gives the memory back; the next `ensure` takes it again, empty.

Axes: R rows + 1, K key-value heads, S positions, d head_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policies.engines.lean.shape import Shape

_FIRST_SPAN = 256


class Cache:
    """Keys and values by layer, row and position; also the rotation of each position."""

    def __init__(self, shape: Shape, rows: int, longest: int, device: torch.device) -> None:
        self._shape = shape
        self._longest = longest
        self._device = device
        self._heads = torch.arange(shape.kv_heads, device=device)
        self.spill_row = rows
        self.span = min(longest, _FIRST_SPAN)
        """Positions that there is room for now."""
        self._layers = [self._empty(self.span) for _ in range(shape.layers)]
        """Per layer [2 (keys, values), R K, S, d]."""
        self._prepare()

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(layer.nbytes for layer in self._layers)

    def ensure(self, span: int) -> None:
        """Make room for contexts of `span` tokens."""
        if not self._layers:
            self._layers = [self._empty(self.span) for _ in range(self._shape.layers)]
            self._prepare()
        if span <= self.span:
            return
        wider = self.span
        while wider < span:
            wider = min(2 * wider, self._longest)
        for index, old in enumerate(self._layers):
            new = self._empty(wider)
            new[:, :, : self.span] = old
            self._layers[index] = new
        self.span = wider
        self._prepare()

    def release(self) -> None:
        """Free all memory; nothing is held any more."""
        for views in (self._layers, self._flat, self._keys, self._values):
            views.clear()

    def places(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Where the keys and values of tokens go: int64 [N, 2 K] into `write`, from rows and positions int64 [N]."""
        return (rows * self._row_stride + positions)[:, None] + self._head_offsets

    def write(self, layer: int, places: Tensor, keys_values: Tensor) -> None:
        """Store keys and values [N, 2 K, d] at places [N, 2 K]."""
        self._flat[layer][places] = keys_values

    def prefix(self, layer: int, first: int, after: int, span: int) -> tuple[Tensor, Tensor]:
        """Keys and values [rows x K, span, d] of the rows from `first` to before `after`, as views."""
        heads = slice(first * self._shape.kv_heads, after * self._shape.kv_heads)
        return self._keys[layer][heads, :span], self._values[layer][heads, :span]

    def gather(self, layer: int, rows: Tensor, span: int) -> tuple[Tensor, Tensor]:
        """Keys and values [len(rows), K, span, d] of any rows, as copies."""
        heads = rows[:, None] * self._shape.kv_heads + self._heads
        return self._keys[layer][:, :span][heads], self._values[layer][:, :span][heads]

    def hidden(self, positions: Tensor, span: int) -> Tensor:
        """What is added to scores [B, 1, span] of tokens at positions [B]: minus infinity after the token itself."""
        return torch.where(self._columns[:span] > positions[:, None], -torch.inf, 0.0)[:, None]

    def rotations(self, positions: Tensor) -> Tensor:
        """Complex rotations [N, 1, d / 2] of positions int64 [N]."""
        return self._turns[positions]

    def move(self, sources: list[int], targets: list[int], span: int) -> None:
        """Copy the first `span` positions of rows, all sources being read before any target is written."""
        from_heads, to_heads = (
            (torch.tensor(rows, device=self._device)[:, None] * self._shape.kv_heads + self._heads).flatten()
            for rows in (sources, targets)
        )
        for layer in self._layers:
            layer[:, to_heads, :span] = layer[:, :, :span][:, from_heads]

    def _empty(self, span: int) -> Tensor:
        shape = self._shape
        return torch.zeros(2, (self.spill_row + 1) * shape.kv_heads, span, shape.head_dim, device=self._device)

    def _prepare(self) -> None:
        """Views, offsets and rotations for the present span."""
        shape, rows = self._shape, self.spill_row + 1
        self._flat = [layer.view(-1, shape.head_dim) for layer in self._layers]
        self._keys, self._values = [layer[0] for layer in self._layers], [layer[1] for layer in self._layers]
        self._row_stride = shape.kv_heads * self.span
        heads = self._heads * self.span
        self._head_offsets = torch.cat([heads, heads + rows * self._row_stride])
        self._columns = torch.arange(self.span, device=self._device)
        angles = torch.arange(self.span, dtype=torch.float32)[:, None] * shape.rotary
        turns = torch.polar(torch.full_like(angles, shape.rotary_scale), angles)
        self._turns = turns[:, None].to(self._device)
