"""The host: the actors of one process, what reaches them, and what they send.

    Inbox --decode--> hand --> Cell.deliver        Life.transmit --> same process: queued, as it is
    port threads --post--> Cell.take                             --> other process: encode, Link

Invariants: nothing reaches an actor while it receives; after the end of a life nothing of it runs, not even a port's
event; an exception in an actor ends that life alone and is reported; bytes that are no message of this house are
counted and never reach an actor. The codec is the only form between processes; within one a message is handed over as
it is (messages are frozen).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from actors.eventlog import EventLogWriter
from actors.kernel.asks import Window
from actors.kernel.backend import Decision, Envelope
from actors.kernel.codec import Codec
from actors.kernel.context import ActorSpec
from actors.kernel.operations import ns
from actors.live import control
from actors.live.directory import LAUNCHER, Directory
from actors.live.keys import Keys
from actors.live.life import Life
from actors.live.links import Link, Links
from actors.live.loop import Loop
from actors.live.traffic import Traffic
from actors.messages import ActorDied
from buffers.errors import ContractError, WireError
from buffers.plugin import load

REASONS_SHOWN = 64
"""Strangers' messages are reported once for each reason, and for no more reasons than this."""

log = logging.getLogger("braid.live")


class HostConfig(msgspec.Struct, frozen=True):
    """What the host of a process needs to know; the launcher writes it."""

    process: str
    directory: Directory
    kinds: tuple[str, ...]
    """`module:name` of each message kind."""
    folder: str
    """Of the run: event logs, disks."""
    events: str
    """Path of this process's event log."""
    key: str = ""
    """Of the run, in every control message."""
    listen: str = ""
    """Where to listen, if that is told and not known: `tcp://host:*`."""
    start: int = 0
    """Number of this process among all that the run has started."""
    seed: int = 0
    window: Window = Window()
    """Credit of every link that `windows` does not name."""
    windows: dict[str, Window] = {}
    """By "sender->receiver"."""
    supervisor: str = ""
    """The actor that is told of deaths."""
    origin_ns: int | None = None
    """Of the world's clock, on the clock of the machine (monotonic)."""
    flush_s: float = 0.1
    """How long a record of the event log may wait; 0: not at all."""


