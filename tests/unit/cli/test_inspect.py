"""`braid inspect`: the list, one in full, the check, bad folders; and a store that a run is writing to."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer, models

from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.rows import (
    META_KEY,
    GroupRow,
    MetaRow,
    SuccessRow,
    TrajectoryRow,
    group_key,
    segment_key,
    success_key,
    trajectory_key,
)
from buffers.sealed import FORMAT_KEY
from buffers.segment import Segment, token_arrays
from cli.main import main
from tests.buffer_builders import real
from tests.store_builders import change, run_folder, used_store

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    used_store(run_folder(folder))
    return folder


@pytest.fixture
def run(original, tmp_path):
    """A run's folder with a used store: groups 3 to 6 of two, trajectories 5 to 12."""
    return Path(shutil.copytree(original, tmp_path / "run"))


def said(capsys, *words, status=0):
    """What a command prints, on either stream."""
    assert main(["inspect", *map(str, words)]) == status
    out, err = capsys.readouterr()
    return err if status == 2 else out


def test_the_list_has_a_line_for_each_trajectory_and_the_account(run, capsys):
    lines = said(capsys, run).splitlines()
    assert lines[0].endswith("data.mdb: no run is writing to it; highest version 1")
    assert lines[1] == (
        "opened 12 = trained 4 + evicted 0 + failed 0 + in flight 8 (2 running, 1 ended, 1 scored, 4 leased)"
    )
    assert " KiB: " in lines[2]
    assert "free for what comes next" in lines[2]
    cells = [line.split() for line in lines[4:]]
    assert [row[:5] for row in cells] == [
        ["5", "leased", "3", "11", "2"],
        ["6", "leased", "3", "11", "2"],
        ["7", "leased", "4", "11", "2"],
        ["8", "leased", "4", "11", "2"],
        ["9", "scored", "5", "11", "2"],
        ["10", "ended", "5", "4", "1"],
        ["11", "running", "6", "3", "1"],
        ["12", "running", "6", "0", "0"],
    ]
    assert cells[0][5:] == ["1..1", "0", "outcome", "1"]
    assert cells[7][5:] == ["-", "-", "-"]


def test_the_list_tells_of_compactions(run, capsys):
    assert said(capsys, run).splitlines()[2].endswith("; never compacted")
    before = (run / "store" / "data.mdb").stat().st_size >> 10
    LmdbStore(LmdbConfig(str(run / "store"), compact_above=0.0, compact_bytes=0), lambda event: None).close()
    assert f"; compactions: 1, the last from {before} KiB to " in said(capsys, run).splitlines()[2]
    assert json.loads(said(capsys, run, "--json"))["compactions"] == 1


def test_the_list_as_an_object_says_the_same(run, capsys):
    found = json.loads(said(capsys, run / "store", "--json"))
    assert (found["opened"], found["trained"], found["in_flight"], found["highest_version"]) == (12, 4, 8, 1)
    assert found["by_state"] == {"running": 2, "ended": 1, "scored": 1, "leased": 4}
    assert found["file"] == str(run / "store" / "data.mdb")
    assert found["file_bytes"] == (run / "store" / "data.mdb").stat().st_size
    assert found["used_bytes"] + found["free_bytes"] == found["file_bytes"]
    assert found["trajectories"][4] == {
        "trajectory": 9,
        "state": "scored",
        "group": 5,
        "tokens": 11,
        "segments": 2,
        "versions": [1, 1],
        "reward": {"outcome": 1.0},
        "age": 0,
    }
    only = json.loads(said(capsys, run, "--state", "ended", "--json"))
    assert [line["trajectory"] for line in only["trajectories"]] == [10]


