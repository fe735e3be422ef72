"""The launcher: starts the processes of a world, watches them, and starts or stops actors on demand.

    start(specs) --> one process for each name in `ActorSpec.process` ... pidfd --> gone: the supervisor hears of it
    spawn(spec, n) --> its process, if it runs, else a new one
    stop(name)     --> orderly, then SIGKILL after `grace_s` (which a stopped or hanging process cannot refuse)

The launcher is itself a host: actors whose process is `LaunchConfig.process` live in it, the supervisor for example.
Invariants: the supervisor hears of each end of a life once; a process of this world never outlives the launcher (the
system kills it), nor does what it left in its process group outlive the process; stdout and stderr of each process go
to a file of the run's folder, and the last line of it is the reason of a death by exception.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic_ns
from typing import IO

import msgspec

from actors.eventlog import SUFFIX, each_event
from actors.kernel.asks import Window
from actors.kernel.backend import Envelope
from actors.kernel.context import ActorSpec
from actors.kernel.operations import Message, ns
from actors.live import control
from actors.live.directory import LAUNCHER, Directory, any_port, file_name
from actors.live.host import Host, HostConfig
from actors.live.keys import Keys, make_keys
from actors.live.links import ORDERLY_LINGER_S
from actors.live.loop import Loop
from actors.live.places import Child, Places, ThisMachine
from actors.live.process import ProcessFile
from actors.messages import Alive
from buffers.errors import ContractError, UsageError

log = logging.getLogger("braid.live")

VOUCH_S = 1.0
"""How often the supervisor hears that an actor still waits for a place."""
OWNER = "launcher.lock"


class LaunchConfig(msgspec.Struct, frozen=True):
    """How a live world runs."""

    folder: str
    """Of the run: event logs, logs of the processes, disks."""
    process: str = "launcher"
    """Name of the launcher's own process."""
    supervisor: str = ""
    """The actor that is told of deaths."""
    seed: int = 0
    window: Window = Window()
    windows: dict[str, Window] = {}
    """Credit of single links, by "sender->receiver"."""
    tcp_host: str = ""
    """Listen on TCP at this address of the machine, at ports that the system chooses; by default in a folder."""
    keys: Keys | None = None
    """CURVE keys of the run, used over TCP; by default made at the start."""
    detour: bool = False
    """Everything between two processes goes through a proxy (`actors/live/proxy.py`), which its user runs."""
    grace_s: float = 2.0
    """From the order to stop to SIGKILL."""
    flush_s: float = 0.1
    """How long a record of the event log may wait; 0: not at all."""


