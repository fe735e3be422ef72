"""The state machine: any buffer against the model, by commands in any order, late, repeated and wrong.

Each command is written down in words before it is given, so that a shrunk failure reads as a story.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from buffers.testing.model import Known, Model, demand
from buffers.testing.protocol import BufferUnderTest, Factory

F = TypeVar("F", bound=Callable[..., Any])

TRAJECTORIES = 4


def machine_for(factory: Factory, abilities: tuple[str, ...]) -> type[Machine]:
    """A machine class for one buffer."""
    return type("BufferMachine", (Machine,), {"factory": staticmethod(factory), "abilities": abilities, "examples": 0})


def can(ability: str) -> Callable[[F], F]:
    """A precondition: the buffer claims this."""
    return precondition(lambda self: ability in self.abilities)


class Machine(RuleBasedStateMachine):
    """See the module."""

    factory: Factory
    abilities: tuple[str, ...] = ()
    examples = 0
    """Machines run so far."""
    story: tuple[str, ...] = ()
    """Of the newest machine."""

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        type(self).story = ()
        self.buffer: BufferUnderTest = type(self).factory()
        self.model = Model(version=1)
        if "staleness" in self.abilities:
            self.buffer.publish(1)

    def say(self, line: str) -> None:
        """Write a step down."""
        type(self).story += (line,)

    @property
    def may_forget(self) -> bool:
        """Whether something may be evicted, for space or for age."""
        return "capacity" in self.abilities or "staleness" in self.abilities

    # -- appends -------------------------------------------------------------------------------------------------

    @rule(
        trajectory=st.integers(0, TRAJECTORIES - 1),
        count=st.integers(1, 3),
        last=st.booleans(),
        shift=st.sampled_from([0, 0, 0, 0, 1, -1]),
        older=st.sampled_from([0, 0, 1]),
    )
    def append(self, trajectory: int, count: int, last: bool, shift: int, older: int) -> None:
        """Append the right piece, or one that does not fit."""
        if trajectory in self.model.gone:
            return
        known = self.model.known.get(trajectory, Known())
        last = last or "segments" not in self.abilities
        start = max(0, len(known.tokens) + shift)
        version = max(0, self.model.version - older)
        tokens = tuple(10 * trajectory + start + offset for offset in range(count))
        self.say(f"append({trajectory}, start={start}, version={version}, tokens={tokens}, last={last})")
        first = not any(one.tokens for one in self.model.known.values())
        taken = self.buffer.append(trajectory, start, version, tokens, last)
        if not taken:
            demand(not first or shift > 0, "an empty buffer takes a first piece", f"trajectory {trajectory} refused")
            return
        name = f"trajectory {trajectory}"
        demand(not known.ended, "a repeat is refused", f"{name} had ended and took a piece at {start}")
        demand(start == len(known.tokens), "pieces join", f"{name} holds {len(known.tokens)}, took one at {start}")
        demand(version >= known.version, "versions never decrease", f"{name} took {version} after {known.version}")
        self.model.known[trajectory] = known
        known.tokens, known.version, known.ended = known.tokens + tokens, version, last
        known.past.append((known.tokens, version, last))
        if last:
            self.model.ended_at[trajectory] = self.model.version

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Send the whole of a finished trajectory again."""
        ended = sorted(one for one, known in self.model.known.items() if known.ended and one not in self.model.gone)
        if not ended:
            return
        trajectory = data.draw(st.sampled_from(ended))
        known = self.model.known[trajectory]
        self.say(f"append({trajectory}, start=0, version={known.version}, tokens={known.tokens}, last=True) once more")
        taken = self.buffer.append(trajectory, 0, known.version, known.tokens, True)
        demand(not taken, "a repeat is refused", f"trajectory {trajectory} was taken twice")

    @can("capacity")
    @rule(count=st.sampled_from([0, 0, 2, 4]), last=st.booleans())
    def crowd(self, count: int, last: bool) -> None:
        """Bring new trajectories, whole or begun, until something must give way."""
        for _ in range(count if len(self.model.known) < 3 * TRAJECTORIES else 0):
            self.append(
                max(TRAJECTORIES - 1, *self.model.known) + 1 if self.model.known else TRAJECTORIES, 3, last, 0, 0
            )

    # -- priorities ----------------------------------------------------------------------------------------------

    @can("priorities")
    @rule(trajectory=st.integers(0, TRAJECTORIES), priority=st.sampled_from([0.5, 1.0, 3.0, -1.0, math.nan, math.inf]))
    def set_priority(self, trajectory: int, priority: float) -> None:
        """Set one, possibly of something that is not there, or a number that is none."""
        self.say(f"set_priority({trajectory}, {priority})")
        taken = self.buffer.set_priority(trajectory, priority)
        good = priority >= 0.0 and math.isfinite(priority)
        demand(good or not taken, "priorities are finite and not negative", f"{priority} was taken")
        ended = trajectory in self.model.known and self.model.known[trajectory].ended
        demand(ended or not taken, "only what is held has a priority", f"trajectory {trajectory} is not held")

    @can("priorities")
    @rule(seed=st.integers(0, 9))
    def sample(self, seed: int) -> None:
        """Draw eight."""
        known = self.model.known
        held = {one for one in known if known[one].ended and one not in self.model.trained and self.buffer.read(one)}
        if not held:
            return
        self.say(f"sample(8, seed={seed})")
        drawn, weights = self.buffer.sample(8, seed)
        demand(len(drawn) == len(weights) == 8, "a sample has its size", f"{len(drawn)} drawn, {len(weights)} weights")
        strange = sorted(set(map(int, drawn)) - held)
        demand(not strange, "only what is held is drawn", f"drawn: {strange}, held: {sorted(held)}")
        demand(all(0 < weight < math.inf for weight in weights), "weights are positive", f"{list(weights)}")

    # -- leases --------------------------------------------------------------------------------------------------

    @can("leases")
    @rule(really=st.booleans())
    def finish(self, really: bool) -> None:
        """Bring the first open group to its end, so that there is something to lease."""
        for group in range(TRAJECTORIES // self.buffer.k if really else 0):
            members = range(group * self.buffer.k, (group + 1) * self.buffer.k)
            if not all(one in self.model.known and self.model.known[one].ended for one in members):
                for one in members:
                    if not (one in self.model.known and self.model.known[one].ended):
                        self.append(one, 1, True, 0, 0)
                return

    @can("leases")
    @rule()
    def lease(self) -> None:
        """Take a lease."""
        self.say("lease()")
        answer = self.buffer.lease()
        if answer is None:
            return
        model, (number, members) = self.model, (answer[0], tuple(map(int, answer[1])))
        demand(number not in model.leases and number not in model.closed, "leases are fenced", f"{number} came twice")
        twice = sorted(set(members) & model.leased) or [one for one in set(members) if members.count(one) > 1]
        demand(not twice, "one holder", f"trajectories {twice} are leased twice")
        again = sorted(set(members) & model.trained)
        demand(not again, "acknowledged once", f"trajectories {again} were completed and are leased again")
        for one in members:
            group = one // self.buffer.k
            whole = range(group * self.buffer.k, (group + 1) * self.buffer.k)
            gone = [m for m in whole if m not in members or not model.known.get(m, Known()).ended]
            demand(not gone, "groups are whole", f"group {group} was leased without trajectories {gone} ended")
            demand(
                "staleness" not in self.abilities or self.age(one) <= self.buffer.max_age,
                "age is bounded",
                f"trajectory {one} was leased at age {self.age(one)}",
            )
        model.leases[number] = members

    def age(self, trajectory: int) -> int:
        """Versions since the last member of its group ended."""
        group = trajectory // self.buffer.k
        members = range(group * self.buffer.k, (group + 1) * self.buffer.k)
        return self.model.version - max(self.model.ended_at[one] for one in members)

    @can("leases")
    @rule(data=st.data(), late=st.booleans())
    def complete(self, data: st.DataObject, late: bool) -> None:
        """Acknowledge an open lease, or one that is over."""
        numbers = self.model.closed if late else sorted(self.model.leases)
        if not numbers:
            return
        self._complete(data.draw(st.sampled_from(numbers)), late)

    @can("leases")
    @rule(really=st.booleans())
    def train(self, really: bool) -> None:
        """The ordinary course: finish a group, lease it, complete."""
        self.finish(really)
        self.lease()
        if self.model.leases:
            self._complete(max(self.model.leases), False)

    def _complete(self, number: int, late: bool) -> None:
        self.say(f"complete({number}){', which is over' if late else ''}")
        done = self.buffer.complete(number)
        if late:
            return
        demand(done, "an open lease can be completed", f"lease {number} was refused")
        self.model.trained |= set(self.model.leases.pop(number))
        self.model.closed.append(number)

    @can("leases")
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Take a lease back; its holder then tries to complete it all the same."""
        if not self.model.leases:
            return
        number = data.draw(st.sampled_from(sorted(self.model.leases)))
        self.say(f"expire({number}), complete({number}) by its late holder")
        self.buffer.expire(number)
        del self.model.leases[number]
        self.model.closed.append(number)
        demand(not self.buffer.complete(number), "fences hold", f"the expired lease {number} was completed")

    @can("staleness")
    @rule()
    def publish(self) -> None:
        """The version rises."""
        if not self.model.leases:
            self.model.version += 1
            self.say(f"publish({self.model.version})")
            self.buffer.publish(self.model.version)

    # -- the disk ------------------------------------------------------------------------------------------------

    @can("durability")
    @rule()
    def sync(self) -> None:
        """All is durable."""
        self.say("sync()")
        self.buffer.sync()
        for known in self.model.known.values():
            known.durable = len(known.past) - 1
        self.model.trained_durably = set(self.model.trained)
        self.model.leases_durably = {*self.model.closed, *self.model.leases}

    @can("durability")
    @rule(keep=st.integers(0, 3))
    def crash(self, keep: int) -> None:
        """Lose the memory; every trajectory is one of its states since the last sync."""
        self.say(f"crash(keep={keep})")
        self.buffer.crash(keep)
        model = self.model
        if "staleness" in self.abilities:
            self.buffer.publish(model.version)  # as a learner does that says hello
        model.closed = sorted(model.leases_durably)
        model.leases.clear()  # the holder of one that was never durable was never told
        lost = model.trained - model.trained_durably
        for trajectory, known in model.known.items():
            if trajectory in model.trained | model.gone:
                continue
            found = tuple(self.buffer.read(trajectory) or ())
            whole = [tokens for tokens, _, _ in known.past[known.durable :]]
            what = f"trajectory {trajectory} holds {found} after the crash; it was synced with {whole[0]}"
            demand(found in whole, "what was synced survives, the rest in whole pieces", what)
            place = known.durable + whole.index(found)
            known.past = known.past[: place + 1]
            known.tokens, known.version, known.ended = known.past[-1]
        # whether an unsynced completion survived is open: what can be read is back
        back = {one for one in lost if self.buffer.read(one)}
        model.trained -= back
        model.gone |= lost - back
        model.trained_durably = set(model.trained)

    # -- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def reads_are_what_was_taken(self) -> None:
        """Every trajectory reads back as it was appended."""
        leased = self.model.leased
        for trajectory, known in self.model.known.items():
            if trajectory in self.model.trained | self.model.gone:
                continue
            found = tuple(self.buffer.read(trajectory) or ())
            name = f"trajectory {trajectory}"
            if not found and known.tokens and trajectory in leased:
                demand(False, "what is leased stays", f"{name} is leased and gone")
            if self.may_forget and known.tokens and not found:
                self.model.gone.add(trajectory)
            demand(
                trajectory in self.model.gone or found == known.tokens,
                "a read gives what was appended",
                f"{name}: {found}, not {known.tokens}",
            )

    @invariant()
    def capacity_holds(self) -> None:
        """The bound is kept."""
        if "capacity" in self.abilities:
            held = self.buffer.held_tokens()
            stored = sum(len(self.buffer.read(one) or ()) for one in self.model.known)
            bound = self.buffer.capacity_tokens
            demand(max(held, stored) <= bound, "capacity holds", f"{max(held, stored)} tokens are held of {bound}")