def test_one_is_shown_with_segments_versions_rewards_and_its_life(run, capsys):
    text = said(capsys, run, 9)
    for line in (
        "trajectory 9: scored, member 0 of group 5, 11 tokens in 2 segments, age 0",
        "versions: 1 x 11",
        "rewards: outcome 1",
        "segment 0: [0, 6), versions 1 x 6, cut, ids [0, 1, 2, 3, 4, 5]",
        "segment 1: [6, 11), versions 1 x 5, stop",
        "  segment 0: tokens 0 to 6, cut",
        "  ended: stop, 11 tokens",
        "  scored: outcome 1",
        "  now scored",
    ):
        assert line in text.splitlines()
    assert "in lease 2 of update 2 at version 1" in said(capsys, run, 5)
    found = json.loads(said(capsys, run, 9, "--json"))
    assert [(part["start"], part["tokens"], part["end"]) for part in found["segments"]] == [
        (0, 6, "cut"),
        (6, 5, "stop"),
    ]
    assert found["segments"][0]["ids"] == [0, 1, 2, 3, 4, 5]
    assert "now scored" in found["life"]


def test_tokens_are_text_where_the_run_has_a_tokenizer(run, capsys):
    (run / "model").mkdir()
    letters = {letter: number for number, letter in enumerate("abcdefghijk")}
    Tokenizer(models.WordLevel(letters, unk_token="a")).save(str(run / "model" / "tokenizer.json"))
    text = said(capsys, run, 9)
    assert "segment 0: [0, 6), versions 1 x 6, cut: 'a b c d e f'" in text
    assert "prompt 3: 3 tokens: 'a b c', answer '3'" in text
    assert json.loads(said(capsys, run, 9, "--json"))["segments"][0]["text"] == "a b c d e f"


def test_one_that_was_closed_or_never_opened_is_named(run, capsys):
    assert "holds no trajectory 2: it was closed and its rows were removed; see the list" in said(
        capsys, run, 2, status=2
    )
    assert "holds no trajectory 99: it was never opened" in said(capsys, run, 99, status=2)
    assert "leave the trajectory out" in said(capsys, run, 9, "--check", status=2)


def test_a_sound_store_passes_its_check(run, capsys):
    assert "data.mdb: no violations in 8 trajectories, 12 segments, 4 groups\n" in said(capsys, run, "--check")
    (run / "run.json").rename(run / "run.js")
    assert "the rules that need a run's settings were left out" in said(capsys, run / "store", "--check")
    assert json.loads(said(capsys, run, "--check", "--json"))["violations"] == []


def trajectory(number, **changes):
    """A trajectory's row as the fixture has it, changed."""
    row = TrajectoryRow(9, 5, 0, "scored", 4, 11, 1, 1, 11, "stop", 0, 2, 6, 0, {"outcome": 1.0})
    return trajectory_key(number), msgspec.structs.replace(row, **changes)


def put_segment(number, start, segment):
    return ((segment_key(number, start), segment),)


def meta(**changes):
    def change_it(row):
        return ((META_KEY, msgspec.structs.replace(row, **changes)),)

    return change_it


GAP = put_segment(9, 6, real(7, 4, 1, "stop"))
OVERLAP = put_segment(9, 3, real(3, 4, 1))
BACKWARDS = put_segment(9, 6, real(6, 5, 0, "stop"))
TOO_NEW = (*put_segment(9, 6, real(6, 5, 7, "stop")), trajectory(9, last_version=7, version_sum=6 + 35))
POSITIVE = put_segment(9, 6, Segment(6, token_arrays([1] * 5, [0.5] * 5), ((1, 5),), ((1, 5),), "stop"))
NOT_A_NUMBER = put_segment(9, 6, Segment(6, token_arrays([1] * 5, [float("nan")] * 5), ((1, 5),), ((1, 5),), "stop"))
NEGATIVE = put_segment(
    9, 6, Segment(6, token_arrays(np.full(5, -7, np.int32), [-0.5] * 5), ((1, 5),), ((1, 5),), "stop")
)
UNCOVERED = put_segment(9, 6, Segment(6, real(6, 5).payload, ((1, 3),), ((1, 5),), "stop"))

