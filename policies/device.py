"""The device that a port computes on: whether it is there, its memory, and what ends a turn on it."""

from __future__ import annotations

import os

import torch

from buffers.errors import UsageError

CONTEXT_BYTES = 1 << 29
"""Of CUDA itself, in every process that uses the card."""


def find_device(name: str) -> torch.device:
    """The device of a name; `UsageError` if this machine has none such."""
    device = named_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: torch finds no such GPU here; take cpu, or see braid doctor")
    return device


def named_device(name: str) -> torch.device:
    """The device of a name, here or on another machine; `UsageError` if it is the name of none."""
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"device {name!r}: torch knows no such device; take cpu or cuda") from None


def card_bytes(device: torch.device) -> int:
    """Memory of the card; on a CPU, the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def context_bytes(device: torch.device) -> int:
    """What the device's own software takes in each process."""
    return CONTEXT_BYTES if device.type == "cuda" else 0


def keep_to(name: str, share: float) -> None:
    """Let this process take no more than a share of a GPU's memory; on a CPU nothing limits it but its own sizes."""
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, device)


def settle(name: str) -> None:
    """Let everything that was asked of the card be done, and give the memory back that nothing lies in."""
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
