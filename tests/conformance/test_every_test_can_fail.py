"""Each test of the suite fails in the virtual world when the mechanism that it is about is taken away.

A mechanism is removed by a function of `REMOVED` that patches the kernel or the world; each names the tests that must
notice. Every test of the suite is named at least once.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable

import msgspec
import pytest

from actors.kernel.asks import AskBook, Pending, _Link
from actors.kernel.cell import Cell
from actors.kernel.streams import stream
from buffers.errors import ContractError, WireError
from sim.kernel import Kernel
from sim.life import Life
from sim.network import Lane
from sim.place import Place
from sim.world import VirtualWorld
from tests.conformance import probes, test_world_lives, test_world_messages
from tests.conformance.virtual_world import VirtualWorldUnderTest

Patch = pytest.MonkeyPatch
MODULES = (test_world_messages, test_world_lives)


def fifo_of_a_link(patch: Patch) -> None:
    late = deque([9, 4, 7, 1, 8, 2])

    def arrivals(self, now, message):
        late.rotate(1)
        return (now + late[0] * 1_000_000,)

    patch.setattr(Lane, "arrivals", arrivals)


def at_most_once(patch: Patch) -> None:
    patch.setattr(Lane, "arrivals", lambda self, now, message: (now + 1000, now + 1000))


def causes(patch: Patch) -> None:
    record = VirtualWorld.record
    patch.setattr(
        VirtualWorld,
        "record",
        lambda self, decision: record(self, msgspec.structs.replace(decision, cause="", cause_index=0)),
    )


def the_mailbox_while_receiving(patch: Patch) -> None:
    def run(self, message, sender, ticket, cause_index, cause=""):
        self.sender, self.ticket = sender, ticket
        self._cause, self._cause_index = cause or sender, cause_index
        self._actor.receive(message, self)

    patch.setattr(Cell, "_run", run)


def windows(patch: Patch) -> None:
    patch.setattr(_Link, "admits", lambda self, charge: True)


def the_way_of_heavy_asks(patch: Patch) -> None:
    patch.setattr(
        _Link,
        "admits",
        lambda self, charge: self.count < self.window.count and self.bytes + charge <= self.window.bytes,
    )


def the_queue_before_a_window(patch: Patch) -> None:
    def opened(self, ask, weight, done):
        link = self._links.setdefault(ask.to, _Link(self._window_of(ask.to)))
        self._serial += 1
        pending = self._pending[self._serial] = Pending(self._serial, ask, weight + ask.reply_bytes, link, done)
        if link.admits(pending.charge):
            link.count += 1
            link.bytes += pending.charge
            return pending, True
        link.waiting.append(pending)
        return pending, False

    patch.setattr(AskBook, "open", opened)


def the_release_of_windows(patch: Patch) -> None:
    patch.setattr(AskBook, "_release", lambda self, link: [])


def timeouts(patch: Patch) -> None:
    patch.setattr(Cell, "_expire", lambda self, serial: None)


def the_end_of_an_ask(patch: Patch) -> None:
    close = AskBook.close

    def closed(self, serial):
        pending = self._pending.get(serial)
        result = close(self, serial)
        if pending is not None:
            self._pending[serial] = pending
        return result

    patch.setattr(AskBook, "close", closed)


def the_order_of_replies(patch: Patch) -> None:
    def waited(self, asks, resume):
        results = []

        def done(reply):
            results.append(reply)
            if len(results) == len(asks):
                resume(results)

        for one in asks:
            self._ask(one, done)

    patch.setattr(Cell, "_wait", waited)


def the_fence_of_senders(patch: Patch) -> None:
    deliver = Cell.deliver

    def delivered(self, envelope):
        self._newest.pop(envelope.sender, None)
        deliver(self, envelope)

    patch.setattr(Cell, "deliver", delivered)


def the_fence_of_replies(patch: Patch) -> None:
    deliver = Cell.deliver
    patch.setattr(
        Cell,
        "deliver",
        lambda self, envelope: deliver(self, msgspec.structs.replace(envelope, to_incarnation=self.incarnation)),
    )


def the_count_of_strangers(patch: Patch) -> None:
    opened = Place._open

    def silently(self, parcel):
        try:
            self._world.codec.decode(parcel)
        except WireError:
            return
        opened(self, parcel)

    patch.setattr(Place, "_open", silently)


def the_address_on_envelopes(patch: Patch) -> None:
    def opened(self, parcel):
        try:
            self.life.cell.deliver(self._world.codec.decode(parcel))
        except WireError as error:
            self._world.refusals.append(str(error))

    patch.setattr(Place, "_open", opened)


def cancelling(patch: Patch) -> None:
    patch.setattr(Kernel, "cancel", lambda self, event: None)


def the_refusal_of_foreign_awaitables(patch: Patch) -> None:
    perform = Cell._perform

    def performed(self, operation, resume, task):
        if type(operation).__module__ == "actors.kernel.operations":
            perform(self, operation, resume, task)
        else:
            self._backend.call_later(0, self._wake, (resume, None))

    patch.setattr(Cell, "_perform", performed)


def stopping_others(patch: Patch) -> None:
    patch.setattr(Life, "stop", lambda self, name: None)


def leaving(patch: Patch) -> None:
    patch.setattr(Cell, "stop", lambda self, name: None)


def crashing(patch: Patch) -> None:
    patch.setattr(VirtualWorld, "crash", lambda self, name: None)
    patch.setattr(VirtualWorld, "restart", lambda self, name: None)


def that_a_death_takes_timers_along(patch: Patch) -> None:
    def clear(self):
        self.inbox.clear()
        self.life = None

    patch.setattr(Place, "clear", clear)
    patch.setattr(Life, "end", lambda self, *, crash: None)


def news_of_deaths(patch: Patch) -> None:
    patch.setattr(VirtualWorld, "_tell", lambda self, death: None)


def pausing(patch: Patch) -> None:
    patch.setattr(Place, "pause", lambda self: None)


def the_order_of_the_inbox(patch: Patch) -> None:
    unpause = Place.unpause

    def unpaused(self):
        self.inbox.reverse()
        unpause(self)

    patch.setattr(Place, "unpause", unpaused)


def durability_before_the_answer(patch: Patch) -> None:
    put = probes.Disk.put

    def hasty(self, n):
        put(self, n)
        self.emit(probes.Tick(n))

    patch.setattr(probes.Disk, "put", hasty)


def the_owner_of_results(patch: Patch) -> None:
    patch.setattr(
        Cell,
        "_take_caused",
        lambda self, message: self._run(message, "the world", None, self._cause_index, self._cause),
    )


def streams_of_their_own(patch: Patch) -> None:
    patch.setattr(
        Cell,
        "random",
        lambda self, purpose: self._streams.setdefault("", stream(self._backend.seed, self.name, self.incarnation)),
    )


REMOVED: dict[Callable[[Patch], None], tuple[Callable[..., None], ...]] = {
    fifo_of_a_link: (test_world_messages.test_messages_of_a_link_arrive_in_order_once_each,),
    at_most_once: (
        test_world_messages.test_messages_of_a_link_arrive_in_order_once_each,
        test_world_lives.test_a_slow_joiner_gets_each_message_at_most_once_and_every_ask_in_the_end,
    ),
    causes: (test_world_messages.test_a_decision_names_the_message_that_caused_it,),
    the_mailbox_while_receiving: (test_world_messages.test_receive_never_nests,),
    windows: (
        test_world_messages.test_a_window_bounds_the_asks_on_a_link_in_count_and_keeps_their_order,
        test_world_messages.test_a_window_bounds_the_asks_on_a_link_in_bytes_of_request_and_reply,
    ),
    the_way_of_heavy_asks: (
        test_world_messages.test_an_ask_heavier_than_the_window_goes_alone,
        test_world_messages.test_actors_that_ask_each_other_do_not_deadlock_with_windows_of_one,
    ),
    the_queue_before_a_window: (
        test_world_messages.test_a_light_ask_does_not_overtake_a_heavy_one_that_waits_for_its_window,
    ),
    the_release_of_windows: (
        test_world_messages.test_actors_that_ask_each_other_do_not_deadlock_with_windows_of_one,
        test_world_messages.test_an_ask_that_never_got_into_its_window_times_out_too,
    ),
    timeouts: (
        test_world_messages.test_an_ask_without_a_reply_times_out_and_gives_its_window_back,
        test_world_messages.test_an_ask_that_never_got_into_its_window_times_out_too,
        test_world_lives.test_asks_to_an_actor_that_is_not_there_yet_time_out_and_are_retried,
    ),
    the_end_of_an_ask: (test_world_messages.test_a_reply_after_the_timeout_is_ignored,),
    the_order_of_replies: (test_world_messages.test_waiting_for_several_asks_gives_their_replies_in_order,),
    the_fence_of_senders: (test_world_messages.test_an_older_incarnation_of_a_sender_changes_nothing,),
    the_fence_of_replies: (test_world_messages.test_a_reply_to_an_older_incarnation_answers_nothing,),
    the_count_of_strangers: (test_world_messages.test_a_stranger_is_refused_and_counted,),
    cancelling: (test_world_lives.test_timers_fire_in_order_and_not_after_cancel,),
    the_refusal_of_foreign_awaitables: (test_world_lives.test_a_foreign_awaitable_is_refused_and_the_actor_goes_on,),
    stopping_others: (test_world_lives.test_a_spawned_actor_lives_until_it_is_stopped,),
    leaving: (
        test_world_lives.test_an_actor_that_stops_itself_ends_after_the_message_being_received,
        test_world_lives.test_a_supervisor_hears_of_an_actor_that_stopped_itself,
    ),
    crashing: (
        test_world_lives.test_a_crashed_actor_is_silent_until_its_next_incarnation,
        test_world_lives.test_a_supervisor_hears_of_a_kill_and_starts_the_next_incarnation,
    ),
    that_a_death_takes_timers_along: (test_world_lives.test_nothing_of_a_life_runs_after_its_crash,),
    news_of_deaths: (
        test_world_lives.test_a_supervisor_hears_of_a_kill_and_starts_the_next_incarnation,
        test_world_lives.test_an_actor_that_raises_dies_and_its_supervisor_hears_why,
        test_world_lives.test_a_supervisor_hears_of_an_actor_that_stopped_itself,
    ),
    pausing: (test_world_lives.test_a_paused_actor_does_nothing_and_goes_on_where_it_was,),
    the_order_of_the_inbox: (test_world_lives.test_messages_to_a_paused_actor_wait_in_order,),
    durability_before_the_answer: (test_world_lives.test_a_killed_reader_loses_nothing_that_it_acknowledged,),
    the_owner_of_results: (test_world_lives.test_the_result_of_a_task_arrives_as_a_message_of_the_actor_itself,),
    streams_of_their_own: (test_world_lives.test_streams_are_one_per_purpose_actor_incarnation_and_seed,),
}
ARGUMENTS = {
    "at_once": True,
    "where": "receive",
    "data": b"hello",
}
"""Of tests with parameters: one of their cases."""
CASES = [(removed, test) for removed, tests in REMOVED.items() for test in tests]


def play(test: Callable[..., None], tmp_path) -> None:
    """One test of the suite, in a virtual world."""
    world = VirtualWorldUnderTest()
    given = {"world": world, "tmp_path": tmp_path, **ARGUMENTS}
    test(**{name: given[name] for name in inspect.signature(test).parameters})


def test_every_test_of_the_suite_is_about_a_mechanism_named_here():
    suite = {name for module in MODULES for name in vars(module) if name.startswith("test_")}
    assert suite == {test.__name__ for _, test in CASES}


@pytest.mark.parametrize(("removed", "test"), CASES, ids=lambda one: one.__name__)
def test_a_test_fails_without_its_mechanism(removed, test, tmp_path):
    play(test, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        removed(patch)
        (tmp_path / "without").mkdir()
        with pytest.raises((AssertionError, ContractError)):
            play(test, tmp_path / "without")


def test_an_envelope_for_another_actor_is_refused_by_its_address_alone(monkeypatch):
    data = test_world_messages.envelope("d", "z", 1, probes.Number(1))
    test_world_messages.test_a_stranger_is_refused_and_counted(VirtualWorldUnderTest(), data)
    the_address_on_envelopes(monkeypatch)
    with pytest.raises(AssertionError):
        test_world_messages.test_a_stranger_is_refused_and_counted(VirtualWorldUnderTest(), data)
