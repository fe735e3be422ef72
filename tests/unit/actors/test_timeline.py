"""The timeline and its trace file: slices, waits with their reason, arrows from segments to updates, the schema."""

import json
from itertools import pairwise

from actors.eventlog import Number, Refusal, Traffic
from actors.kernel.backend import Decision
from actors.timeline import lanes, timeline, write_timeline


def decided(at_us, actor, kind, *fields, life=1):
    return Decision(at_us * 1000, actor, life, 1, kind, fields, "", 0)


def noted(at_us, actor, name, value):
    return Number(at_us * 1000, actor, name, value)


RUN = [
    decided(1, "supervisor", "spawn", "generator-0", 1),
    decided(5, "learner", "publish", 0, "file:x"),
    decided(10, "controller", "dispatch", 1, 1, "generator-0", 0),
    decided(12, "controller", "dispatch", 2, 1, "generator-0", 0),
    decided(13, "generator-0", "installed", 0),
    noted(13, "generator-0", "install_stall_s", 2e-6),
    decided(40, "replay", "store", 2, 1, 0, 64, "stop"),
    noted(41, "controller", "wait: admission", 1.0),
    decided(50, "replay", "store", 1, 1, 0, 64, "cut"),
    noted(70, "controller", "wait: admission", 0.0),
    decided(80, "controller", "dispatch", 1, 2, "generator-0", 0),
    decided(90, "replay", "store", 1, 2, 64, 6, "stop"),
    decided(100, "replay", "lease", 1, 1),
    noted(101, "learner", "wait_s", 90e-6),
    decided(140, "learner", "update", 1),
    noted(140, "learner", "update_s", 30e-6),
    noted(140, "learner", "loss", 0.5),
    decided(150, "learner", "checkpoint", 1),
    decided(155, "replay", "complete", 1, 1, 1),
    decided(160, "learner", "publish", 1, "ring:x"),
    decided(161, "controller", "dispatch", 3, 1, "generator-0", 1),
    Refusal(170_000, "replay", 2, "from z: no"),
    Traffic(170_000, "replay", "Grant", 3, 900),
]


