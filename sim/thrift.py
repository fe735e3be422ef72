"""Nothing is done twice, and nothing later than it can be: waste that breaks no other invariant.

in every plan              no empty segment is stored, no empty piece sent, no lease kept too often
where no message comes twice     no ask is answered twice
where actors only die      what a worker has said that it holds is not reassigned by a new controller
where nothing breaks       nobody fetches what it has made itself; settled trajectories leave the controller's book
and                        a controller is ready when the workers have had their time; `drain` means it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from actors.cast import RunSettings
from actors.controller import Controller
from actors.generator import Generator
from actors.kernel.backend import Decision, Envelope
from actors.kernel.operations import NS, Message, ns
from actors.messages import (
    Alive,
    Append,
    Chunk,
    Declined,
    Dispatch,
    DropJobs,
    FailAttempt,
    FetchResponse,
    GeneratorState,
    KeepLease,
    Notes,
    Reassign,
    Released,
    ReplayState,
    RewarderState,
    Score,
)
from buffers.answers import Appended, Completed, ScoreStored, Welcome
from sim.world import VirtualWorld

Complain = Callable[[int, str], None]

ON_ITS_WAY_NS = 60_000_000
"""A message that was sent longer ago has arrived where nothing holds messages up."""


class Calm(NamedTuple):
    """What does not befall the actors of a plan."""

    still: bool = False
    """Nothing does."""
    deaths_only: bool = False
    """Nothing but deaths."""
    once: bool = False
    """No message comes twice."""
    steady_boss: bool = False
    """Nothing befalls the supervisor."""


class Thrift:
    """See the module."""

    def __init__(self, world: VirtualWorld, settings: RunSettings, calm: Calm, complain: Complain) -> None:
        self._world = world
        self._settings = settings
        self._calm = calm
        self._fail = complain
        self._kept: dict[tuple[int, int], int] = {}
        self._made: dict[tuple[str, int, int], int] = {}
        """(generator, incarnation, trajectory) -> where what it has made itself ends."""
        self._scored: dict[int, int] = {}
        """Trajectory -> when its score was acknowledged (ns)."""
        self._snapshot = (-1, 0)
        """Incarnation of the controller, and when it took its snapshot (ns)."""
        self._beats = 0
        """Of this controller since its snapshot."""
        self._said: dict[tuple[int, int], tuple[str, int]] = {}
        """(trajectory, attempt) -> who said first since the snapshot that it holds it, and when (ns)."""
        self._answered: set[tuple[str, int, int]] = set()
        self._given_up: set[tuple[str, int, int]] = set()
        """(worker, trajectory, attempt) that it told the controller."""
        self._given: set[tuple[int, int]] = set()
        """(trajectory, attempt) that a controller has given to a worker."""
        self._dropped: dict[tuple[str, int], int] = {}
        """(worker, trajectory) -> when it was told to drop it (ns)."""
        self._state: ReplayState | None = None
        self._reason = False
        """Replay has a reason to tell how things stand, since it last did."""
        self._unexplained = False
        """It has just done so without one, which is right at a heartbeat alone."""
        self._looks: dict[type, Callable[[Envelope, Any], None]] = {
            Append: self._on_append,
            Released: self._on_released,
            KeepLease: self._on_keep,
            FetchResponse: self._on_fetch,
            Reassign: self._on_reassign,
            Declined: self._on_given_up,
            FailAttempt: self._on_fail,
            DropJobs: self._on_drop,
            Dispatch: self._on_dispatch,
            Score: self._on_score,
            ReplayState: self._on_replay_state,
            Alive: self._on_alive,
            GeneratorState: self._on_state,
            RewarderState: self._on_state,
        }

    def _complain(self, words: str) -> None:
        self._fail(18, words)

    def see(self, envelope: Envelope) -> None:
        """A message or a reply is sent."""
        if envelope.sender == self._settings.roster.replay:
            self._on_word_of_replay(envelope)
        if envelope.serial >= 0:
            look = self._looks.get(type(envelope.message))
            if look is not None:
                look(envelope, envelope.message)
            return
        key = (envelope.to, envelope.to_incarnation, envelope.serial)
        if self._calm.once and key in self._answered:
            self._complain(f"ask {-envelope.serial} of {envelope.to} is answered twice, now by {envelope.message}")
        self._answered.add(key)
        if isinstance(envelope.message, Chunk) and any(piece.length == 0 for piece in envelope.message.payloads):
            self._complain(f"trajectory {envelope.message.trajectory}: a piece without a token is sent")

    def answered(self, request: Message, answer: Message) -> None:
        """An answer of replay leaves."""
        if isinstance(answer, ScoreStored):
            self._scored.setdefault(answer.trajectory, self._world.now)
        elif isinstance(answer, Appended):
            self._scored.pop(answer.trajectory, None)

    def decided(self, one: Decision) -> None:
        """A controller took a snapshot."""
        self._snapshot = (one.incarnation, one.at_ns)
        self._beats = 0
        self._said.clear()

    def refused(self, one: Decision) -> None:
        """A worker gives up what replay refused: it says so at once, without waiting for a heartbeat."""
        number, attempt = cast(tuple[int, int], one.fields[:2])
        if (one.actor, number, attempt) not in self._given_up:
            self._complain(f"trajectory {number}: {one.actor} was refused and does not tell the controller")

    # ---- messages ---------------------------------------------------------------------------------------------------

    def _on_append(self, envelope: Envelope, message: Append) -> None:
        segment, number = message.segment, message.trajectory
        if segment.length == 0 and segment.end == "cut":
            self._complain(f"trajectory {number}: an empty segment is to be stored")
        if self._settings.schedule.install == "drain" and len(segment.versions) > 1:
            self._complain(f"trajectory {number}: versions {segment.versions} in one segment, and install is drain")
        self._made[envelope.sender, envelope.incarnation, number] = segment.stop
        dropped = self._dropped.get((envelope.sender, number))
        late = dropped is not None and self._calm.deaths_only and dropped < self._world.now - ON_ITS_WAY_NS
        life = self._world.life(envelope.sender)
        if late and life is not None and number in cast(Generator, life.cell.actor)._held:  # else it waited for credit
            self._complain(f"trajectory {number}: {envelope.sender} goes on with what it was told to drop")

    def _on_released(self, envelope: Envelope, message: Released) -> None:
        """What has ended is forgotten, what was cut is kept for going on."""
        life = self._world.life(envelope.sender)
        actor = life.cell.actor if life is not None else None
        if isinstance(actor, Generator) and message.state != "cut" and message.trajectory in actor._cached:
            self._complain(f"trajectory {message.trajectory}: {message.state}, and {envelope.sender} keeps its cache")

    def _on_dispatch(self, envelope: Envelope, message: Dispatch) -> None:
        for one in message.assignments:
            self._on_given(one.trajectory, one.attempt, envelope.to)

    def _on_score(self, envelope: Envelope, message: Score) -> None:
        self._on_given(message.trajectory, message.attempt, envelope.to)

    def _on_given(self, number: int, attempt: int, to: str) -> None:
        """An attempt is given to one worker, once; again only when that one has declined it."""
        if (number, attempt) in self._given:
            self._complain(f"trajectory {number}: attempt {attempt} is given again, now to {to}")
        self._given.add((number, attempt))

    def _on_given_up(self, envelope: Envelope, message: Declined) -> None:
        self._given.discard((message.trajectory, message.attempt))
        self._given_up.add((envelope.sender, message.trajectory, message.attempt))
        if message.reason in ("closed", "stale attempt"):
            self._ask_for_no_cache(envelope.sender, message.trajectory)

    def _on_fail(self, envelope: Envelope, message: FailAttempt) -> None:
        self._ask_for_no_cache(envelope.sender, message.trajectory)

    def _ask_for_no_cache(self, name: str, number: int) -> None:
        life = self._world.life(name)
        actor = life.cell.actor if life is not None else None
        if isinstance(actor, Generator) and number in actor._cached:
            self._complain(f"trajectory {number}: {name} keeps a cache of what came to nothing")

    def _on_drop(self, envelope: Envelope, message: DropJobs) -> None:
        for number in message.trajectories:
            self._dropped[envelope.to, number] = self._world.now

    def room_refused(self) -> None:
        """Replay decides that it opens no group: it must tell when there is room again."""
        self._reason = True

    # ---- replay -----------------------------------------------------------------------------------------------------

    def _on_word_of_replay(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, Completed | Welcome):
            self._reason = True
        if isinstance(message, Alive):
            self._unexplained = False
        elif self._unexplained and not isinstance(message, Notes):
            self._complain(f"replay says {self._state} and has no reason to")

    def _on_replay_state(self, envelope: Envelope, message: ReplayState) -> None:
        """Between heartbeats replay tells how things stand when there may be room again, or a version."""
        rises = self._state is None or message.highest > self._state.highest
        self._unexplained = not (rises or self._reason)
        self._state, self._reason = message, False

    def _on_keep(self, envelope: Envelope, message: KeepLease) -> None:
        key = (message.incarnation, message.lease)
        since = self._world.now - self._kept.get(key, -NS)
        if key in self._kept and since <= ns(self._settings.pace.lease_s / 4):
            self._complain(f"lease {message.lease} is kept again after {since / NS:.3f} s")
        self._kept[key] = self._world.now

    def _on_fetch(self, envelope: Envelope, message: FetchResponse) -> None:
        made = self._made.get((envelope.sender, envelope.incarnation, message.trajectory))
        if not self._calm.still or made is None or envelope.sender not in self._settings.roster.generators:
            return
        life = self._world.life(envelope.sender)
        hold = cast(Generator, life.cell.actor)._held.get(message.trajectory) if life is not None else None
        if hold is not None and hold.assignment.length == made:
            self._complain(f"trajectory {message.trajectory}: {envelope.sender} fetches what it has made itself")

    # ---- a new controller -------------------------------------------------------------------------------------------

    def _on_state(self, envelope: Envelope, message: GeneratorState | RewarderState) -> None:
        for one in message.held:
            self._said.setdefault(one, (envelope.sender, self._world.now))

    def _on_reassign(self, envelope: Envelope, message: Reassign) -> None:
        who, at_ns = self._said.get((message.trajectory, message.attempt), ("", 0))
        if not self._calm.deaths_only or not who or envelope.incarnation != self._snapshot[0]:
            return
        life = self._world.life(who)
        held = getattr(life.cell.actor, "_held", {}) if life is not None else {}
        hold = held.get(message.trajectory)
        attempt = hold.assignment.attempt if hold is not None and not isinstance(hold, int) else hold
        if attempt == message.attempt and self._snapshot[1] < at_ns < self._world.now - ON_ITS_WAY_NS:
            self._complain(f"trajectory {message.trajectory} is reassigned, and {who} has said that it holds it")

    def _on_alive(self, envelope: Envelope, message: Alive) -> None:
        if envelope.sender != self._settings.roster.controller or envelope.incarnation != self._snapshot[0]:
            return
        life = self._world.life(envelope.sender)
        controller = cast(Controller, life.cell.actor) if life is not None else None
        if controller is None:
            return
        self._beats += 1
        if self._beats > 2 and not controller._ready:
            self._complain("a controller is not ready at its third heartbeat after the snapshot")
        if self._calm.still:
            for number in controller._tracks:
                if self._scored.get(number, self._world.now) < self._world.now - NS:
                    self._complain(f"trajectory {number} is still in the controller's book a second after its score")
