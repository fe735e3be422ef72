"""`braid report` over a simulated run, alone and against another: a page that needs nothing else, pictures, a trace."""

import json
import re
from itertools import pairwise

import msgspec
import pytest

from actors.sinks.samples_file import NAME as SAMPLES
from actors.sinks.samples_file import Piece, Text
from actors.timeline import Slice, Timeline
from cli import report
from cli.main import main
from cli.plots import spread
from tests.unit.actors.test_timeline import check_schema

SMALL = ["schedule.versions=3", "schedule.batch=8", "schedule.group=4", "schedule.updates_per_version=1", "prompts=40",
         "pace.heartbeat_s=0.02"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two simulated runs' folders."""
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("runs") / f"run-{seed}"
        words = ["simulate", "--seed", str(seed), "--run-dir", str(folder)]
        for setting in SMALL:
            words += ["--set", setting]
        assert main(words) == 0
        folders.append(folder)
    return folders


def test_a_simulated_run_gives_a_page_pictures_and_a_trace(runs, capsys):
    one, other = runs
    sample = Text(1, 1, 0, "a+b=", (Piece(0, 0, 2, "<x>"), Piece(1, 1, 1, "y")), {"outcome": 1.0})
    (one / SAMPLES).write_bytes(msgspec.json.encode(sample) + b"\n")
    assert main(["report", str(one), "--against", str(other)]) == 0
    out = one / "report"
    assert str(out / "report.html") in capsys.readouterr().out
    for name in ("length", "staleness", "bias", "levels", "time", "timeline"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', text), "the page needs another file"
    for part in (
        "Health",
        "Ledger",
        "Slowest responses",
        "&lt;x&gt;",
        "versions = 3",
        "Versions of libraries",
        "torch",
    ):
        assert part in text
    events = check_schema(out / "trace.json")
    assert {"segment", "update", "lease", "install", "checkpoint"} <= {one.get("cat") for one in events}
    assert sum(event["ph"] == "s" for event in events) >= 3 * 8


def test_the_ledger_of_the_page_closes(runs):
    run = report.read(runs[0])
    account = report.ledger(run)
    assert account["opened"] == sum(account[name] for name in ("trained", "evicted", "failed", "in flight"))
    assert account["opened"] > 0


def test_overlapping_work_counts_once():
    slices = [Slice("g", "segment", "", begin, end, {}) for begin, end in ((0, 10), (5, 20), (30, 40), (31, 32))]
    assert report.where_time_went(Timeline(slices, 40)) == {"g": {"segment": 30 / 1e9}}


@pytest.mark.parametrize(("content", "says"), [(None, "no run.json"), ("{}", "holds no numbers yet")])
def test_a_folder_without_a_run_is_one_clear_line(tmp_path, capsys, content, says):
    if content is not None:
        (tmp_path / "run.json").write_text(json.dumps({"schedule": {"group": 4}}))
    assert main(["report", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("kept", [(), ("events",), ("events", "events/torn.events")])
def test_a_run_without_its_event_log_is_one_clear_line_and_nothing_is_written(runs, tmp_path, capsys, kept):
    for name in ("run.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((runs[0] / name).read_bytes())
    for name in kept:
        path = tmp_path / name
        path.write_bytes(b"") if path.suffix else path.mkdir()
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "holds no event log" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()
    assert main(["report", str(runs[0]), "--against", str(tmp_path)]) == 2


def test_names_of_a_timeline_keep_their_distance_and_rows_do_not_overlap():
    places = [("generator", lane) for lane in range(60)] + [("learner", 0), ("replay", 0), ("replay", 1)]
    height, middles = spread(places)
    assert list(middles) == ["generator", "learner", "replay"]
    rows, names = list(height.values()), list(middles.values())
    assert all(b - a >= 1 for a, b in pairwise(rows))
    assert all(b - a > 0.06 * len(places) for a, b in pairwise(names))
    assert middles["replay"] == sum(height["replay", lane] for lane in (0, 1)) / 2
