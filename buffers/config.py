"""The buffer's config: the numbers of the staleness rule, limits, and how prompts and groups are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from buffers.errors import UsageError
from buffers.leasing import LeasingConfig
from buffers.prompts import PromptConfig
from buffers.segment import BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """What a `Buffer` goes by; refused at once, with a `UsageError`, where the numbers do not fit."""

    k: int
    """Responses per prompt."""
    batch: int
    """Trajectories per published version; a multiple of k * updates_per_version."""
    max_response_tokens: int
    """No response holds more."""
    eta: int = 1
    """Versions that a group may wait between its end and its first use."""
    oversample: float = 1.0
    """More than 1 opens more groups than can be trained and lets the law choose; the surplus is evicted by age."""
    updates_per_version: int = 1
    """Leases, each one optimizer update, between two published versions."""
    reuse: int = 1
    """How often a group may be trained on."""
    max_attempts: int = 3
    """Failures of infrastructure of one trajectory that fail its group."""
    no_signal: Literal["train", "evict"] = "train"
    """What becomes of a group whose outcomes are all equal."""
    max_gen_batches: int = 0
    """End after so many leases' worth of groups were evicted without signal while one lease was being filled; 0: never.
    DAPO's `filter_groups.max_num_gen_batches` is such a limit."""
    capacity_tokens: int | None = None
    """Tokens that may be held or reserved; None is no limit."""
    capacity_bytes: int | None = None
    """The same in bytes: 13 a token, and attachments."""
    max_attached_bytes: int = 0
    """Attachments that a response may carry, reserved with its tokens."""
    checkpoint_every: int = 1
    """Versions between durable checkpoints; groups are held until one, so a capacity must hold as many batches."""
    priority: str = "spread_freshness"
    """A file of `buffers/priorities`, or `module:name`."""
    priority_options: Mapping[str, float] = field(default_factory=dict)
    """Fields of the rule."""
    leasing: LeasingConfig = field(default_factory=LeasingConfig)
    """How the law draws groups for a lease."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    """How prompts are drawn for fresh groups."""
    seed: int = 0
    """Of every draw."""
    keep_closed: bool = False
    """Leave the rows and segments of closed groups in the store, for looking at; it grows without end."""

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit each other."""
        for name in ("k", "batch", "max_response_tokens", "updates_per_version", "reuse", "max_attempts"):
            if getattr(self, name) < 1:
                raise UsageError(f"buffer.{name} is {getattr(self, name)}; it must be at least 1")
        if self.checkpoint_every < 1:
            raise UsageError(f"buffer.checkpoint_every is {self.checkpoint_every}; it must be at least 1")
        if self.eta < 0:
            raise UsageError(f"buffer.eta is {self.eta}; 0 is synchronous, more lets groups wait that many versions")
        if not self.oversample >= 1.0:
            raise UsageError(f"buffer.oversample is {self.oversample}; it must be at least 1")
        if self.batch % (self.k * self.updates_per_version):
            raise UsageError(
                f"buffer.batch is {self.batch}; it must be a multiple of k * updates_per_version"
                f" = {self.k * self.updates_per_version}"
            )
        if self.k == 1 and self.no_signal == "evict":
            raise UsageError(
                "buffer.k is 1 and buffer.no_signal 'evict': the outcomes of one response are always equal, so every"
                " group would be evicted; make k 2 or more, or no_signal 'train'"
            )
        for name in ("capacity_tokens", "capacity_bytes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"buffer.{name} is {getattr(self, name)}; leave it out for no limit")
        if self.max_attached_bytes < 0:
            raise UsageError(f"buffer.max_attached_bytes is {self.max_attached_bytes}; it must be 0 (none) or more")
        if self.no_signal not in ("train", "evict"):
            raise UsageError(f"buffer.no_signal is {self.no_signal!r}; it is 'train' or 'evict'")
        if self.max_gen_batches < 0:
            raise UsageError(f"buffer.max_gen_batches is {self.max_gen_batches}; it must be 0 (no limit) or more")
        if self.max_gen_batches and self.no_signal == "train":
            raise UsageError(
                f"buffer.max_gen_batches is {self.max_gen_batches} and buffer.no_signal 'train': groups without signal"
                " are trained, so the limit would never be reached; make no_signal 'evict', or max_gen_batches 0"
            )

    @property
    def groups_per_version(self) -> int:
        """Groups trained in one published version."""
        return self.batch // self.k

    @property
    def groups_per_lease(self) -> int:
        """Groups of one optimizer update."""
        return self.batch // (self.k * self.updates_per_version)

    def check_capacity(self, longest_prompt_tokens: int) -> None:
        """Raise `UsageError` if the capacity could not hold what is trained between two checkpoints."""
        responses = self.checkpoint_every * self.batch
        tokens = longest_prompt_tokens + self.max_response_tokens
        if self.capacity_tokens is not None and self.capacity_tokens < responses * tokens:
            raise UsageError(
                f"buffer.capacity_tokens is {self.capacity_tokens}; checkpoint_every * batch * (longest prompt"
                f" + max_response_tokens) = {responses * tokens} are needed, or training would stop for want of space"
            )
        needed = responses * (tokens * BYTES_PER_TOKEN + self.max_attached_bytes)
        if self.capacity_bytes is not None and self.capacity_bytes < needed:
            raise UsageError(
                f"buffer.capacity_bytes is {self.capacity_bytes}; checkpoint_every * batch * ((longest prompt"
                f" + max_response_tokens) * {BYTES_PER_TOKEN} + max_attached_bytes) = {needed} are needed, or training"
                " would stop for want of space"
            )