PLANTED = [
    ("a gap", GAP, "trajectory 9, segment at 6: a key names its row"),
    ("an overlap", OVERLAP, "trajectory 9: segments join, versions never decrease; found a segment at 3 follows 6"),
    ("a version backwards", BACKWARDS, "versions never decrease; found version 0 follows 1"),
    ("a version above the highest", TOO_NEW, "trajectory 9: no version passes the highest; found 7 above 1"),
    ("a positive log-probability", POSITIVE, "trajectory 9, segment at 6: a segment is well formed"),
    ("a log-probability that is none", NOT_A_NUMBER, "trajectory 9, segment at 6: a segment is well formed"),
    ("a negative id", NEGATIVE, "a token id is negative"),
    ("tokens without a version", UNCOVERED, "versions covers 3 of 5 tokens"),
    ("a missing member", ((trajectory_key(9), None),), "group 5: a group has k members; found 1 of 2"),
    ("segments of nobody", ((trajectory_key(9), None),), "trajectory 9: segments belong to a trajectory; found 2"),
    ("a member of nowhere", (trajectory(9, group=4),), "group 5: members know their group"),
    ("no such group", (trajectory(9, group=77),), "trajectory 9: it belongs to a group; found group 77 is not there"),
    ("a state that cannot be", (trajectory(9, state="leased"),), "group 5: states are legal; found open with members"),
    ("an end nobody wrote", (trajectory(9, end="length"),), "trajectory 9: it ended as its last segment did"),
    ("a wrong sum of versions", (trajectory(9, version_sum=12),), "trajectory 9: versions are counted as they are"),
    ("a lost token", (trajectory(9, length=10),), "trajectory 9: segments join, versions never decrease"),
    ("a score nobody counted", (trajectory(9, components=None),), "found 2 ended and 1 scored, members are 2 and 0"),
    ("a key of another", (trajectory(10),), "TrajectoryRow 10: a key names its row; found the row of TrajectoryRow 9"),
    (
        "a lease of nothing",
        ((group_key(3), GroupRow(3, 0, 3, 5, 2, 1, "eligible", 2, 2, 1, 1.0, 3)),),
        "lease 2: it holds leased groups; found use 1 of group 3",
    ),
    (
        "another k",
        ((group_key(6), GroupRow(6, 0, 3, 11, 3, 1)),),
        "group 6: a group has k members; found 2 of 3, the store's k is 2",
    ),
    ("a prompt that is not there", ((group_key(6), GroupRow(6, 9, 3, 11, 2, 1)),), "group 6: its prompt is stored"),
    ("a draw that was not counted", ((success_key(0), SuccessRow(0)),), "counters: draws add up; found 6"),
    ("a lost trajectory", meta(opened=13), "counters: opened = held + closed; found 13 = 8 + 4"),
    ("an id from the future", meta(next_trajectory=9), "counters: no id comes from the future"),
    ("a lost prompt", meta(prompts=6), "counters: the prompt set is whole; found 5 of 6"),
    ("an unknown kind", ((b"z\0", real(0, 1)),), "unknown key 7a00: a key is of a known kind"),
    (
        "an old lease",
        meta(incarnation=5),
        "buffer: its invariants hold; found lease 2 belongs to incarnation 0 of 5",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), [one[1:] for one in PLANTED], ids=[one[0] for one in PLANTED])
def test_a_planted_violation_is_named_with_its_id_and_rule(run, capsys, rows, expected):
    if callable(rows):
        rows = rows(counters_of(run))
    change(run / "store", rows)
    lines = said(capsys, run, "--check", status=1).splitlines()
    assert any(expected in line for line in lines), lines
    assert lines[-1].startswith(str(run / "store" / "data.mdb"))
    assert "violations in" in lines[-1]


def counters_of(run):
    from buffers.lmdb_reader import StoreReader

    with StoreReader(run / "store") as reader:
        return next(row for _, row in reader.rows() if isinstance(row, MetaRow))


