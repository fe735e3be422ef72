"""Places on a Ray cluster: one Ray actor, a seat, for each process of a run. The only door to Ray.

    launcher --launch--> RayChild --place, host--> Seat (a Ray actor on some node) --starts--> process of the live world
                            '<------ how it ended ------'
    processes <== messages and weights over ZeroMQ, TCP with CURVE ==> processes          (nothing of them through Ray)

Ray finds a node for a seat, by the role's needs and its group's rule, and finds another when the node dies, at most as
often as the supervisor's budget allows. What runs on a seat is decided by the supervisor alone: a process that has died
is started again as its next incarnation, never by Ray on its own account. While a seat has no node its actors count as
waiting, not as silent. The run's keys travel in a call to the seat; they are in no file, log or environment.

Every node gets the source of the house that the driver runs (Ray's `py_modules`), so all run the same code, and the
run's folder must be one disk that all nodes share. The clocks of the nodes are compared by wall time, for logs only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.kernel.context import ActorSpec
from actors.live.directory import any_port
from actors.live.keys import Keys
from actors.live.loop import Loop
from actors.live.placement import Group, shortage, shown
from actors.live.places import Ended, begin, clear, reason_of
from actors.live.process import ProcessFile
from buffers.errors import UsageError

log = logging.getLogger("braid.live")

NAMESPACE = "braid"
ROOMS = ("actors", "buffers", "cli", "policies", "rewards", "sim")
LOOPBACK = "127.0.0.1"
PROBE_S = 5.0
START_S = 120.0
"""How long the seats of a start may take until they sit, once their resources are theirs."""
MARK = "cluster"
"""File of the run's folder with the mark of the driver that uses it: a node that reads the mark sees the folder."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of HTTP/2, and so of Ray, begins: the preface and empty settings (RFC 9113, 3.4)."""
RETRY_NS = 500_000_000
"""Between two questions to a seat that Ray is placing anew."""


class Order(msgspec.Struct, frozen=True):
    """What a seat is told to start."""

    file: ProcessFile
    keys: Keys | None
    origin_wall_ns: int
    """Of the world's clock, in wall time."""


