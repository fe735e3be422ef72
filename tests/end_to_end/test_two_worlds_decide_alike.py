"""The same decision log: real processes on real sockets and virtual time take the same decisions, scenario by scenario.

Compared are all decisions up to the supervisor's order to stop, the stop included: for each actor, in its order, the
incarnation, the index, the kind, every field, and the cause (whose message, and how many decisions that sender had
taken when it sent it). Equal causes are an equal order across actors; times are not compared.

A turn on a card (`held`) is compared by who had the card before, not by its times.

Behind the order to stop what was running is cut after as many tokens as the moment allows, and several actors leave at
once: there the stored segments (trajectory, attempt, start, end, without their lengths) and everything else are
compared as a sorted list, without `died`: whether the word of a death or the goodbye of an actor that leaves comes
first is nobody's decision.

No kind is left out before the stop. `lost` is there too (where a worker dies); `silent` and `hang` occur in no
scenario, since they say that a real process was slow. Ports emit at moments of their own on a common grid
(`Script.tick_s`), so whatever an actor decides from is 150 ms from the next; heartbeats alone have phases of their own,
and decide nothing but what was lost, which the scenarios let happen while everything else is at rest. That no decision
hangs on a delay is itself tested, in virtual time.
"""

from functools import cache

import msgspec
import pytest

from tests.end_to_end.scenarios import SCENARIOS
from tests.end_to_end.twin import START_S, Delays, Scenario, differences, holds, log_of, play_live, play_virtual

TOGETHER = 8
"""Scenarios that run at the same time; they mostly wait."""

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
ORDER = sorted(SCENARIOS, key=lambda scenario: bool(scenario.kills))
"""The scenarios with deaths last: they take longest."""
WAVES = [ORDER[begin : begin + TOGETHER] for begin in range(0, len(ORDER), TOGETHER)]
PLAIN = ("asynchronous, in segments",)
"""Scenarios that are the settings as they are."""


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Decisions of a scenario in the live world; the scenarios of its wave are played together, once."""

    @cache
    def wave(number):
        return play_live(WAVES[number], tmp_path_factory.mktemp(f"wave-{number}"))

    def decisions(scenario):
        return wave(next(number for number, members in enumerate(WAVES) if scenario in members))[scenario.name]

    return decisions


@pytest.mark.parametrize("scenario", ORDER, ids=lambda scenario: scenario.name)
def test_both_worlds_take_the_same_decisions(scenario, live):
    virtual, real = log_of(play_virtual(scenario)), log_of(live(scenario))
    assert differences(virtual, real) == []


@pytest.mark.parametrize("scenario", ORDER, ids=lambda scenario: scenario.name)
def test_what_is_decided_hangs_on_no_delay(scenario):
    assert holds(scenario, message_s=0.012, tries=3)


@pytest.mark.parametrize("scenario", ORDER, ids=lambda scenario: scenario.name)
def test_every_scenario_is_a_case_of_its_own(scenario):
    log = log_of(play_virtual(scenario))
    plain = log_of(play_virtual(Scenario("plain", scenario.seed)))
    assert bool(differences(plain, log)) == (scenario.name not in PLAIN)
    deaths = [line[3] for line in log.before["supervisor"] if line[2] == "died"]
    assert deaths == [(kill.who,) for kill in scenario.kills]


@pytest.mark.parametrize(
    ("name", "actor", "kind"),
    [
        ("failed groups", "controller", "group_failed"),
        ("an evaluator", "evaluator", "evaluated"),
        ("one card in turns", "learner", "held"),
        ("a generator dies", "controller", "lost"),
        ("the rewarder dies", "controller", "lost"),
        ("the learner dies", "learner", "welcome"),
        ("the controller dies", "controller", "snapshot"),
    ],
)
def test_a_scenario_shows_what_it_is_named_after(name, actor, kind):
    assert kind in [line[2] for line in log_of(play_virtual(BY_NAME[name])).before[actor]]


def test_a_single_changed_decision_is_a_difference():
    decisions = play_virtual(SCENARIOS[0])
    log = log_of(decisions)
    end = next(number for number, one in enumerate(decisions) if one.kind == "stop")
    for number in range(0, end, 3):
        one = decisions[number]
        changes = {"kind": "other", "fields": (*one.fields, 1), "cause": "other", "cause_index": one.cause_index + 1}
        for field, value in changes.items():
            changed = msgspec.structs.replace(one, **{field: value})
            lines = differences(log, log_of([*decisions[:number], changed, *decisions[number + 1 :]]))
            assert [line.partition(",")[0] for line in lines] == [one.actor]


def test_messages_that_take_too_long_are_noticed():
    """The scenarios are as delicate as they have to be: with delays beyond their gaps they decide otherwise."""
    late = Delays(1, 0.4, START_S)
    assert [s.name for s in SCENARIOS if differences(log_of(play_virtual(s)), log_of(play_virtual(s, late)))]
