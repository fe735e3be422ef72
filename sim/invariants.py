"""The invariants of the design (section 9), checked while a world runs; what breaks one raises `InvariantViolated`.

    envelopes  (as they are sent)     --> what replay has acknowledged, what workers may and do generate
    decisions  (as they are recorded) --> leases, published versions, the highest version
    commands   (as replay decides)    --> what the reference decides (`reference.py`); what must be durable first
    books      (of who has spoken)    --> agree with themselves (`books.py`); nothing is done twice (`thrift.py`)
    buffer     (white-box)            --> sums after each event; a full recount at leases and every so often
    trainer    (`LineTrainer`)        --> one line of weights: no (group, use) in it twice
    store      (replay starts again)  --> everything acknowledged is there

Checking changes no decision and draws nothing: the digest is the same with and without it. Left out: the priority law
(statistics), determinism (a run is compared with another), progress (`sim/plan.py` asks whether the run finished).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from actors.cast import RunSettings, buffer_config
from actors.controller import Controller
from actors.generator import Generator
from actors.kernel.backend import Decision, Envelope
from actors.kernel.operations import Message, ns
from actors.messages import Append, Complete, Dispatch, LearnerState, ReplayState, Share
from actors.replay import Replay
from buffers.answers import Refused
from buffers.buffer import Buffer
from buffers.errors import ContractError
from buffers.holdings import Holdings
from buffers.memory_store import MemoryStore
from buffers.rows import META_KEY, MetaRow, TrajectoryRow
from buffers.segment import Ghost, Segment, ids_of
from buffers.trajectory import CLOSED
from sim.acknowledged import Acknowledged
from sim.books import Books
from sim.disk import Platter
from sim.life import Life
from sim.line_trainer import line_of, misses
from sim.reference import Reference
from sim.story import about
from sim.thrift import Calm, Thrift
from sim.violation import InvariantViolated
from sim.world import VirtualWorld

RECOUNT_EVERY = 64
"""Events of replay between two full recounts."""

IMAGE_EVERY = 6
"""Recounts between two comparisons of what replay holds with what it has written."""

NOT_CALM = Calm()


class Invariants:
    """Attach it to a world before its first event; it raises out of `world.run`."""

    def __init__(self, world: VirtualWorld, settings: RunSettings, calm: Calm = NOT_CALM) -> None:
        self._world = world
        self._calm = calm
        self._books = Books(world, settings, self.complain, calm.steady_boss)
        self._thrift = Thrift(world, settings, calm, self.complain)
        self._first: dict[tuple[str, int, int], int] = {}
        """Asks to replay that are decided -> transactions that must be durable before their answer leaves."""
        self._roster = settings.roster
        self._pace = settings.pace
        self._config = buffer_config(settings)
        self.known = Acknowledged(self._config, self.complain)
        self._life: Life | None = None
        self._buffer: Buffer | None = None
        self._asked: dict[tuple[str, int, int], Message] = {}
        """Asks to replay that are not answered: (asker, incarnation, serial) -> request."""
        self._decided = 0
        self._touched = False
        self._until_recount = RECOUNT_EVERY
        self._until_image = IMAGE_EVERY
        self._leases: dict[int, tuple[int, ...]] = {}
        self._given: dict[int, int] = {}
        """Lease -> when it was given (ns)."""
        self._overdue: dict[int, int] = {}
        """Lease -> when it was first seen past its time (ns)."""
        self._last_lease = 0
        self._sources: dict[int, str] = {}
        self._drawn: dict[tuple[int, int], Any] = {}
        self._needed: dict[tuple[int, int], int] = {}
        """(trajectory, attempt) -> lowest version that may continue it."""
        self._last_buffer: Buffer | None = None
        self._goal_groups = settings.schedule.versions * settings.schedule.batch // settings.schedule.group
        """Uses that are in the weights at the end."""
        self.checks = 0
        """Envelopes and decisions looked at."""
        self._encode = world.encode
        self._requests: dict[type, Callable[[Any], None]] = {
            Append: self._on_append,
            Dispatch: self._on_dispatch,
            LearnerState: self._on_learner_state,
            ReplayState: self._on_replay_state,
            Complete: self._on_complete_asked,
        }
        self._decisions: dict[tuple[str, str], Callable[[Any], None]] = {
            (self._roster.replay, "store"): self._on_store,
            (self._roster.replay, "admit"): self._on_admit,
            (self._roster.replay, "lease"): self._on_lease,
            (self._roster.replay, "complete"): self._on_complete,
            (self._roster.replay, "expire"): self._on_expire,
            (self._roster.replay, "hello"): self._on_hello,
            (self._roster.learner, "publish"): self._on_publish,
            (self._roster.controller, "snapshot"): self._thrift.decided,
            **{(name, "install_failed"): self._on_install_failed for name in self._roster.generators},
            **{(name, "refused"): self._thrift.refused for name in (*self._roster.generators, *self._roster.rewarders)},
        }
        world.encode = self._see
        world.after_event = self._after_event

    def complain(self, number: int, detail: str) -> None:
        """Raise, with the last decisions on what `detail` names."""
        raise InvariantViolated(number, detail, about(self._world.decisions, detail))

    # ---- envelopes ------------------------------------------------------------------------------------------------

    def _see(self, envelope: Envelope) -> Any:
        serial = envelope.serial
        self._books.spoke(envelope)
        self._thrift.see(envelope)
        if serial < 0:
            if envelope.sender == self._roster.replay:
                self._touched = True
                key = (envelope.to, envelope.to_incarnation, -serial)
                self._ask_for_durability(key, envelope.message)
                if isinstance(envelope.message, Share):
                    self._on_share(envelope, envelope.message)
                request = self._asked.pop(key, None)
                if request is not None:
                    self.checks += 1
                    self.known.take(request, envelope.message)
                    self._thrift.answered(request, envelope.message)
        else:
            if serial and envelope.to == self._roster.replay:
                self._asked[envelope.sender, envelope.incarnation, serial] = envelope.message
            look = self._requests.get(type(envelope.message))
            if look is not None:
                self.checks += 1
                look(envelope.message)
        return self._encode(envelope)

    def _deciding(self, command: str, answer: Message) -> None:
        """Replay decides a command: everything written up to then, and what it writes, goes before the answer."""
        life, buffer = self._life, self._buffer
        if command == "open_groups" and isinstance(answer, Refused):
            self._thrift.room_refused()
        if life is None or buffer is None or command == "expire":
            return
        waiting = cast(Replay, life.cell.actor)._waiting
        ticket = life.cell.ticket if command != "lease" else waiting[0] if waiting is not None else None
        if ticket is not None and not (isinstance(answer, Refused) and answer.reason == "not yet"):
            key = (ticket.to, ticket.incarnation, ticket.serial)
            self._first.setdefault(key, self._memory(life)._written + buffer.changed)

    @staticmethod
    def _memory(life: Life) -> MemoryStore:
        return cast(Platter, life.disk["store"]).memory

    def _ask_for_durability(self, key: tuple[str, int, int], answer: Message) -> None:
        needed = self._first.pop(key, None)
        if needed is None or self._life is None:
            return
        memory = self._memory(self._life)
        if memory._written - memory.unsynced < needed:
            self.complain(9, f"{key[0]} is answered {answer} before it is durable")

    def _on_append(self, message: Append) -> None:
        """Tokens are a function of trajectory and position, whatever the attempt; their versions are published."""
        segment, number = message.segment, message.trajectory
        if segment.last_version > self.known.highest:
            self.complain(3, f"trajectory {number}: tokens of version {segment.last_version} of {self.known.highest}")
        needed = self._needed.get((number, message.attempt), -1)
        if segment.versions and segment.versions[0][0] < needed:
            self.complain(4, f"trajectory {number}: tokens of version {segment.versions[0][0]}, needed was {needed}")
        if segment.length and not same_draw(self._drawn.setdefault((number, segment.start), segment), segment):
            self.complain(2, f"trajectory {number}: attempt {message.attempt} drew other tokens at {segment.start}")

    def _on_dispatch(self, message: Dispatch) -> None:
        """A stored prefix is never generated again: the current attempt begins where the stored tokens end."""
        for one in message.assignments:
            fact = self.known.facts.get(one.trajectory)
            if fact is None or one.attempt > fact.attempt:
                self.complain(12, f"trajectory {one.trajectory}: attempt {one.attempt} was dispatched and never issued")
            elif one.attempt == fact.attempt and one.length != fact.length:
                self.complain(2, f"trajectory {one.trajectory}: to go on at {one.length}, stored are {fact.length}")
            elif one.attempt == fact.attempt and fact.ended:
                self.complain(2, f"trajectory {one.trajectory}: dispatched after its end")
            elif one.attempt == fact.attempt and one.min_version < fact.version:
                self.complain(3, f"trajectory {one.trajectory}: {one.min_version} may follow version {fact.version}")
            controller = self._world.life(self._roster.controller)
            highest = cast(Controller, controller.cell.actor)._highest if controller is not None else -1
            if one.min_version < highest - self._config.eta:
                self.complain(4, f"trajectory {one.trajectory}: version {one.min_version} will do, known is {highest}")
            self._needed[one.trajectory, one.attempt] = one.min_version

    def _on_learner_state(self, message: LearnerState) -> None:
        if message.version > self.known.highest:
            self.complain(9, f"version {message.version} is exposed, replay has recorded {self.known.highest}")

    def _on_complete_asked(self, message: Complete) -> None:
        """What the trainer says of each group of the lease goes with it."""
        groups = self._leases.get(message.lease)
        if groups is not None and {group for group, _ in message.feedback} != set(groups):
            self.complain(6, f"lease {message.lease} of groups {groups} is completed with {message.feedback}")

    def _on_replay_state(self, message: ReplayState) -> None:
        """At replay's heartbeat: the highest version is durable, and no lease has outlived its time."""
        self.known.announced(message)
        if self._life is not None:
            memory = self._memory(self._life)
            durable = next(
                (row for undo in memory._tail for key, row in undo if key == META_KEY), memory.read(META_KEY)
            )
            if message.highest > (durable.highest if isinstance(durable, MetaRow) else 0):
                self.complain(9, f"version {message.highest} is announced before it is durable")
        pace, now = self._pace, self._world.now
        replay = cast(Replay, self._life.cell.actor) if self._life is not None else None
        for lease in self._leases:
            kept = now if replay is None else replay._kept.get(lease, self._given.get(lease, now))
            if now > kept + ns(pace.lease_s + 3 * pace.heartbeat_s):
                if lease in self._overdue and now > self._overdue[lease] + ns(2 * pace.heartbeat_s):
                    self.complain(6, f"lease {lease} was not kept and not taken back")
                self._overdue.setdefault(lease, now)
            else:
                self._overdue.pop(lease, None)

    # ---- decisions ------------------------------------------------------------------------------------------------

    def _on_store(self, decision: Decision) -> None:
        number, attempt, start, _, _ = cast(tuple[int, int, int, int, str], decision.fields)
        self.known.stored(number, attempt, start)

    def _on_admit(self, decision: Decision) -> None:
        """Design, section 4; with what is applied in a version that has not ended yet."""
        if self._buffer is None:
            return
        held, config = self._buffer._held, self._config
        closed_states = ("consumed", "evicted", "failed", "applied")
        live = sum(count for state, count in held.counts.items() if state not in closed_states)
        live += held.meta.retired_in_version
        limit = (config.eta + 1) * config.batch * config.oversample
        if live > limit:
            self.complain(
                15, f"{live} trajectories live of {limit:g} after groups of {decision.fields[1:]} were opened"
            )

    def _on_lease(self, decision: Decision) -> None:
        lease, *groups = cast(tuple[int, ...], decision.fields)
        for other, held in self._leases.items():
            if set(held) & set(groups):
                self.complain(6, f"groups {groups} of lease {lease} are held by lease {other}")
        if lease <= self._last_lease and lease in self.known.done:
            self.complain(6, f"lease {lease} was given out again")
        self._last_lease = lease
        self._leases[lease] = tuple(groups)
        self._given[lease] = decision.at_ns

    def _on_complete(self, decision: Decision) -> None:
        lease = cast(int, decision.fields[0])
        if lease and self._leases.pop(lease, None) is None and lease not in self.known.done:
            self.complain(6, f"lease {lease} was completed and is not open")

    def _on_expire(self, decision: Decision) -> None:
        lease = cast(int, decision.fields[0])
        if self._leases.pop(lease, None) is None:
            self.complain(6, f"lease {lease} expired and is not open")

    def _on_share(self, envelope: Envelope, share: Share) -> None:
        """Tokens are read under an open lease that holds them."""
        groups = self._leases.get(share.lease, ())
        for one in share.members:
            row = None if self._buffer is None else self._buffer._held.trajectories.get(one.trajectory)
            if row is not None and row.group not in groups:
                self.complain(6, f"trajectory {one.trajectory} is given to {envelope.to} under lease {share.lease}")

    def _on_hello(self, decision: Decision) -> None:
        self._leases.clear()

    def _on_install_failed(self, decision: Decision) -> None:
        life = self._world.life(decision.actor)
        if life is not None and cast(Generator, life.cell.actor)._installing:
            self.complain(17, f"{decision.actor}: an installation failed, and it still waits for it")

    def _on_publish(self, decision: Decision) -> None:
        version, source = cast(int, decision.fields[0]), cast(str, decision.fields[1])
        if version > self.known.highest:
            self.complain(9, f"version {version} is published, replay has recorded {self.known.highest}")
        known = self._sources.setdefault(version, source)
        if known != source:
            self.complain(13, f"version {version} was published from {known} and from {source}")

    # ---- after each event -----------------------------------------------------------------------------------------

    def _after_event(self, world: VirtualWorld) -> None:
        life = world.life(self._roster.replay)
        if life is not self._life:
            self._life, self._buffer = life, None
            if life is not None and life.begun:
                self._recovered(cast(Replay, life.cell.actor), life.cell.incarnation)
        decisions = world.decisions
        recount = False
        while self._decided < len(decisions):
            decision = decisions[self._decided]
            self._decided += 1
            if decision.actor == self._roster.supervisor:
                self._books.decided(decision, self._calm.steady_boss)
            look = self._decisions.get((decision.actor, decision.kind))
            if look is not None:
                self.checks += 1
                look(decision)
                recount = recount or decision.kind != "store"
        self._books.look()
        if self._touched or recount:
            self._touched = False
            self._count(recount)

    def _count(self, recount: bool) -> None:
        buffer = self._buffer
        if buffer is None:
            return
        held = buffer._held
        if sum(held.counts.values()) != held.meta.opened:
            self.complain(1, f"counts {held.counts} do not add up to {held.meta.opened} opened")
        limit = self._config.capacity_tokens
        if limit is not None and held.reserved_tokens > limit:
            self.complain(8, f"{held.reserved_tokens} tokens are held or reserved of {limit}")
        if self._config.no_signal == "train" and "evicted: no signal" in held.meta.closed:
            self.complain(8, "a group without signal was evicted, and such groups are to be trained")
        self._until_recount -= 1
        if recount or self._until_recount <= 0:
            self._until_recount = RECOUNT_EVERY
            try:
                buffer.check()
            except ContractError as error:
                self.complain(1, str(error))
            self._until_image -= 1
            if self._until_image <= 0:
                self._until_image = IMAGE_EVERY
                self._compare_with_disk(buffer)

    def _compare_with_disk(self, buffer: Buffer) -> None:
        """What is written is what is held, so that a crash now would change no decision."""
        if self._life is None or buffer.changed:
            return
        memory = self._memory(self._life)
        disk = Buffer.recover(self._config, memory.rows())
        if words := _differ(buffer._held, disk._held):
            self.complain(9, words)
        if self._config.keep_closed:
            kept = [row.state for _, row in memory.rows() if isinstance(row, TrajectoryRow) and row.state in CLOSED]
            if len(kept) != sum(buffer._held.counts[state] for state in CLOSED):
                self.complain(9, f"{len(kept)} closed trajectories are kept of {buffer._held.counts}")

    def _recovered(self, replay: Replay, incarnation: int) -> None:
        self._buffer = self._last_buffer = replay.buffer
        self.known.recovered(replay.buffer, replay._store)
        self._first.clear()
        if replay._first_life == incarnation and replay.buffer._held.counts["running"]:
            self.complain(12, "a start of the run begins with trajectories that run")
        Reference(replay.buffer, self.complain, self._deciding)
        self._leases = {
            number: tuple(group for group, _, _ in row.groups) for number, row in replay.buffer._held.leases.items()
        }
        self._count(recount=True)

    # ---- at the end -----------------------------------------------------------------------------------------------

    def check_store(self, still: bool = False) -> None:
        """After the run: what replay's disk holds agrees with everything acknowledged, and with the weights.

        `still`: nothing broke, so the disk is exactly the memory that replay had, and nothing is trained too often.
        """
        platter: Platter | None = self._world.place(self._roster.replay).disk.get("store")
        if platter is None:
            return
        buffer = Buffer.recover(self._config, platter.memory.rows())
        buffer.check()
        self.known.recovered(buffer, platter.memory)
        line = line_of(self._world.place(self._roster.learner).disk)
        if words := misses(buffer, line):
            self.complain(14, words)
        if left := buffer.ledger().applied:
            self.complain(11, f"the run ended with {left} trajectories applied, in no durable checkpoint")
        if not still:
            return
        if self._config.oversample <= 1.0 and self._config.reuse == 1 and "evicted: age" in buffer.ledger().reasons:
            self.complain(
                4, f"groups were evicted for age at oversample {self._config.oversample:g}: {buffer.ledger().reasons}"
            )
        may_end_early = self._config.prompts.epochs is not None or buffer._held.spent
        if len(line) != self._goal_groups and not (may_end_early and len(line) < self._goal_groups):
            self.complain(11, f"the weights contain {len(line)} uses, the run was for {self._goal_groups}")
        if self._last_buffer is not None and (words := _differ(self._last_buffer._held, buffer._held)):
            self.complain(9, words)


def _differ(memory: Holdings, disk: Holdings) -> str:
    """The first part in which what replay held and what its disk holds are different."""
    for name in ("meta", "trajectories", "groups", "leases", "opens", "welcome", "counts", "reserved_tokens"):
        held, stored = getattr(memory, name), getattr(disk, name)
        if held != stored:
            return f"replay held {name} {held}, its disk holds {stored}"
    rates = [(held.prompts.success, held.prompts.levels) for held in (memory, disk)]
    return "" if rates[0] == rates[1] else "replay held other success rates than its disk"


def same_draw(one: Segment, other: Segment) -> bool:
    """Whether two segments of one place could have been drawn by the same stream."""
    if isinstance(one.payload, Ghost) or isinstance(other.payload, Ghost):
        return one.payload.seed == other.payload.seed if isinstance(one.payload, Ghost) else False  # type: ignore[union-attr]
    left, right = ids_of(one.payload), ids_of(other.payload)
    shared = min(len(left), len(right))
    return bool((left[:shared] == right[:shared]).all())
