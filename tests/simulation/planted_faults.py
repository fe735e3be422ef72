"""Faults to plant in the protocol: each removes one mechanism of the cast, until the monkeypatch is undone.

A checker that does not find one within its number of seeds is too weak, or the plans never come to where it matters.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from actors import standins
from actors.controller import Controller
from actors.generator import Generator
from actors.kernel import asks
from actors.learner import Learner
from actors.messages import ReplayState
from actors.replay import Replay
from buffers import learning
from buffers.buffer import Buffer
from buffers.draws import uniform
from buffers.holdings import Holdings
from buffers.segment import Ghost
from sim.drawn import draw
from sim.faults import Act
from sim.plan import Strike


def acknowledge_before_durable(monkeypatch):
    settle = Replay._settle

    def hasty(self, ticket, answer, context):
        settle(self, None, answer, context)
        if ticket is not None:
            context.send(ticket, answer)

    monkeypatch.setattr(Replay, "_settle", hasty)


def leases_never_expire(monkeypatch):
    monkeypatch.setattr(Replay, "_on_lease_due", lambda self, message, context: None)


def announce_before_durable(monkeypatch):
    def announce(self, context):
        state = ReplayState(self.buffer.highest)
        context.send(self._roster.controller, state)

    def completed(self, message, context):
        answer = complete(self, message, context)
        announce(self, context)
        return answer

    complete = Replay._complete
    monkeypatch.setattr(Replay, "_complete", completed)


def expose_before_completion(monkeypatch):
    checkpointed = Learner._on_checkpointed

    def early(self, event, context):
        self._trainer.expose(event.version)
        checkpointed(self, event, context)

    monkeypatch.setattr(Learner, "_on_checkpointed", early)


def release_groups_one_member_early(monkeypatch):
    score = Buffer.score

    def early(self, trajectory, attempt, components):
        answer = score(self, trajectory, attempt, components)
        row = self._held.trajectories.get(trajectory)
        group = None if row is None else self._held.groups[row.group]
        if group is not None and group.stage == "open" and group.scored == group.k - 1:
            group.k -= 1
            self._complete_group(group)
        return answer

    monkeypatch.setattr(Buffer, "score", early)


def zombies_are_not_fenced(monkeypatch):
    append = Buffer.append

    def lenient(self, trajectory, attempt, segment):
        row = self._held.trajectories.get(trajectory)
        return append(self, trajectory, attempt if row is None else row.attempt, segment)

    monkeypatch.setattr(Buffer, "append", lenient)


def failed_groups_stay_in_admission(monkeypatch):
    live = Holdings.live.fget
    monkeypatch.setattr(Holdings, "live", property(lambda self: live(self) + self.counts["failed"]))


def retries_draw_other_tokens(monkeypatch):
    calls = itertools.count()

    def payload(one, trajectory, start, stop):
        return Ghost(stop - start, next(calls))

    monkeypatch.setattr(standins, "response_payload", payload)


def hello_forgets_what_was_applied(monkeypatch):
    hello = learning.hello

    def forgetful(held, incarnation, version, applied):
        return hello(held, incarnation, version, ())

    monkeypatch.setattr(learning, "hello", forgetful)


def uses_are_not_rolled_back(monkeypatch):
    monkeypatch.setattr(Holdings, "roll_back", lambda self, group, uses: self.undurable.pop(group.group, None))


def a_version_number_is_used_again(monkeypatch):
    hello = learning.hello

    def reuse(held, incarnation, version, applied):
        held.meta.highest = min(held.meta.highest, version)
        return hello(held, incarnation, version, applied)

    monkeypatch.setattr(learning, "hello", reuse)


def recovery_forgets_its_counters(monkeypatch):
    def recover(config, rows):
        buffer = Buffer(config)
        buffer._held.note_meta()
        buffer._held.take(rows)
        return buffer

    monkeypatch.setattr(Buffer, "recover", recover)


def space_is_not_reserved(monkeypatch):
    monkeypatch.setattr(Buffer, "_has_space", lambda self, prompt_tokens: True)


def lost_holds_are_not_reassigned(monkeypatch):
    monkeypatch.setattr(Controller, "_lose", lambda self, track, context: None)


def a_dead_workers_jobs_are_dispatched_as_they_were(monkeypatch):
    def lose(self, track, context):
        self._take_back(track)
        track.length = 0
        self._wait(track)

    monkeypatch.setattr(Controller, "_lose", lose)


def a_segment_is_stored_and_not_acknowledged_when_repeated(monkeypatch):
    """A retry is taken for new: the attempt rises once more, and whoever got the first answer is fenced off."""
    appended = Buffer._appended

    def wrong(self, row, next_attempt):
        return appended(self, row, next_attempt + 1)

    monkeypatch.setattr(Buffer, "_appended", wrong)


def aged_groups_are_not_dropped(monkeypatch):
    monkeypatch.setattr(Holdings, "drop_aged", lambda self, version: None)


def checkpoints_are_claimed_and_not_written(monkeypatch):
    complete = Learner._complete

    def claim(self, version, checkpointed, context):
        complete(self, version, True, context)

    monkeypatch.setattr(Learner, "_complete", claim)


def admission_is_not_asked(monkeypatch):
    monkeypatch.setattr("buffers.buffer.admissible_groups", lambda live, k, eta, batch, oversample: 1)


def a_dispatch_forgets_what_version_it_needs(monkeypatch):
    queue = Generator._queue

    def forgetful(self, hold, context):
        hold.assignment = msgspec.structs.replace(hold.assignment, min_version=0)
        queue(self, hold, context)

    monkeypatch.setattr(Generator, "_queue", forgetful)


def an_engine_goes_on_with_old_weights_after_an_update(monkeypatch):
    installed = standins.ScriptedEngine._installed

    def stale(self, version):
        before = self._version
        installed(self, version)
        self._version = before if before >= 0 else version

    monkeypatch.setattr(standins.ScriptedEngine, "_installed", stale)


def the_law_draws_the_same_number_again(monkeypatch):
    monkeypatch.setattr(learning, "uniform", lambda seed, stream, counter: uniform(seed, stream, 1))


def a_window_lets_everything_through(monkeypatch):
    monkeypatch.setattr(asks._Link, "admits", lambda self, charge: True)


def a_new_controller_listens_to_nobody(monkeypatch):
    monkeypatch.setattr(Controller, "_adopt", lambda self, worker, phase, held: None)


def a_settled_trajectory_stays_in_the_book(monkeypatch):
    def drop(self, track):
        self._take_back(track)

    monkeypatch.setattr(Controller, "_drop", drop)


def a_change_is_not_written(monkeypatch):
    monkeypatch.setattr(Holdings, "note_group", lambda self, group: None)


class Planted(NamedTuple):
    """A fault, and within how many plans it must be found."""

    plant: Callable
    seeds: int
    invariants: tuple[int, ...]
    """What may break first; -1: an actor fails by itself. The checks in `BESIDE` may always be the first."""
    settings: dict | None = None
    """Sections of the drawn settings that are changed, so that what the fault needs happens often."""

    deaths: tuple = ()
    """Strikes instead of all faults that were drawn."""

    def plan(self, seed):
        plan = draw(seed)
        if self.deaths:
            plan = msgspec.structs.replace(plan, acts=(), strikes=self.deaths)
        config = {**plan.config, **{name: {**plan.config[name], **one} for name, one in (self.settings or {}).items()}}
        return msgspec.structs.replace(plan, config=config)


BESIDE = (16, 17, 18)
"""The reference, the books, waste: these look at how a decision is made, so they may see it before it does harm."""

FAILING = {"standins": {"fail_score_every": 9}, "buffer": {"max_attempts": 1}}


SLOW = {
    "standins": {"token_s": 0.004, "mean_tokens": 48},
    "schedule": {"segment_tokens": 64, "max_response_tokens": 96},
    "buffer": {"capacity_tokens": 0},
}


FAULTS = [
    Planted(acknowledge_before_durable, 60, (9, 12, 1, 3, -1)),
    Planted(leases_never_expire, 250, (6,)),
    Planted(announce_before_durable, 200, (3, 9)),
    Planted(expose_before_completion, 20, (9,)),
    Planted(release_groups_one_member_early, 5, (1, 7, -1)),
    Planted(zombies_are_not_fenced, 200, (2, 3, 12)),
    Planted(failed_groups_stay_in_admission, 40, (11,), FAILING),
    Planted(retries_draw_other_tokens, 60, (2,)),
    Planted(hello_forgets_what_was_applied, 300, (14, -1)),
    Planted(uses_are_not_rolled_back, 60, (1, 14, -1)),
    Planted(a_version_number_is_used_again, 60, (3, 13, -1)),
    Planted(recovery_forgets_its_counters, 500, (9, 1, -1)),
    Planted(space_is_not_reserved, 40, (8,)),
    Planted(lost_holds_are_not_reassigned, 60, (11,)),
    Planted(a_dead_workers_jobs_are_dispatched_as_they_were, 60, (2, 3)),
    Planted(aged_groups_are_not_dropped, 60, (4, 1, -1)),
    Planted(checkpoints_are_claimed_and_not_written, 100, (13, 14, 9, 3, -1)),
    Planted(admission_is_not_asked, 20, (15, 4, 8)),
    Planted(a_dispatch_forgets_what_version_it_needs, 100, (4, 3)),
    Planted(a_segment_is_stored_and_not_acknowledged_when_repeated, 20, (9, 11, 12)),
    Planted(an_engine_goes_on_with_old_weights_after_an_update, 20, (4, 3)),
    Planted(the_law_draws_the_same_number_again, 20, ()),
    Planted(a_window_lets_everything_through, 20, ()),
    Planted(a_new_controller_listens_to_nobody, 20, (), SLOW, (Strike("store", 9, Act(0, "crash", "controller")),)),
    Planted(a_settled_trajectory_stays_in_the_book, 20, ()),
    Planted(a_change_is_not_written, 20, (9, 1, -1)),
]