class Seat:
    """Hosts one process of a run on a node; a Ray actor. Its calls run in one thread that lives as long as it."""

    def __init__(self, host: str) -> None:
        self._host = host or ray.util.get_node_ip_address()
        self._popen: Any = None

    async def place(self, folder: str, mark: str) -> tuple[str, str]:
        """Where it sits: the node's id and address; no address if the run's folder is not there."""
        try:
            shared = (Path(folder) / MARK).read_text(encoding="utf-8") == mark
        except OSError:
            shared = False
        node = str(ray.get_runtime_context().get_node_id())
        return node, (str(ray.util.get_node_ip_address()) if shared else "")

    async def source(self) -> str:
        """Where the house lies that this seat runs."""
        return str(Path(__file__).resolve().parents[2])

    async def host(self, data: bytes) -> str:
        """Start a process and stay until it has ended; the reason."""
        order = msgspec.msgpack.decode(data, type=Order)
        if self._popen is not None:
            clear(self._popen)
        origin_ns = order.origin_wall_ns - (time.time_ns() - time.monotonic_ns())
        config = msgspec.structs.replace(order.file.host, listen=any_port(self._host), origin_ns=origin_ns)
        file = msgspec.structs.replace(order.file, host=config, launcher_pid=os.getpid())
        popen, log_path = begin(file, order.keys)
        self._popen = popen
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        pidfd = os.pidfd_open(popen.pid)
        loop.add_reader(pidfd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        return reason_of(clear(popen), log_path)

    async def signal(self, start: int, number: int) -> None:
        """Send a signal to the process."""
        if self._popen is not None and self._popen.poll() is None:
            os.kill(self._popen.pid, number)


class RayPlaces:
    """See the module. Raises `UsageError` where the cluster cannot be reached or has too little."""

    def __init__(self, groups: tuple[Group, ...], address: str, run: str, config: RayConfig | None = None) -> None:
        self._config = config or RayConfig()
        self._groups: list[PlacementGroup] = []
        self._seats: dict[str, Any] = {}
        self._bundle: dict[str, tuple[PlacementGroup, int, dict[str, float]]] = {}
        self._loopback = not address
        self._folder, self._mark = Path(run).resolve(), secrets.token_hex(8)
        connect(address, self._config.modules)
        try:
            self.host = LOOPBACK if self._loopback else ray.util.get_node_ip_address()
            self._claim()
            self._reserve(groups)
            self._sit()
        except BaseException:
            self.close()
            raise

    def launch(self, loop: Loop, file: ProcessFile, keys: Keys | None, ended: Ended) -> RayChild:
        """Start a process where Ray finds a place for it."""
        return RayChild(self.seat(file.host.process), loop, Order(file, keys, 0), self._mark, ended)

    def seat(self, process: str) -> Any:
        """The seat of a process, made at first use."""
        if process not in self._seats:
            group, index, amounts = self._bundle[process]
            further = {name: amount for name, amount in amounts.items() if name not in ("CPU", "GPU", "memory")}
            self._seats[process] = (
                ray.remote(Seat)
                .options(
                    num_cpus=amounts.get("CPU", 0),
                    num_gpus=amounts.get("GPU", 0),
                    memory=int(amounts["memory"]) if "memory" in amounts else None,
                    resources=further,
                    max_restarts=self._config.restarts,
                    max_concurrency=100,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
                )
                .remote(LOOPBACK if self._loopback else "")
            )
        return self._seats[process]

    def close(self) -> None:
        """Give seats and resources back, and leave the cluster (a local one ends)."""
        for seat in self._seats.values():
            ray.kill(seat)
        for group in self._groups:
            remove_placement_group(group)
        self._seats.clear()
        self._groups.clear()
        ray.shutdown()

    def _claim(self) -> None:
        """Own the run in this cluster as long as this driver lives, whatever the locks of its disk are worth."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"name": f"run {self._folder}", "num_cpus": 0, "scheduling_strategy": here}
        try:
            self._owner = ray.remote(Seat).options(**options).remote(LOOPBACK)
        except ValueError:
            raise UsageError(
                f"run folder {self._folder} is in use by another driver of this cluster; stop that one"
            ) from None
        (self._folder / MARK).write_text(self._mark, encoding="utf-8")

    def _reserve(self, groups: tuple[Group, ...]) -> None:
        nodes = tuple(node["Resources"] for node in ray.nodes() if node["Alive"])
        lack = shortage(groups, nodes)
        if lack:
            raise UsageError(f"too few resources: {lack}; lower the [cluster] needs, or add nodes")
        for group in groups:
            made = placement_group(list(group.members.values()), strategy=group.strategy)
            self._groups.append(made)
            for index, (process, amounts) in enumerate(group.members.items()):
                self._bundle[process] = (made, index, amounts)
        until = time.monotonic() + self._config.patience_s
        for group, made in zip(groups, self._groups, strict=True):
            if not made.wait(max(0.1, until - time.monotonic())):
                free = shown(ray.available_resources() | {})
                raise UsageError(
                    f"too few resources: no place for the {group.name} within {self._config.patience_s:.0f} s (free: "
                    f"{free}); wait until others have ended, or lower the [cluster] needs"
                )

    def _sit(self) -> None:
        """Let every seat come up, and refuse a start in which one does not see the run's folder."""
        asked = {process: self.seat(process).place.remote(str(self._folder), self._mark) for process in self._bundle}
        until = time.monotonic() + START_S
        for process, answer in asked.items():
            try:
                node, address = ray.get(answer, timeout=max(0.1, until - time.monotonic()))
            except GetTimeoutError:
                raise UsageError(
                    f"{process} did not come up on its node within {START_S:.0f} s; see the logs of Ray there"
                ) from None
            except RayError as error:
                raise UsageError(f"{process} cannot come up on its node: {first_line(error)}; see Ray's logs") from None
            if not address:
                raise UsageError(blind(process, node, self._folder))


class RayConfig(msgspec.Struct, frozen=True):
    """How a run uses the cluster."""

    restarts: int = 8
    """New places for a seat whose node has died."""
    patience_s: float = 60.0
    modules: tuple[str, ...] = ()


class RayChild:
    """See `Child` in `places`."""

    def __init__(self, seat: Any, loop: Loop, order: Order, mark: str, ended: Ended) -> None:
        file = order.file
        self.name = file.host.process
        self.start = file.host.start
        self.lives: dict[str, int] = {}
        self.next: list[tuple[ActorSpec, int]] = []
        self.placed = False
        self._seat = seat
        self._loop = loop
        self._ended: Ended | None = ended
        origin_ns = file.host.origin_ns or 0
        wall_ns = origin_ns + time.time_ns() - time.monotonic_ns()
        self._order = msgspec.msgpack.encode(msgspec.structs.replace(order, origin_wall_ns=wall_ns))
        self._folder, self._mark = Path(file.host.folder).resolve(), mark
        self._place()

    def signal(self, number: int) -> None:
        """Send a signal to the process, wherever it runs."""
        if self.placed:
            self._seat.signal.remote(self.start, number)

    def clear_away(self) -> None:
        """Its seat is taken away with its places."""
        self._ended = None

    def _place(self, _: None = None) -> None:
        if self._ended is not None:
            self._when(self._seat.place.remote(str(self._folder), self._mark), self._on_place)

    def _on_place(self, outcome: Any) -> None:
        if isinstance(outcome, ActorDiedError):
            self._over(f"its seat is lost: {first_line(outcome)}")
        elif isinstance(outcome, BaseException):  # Ray is finding another node for it
            self._loop.call_later(RETRY_NS, self._place)
        elif not outcome[1]:
            self._over(blind(self.name, outcome[0], self._folder))
        else:
            log.info("process=%s start=%d node=%s address=%s", self.name, self.start, *outcome)
            self.placed = True
            self._when(self._seat.host.remote(self._order), self._on_end)

    def _on_end(self, outcome: Any) -> None:
        self._over(f"its node is lost: {first_line(outcome)}" if isinstance(outcome, BaseException) else outcome)

    def _over(self, reason: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(reason)

    def _when(self, reference: Any, call: Callable[[Any], None]) -> None:
        """Call in the loop with the result, or with the error."""

        def done(future: Any) -> None:
            self._loop.post(call, future.exception() or future.result())

        reference.future().add_done_callback(done)


def blind(process: str, node: str, folder: Path) -> str:
    """What is wrong with a node that has another disk."""
    where = f"node {node[:12]} of {process} does not see the run folder {folder}"
    return f"{where}; put --run-dir on a disk that all nodes share"


def first_line(error: BaseException) -> str:
    """A short word of an error of Ray."""
    return f"{type(error).__name__} {str(error).strip().splitlines()[0][:120]}"


def connect(address: str, modules: tuple[str, ...]) -> None:
    """Start a Ray of this machine, on loopback, or join the one at an address."""
    house = Path(__file__).resolve().parents[2]
    env = {"py_modules": [*(str(house / room) for room in ROOMS), *modules]}
    for folder in modules:
        if not Path(folder).is_dir():
            raise UsageError(f"cluster.modules: {folder} is no folder; name folders of packages")
    if ray.is_initialized():
        raise UsageError("this process has joined a Ray cluster already; one run at a time")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    chosen: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    if address:
        probe(address)
    else:
        chosen["_node_ip_address"] = LOOPBACK
    try:
        ray.init(namespace=NAMESPACE, runtime_env=env, log_to_driver=False, logging_level="ERROR", **chosen)
    except (ConnectionError, RayError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        where = f"Ray at {address}" if address else "a local Ray"
        remedy = "this machine must be one of its nodes (ray start --address=...)" if address else "see its log"
        raise UsageError(f"cannot use {where}: {first_line(error)}; {remedy}") from None


def probe(address: str) -> None:
    """Refuse an address at which nobody listens, without waiting for Ray to find out."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        raise UsageError(f"--address {address}: give HOST:PORT of the cluster's head, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_S) as door:
            door.settimeout(PROBE_S)
            talks = os.environ.get("RAY_USE_TLS", "0") == "1" or speaks_http2(door)
    except OSError as error:
        raise UsageError(
            f"--address {address}: no Ray answers there ({error}); start one with ray start --head"
        ) from None
    if not talks:
        raise UsageError(f"--address {address}: what answers there is no Ray; give HOST:PORT of the cluster's head")


def speaks_http2(door: socket.socket) -> bool:
    """Whether a server answers as one of HTTP/2 does, with settings; `OSError` if it does not answer in time."""
    door.sendall(HELLO)
    head = b""
    while len(head) < 9:
        more = door.recv(9 - len(head))
        if not more:
            return False
        head += more
    return head[3] == 4 and head[5:9] == bytes(4)