def spans(records=RUN, group=2):
    return [
        (one.actor, one.category, one.begin_ns // 1000, one.end_ns // 1000) for one in timeline(records, group).slices
    ]


def test_what_began_and_ended_is_a_slice_of_whoever_did_it():
    assert ("generator-0", "segment", 10, 50) in spans()
    assert ("generator-0", "segment", 80, 90) in spans()
    assert ("replay", "lease", 100, 155) in spans()
    assert ("learner", "update", 110, 140) in spans()
    assert ("learner", "checkpoint", 140, 150) in spans()
    assert ("learner", "publish", 150, 160) in spans()
    assert ("generator-0", "install", 11, 13) in spans()


def test_what_was_never_ended_reaches_to_the_end():
    assert ("generator-0", "segment", 161, 170) in spans()
    assert ("generator-0", "life", 1, 170) in spans()


def test_waits_carry_their_reason():
    waits = {(one.actor, one.name): one for one in timeline(RUN, 2).slices if one.category == "wait"}
    assert ("learner", "wait: too few groups are eligible") in waits
    assert ("controller", "wait: admission") in waits
    idle = waits["generator-0", "wait: admission"]
    assert (idle.begin_ns, idle.end_ns) == (50_000, 80_000)
    assert waits["generator-0", "wait: no response to continue"].begin_ns == 90_000


def test_every_segment_of_a_leased_group_feeds_its_update_and_no_other_does():
    found = timeline(RUN, 2)
    fed = {
        (one.args["trajectory"], one.args["attempt"]): [found.slices[place].name for place in one.feeds]
        for one in found.slices
        if one.category == "segment"
    }
    assert fed == {(1, 1): ["update 1"], (2, 1): ["update 1"], (1, 2): ["update 1"], (3, 1): []}
    assert not any(one.feeds for one in timeline(RUN).slices)


def test_a_death_ends_what_its_actor_was_at():
    records = [*RUN[:5], decided(30, "supervisor", "died", "generator-0"), decided(99, "replay", "complete", 9, 1, 0)]
    found = [one for one in timeline(records, 2).slices if one.category == "segment"]
    assert [(one.end_ns, one.args["end"]) for one in found] == [(30_000, "lost"), (30_000, "lost")]


def test_slices_of_one_row_never_overlap():
    found = timeline(RUN, 2).slices
    rows = lanes(found)
    work = sorted((one.actor, row, one.begin_ns, one.end_ns) for one, row in zip(found, rows, strict=True) if row > 0)
    for (actor, row, _, end), (next_actor, next_row, begin, _) in pairwise(work):
        assert (actor, row) != (next_actor, next_row) or begin >= end


PHASES = {
    "M": {"name", "pid", "tid", "args"},
    "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
    "i": {"name", "s", "pid", "tid", "ts"},
    "C": {"name", "pid", "tid", "ts", "args"},
    "s": {"name", "cat", "id", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "bp", "pid", "tid", "ts"},
}
"""What the Chrome trace format wants of the events that we write."""


def check_schema(path):
    """The events of a trace file, after checking each by its phase; every row is named, every arrow has two ends."""
    trace = json.loads(path.read_text())
    assert trace["displayTimeUnit"] == "ms"
    events = trace["traceEvents"]
    processes = {event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    arrows = {"s": {}, "f": {}}
    for event in events:
        assert PHASES[event["ph"]] <= event.keys(), event
        assert event["pid"] in processes
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        if event["ph"] in arrows:
            assert event["id"] not in arrows[event["ph"]]
            arrows[event["ph"]][event["id"]] = event
    assert arrows["s"].keys() == arrows["f"].keys()
    slices = [event for event in events if event["ph"] == "X"]
    for end in [*arrows["s"].values(), *arrows["f"].values()]:
        assert any(
            (one["pid"], one["tid"]) == (end["pid"], end["tid"]) and one["ts"] <= end["ts"] <= one["ts"] + one["dur"]
            for one in slices
        ), end
    return events


def test_the_file_keeps_the_schema_that_viewers_take(tmp_path):
    count = write_timeline(RUN, tmp_path / "trace.json", 2)
    events = check_schema(tmp_path / "trace.json")
    assert len(events) == count
    assert sum(event["ph"] == "s" for event in events) == 3
    names = {event["args"]["name"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    assert names == {"supervisor", "learner", "controller", "generator-0", "replay"}
    assert [event["name"] for event in events if event["ph"] == "i"] == ["refused"]
    counters = [(event["name"], event["args"]) for event in events if event["ph"] == "C"]
    assert counters[-2:] == [("loss", {"value": 0.5}), ("sent Grant", {"count": 3, "bytes": 900})]


CARD = [
    decided(0, "supervisor", "spawn", "g0", 1),
    decided(0, "controller", "dispatch", 1, 1, "g0", 0),
    decided(3_000, "replay", "store", 1, 1, 0, 9, "cut"),
    decided(9_000, "g0", "held", 4_000_000, 8_000_000, 9_000_000, "learner"),
    decided(9_500, "learner", "held", 3_500_000, 4_000_000, 8_000_000, "g0"),
    decided(10_000, "controller", "dispatch", 1, 2, "g0", 0),
    decided(12_000, "replay", "store", 1, 2, 9, 9, "stop"),
]


def test_a_turn_on_a_card_and_the_wait_for_it_have_the_times_that_were_told():
    found = {(one.actor, one.name): (one.begin_ns // 1000, one.end_ns // 1000) for one in timeline(CARD).slices}
    assert found["learner", "has the card"] == (4_000, 8_000)
    assert found["g0", "has the card"] == (8_000, 9_000)
    assert found["g0", "wait: learner has the card"] == (4_000, 8_000)
    assert ("learner", "wait: g0 has the card") not in found, "half a millisecond is a look"


def test_a_generator_waits_for_the_card_or_for_responses_and_never_for_both_at_once():
    waits = [one for one in timeline(CARD).slices if one.actor == "g0" and one.category == "wait"]
    assert sorted((one.begin_ns // 1000, one.end_ns // 1000, one.name) for one in waits) == [
        (3_000, 4_000, "wait: no response to continue"),
        (4_000, 8_000, "wait: learner has the card"),
        (8_000, 10_000, "wait: no response to continue"),
    ]
    slices = timeline(CARD).slices
    rows = [row for one, row in zip(slices, lanes(slices), strict=True) if one.category == "card"]
    assert min(rows) > 0, "beside what an actor does by itself"
