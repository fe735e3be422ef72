"""Accelerators: peak rates, and the shares of them that measured kernels reach.

Rates: vendors' figures for dense bf16 as listed by aiconfigurator (Apache-2.0, systems/*.yaml); H20's compute from
verl's documentation; H800 is an H100 with 200 GB/s per direction. RTX cards: vendors' sheets; the RTX PRO 6000 is the
Server Edition (1,597 GB/s), whose products were measured at up to 408 TFLOP/s. Efficiencies: `efficiency.json`, which
`braid condense` makes from kernel tables (origins and licences in it); cards without a table take the H100's.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import msgspec

from buffers.errors import UsageError

SHIPPED = Path(__file__).with_name("efficiency.json")


class Efficiency(msgspec.Struct, frozen=True):
    """Shares of peak, and what kernels take besides."""

    flops: float
    """Of large matrix products."""
    memory: float
    """Of weight reads."""
    product_us: float
    """What each product takes besides."""
    prefill_attention: tuple[tuple[int, float], ...]
    """(up to so many tokens, share of FLOP peak)."""
    decode_attention: tuple[tuple[float, float], ...]
    """(bytes of keys and values read, share of memory bandwidth)."""
    attention_floor_us: float
    """A decode attention kernel takes at least this."""
    small_us: float = 2.2
    """A kernel that only reads and writes a few activations (norms, rotary, gate); measured on two cards."""
    expert_flops: float = 0.0
    """Of the grouped products of experts; 0: as of other products."""
    expert_memory: float = 0.0


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
    efficiency: Efficiency
    per_machine: int = 8


MEASURED = msgspec.json.decode(SHIPPED.read_bytes(), type=dict[str, Efficiency])


def _gpu(name: str, flops: float, memory: tuple[float, float], link: float, network: float) -> Gpu:
    return Gpu(name, flops, *memory, link, network, MEASURED.get(name, MEASURED["H100"]))


GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        _gpu("A100", 312e12, (2.039e12, 80e9), 300e9, 25e9),
        _gpu("H100", 989e12, (3.35e12, 80e9), 450e9, 50e9),
        _gpu("H200", 989e12, (4.8e12, 141e9), 450e9, 50e9),
        _gpu("H800", 989e12, (3.35e12, 80e9), 200e9, 50e9),
        _gpu("H20", 148e12, (4.0e12, 96e9), 450e9, 50e9),
        _gpu("RTX4090", 165e12, (1.008e12, 24e9), 32e9, 12.5e9),
        _gpu("RTXPRO6000", 504e12, (1.597e12, 96e9), 64e9, 50e9),
    )
}


def gpu(name: str) -> Gpu:
    """The accelerator of a name, or of a file that `tests/bench/gpu.py` wrote; `UsageError` names the nearest known."""
    if name in GPUS:
        return GPUS[name]
    if name.endswith(".json"):
        return measured(Path(name))
    near = difflib.get_close_matches(name.upper(), GPUS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(GPUS)}"
    raise UsageError(f"gpu = {name!r}: no such accelerator; {hint}")


def measured(path: Path) -> Gpu:
    """The accelerator that a file describes; `UsageError` if it describes none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Gpu)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"gpu = {str(path)!r}: {error}; name a costs.json of python -m tests.bench.gpu") from None
