"""Accelerators: peak rates, and the shares of them that measured kernels reach.

Rates: vendors' figures for dense bf16 as listed by aiconfigurator (Apache-2.0, systems/*.yaml); H20's compute from
verl's documentation; H800 is an H100 with 200 GB/s per direction. RTX cards: vendors' sheets. Efficiencies: fits to
aiconfigurator's GEMM and attention tables; cards without a table take the H100's.
"""

from __future__ import annotations

import difflib

import msgspec

from buffers.errors import UsageError


class Efficiency(msgspec.Struct, frozen=True):
    """Shares of peak."""

    flops: float = 0.76
    """Of large matrix products."""
    memory: float = 0.84
    """Of weight reads."""
    prefill_attention: tuple[tuple[int, float], ...] = ((1000, 0.19), (4000, 0.41), (16000, 0.56), (1 << 30, 0.61))
    """(up to so many tokens, share of FLOP peak)."""
    decode_attention: tuple[tuple[float, float], ...] = ((1e7, 0.2), (1e8, 0.39), (1e9, 0.73), (4e9, 0.90))
    """(bytes of keys and values read, share of memory bandwidth)."""
    attention_floor_us: float = 9.7
    """A decode attention kernel takes at least this."""


class Gpu(msgspec.Struct, frozen=True):
    """One accelerator."""

    name: str
    flops: float
    """Dense bf16 FLOP/s."""
    memory_bytes_per_s: float
    memory_bytes: float
    link_bytes_per_s: float
    """To its neighbours in a machine, per direction."""
    network_bytes_per_s: float
    efficiency: Efficiency = Efficiency()
    per_machine: int = 8


A100 = Efficiency(
    0.76, 0.72, ((1000, 0.32), (4000, 0.52), (16000, 0.63), (1 << 30, 0.65)),
    ((1e7, 0.12), (1e8, 0.24), (1e9, 0.43), (4e9, 0.54)), 15.1,
)  # fmt: skip
H200 = Efficiency(
    0.76, 0.84, ((1000, 0.20), (4000, 0.41), (16000, 0.55), (1 << 30, 0.58)),
    ((1e7, 0.14), (1e8, 0.27), (1e9, 0.66), (4e9, 0.89)), 9.7,
)  # fmt: skip

GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 312e12, 2.039e12, 80e9, 300e9, 25e9, A100),
        Gpu("H100", 989e12, 3.35e12, 80e9, 450e9, 50e9),
        Gpu("H200", 989e12, 4.8e12, 141e9, 450e9, 50e9, H200),
        Gpu("H800", 989e12, 3.35e12, 80e9, 200e9, 50e9),
        Gpu("H20", 148e12, 4.0e12, 96e9, 450e9, 50e9),
        Gpu("RTX4090", 165e12, 1.008e12, 24e9, 32e9, 12.5e9),
        Gpu("RTXPRO6000", 504e12, 1.792e12, 96e9, 64e9, 50e9),
    )
}


def gpu(name: str) -> Gpu:
    """The accelerator of a name; `UsageError` names the nearest known one."""
    if name in GPUS:
        return GPUS[name]
    near = difflib.get_close_matches(name.upper(), GPUS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(GPUS)}"
    raise UsageError(f"gpu = {name!r}: no such accelerator; {hint}")