class Launcher:
    """See the module. A context manager: at its end nothing is left running.

    Raises `UsageError` when another launcher runs in the same folder. It belongs to the thread that made it, which
    should be the main one: the system ends the processes with the thread that started them.
    """

    def __init__(
        self, config: LaunchConfig, kinds: Iterable[type[msgspec.Struct]], places: Places | None = None
    ) -> None:
        self.config = config
        self.places: Places = ThisMachine(config.tcp_host) if places is None else places
        self._folder = Path(config.folder)
        self._owner = own(self._folder)
        for part in ("events", "logs", "processes", "disk"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        origin_ns = monotonic_ns() - _end_of_earlier_starts(self._folder / "events")
        self.loop = Loop(origin_ns)
        self.specs: dict[str, ActorSpec] = {}
        self.children: dict[str, Child] = {}
        self.incarnations: dict[str, int] = {}
        """The newest of each actor that was ever started."""
        self._living: dict[str, int] = {}
        self._closed = False
        self._starts = _first_free_number(self._folder / "events")
        """Of processes, earlier starts of the run included: their logs stay."""
        host = self.places.host
        self._keys = (config.keys or make_keys()) if host else None
        self._sockets = None if host else _socket_folder(self._folder.resolve())
        directory = Directory("" if self._sockets is None else str(self._sockets), {}, {LAUNCHER: config.process})
        if config.detour and self._sockets is not None:
            (self._sockets / "by").mkdir(mode=0o700)
            directory.detour = str(self._sockets / "by")
        self._host_config = HostConfig(
            process=config.process,
            directory=directory,
            kinds=tuple(f"{kind.__module__}:{kind.__qualname__}" for kind in kinds),
            folder=str(self._folder),
            events=str(self._folder / "events" / f"{file_name(config.process)}.{self._starts}{SUFFIX}"),
            key=secrets.token_hex(16),
            listen=any_port(host) if host else "",
            start=self._starts,
            seed=config.seed,
            window=config.window,
            windows=config.windows,
            supervisor=config.supervisor,
            origin_ns=origin_ns,
            flush_s=config.flush_s,
        )
        self.host = Host(self.loop, self._host_config, self, self._keys)
        self.host.on_empty = self.loop.stop
        self.loop.call_later(ns(VOUCH_S), self._vouch)

    # ---- for its user -------------------------------------------------------------------------------------------

    def start(self, specs: Sequence[ActorSpec]) -> None:
        """Start actors, each as its first incarnation; those of one process together."""
        together: dict[str, list[tuple[ActorSpec, int]]] = {}
        for spec in specs:
            self._enter(spec, 1)
            together.setdefault(_process_of(spec), []).append((spec, 1))
        for process, actors in together.items():
            if process == self.config.process:
                for spec, incarnation in actors:
                    self._living[spec.name] = incarnation
                    self.host.start(spec, incarnation)
            else:
                self._launch(process, actors)

    def run(self, seconds: float | None = None, until: Callable[[], bool] | None = None) -> None:
        """Run the loop: for so long, until the condition holds, or until the last actor that lives here has ended."""
        self.loop.run(seconds, until)

    def tell(self, to: str, message: Message) -> None:
        """Send an actor a message in the name of the launcher: a person's `StopRun` to the supervisor, for example."""
        self.host.route(to)(Envelope(to, LAUNCHER, 1, 0, 0, 0, message))

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the process of an actor: SIGKILL is a crash, SIGSTOP a pause."""
        child = self.children.get(_process_of(self.specs[name]))
        if child is not None:
            child.signal(number)

    @property
    def directory(self) -> Directory:
        """Who is reached where."""
        return self._host_config.directory

    def living(self) -> dict[str, int]:
        """Who lives (or is being started), with their incarnations."""
        return dict(self._living)

    def close(self) -> None:
        """Stop everything: orderly for `grace_s`, then by force. May be called twice."""
        if self._closed:
            return
        self._closed = True
        for child in self.children.values():
            child.next.clear()
            child.signal(signal.SIGTERM)  # also ends one that has not come up yet
        try:
            self.loop.run(self.config.grace_s, lambda: not self.children)
        finally:
            for child in list(self.children.values()):
                child.signal(signal.SIGKILL)
            for child in list(self.children.values()):
                child.clear_away()
            self.children.clear()
            self.host.close(ORDERLY_LINGER_S)
            self.loop.close()
            if self._sockets is not None:
                shutil.rmtree(self._sockets, ignore_errors=True)
            self.places.close()
            self._owner.close()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- office -------------------------------------------------------------------------------------------------

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor; an older incarnation that still lives is killed first."""
        newest = self.incarnations.get(spec.name, 0)
        if incarnation <= newest:
            raise ContractError(f"{spec.name}: incarnation {incarnation} does not follow {newest}")
        self._enter(spec, incarnation)
        process = _process_of(spec)
        child = self.children.get(process)
        if process == self.config.process:
            self._living[spec.name] = incarnation
            self._announce(spec.name, process)
            self.loop.soon(lambda _: self.host.start(spec, incarnation))
        elif child is None:
            self._launch(process, [(spec, incarnation)])
        elif child.lives.keys() - {spec.name}:
            child.lives[spec.name] = self._living[spec.name] = incarnation
            self._announce(spec.name, process)
            self.host.order(process, control.SpawnHere(self._host_config.key, spec, incarnation))
        else:  # it is ending, or a life that has to end lives there alone
            child.lives.clear()
            child.next.append((spec, incarnation))
            child.signal(signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Stop an actor: orderly, then by force. What shares its process dies with it if force is needed."""
        incarnation = self._living.get(name)
        if incarnation is None:
            return
        process = _process_of(self.specs[name])
        if process == self.config.process:
            self.loop.soon(self._stop_here, name)
            return
        child = self.children.get(process)
        if child is None:
            return
        if any(spec.name == name for spec, _ in child.next):
            child.next = [(spec, waiting) for spec, waiting in child.next if spec.name != name]
            self.life_over(name, incarnation, "left")
            return
        self.host.order(process, control.StopHere(self._host_config.key, name))
        self.loop.call_later(ns(self.config.grace_s), self._stop_by_force, (name, incarnation))

    def life_over(self, name: str, incarnation: int, reason: str) -> None:
        """An actor has left or died."""
        if self._living.get(name) != incarnation:
            return
        del self._living[name]
        child = self.children.get(_process_of(self.specs[name]))
        if child is not None:
            child.lives.pop(name, None)
        self._tell(name, incarnation, reason)

    def listens(self, process: str, start: int, address: str) -> None:
        """A process has come up: everybody hears where."""
        child = self.children.get(process)
        if child is not None and child.start == start:
            self.host.process_listens(process, address)
            self._broadcast(control.ListensAt(self._host_config.key, process, start, address), but=process)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _enter(self, spec: ActorSpec, incarnation: int) -> None:
        self.specs[spec.name] = spec
        self.incarnations[spec.name] = incarnation
        self._host_config.directory.homes[spec.name] = _process_of(spec)

    def _launch(self, process: str, actors: list[tuple[ActorSpec, int]]) -> None:
        self._starts += 1
        events = self._folder / "events" / f"{file_name(process)}.{self._starts}{SUFFIX}"
        config = msgspec.structs.replace(self._host_config, process=process, events=str(events), start=self._starts)
        file = ProcessFile(config, 0, tuple(actors))
        start = self._starts
        child = self.places.launch(self.loop, file, self._keys, lambda reason: self._ended(process, start, reason))
        self.children[process] = child
        for spec, incarnation in actors:
            child.lives[spec.name] = self._living[spec.name] = incarnation
            self._announce(spec.name, process)

    def _ended(self, process: str, start: int, reason: str) -> None:
        """A process has ended: tell the supervisor, and start what waited for that."""
        child = self.children.get(process)
        if child is None or child.start != start:
            return
        del self.children[process]
        self.host.process_gone(process)
        self._broadcast(control.ProcessGone(self._host_config.key, process), but=process)
        for name, incarnation in child.lives.items():
            if self._living.get(name) == incarnation:
                del self._living[name]
                self._tell(name, incarnation, reason)
        if child.next:
            newest = {spec.name: (spec, incarnation) for spec, incarnation in child.next}
            self._launch(process, list(newest.values()))

    def _vouch(self, _: None) -> None:
        """An actor whose process waits for a place is not silent for a fault of its own."""
        self.loop.call_later(ns(VOUCH_S), self._vouch)
        supervisor = self.config.supervisor
        for child in self.children.values():
            if not child.placed and supervisor in self.host.directory.homes:
                for name, incarnation in child.lives.items():
                    self.host.route(supervisor)(Envelope(supervisor, name, incarnation, 0, 0, 0, Alive()))

    def _announce(self, actor: str, process: str) -> None:
        self._broadcast(control.ProcessComing(self._host_config.key, actor, process), but=process)
        self.host.meet(actor, process)
        self.host.process_coming(process)

    def _broadcast(self, message: control.Control, but: str) -> None:
        for process in self.children:
            if process != but:
                self.host.order(process, message)

    def _tell(self, name: str, incarnation: int, reason: str) -> None:
        log.info("actor=%s incarnation=%d ended reason=%r", name, incarnation, reason)
        supervisor = self.config.supervisor
        if self._closed or not supervisor or supervisor == name or supervisor not in self.specs:
            return
        process = _process_of(self.specs[supervisor])
        if process == self.config.process:
            self.host.tell_supervisor(name, incarnation, reason)
        elif process in self.children:
            self.host.order(process, control.ActorOver(self._host_config.key, name, incarnation, reason))

    def _stop_here(self, name: str) -> None:
        life = self.host.lives.get(name)
        if life is not None:
            self.host.end(life, "left")

    def _stop_by_force(self, ordered: tuple[str, int]) -> None:
        name, incarnation = ordered
        child = self.children.get(_process_of(self.specs[name]))
        if child is not None and child.lives.get(name) == incarnation:
            log.warning("actor=%s incarnation=%d did not stop in time and is killed", name, incarnation)
            child.signal(signal.SIGKILL)


def _end_of_earlier_starts(events: Path) -> int:
    """The newest time in the logs of earlier starts, from which a resumed run's clock goes on; 0 without any."""
    return max((record.at_ns for record in each_event([events])), default=0)


def _first_free_number(events: Path) -> int:
    return 1 + max((int(path.stem.rpartition(".")[2]) for path in events.glob(f"*{SUFFIX}")), default=-1)


def _process_of(spec: ActorSpec) -> str:
    return spec.process or spec.name


def _socket_folder(run: Path) -> Path:
    """Of this user alone: in the run's folder, unless its path is too long for sockets (107 bytes with their names)."""
    folder = run / "sockets"
    if len(os.fsencode(folder)) > 60:
        return Path(tempfile.mkdtemp(prefix="braid-"))
    shutil.rmtree(folder, ignore_errors=True)  # of a launcher that was killed
    folder.mkdir(mode=0o700)
    return folder


def own(folder: Path) -> IO[bytes]:
    """Own a run's folder until the file is closed, or this process ends however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / OWNER).open("ab")
    except OSError as error:
        raise UsageError(f"run folder {folder} cannot be used: {error.strerror}; name another --run-dir") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UsageError(
            f"run folder {folder} is in use by another driver; stop it, or name another --run-dir"
        ) from None
    return file
