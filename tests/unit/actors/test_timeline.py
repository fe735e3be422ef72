import json

from actors.eventlog import Number, Refusal
from actors.kernel.backend import Decision
from actors.timeline import Span, trace_events, write_timeline


def decided(at_us, actor, kind, *fields):
    return Decision(at_us * 1000, actor, 1, 1, kind, fields, "", 0)


RUN = [
    decided(10, "controller", "dispatch", 7, 1, "generator-0", 0),
    decided(12, "controller", "dispatch", 8, 1, "generator-0", 0),
    Number(20_000, "learner", "loss", 0.5),
    decided(40, "replay", "store", 8, 1, 0, 64, "cut"),
    decided(50, "replay", "store", 7, 1, 0, 64, "cut"),
    decided(51, "replay", "store", 9, 1, 0, 64, "cut"),
    Refusal(60_000, "replay", 2, "from z: no"),
]


def test_paired_decisions_become_spans_on_the_track_of_whoever_worked():
    events = list(trace_events(RUN))
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    edges = [(event["ph"], names[event["pid"]], event["args"]["key"], event["ts"]) for event in events if "id" in event]
    assert edges == [
        ("b", "generator-0", (7, 1), 10),
        ("b", "generator-0", (8, 1), 12),
        ("e", "generator-0", (8, 1), 40),
        ("e", "generator-0", (7, 1), 50),
    ]
    ids = [event["id"] for event in events if "id" in event]
    assert ids == [1, 2, 2, 1]


def test_decisions_numbers_and_refusals_appear_on_their_tracks():
    events = list(trace_events(RUN))
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert sorted(names.values()) == ["controller", "generator-0", "learner", "replay"]
    counters = [(names[event["pid"]], event["name"], event["args"]) for event in events if event["ph"] == "C"]
    assert counters == [("learner", "loss", {"value": 0.5})]
    instants = [(names[event["pid"]], event["name"]) for event in events if event["ph"] == "i"]
    assert instants.count(("replay", "store")) == 3
    assert ("replay", "refused") in instants


def test_other_spans_may_be_named_and_short_fields_are_no_error():
    spans = [Span("wait", "asked", "told", (1,))]
    events = trace_events(
        [decided(1, "a", "asked"), decided(2, "a", "asked", 0, 5), decided(3, "b", "told", 0, 5)], spans
    )
    assert [(event["ph"], event["ts"]) for event in events if "id" in event] == [("b", 2), ("e", 3)]


def test_the_file_is_json_that_viewers_take(tmp_path):
    count = write_timeline(RUN, tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert len(trace["traceEvents"]) == count
    assert all({"ph", "name", "pid", "tid"} <= event.keys() for event in trace["traceEvents"])
