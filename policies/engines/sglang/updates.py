"""New weights into a running server: three ways, one protocol.

    prepare(version, source)   reads the weights while the server still generates; the version that they really have
    apply(client, name)        puts them in while it stands still, under a name; what was computed before is dropped

`disk`: a model folder; weights from shared memory are first written to one, in memory where there is such a file
system. `tensors`: shared handles between `/begin_weight_update` and `/end_weight_update`. `group`: a broadcast between
the same two, in a group of the sender and the server's ranks; whoever refuses or hangs, the sender is killed, and the
next update joins anew under another name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
from safetensors.torch import save_file

from policies.engines.sglang.client import Client, Refused, Unreachable
from policies.engines.sglang.config import SGLangConfig
from policies.engines.sglang.server import LOCAL, free_port
from policies.shared_files import spool_path
from policies.weights import WeightsUnavailable, read_weights

LINE_BYTES = 1 << 28
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.index.json")
ROOT = Path(__file__).resolve().parents[3]


class Transport(Protocol):
    """How weights get into a server."""

    async def meet(self, client: Client) -> None:
        """A server is there, new or again."""

    async def prepare(self, version: int, source: str) -> int:
        """Read weights; `WeightsUnavailable` if they cannot be read now."""

    async def apply(self, client: Client, name: str) -> None:
        """Put in what was prepared; `Refused` if the server keeps its old weights, `Unreachable` if nobody knows."""

    async def close(self) -> None:
        """Free everything. May be called twice."""


def transport_of(config: SGLangConfig) -> Transport:
    """The transport that a config names."""
    return Disk(config) if config.transport == "disk" else Handed(config)


class Disk:
    """Weights as model folders."""

    def __init__(self, config: SGLangConfig) -> None:
        self._config = config
        self._folder = spool(config)
        self._path = ""

    async def meet(self, client: Client) -> None:
        """Folders are the same to every server."""

    async def prepare(self, version: int, source: str) -> int:
        """Name a model folder; weights that are in none are written to one."""
        kind, _, place = source.partition(":")
        if kind == "file":
            self._path = place
            return version
        return await asyncio.to_thread(self._write, version, source)

    async def apply(self, client: Client, name: str) -> None:
        """See `Transport`."""
        body = {"model_path": self._path, "weight_version": name, "flush_cache": True}
        await client.update("/update_weights_from_disk", body, self._config.update_s)

    async def close(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, version: int, source: str) -> int:
        """Write a folder; the one before stays whole until this one is."""
        found, tensors = read_weights(version, source)
        path = self._folder / f"v{found:08d}"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self._config.model, path, ignore=shutil.ignore_patterns(*WEIGHTS))
        save_file(tensors, str(path / "model.safetensors"), {"format": "pt"})
        for older in sorted(self._folder.glob("v*"))[:-2]:
            shutil.rmtree(older, ignore_errors=True)
        self._path = str(path)
        return found


class Handed:
    """Weights as tensors, by a sender beside the server: shared handles, or a broadcast in a group."""

    def __init__(self, config: SGLangConfig) -> None:
        self._config = config
        self._sender: asyncio.subprocess.Process | None = None
        self._killed: list[asyncio.subprocess.Process] = []
        self._ranks = 1
        self._told: dict[str, Any] = {}
        self._joined: Client | None = None
        self._groups = 0
        self._group = ""
        self._backend = "nccl" if config.device == "cuda" else "gloo"

    async def meet(self, client: Client) -> None:
        """Ask how many ranks there are; a group with an earlier server is void."""
        self._ranks = await client.ranks()
        if self._joined is not client:
            self._kill()

    async def prepare(self, version: int, source: str) -> int:
        """Let the sender read the weights."""
        handles = self._ranks if self._config.transport == "tensors" else 0
        try:
            self._told = await self._ask(kind="weights", version=version, source=source, handles=handles)
        except Unreachable as error:
            raise WeightsUnavailable(str(error)) from error
        return int(self._told["version"])

    async def apply(self, client: Client, name: str) -> None:
        """See `Transport`."""
        if self._config.transport == "group" and self._joined is not client:
            await self._join(client)
        await client.update("/begin_weight_update", {}, self._config.update_s)
        try:
            if self._config.transport == "group":
                await self._broadcast(client, name)
            else:
                body = {
                    "serialized_named_tensors": self._told["handles"],
                    "weight_version": name,
                    "flush_cache": True,
                }
                await client.update("/update_weights_from_tensor", body, self._config.update_s)
        finally:
            with suppress(Refused):
                await client.update("/end_weight_update", {}, self._config.update_s)

    async def close(self) -> None:
        """End the sender, and let go of those before it."""
        self._kill()
        while self._killed:
            sender = self._killed.pop()
            await sender.wait()
            sender._transport.close()  # type: ignore[attr-defined]

    async def _join(self, client: Client) -> None:
        """Make a group of the sender (rank 0) and the server's ranks."""
        self._groups += 1
        self._group, port = f"braid-{os.getpid()}-{self._groups}", free_port()
        place = {"world": 1 + self._ranks, "group": self._group, "backend": self._backend}
        mine = self._ask(kind="join", address=LOCAL, port=port, seconds=self._config.update_s, **place)
        body = {
            "master_address": LOCAL,
            "master_port": port,
            "rank_offset": 1,
            "world_size": 1 + self._ranks,
            "group_name": self._group,
            "backend": self._backend,
        }
        await self._together(client.update("/init_weights_update_group", body, self._config.update_s), mine)
        self._joined = client

    async def _broadcast(self, client: Client, name: str) -> None:
        body = {
            "names": self._told["names"],
            "dtypes": self._told["dtypes"],
            "shapes": self._told["shapes"],
            "group_name": self._group,
            "weight_version": name,
            "flush_cache": True,
        }
        update = client.update("/update_weights_from_distributed", body, self._config.update_s)
        await self._together(update, self._ask(kind="broadcast", backend=self._backend))

    async def _together(self, theirs: Any, mine: Any) -> None:
        """Wait for both sides of a collective call; as soon as one fails, the sender is killed and the other given up.

        A server that was left alone in the call may hang: unless it was the one that refused, it counts as lost.
        """
        server, sender = asyncio.ensure_future(theirs), asyncio.ensure_future(mine)
        try:
            async with asyncio.timeout(self._config.update_s):
                await asyncio.wait((server, sender), return_when=asyncio.FIRST_EXCEPTION)
            server_failed = server.exception() if server.done() else None
            if server_failed is not None:
                raise server_failed
            await sender
            await server
        except TimeoutError as error:
            self._kill()
            raise Unreachable(f"the process group did not answer in {self._config.update_s:.0f} s") from error
        except BaseException:
            self._kill()
            raise
        finally:
            for side in (server, sender):
                side.cancel()
            await asyncio.gather(server, sender, return_exceptions=True)

    async def _ask(self, **order: Any) -> dict[str, Any]:
        """One command of the sender; `Unreachable` if it fails or is too slow, and it is started anew then."""
        sender = await self._running()
        assert sender.stdin is not None
        assert sender.stdout is not None
        try:
            sender.stdin.write(msgspec.json.encode(order) + b"\n")
            await sender.stdin.drain()
            async with asyncio.timeout(self._config.update_s):
                line = await sender.stdout.readline()
        except (TimeoutError, OSError) as error:
            self._kill()
            raise Unreachable(f"the sender of weights: {type(error).__name__} {error}") from error
        if not line:
            self._kill()
            raise Unreachable("the sender of weights has died")
        told: dict[str, Any] = msgspec.json.decode(line)
        if "error" in told:
            raise Unreachable(f"the sender of weights: {told['error']}")
        return told

    async def _running(self) -> asyncio.subprocess.Process:
        if self._sender is None or self._sender.returncode is not None:
            log = Path(self._config.log or os.devnull)
            with log.open("ab") as out:
                self._sender = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "policies.engines.sglang.sender",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=out,
                    limit=LINE_BYTES,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))},
                    start_new_session=True,
                )
        return self._sender

    def _kill(self) -> None:
        """End the sender, with what it may hang in."""
        self._joined = None
        sender, self._sender = self._sender, None
        if sender is not None:
            self._killed.append(sender)
            with suppress(ProcessLookupError):
                sender.kill()


def spool(config: SGLangConfig) -> Path:
    """Where weights are laid for the server: in memory where the machine has such a file system; one per log file."""
    folder = spool_path(config.log)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
