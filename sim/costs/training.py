"""A training update: 6NT and attention over the trainer's devices, by parallel layout.

    forward and backward   (6 N T + 6 L d sum S^2) x 4/3 with recomputation      / (G F e)
    log-probability pass   (2 N T + 2 L d sum S^2), likewise a reference pass    / (G F e)
    longest sequence       one rank computes all of it: with D ranks nothing takes less than D times its work
    pipeline bubble        (p - 1) / (m + p - 1) of the time
    optimizer              16 bytes of state for each parameter, read and written

The efficiency e depends on the layout: one that was measured is not valid for another.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sim.costs.cost import Parts
from sim.costs.hardware import Gpu
from sim.costs.model import Model


class Layout(msgspec.Struct, frozen=True):
    """How the trainer spreads a model."""

    tensor: int = 1
    """Degree of tensor parallelism."""
    pipeline: int = 1
    """Pipeline stages."""
    microbatches: int = 8
    """Micro-batches of an update, per pipeline."""
    recompute: bool = True
    """Activations are computed again in the backward pass."""
    logprob_pass: bool = True
    """A forward pass more for the current log-probabilities."""
    reference_pass: bool = False
    """A forward pass more for the reference's."""
    efficiency: float = 0.0
    """Share of FLOP peak reached; 0: from the layout."""

    def mfu(self, per_machine: int) -> float:
        """Share of peak: what was given, or 0.45 less what tensor parallelism costs (more between machines)."""
        if self.efficiency:
            return self.efficiency
        loss = 0.92 ** (self.tensor.bit_length() - 1)
        return 0.45 * loss * (0.5 if self.tensor > per_machine else 1.0)


class Training(msgspec.Struct, frozen=True):
    """The learner's devices."""

    model: Model
    gpu: Gpu
    gpus: int
    layout: Layout = Layout()
    base_s: float = 1.0
    """Packing, launching, logging per update."""
    checkpoint_bytes_per_s: float = 2e9
    """Effective, per machine."""
    expose_s: float = 0.0

    def update(self, lengths: Sequence[int]) -> Parts:
        """One update over sequences of these lengths."""
        model, layout = self.model, self.layout
        tokens = float(sum(lengths))
        squares = float(sum(length * length for length in lengths))
        forward = self._forward(tokens, squares)
        longest = max(lengths, default=0)
        ranks = max(1, self.gpus // (layout.tensor * layout.pipeline))
        forward = max(forward, ranks * self._forward(longest, longest * longest))
        rate = self.gpus * self.gpu.flops * layout.mfu(self.gpu.per_machine)
        bubble = (layout.pipeline - 1) / (layout.microbatches + layout.pipeline - 1)
        main = (4 if layout.recompute else 3) * forward / rate
        parts = {"base": self.base_s, "train": main}
        if layout.logprob_pass:
            parts["logprob"] = forward / rate
        if layout.reference_pass:
            parts["reference"] = forward / rate
        passes = sum(parts.values()) - self.base_s
        parts["bubble"] = passes * bubble / (1 - bubble)
        parts["optimizer"] = 2 * 16 * model.total / (self.gpus * 0.7 * self.gpu.memory_bytes_per_s)
        return Parts({name: round(1e9 * took) for name, took in parts.items()})

    def _forward(self, tokens: float, squares: float) -> float:
        """FLOP of a forward pass over so many tokens, by the sum of the squares of their sequences' lengths."""
        width = self.model.layers * self.model.heads * self.model.head_dim
        return 2 * self.model.active * tokens + 2 * width * squares

    def checkpoint(self) -> int:
        """Weights and optimizer to disk, every machine its share."""
        machines = max(1, self.gpus // self.gpu.per_machine)
        return round(1e9 * 14 * self.model.total / (machines * self.checkpoint_bytes_per_s))

    def expose(self) -> int:
        """Until generators may pull."""
        return round(1e9 * self.expose_s)
