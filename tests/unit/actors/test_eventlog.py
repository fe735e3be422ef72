from pathlib import Path

import msgpack
import pytest

from actors.eventlog import EventLogReader, EventLogWriter, Number, Refusal, Traffic, read_events
from actors.kernel.backend import Decision
from buffers.errors import UsageError


def decision(at_ns, index=1, actor="replay", kind="store", fields=(1, "a")):
    return Decision(at_ns, actor, 1, index, kind, fields, "generator-0", 4)


def written(path, *records, world="live", seed=7):
    log = EventLogWriter(path, world, seed)
    for record in records:
        log.decision(record)
    log.close()
    return path


def test_what_was_written_is_read_back(tmp_path):
    log = EventLogWriter(tmp_path / "a.events", "live", 7)
    log.decision(decision(5))
    log.number(6, "learner", "loss", 0.5)
    log.refusal(7, "replay", 3, "from z: no message")
    log.traffic(8, "generator-0", "Append", 3, 1200)
    log.close()
    log.close()
    reader = EventLogReader(tmp_path / "a.events")
    assert list(reader.read()) == [
        decision(5),
        Number(6, "learner", "loss", 0.5),
        Refusal(7, "replay", 3, "from z: no message"),
        Traffic(8, "generator-0", "Append", 3, 1200),
    ]
    assert reader.header == {"format": "braid-events", "version": 1, "world": "live", "seed": 7}


def test_the_plain_msgpack_package_reads_a_log(tmp_path):
    path = written(tmp_path / "a.events", decision(5, 2))
    header, record = msgpack.Unpacker(path.open("rb"))
    assert header == {"format": "braid-events", "version": 1, "world": "live", "seed": 7}
    assert record == ["d", 5, "replay", 1, 2, "store", [1, "a"], "generator-0", 4]


def test_a_torn_last_record_ends_the_file_and_nothing_else(tmp_path):
    whole = written(tmp_path / "a.events", decision(1), decision(2), decision(3)).read_bytes()
    size = len(msgpack.packb(["d", 3, "replay", 1, 1, "store", [1, "a"], "generator-0", 4]))
    for cut in range(1, size):
        (tmp_path / "torn.events").write_bytes(whole[:-cut])
        assert read_events([tmp_path / "torn.events"]) == [decision(1), decision(2)]


def test_a_log_may_be_read_while_it_is_written(tmp_path):
    log = EventLogWriter(tmp_path / "a.events", "live", 7)
    reader = EventLogReader(tmp_path / "a.events")
    assert list(reader.read()) == []
    log.decision(decision(1))
    assert list(reader.read()) == []
    log.flush()
    assert list(reader.read()) == [decision(1)]
    log.decision(decision(2))
    log.close()
    assert list(reader.read()) == [decision(2)]


def test_files_of_a_folder_are_merged_by_time(tmp_path):
    written(tmp_path / "b.events", decision(1), decision(4))
    written(tmp_path / "a.events", decision(2), decision(3))
    (tmp_path / "other.txt").write_text("no log")
    assert [record.at_ns for record in read_events([tmp_path])] == [1, 2, 3, 4]


def test_kinds_of_records_of_the_future_are_skipped(tmp_path):
    path = written(tmp_path / "a.events", decision(1))
    with path.open("ab") as file:
        file.write(msgpack.packb(["z", 1, {"new": True}]) + msgpack.packb(["n", 2, "a", "x", 1.0]))
    assert read_events([path]) == [decision(1), Number(2, "a", "x", 1.0)]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"format": "other", "version": 1}, "no event log"),
        ([1, 2], "no event log"),
        ({"format": "braid-events", "version": 2}, "version 2, this Braid reads 1"),
    ],
)
def test_a_file_that_is_no_log_of_this_version_is_refused_by_name(tmp_path, header, words):
    Path(tmp_path / "a.events").write_bytes(msgpack.packb(header))
    with pytest.raises(UsageError, match=rf"a\.events.*{words}"):
        read_events([tmp_path / "a.events"])
