"""Generator and learner on one card, with stand-ins as real processes: turns never overlap, nobody starves or hangs.

What is checked stands in the event log: each turn says, by the clock that all processes share, when it was asked for,
when it began, when it ended, and who had the card before.
"""

import os
from collections import Counter
from itertools import pairwise

import pytest

from actors.eventlog import read_events
from actors.timeline import CARD_WAIT_NS, timeline
from tests.end_to_end.test_live_cast_survives_kills import GROUP, Run, assert_nothing_is_lost_or_trained_twice, settings

VERSIONS = 5
LOOKS_NS = 30_000_000
"""A wish may be made so long before it can be seen, on a busy machine."""


def config_of(folder, **card):
    """Two generators' worth of work for one generator: it is never idle, and the learner always has to wait for it."""
    config = settings(folder, VERSIONS)
    config["roster"]["generators"] = ["g0"]
    config["schedule"] |= {"backlog": 32, "eta": 3, "checkpoint_every": 1}
    config["standins"] |= {"slots": 8, "step_s": 0.1, "mean_tokens": 60}
    return {**config, "card": {"by": "time", "folder": str(folder / "card"), "turn_s": 0.05, **card}}


def play(folder, config, disturb=lambda run: None):
    """Run to the end; the records of the run."""
    run = Run(folder, config)
    try:
        disturb(run)
        assert run.until(lambda: run.cluster.outcome == "finished" and run.cluster.run(0))
    finally:
        run.close()
    assert_nothing_is_lost_or_trained_twice(folder, config, VERSIONS)
    return read_events([folder / "events"])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Of one run in turns."""
    folder = tmp_path_factory.mktemp("turns")
    return play(folder, config_of(folder))


def turns_of(records):
    """(since, until, actor, asked, behind) of each turn, in order."""
    held = [one for one in records if getattr(one, "kind", "") == "held"]
    return sorted((one.fields[1], one.fields[2], one.actor, one.fields[0], one.fields[3]) for one in held)


def overlaps(turns):
    return [(one, other) for one, other in pairwise(turns) if other[0] < one[1]]


def test_turns_and_updates_never_overlap_and_every_wish_is_granted_in_its_turn(records):
    turns = turns_of(records)
    assert overlaps(turns) == []
    by = Counter(turn[2] for turn in turns)
    updates = [one for one in records if getattr(one, "kind", "") == "update"]
    assert by["learner"] == len(updates) == VERSIONS * 2
    assert all(until - since >= 0.1e9 for since, until, actor, *_ in turns if actor == "learner"), "an update's time"
    tokens = sum(one.fields[3] for one in records if getattr(one, "kind", "") == "store")
    generating = sum(until - since for since, until, actor, *_ in turns if actor == "g0")
    assert tokens * 2e-3 / 8 <= generating / 1e9, "more tokens than its turns leave time for"
    starved = [
        (wish, between)
        for wish in turns
        if len(between := [one for one in turns if wish[3] + LOOKS_NS < one[0] < wish[0]]) > 1
    ]
    assert starved == [], "two parties: whoever asked goes next but one at the latest"


def test_waits_for_the_card_stand_in_the_trace_with_their_reason(records):
    slices = timeline(records, GROUP).slices
    waits = Counter((one.actor, one.name) for one in slices if one.category == "wait")
    turns = [turn for turn in turns_of(records) if turn[0] - turn[3] > CARD_WAIT_NS]
    waited = Counter((actor, f"wait: {behind} has the card") for _, _, actor, _, behind in turns)
    assert {key: waits[key] for key in waited} == waited, "a slice for each wait, under the name of who had the card"
    assert waited["learner", "wait: g0 has the card"] >= 1
    assert waited["g0", "wait: learner has the card"] > VERSIONS
    mine = sorted(
        (one.begin_ns, one.end_ns) for one in slices if one.actor == "g0" and one.category in ("wait", "card")
    )
    assert all(other[0] >= one[1] for one, other in pairwise(mine)), "it has the card or waits, never both"


@pytest.mark.parametrize("victim", ["learner", "g0"])
def test_the_card_of_a_killed_process_is_free(tmp_path, victim):
    config = config_of(tmp_path)
    holder = tmp_path / "card" / "card"

    def kill_the_holder(run):
        assert run.until(lambda: len(run.decided("update")) >= 3)
        assert run.until(lambda: holder.read_text().strip() == victim, 20), "it never had the card"
        os.kill(run.cluster.launcher.children[victim].popen.pid, 9)
        assert run.until(lambda: bool(run.decided("died")))

    turns = turns_of(play(tmp_path, config, kill_the_holder))
    assert overlaps(turns) == []
    assert {turn[2] for turn in turns} == {"g0", "learner"}


def test_sharing_by_memory_has_no_turns(tmp_path):
    records = play(tmp_path, config_of(tmp_path, by="memory", memory=0.5))
    assert turns_of(records) == []
    slices = timeline(records, GROUP).slices
    updates = [one for one in slices if one.category == "update"]
    segments = [one for one in slices if one.category == "segment"]
    assert any(s.begin_ns < u.begin_ns and u.end_ns < s.end_ns for u in updates for s in segments), "both at once"