def test_what_is_no_sound_store_is_one_line_that_names_the_file(run, tmp_path, capsys):
    file = run / "store" / "data.mdb"
    (tmp_path / "empty").mkdir()
    assert said(capsys, tmp_path / "empty", status=2) == (
        f"error: {tmp_path / 'empty'} holds no store (no data.mdb); name the folder of a run or of its store\n"
    )
    assert "holds no store" in said(capsys, tmp_path / "nowhere", status=2)
    whole = file.read_bytes()
    for words in ((run,), (run, "9"), (run, "--check")):
        file.write_bytes(whole[: len(whole) - 5000])
        assert said(capsys, *words, status=2).startswith(f"error: {file} is torn: it ends before page ")
        file.write_bytes(b"")
        assert (
            said(capsys, *words, status=2) == f"error: {file} is torn: it ends before page 0; restore it from a copy\n"
        )
        file.write_bytes(b"nonsense" * 2000)
        assert said(capsys, *words, status=2).startswith(f"error: {file} is damaged: header 0 is none of LMDB's")
    file.write_bytes(whole)
    with lmdb.open(str(run / "store")) as env, env.begin(write=True) as txn:
        txn.put(FORMAT_KEY, b"braid 9")
    assert f"store {file} is of format 'braid 9'; this Braid reads 'braid 4'" in said(capsys, run, status=2)
    foreign = tmp_path / "foreign"
    with lmdb.open(str(foreign)) as env, env.begin(write=True) as txn:
        txn.put(b"hello", b"world")
    assert f"store {foreign / 'data.mdb'} is no Braid store" in said(capsys, foreign, status=2)
    simulated = tmp_path / "simulated"
    simulated.mkdir()
    (simulated / "run.json").write_text("{}")
    assert "holds no store" in said(capsys, simulated, status=2)
    (simulated / "run.json").write_text("{")
    assert "cannot be read" in said(capsys, simulated, status=2)


def files(folder):
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_looking_makes_and_changes_no_file(run, tmp_path, capsys):
    before = files(run)
    for words in ((run,), (run, "--json"), (run, "9"), (run, "--check"), (run / "store",)):
        said(capsys, *words)
    assert files(run) == before
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "data.mdb").write_bytes((run / "store" / "data.mdb").read_bytes())
    said(capsys, tmp_path / "bare", "--check")
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["data.mdb"]


WRITER = """
import sys
from buffers.lmdb_store import LmdbConfig, LmdbStore
from tests.store_builders import begun_buffer, play
store = LmdbStore(LmdbConfig(sys.argv[1], 1 << 16), lambda event: None)
buffer = begun_buffer(store)
for number in range(1, 1_000_000):
    play(buffer, store, number)
    store.flush()
    print(buffer.highest, flush=True)
"""


def inspect(*words):
    """`braid inspect` in a process of its own."""
    command = [sys.executable, "-m", "cli", "inspect", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_store_is_read_and_checked_while_a_run_writes_to_it(tmp_path):
    store = run_folder(tmp_path)
    command = [sys.executable, "-c", WRITER, str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT, text=True) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            names = sorted(store.iterdir())
            seen = []
            for _ in range(3):
                checked = inspect(tmp_path, "--check")
                assert checked.returncode == 0, checked.stdout + checked.stderr
                assert " no violations in " in checked.stdout
                told = inspect(tmp_path, "--json")
                assert told.returncode == 0, told.stderr
                listed = json.loads(told.stdout)
                assert listed["written_by_a_run"]
                assert listed["opened"] == listed["trained"] + listed["in_flight"]
                seen.append(listed["highest_version"])
            assert seen[0] < seen[1] < seen[2], "the writer went on"
            assert writer.poll() is None
            assert sorted(store.iterdir()) == names
        finally:
            writer.kill()
    ended = inspect(tmp_path, "--check")
    assert ended.returncode == 0, ended.stdout + ended.stderr
