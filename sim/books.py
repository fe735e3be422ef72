"""What an actor has written down for itself must agree with itself: looked at after an event in which it spoke.

    asks         what is out is what the window of its link counts, and no more than it allows; none waits in vain
    controller   each track is in exactly one place, with its holder; nothing waits while somebody has room for it
    generator    each hold waits for something that is on its way; what runs is what the engine has
    rewarder     each prompt that is waited for was asked for
    supervisor   who died is started again after the pause that the policy names, and not beyond its budget

These are no rules of the protocol, but a slip in them shows long before it breaks one. Reads the actors' fields, so it
is for virtual worlds with the stand-in engine alone; an engine of another kind is not looked into.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import actors.generator
import actors.rewarder
from actors.cast import RunSettings
from actors.controller import Controller
from actors.generator import Generator
from actors.kernel.backend import Decision, Envelope
from actors.kernel.cell import Cell
from actors.kernel.operations import ns
from actors.messages import (
    Append,
    Declined,
    Dispatch,
    DropJobs,
    FailAttempt,
    FetchPrompt,
    OpenGroups,
    Reassign,
    Released,
    Score,
    Settled,
    StopRun,
)
from actors.rewarder import Rewarder
from actors.standins import ScriptedEngine
from sim.world import VirtualWorld

Complain = Callable[[int, str], None]

AT_WORK = ("running", "aborting")
LOOK_EVERY = 4
"""Words of the controller between two looks at its book, which is the largest."""


class Books:
    """See the module."""

    def __init__(self, world: VirtualWorld, settings: RunSettings, complain: Complain, steady: bool) -> None:
        self._world = world
        self._steady = steady
        self._settings = settings
        self._fail = complain
        self._spoke: dict[str, None] = {}
        self._until_look = LOOK_EVERY
        self._boss = settings.roster.supervisor
        self._guarded: dict[str, Cell] = {}
        self._told: set[tuple[str, int]] = set()
        """(worker, trajectory) that it has told the controller of since it was looked at."""
        self._excused: set[tuple[str, int]] = set()
        """(worker, trajectory) that it was told to drop."""
        self._newest: dict[tuple[str, int], int] = {}
        """(worker, trajectory) -> newest attempt that it was given."""
        self._held: dict[tuple[str, int], dict[int, int]] = {}
        """(worker, incarnation) -> what it held when it was looked at."""
        self._deaths: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        """(incarnation of the supervisor, name) -> when it decided that the name had died (ns)."""

    def spoke(self, envelope: Envelope) -> None:
        """An actor sends something."""
        self._spoke[envelope.sender] = None
        message = envelope.message
        if isinstance(message, Released | Settled | Declined):
            self._told.add((envelope.sender, message.trajectory))
        elif isinstance(message, DropJobs):
            self._excused.update((envelope.to, number) for number in message.trajectories)
        elif isinstance(message, Dispatch):
            for one in message.assignments:
                self._newest[envelope.to, one.trajectory] = one.attempt
        elif isinstance(message, Score):
            self._newest[envelope.to, message.trajectory] = message.attempt
        elif isinstance(message, StopRun) and self._steady:
            self._in_order(envelope.to)

    def _in_order(self, name: str) -> None:
        """Replay is told to stop when all but the recorder have left, the recorder when replay has too."""
        roster = self._settings.roster
        late = {roster.replay: (roster.replay, roster.recorder), roster.recorder: (roster.recorder,)}.get(name)
        if late is None:
            return
        left = [one for one in self._world.alive if one not in (*late, self._boss)]
        if left:
            self._complain(self._boss, f"{name} is told to stop before {', '.join(left)}")

    def look(self) -> None:
        """Look at the books of those that spoke since the last look."""
        names = list(self._spoke)
        self._spoke.clear()
        for name in names:
            life = self._world.life(name)
            if life is None or not life.begun:
                continue
            cell = life.cell
            if self._guarded.get(name) is not cell:
                self._guarded[name] = cell
                self._guard(cell)
            self._asks(cell)
            actor = cell.actor
            if isinstance(actor, Controller):
                self._until_look -= 1
                if self._until_look <= 0:
                    self._until_look = LOOK_EVERY
                    self._controller(actor, cell)
            elif isinstance(actor, Generator):
                self._generator(actor, cell)
            elif isinstance(actor, Rewarder):
                self._rewarder(actor, cell)

    def _guard(self, cell: Cell) -> None:
        """From now on an actor that receives while it receives is found out."""
        receive = cell.actor.receive
        busy = False

        def guarded(message: Any, context: Any) -> None:
            nonlocal busy
            if busy:
                self._complain(cell.name, f"receives {message} while it receives another message")
            busy = True
            receive(message, context)
            busy = False

        cell.actor.receive = guarded  # type: ignore[method-assign]

    def _complain(self, name: str, words: str) -> None:
        self._fail(17, f"{name}: {words}")

    # ---- asks -------------------------------------------------------------------------------------------------------

    def _asks(self, cell: Cell) -> None:
        book = cell._asks
        for to, link in book._links.items():
            waiting = {one.serial for one in link.waiting}
            out = [one for one in book._pending.values() if one.link is link and one.serial not in waiting]
            charge = sum(one.charge for one in out)
            if (link.count, link.bytes) != (len(out), charge):
                self._complain(
                    cell.name, f"{len(out)} asks of {charge} bytes to {to} counted as {link.count} of {link.bytes}"
                )
            if len(out) > max(1, link.window.count) or (len(out) > 1 and charge > link.window.bytes):
                self._complain(cell.name, f"{len(out)} asks of {charge} bytes to {to} in a window of {link.window}")
            if link.waiting and link.admits(link.waiting[0].charge):
                self._complain(cell.name, f"an ask to {to} waits, and the window has room")
            if any(one.timer is None for one in out):
                self._complain(cell.name, f"an ask to {to} is out without a limit of time")

    # ---- controller -------------------------------------------------------------------------------------------------

    def _controller(self, one: Controller, cell: Cell) -> None:
        if one._stopping:
            return
        places = {"held": one._generators, "scoring": one._rewarders}
        queues = {"waiting": (*one._resumed, *one._fresh), "to_score": tuple(one._to_score)}
        queued = {phase: {id(track) for track in tracks} for phase, tracks in queues.items()}
        asked = {request.trajectory for request in _requests(cell) if isinstance(request, Reassign)}
        for number, track in one._tracks.items():
            name = f"trajectory {number} is {track.phase} in the book"
            if track.phase in places:
                worker = places[track.phase].get(track.holder)
                if worker is None or worker.held.get(number) is not track:
                    self._complain(cell.name, f"{name}, its holder {track.holder!r} has no such entry")
            elif track.holder:
                self._complain(cell.name, f"{name}, and held by {track.holder}")
            elif track.phase in queued and id(track) not in queued[track.phase]:
                self._complain(cell.name, f"{name}, and in no queue")
            elif track.phase == "asking" and one._ready and number not in asked:
                self._complain(cell.name, f"{name}, and replay is not asked about it")
        for workers in places.values():
            for worker in workers.values():
                if worker.view.held != len(worker.held):
                    self._complain(
                        cell.name, f"{worker.view.name} holds {len(worker.held)}, counted {worker.view.held}"
                    )
                if any(one._tracks.get(number) is not track for number, track in worker.held.items()):
                    self._complain(cell.name, f"{worker.view.name} is said to hold what is not in the book")
        self._rooms(one, cell, queues)

    def _rooms(self, one: Controller, cell: Cell, queues: dict[str, tuple[Any, ...]]) -> None:
        rooms = {name: one._schedule.room(view) for name, view in one._views.items() if view.version >= 0}
        total = sum(max(0, room) for room in rooms.values())
        if one._views.total_room != total or one._views.keys() != one._generators.keys():
            self._complain(cell.name, f"room for {total} jobs in {rooms}, counted {one._views.total_room}")
        if min(rooms.values(), default=0) < 0:
            self._complain(cell.name, f"more was given than there was room for: {rooms}")
        opening = any(isinstance(request, OpenGroups) for request in _requests(cell))
        if one._opening != opening:
            self._complain(cell.name, f"groups are {'' if opening else 'not '}asked for, and it says otherwise")
        if not one._ready:
            return
        waiting = [track for track in queues["waiting"] if track.phase == "waiting"]
        if waiting and total:
            self._complain(cell.name, f"trajectory {waiting[0].trajectory} waits, and there is room for {total} jobs")
        if one._rewarders and any(track.phase == "to_score" for track in queues["to_score"]):
            self._complain(cell.name, "something waits for a rewarder, and there is one")
        more = one._schedule.groups_to_open(total, len(one._fresh) + len(one._resumed))
        if more > 0 and not one._opening and not one._blocked:
            self._complain(cell.name, f"there is room for {more} groups, and none are asked for")

    # ---- workers ----------------------------------------------------------------------------------------------------

    def _generator(self, one: Generator, cell: Cell) -> None:
        if one._stopping:
            return
        self._let_go(cell, {number: hold.assignment.attempt for number, hold in one._held.items()})
        requests = _requests(cell)
        prompts = {request.prompt for request in requests if isinstance(request, FetchPrompt)}
        if len(one._prompts) > actors.generator.PROMPTS_KEPT:
            self._complain(cell.name, f"{len(one._prompts)} prompts are cached of {actors.generator.PROMPTS_KEPT}")
        stored = {(r.trajectory, r.attempt) for r in requests if isinstance(r, Append | FailAttempt)}
        jobs = _jobs(one._engine)
        phases = Counter(hold.phase for hold in one._held.values())
        if one._running != phases["running"] + phases["aborting"]:
            self._complain(cell.name, f"{one._running} jobs are said to run, by their phases {dict(phases)}")
        if phases["prefix"] > len(cell._tasks):
            self._complain(cell.name, f"{phases['prefix']} prefixes are awaited, {len(cell._tasks)} fetched")
        if one._queued.keys() != {number for number, hold in one._held.items() if hold.phase == "queued"}:
            self._complain(cell.name, f"the queue is {sorted(one._queued)}, the phases say {dict(phases)}")
        wanted, version = one._wanted[0], one._version
        for number, hold in one._held.items():
            assignment = hold.assignment
            name = f"trajectory {number} is {hold.phase}"
            if hold.phase == "queued" and version >= max(0, assignment.min_version) and wanted <= version:
                self._complain(cell.name, f"{name} for version {assignment.min_version} and {version} is installed")
            elif hold.phase == "prompt" and assignment.prompt not in prompts:
                self._complain(cell.name, f"{name}, and prompt {assignment.prompt} is not asked for")
            elif hold.phase == "storing" and (number, assignment.attempt) not in stored:
                self._complain(cell.name, f"{name}, and replay is not asked")
            elif hold.phase in AT_WORK and jobs is not None and (number, assignment.attempt) not in jobs:
                self._complain(cell.name, f"{name}, and the engine has no such job")
        if jobs is not None:
            running = {number for number, hold in one._held.items() if hold.phase in AT_WORK}
            if extra := {number for number, _ in jobs} - running:
                self._complain(cell.name, f"the engine works on trajectories {sorted(extra)}, which nobody holds")
        idle = one._config.install == "in_flight" or one._running == 0
        if wanted > version and idle and not one._installing:
            self._complain(cell.name, f"version {wanted} is wanted, {version} is installed, and nothing is done")

    def _let_go(self, cell: Cell, held: dict[int, int]) -> None:
        """What a worker no longer holds it has told the controller of, or been told to drop, or got a newer attempt."""
        name, key = cell.name, (cell.name, cell.incarnation)
        for number, attempt in self._held.get(key, {}).items():
            silent = held.get(number) != attempt and (name, number) not in self._told | self._excused
            if silent and self._newest.get((name, number), attempt) <= attempt:
                self._complain(name, f"trajectory {number}: attempt {attempt} is let go, and nobody is told")
        self._told = {one for one in self._told if one[0] != name}
        self._held[key] = held

    def _rewarder(self, one: Rewarder, cell: Cell) -> None:
        if one._stopping:
            return
        self._let_go(cell, dict(one._held))
        prompts = {request.prompt for request in _requests(cell) if isinstance(request, FetchPrompt)}
        if len(one._prompts) > actors.rewarder.PROMPTS_KEPT:
            self._complain(cell.name, f"{len(one._prompts)} prompts are cached of {actors.rewarder.PROMPTS_KEPT}")
        if missing := one._asked.keys() - prompts:
            self._complain(cell.name, f"prompts {sorted(missing)} are awaited and not asked for")

    # ---- supervisor -------------------------------------------------------------------------------------------------

    def decided(self, one: Decision, steady: bool) -> None:
        """A decision of the supervisor. `steady`: nothing befalls it, so its clock is right."""
        policy = self._settings.restarts
        if one.kind == "died":
            self._deaths[one.incarnation, str(one.fields[0])].append(one.at_ns)
        elif one.kind == "spawn":
            times = self._deaths[one.incarnation, str(one.fields[0])]
            if not times:
                return
            recent = [at for at in times if at >= times[-1] - ns(policy.window_s)]
            pause = ns(min(policy.max_backoff_s, policy.backoff_s * 2 ** (len(recent) - 1)))
            late = one.at_ns - times[-1]
            if len(recent) > policy.budget or late < pause or (steady and late > pause):
                words = f"{one.fields[0]} is started {late} ns after death {len(recent)} of {policy.budget}"
                self._complain(one.actor, f"{words}, the policy says {pause}")
        elif one.kind == "stop" and "died" in str(one.fields[0]):
            name, _, count = str(one.fields[0]).split()[:3]
            if int(count) != policy.budget + 1:
                self._complain(one.actor, f"{name} is given up after {count} deaths, the budget is {policy.budget}")


def _requests(cell: Cell) -> list[Any]:
    """What an actor has asked and has no answer to."""
    return [pending.ask.message for pending in cell._asks._pending.values()]


def _jobs(engine: Any) -> set[tuple[int, int]] | None:
    """(trajectory, attempt) of what an engine has been given; None of an engine that cannot be looked into."""
    if not isinstance(engine, ScriptedEngine):
        return None
    jobs = [run.job for run in engine._running.values()] + list(engine._queue)
    return {(job.trajectory, job.attempt) for job in jobs}