class Office(Protocol):
    """Who starts and stops actors: the launcher, or the way to it."""

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor."""

    def stop(self, name: str) -> None:
        """Stop an actor."""

    def life_over(self, name: str, incarnation: int, reason: str) -> None:
        """An actor of this host has left or died."""

    def listens(self, process: str, start: int, address: str) -> None:
        """A process has come up and listens."""


class Host:
    """See the module. `office` starts and stops actors; without one, requests go to the launcher's process.

    With `keys` its sockets speak CURVE. They are no part of the config, which is written to a file.
    """

    def __init__(self, loop: Loop, config: HostConfig, office: Office | None = None, keys: Keys | None = None) -> None:
        self.loop = loop
        self.config = config
        self.keys = keys
        self.directory = config.directory
        self.codec = Codec((*(load(kind) for kind in config.kinds), *control.CONTROL_KINDS))
        self._encode = self.codec.encode_lent
        self._decode = self.codec.decode
        self.lives: dict[str, Life] = {}
        self.routes: dict[str, Callable[[Envelope], None]] = {}
        self.office: Office = office if office is not None else _WayToLauncher(self)
        self._leads = office is not None
        self.refused = 0
        """Messages that were none of this house."""
        self.lost = 0
        """Messages for actors that do not live here any more, or that nobody has heard of."""
        self.status = 0
        """With which the process ends: 1 after the death of an actor."""
        self.on_empty: Callable[[], None] = lambda: None
        """Called when the last actor has ended."""
        self._reasons: set[str] = set()
        self._last_reason = ""
        self._flush_due = False
        self._log = EventLogWriter(Path(config.events), "live", config.seed)
        self._traffic = Traffic(loop.now())
        listen = config.listen or config.directory.listens(config.process)
        self.links = Links(loop, listen, self.codec.max_bytes, self, keys)
        if config.listen:
            self.directory.addresses[config.process] = self.links.inbox.address
            self.office.listens(config.process, config.start, self.links.inbox.address)

    # ---- actors -------------------------------------------------------------------------------------------------

    def start(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor here; one of that name that still lives is killed first."""
        older = self.lives.pop(spec.name, None)
        if older is not None:
            older.end()
        life = self.lives[spec.name] = Life(self, spec.name, incarnation)
        self.routes.pop(spec.name, None)
        self.directory.homes[spec.name] = self.config.process
        try:
            life.begin(spec)
        except Exception as error:
            life.failed(error)

    def end(self, life: Life, reason: str) -> None:
        """End a life: `left`, or why it died."""
        if life.over:
            return
        life.end()
        name = life.cell.name
        if self.lives.get(name) is life:
            del self.lives[name]
        if reason != "left":
            self.status = 1
        self.office.life_over(name, life.cell.incarnation, reason)
        if not self.lives:
            self.on_empty()

    def end_all(self) -> None:
        """End every life orderly."""
        for life in list(self.lives.values()):
            self.end(life, "left")

    def tell_supervisor(self, name: str, incarnation: int, reason: str) -> None:
        """Let the supervisor, if it lives here, hear of a death."""
        life = self.lives.get(self.config.supervisor)
        if life is not None and life.cell.name != name:
            self.loop.soon(life.cell.take, ActorDied(name, incarnation, reason), life)

    # ---- messages -----------------------------------------------------------------------------------------------

    def intake(self, data: memoryview) -> None:
        """Take bytes from a socket."""
        try:
            envelope = self._decode(data)
        except WireError as error:
            self.refuse(str(error))
            return
        self.hand(envelope)

    def hand(self, envelope: Envelope) -> None:
        """Hand an envelope to its actor."""
        life = self.lives.get(envelope.to)
        if life is None:
            self._hand_elsewhere(envelope)
            return
        try:
            life.cell.deliver(envelope)
        except Exception as error:
            life.failed(error)

    def refuse(self, reason: str) -> None:
        """Count a stranger's message; the first for each reason is reported."""
        self.refused += 1
        self._last_reason = reason
        short = reason[:120]
        if short not in self._reasons and len(self._reasons) < REASONS_SHOWN:
            self._reasons.add(short)
            log.warning("refused a message process=%s reason=%r", self.config.process, short)
        self._flush_later()

    def route(self, to: str) -> Callable[[Envelope], None]:
        """How envelopes get to an actor."""
        home = self.directory.home(to)
        if home is None:
            return self._lose
        if home == self.config.process:
            loop, hand = self.loop, self.hand
            route: Callable[[Envelope], None] = lambda envelope: loop.soon(hand, envelope)  # noqa: E731
        else:
            send, encode, counted = self.link(home).send, self._encode, self._traffic.counted
            route = lambda envelope: send(counted(encode, envelope))  # noqa: E731
        self.routes[to] = route
        return route

    def link(self, process: str) -> Link:
        """The way to another process."""
        return self.links.to(process, self.directory.address(process))

    def meet(self, actor: str, process: str) -> None:
        """Learn where an actor lives."""
        if self.directory.homes.get(actor) != process:
            self.directory.homes[actor] = process
            self.routes.pop(actor, None)

    def process_gone(self, process: str) -> None:
        """A process has ended: what waits for it is lost, and a told address is no longer its own."""
        link = self.links.known(process)
        if link is not None:
            link.gone()
        if self.directory.addresses.pop(process, "") and link is not None:
            link.leave()

    def process_coming(self, process: str) -> None:
        """A process is being started: messages to it may wait."""
        link = self.links.known(process)
        if link is not None:
            link.coming()

    def process_listens(self, process: str, address: str) -> None:
        """A process has come up: what waits for it may go."""
        self.directory.addresses[process] = address
        link = self.links.known(process)
        if link is not None:
            link.reach(address)

    def order(self, process: str, message: control.Control) -> None:
        """Send a control message to the host of a process."""
        envelope = Envelope(f"@{process}", f"@{self.config.process}", 1, 0, 0, 0, message)
        self.link(process).send(self._encode(envelope))

    # ---- records ------------------------------------------------------------------------------------------------

    def record(self, decision: Decision) -> None:
        """Take a decision."""
        self._log.decision(decision)
        self._flush_later()

    def note(self, actor: str, name: str, value: float) -> None:
        """Take a number."""
        self._log.number(self.loop.now(), actor, name, value)
        self._flush_later()

    def flush(self, _: object = None) -> None:
        """Write the event log out."""
        self._flush_due = False
        if self._last_reason:
            self._log.refusal(self.loop.now(), self.config.process, self.refused, self._last_reason[:200])
            self._last_reason = ""
        self._traffic.tell(self._log, self.loop.now(), self.config.process)
        self._log.flush()

    def close(self, linger_s: float) -> None:
        """End what lives, write the log, close the sockets."""
        for life in list(self.lives.values()):
            life.end()
        self.lives.clear()
        self._traffic.tell(self._log, self.loop.now(), self.config.process, at_once=True)
        self.flush()
        self._log.close()
        self.links.close(linger_s)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _flush_later(self) -> None:
        if not self._flush_due:
            if self.config.flush_s <= 0:
                self.flush()
            else:
                self._flush_due = True
                self.loop.call_later(ns(self.config.flush_s), self.flush)

    def _lose(self, envelope: Envelope) -> None:
        self.lost += 1

    def _hand_elsewhere(self, envelope: Envelope) -> None:
        to = envelope.to
        if to == f"@{self.config.process}" or (to == LAUNCHER and self._leads):
            self._obey(envelope)
        elif self.directory.homes.get(to) == self.config.process:
            self.lost += 1
        else:
            self.refuse(f"from {envelope.sender}: a message to {to!r}, who does not live in {self.config.process}")

    def _obey(self, envelope: Envelope) -> None:
        message = envelope.message
        if not isinstance(message, control.Control) or message.key != self.config.key:
            self.refuse(f"from {envelope.sender}: a control message without the key of this run")
            return
        match message:
            case control.SpawnHere(_, spec, incarnation):
                self.start(spec, incarnation)
            case control.StopHere(_, name):
                if name in self.lives:
                    self.end(self.lives[name], "left")
            case control.ActorOver(_, name, incarnation, reason):
                self.tell_supervisor(name, incarnation, reason)
            case control.ProcessGone(_, process):
                self.process_gone(process)
            case control.ProcessComing(_, actor, process):
                self.meet(actor, process)
                self.process_coming(process)
            case control.ListensAt(_, process, _, address) if not self._leads:
                self.process_listens(process, address)
            case _ if self._leads:
                try:
                    self._serve(message)
                except ContractError as error:  # the fault of the actor that asked, not of the launcher
                    self.refuse(f"from {envelope.sender}: {error}")

    def _serve(self, message: control.Control) -> None:
        match message:
            case control.SpawnAsked(_, spec, incarnation):
                self.office.spawn(spec, incarnation)
            case control.StopAsked(_, name):
                self.office.stop(name)
            case control.LifeOver(_, name, incarnation, reason):
                self.office.life_over(name, incarnation, reason)
            case control.ListensAt(_, process, start, address):
                self.office.listens(process, start, address)


class _WayToLauncher:
    """Asks the launcher, by control messages, for what only it can do."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        self._send(control.SpawnAsked(self._host.config.key, spec, incarnation))

    def stop(self, name: str) -> None:
        self._send(control.StopAsked(self._host.config.key, name))

    def life_over(self, name: str, incarnation: int, reason: str) -> None:
        self._send(control.LifeOver(self._host.config.key, name, incarnation, reason))

    def listens(self, process: str, start: int, address: str) -> None:
        self._send(control.ListensAt(self._host.config.key, process, start, address))

    def _send(self, message: control.Control) -> None:
        home = self._host.directory.homes.get(LAUNCHER)
        if home is not None:
            self._host.order(home, message)
