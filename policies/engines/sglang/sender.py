"""`python -m policies.engines.sglang.sender`: the process that hands tensors to a server beside it.

    the port --one JSON object a line--> stdin     weights, join, broadcast
             <--------------------------- stdout    one line for each: {"error": ...} or what was asked for

It is a process of its own because a broadcast that the server refuses hangs for ever, because sharing CPU tensors needs
a sharing strategy that is set for a whole process, and because the helper that torch starts for it keeps its parent's
output open. It reads weights like any engine (`policies/weights.py`) and keeps them until it is asked for the next.
"""

from __future__ import annotations

import base64
import ctypes
import io
import os
import signal
import sys
from datetime import timedelta
from multiprocessing.reduction import ForkingPickler
from typing import Any, BinaryIO

import msgspec
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore
from torch.distributed.distributed_c10d import (
    Backend,
    GroupName,
    PrefixStore,
    _new_process_group_helper,
    _world,
)

from buffers.errors import BraidError
from policies.weights import read_weights

PR_SET_PDEATHSIG = 1


class Ask(msgspec.Struct, frozen=True):
    """One command."""

    kind: str
    version: int = 0
    source: str = ""
    handles: int = 0
    """For how many ranks of the server shared handles are wanted."""
    address: str = ""
    port: int = 0
    world: int = 2
    group: str = ""
    backend: str = "gloo"
    seconds: float = 120.0


class Sender:
    """The tensors of one version, and a group to broadcast them in."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.group: Any = None

    def answer(self, ask: Ask) -> dict[str, Any]:
        """Carry out one command."""
        if ask.kind == "weights":
            return self.weights(ask)
        if ask.kind == "join":
            self.group = join(ask)
            return {}
        if ask.kind == "broadcast":
            for tensor in self.tensors.values():
                device = "cuda" if ask.backend == "nccl" else "cpu"
                dist.broadcast(tensor.to(device), src=0, group=self.group)
            return {}
        raise BraidError(f"a sender knows no {ask.kind!r}")

    def weights(self, ask: Ask) -> dict[str, Any]:
        """Read a version (or the newest, if it is gone) and describe it."""
        found, read = read_weights(ask.version, ask.source)
        self.tensors = {name: tensor.clone() for name, tensor in read.items()}
        told: dict[str, Any] = {
            "version": found,
            "names": list(self.tensors),
            "dtypes": [str(tensor.dtype).removeprefix("torch.") for tensor in self.tensors.values()],
            "shapes": [list(tensor.shape) for tensor in self.tensors.values()],
        }
        if ask.handles:
            told["handles"] = [shared(self.tensors) for _ in range(ask.handles)]
        return told


def shared(tensors: dict[str, torch.Tensor]) -> str:
    """Handles of tensors in shared memory, as the server's `/update_weights_from_tensor` wants them (base64)."""
    buffer = io.BytesIO()
    ForkingPickler(buffer, 2).dump(list(tensors.items()))
    return base64.b64encode(buffer.getvalue()).decode()


def join(ask: Ask) -> Any:
    """Rank 0 of a group with the server's ranks, made as the server makes its side (a store with two prefixes)."""
    timeout = timedelta(seconds=ask.seconds)
    store = TCPStore(ask.address, ask.port, ask.world, is_master=True, timeout=timeout)
    group, _ = _new_process_group_helper(
        ask.world,
        0,
        [],
        Backend(ask.backend),
        PrefixStore(ask.group, store),
        group_name=GroupName(ask.group),
        timeout=timeout,
    )
    _world.pg_group_ranks[group] = {rank: rank for rank in range(ask.world)}
    return group


def main(orders: BinaryIO, replies: BinaryIO) -> None:
    """Answer every line until there is none."""
    torch.set_num_threads(1)
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    sender = Sender()
    for line in orders:
        try:
            told = sender.answer(msgspec.json.decode(line, type=Ask))
        except (BraidError, RuntimeError, ValueError) as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        replies.write(msgspec.json.encode(told) + b"\n")
        replies.flush()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    replies_fd = os.dup(1)  # closed on exec, so that no helper of torch keeps it open
    os.dup2(2, 1)
    with os.fdopen(replies_fd, "wb") as replies:
        main(sys.stdin.buffer, replies)
