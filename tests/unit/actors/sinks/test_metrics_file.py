from actors.sinks.metrics_file import NAME, MetricsFile, Row, read_metrics


def test_what_is_written_is_read_back_in_order(tmp_path):
    sink = MetricsFile({"run_dir": str(tmp_path)}, None, None)
    sink.write("learner", (("loss", 1_500_000_000, 0.25), ("version", 2_000_000_000, 3)))
    sink.write("replay", (("live", 2_500_000_000, 64),))
    sink.close()
    assert list(read_metrics(tmp_path)) == [
        Row(1.5, "learner", "loss", 0.25),
        Row(2.0, "learner", "version", 3.0),
        Row(2.5, "replay", "live", 64.0),
    ]


def test_a_torn_last_line_is_skipped_and_no_file_is_no_number(tmp_path):
    assert list(read_metrics(tmp_path)) == []
    sink = MetricsFile({"run_dir": str(tmp_path)}, None, None)
    sink.write("learner", (("loss", 0, 1.0), ("loss", 10**9, 2.0)))
    sink.close()
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-3])
    assert [row.value for row in read_metrics(tmp_path)] == [1.0]


def test_a_resumed_run_appends(tmp_path):
    for value in (1.0, 2.0):
        sink = MetricsFile({"run_dir": str(tmp_path)}, None, None)
        sink.write("learner", (("loss", 0, value),))
        sink.close()
    assert [row.value for row in read_metrics(tmp_path)] == [1.0, 2.0]


def test_a_resumed_run_goes_on_behind_a_torn_line(tmp_path):
    first = MetricsFile({"run_dir": str(tmp_path)}, None, None)
    first.write("learner", (("loss", 7 * 10**9, 1.0),))
    first.close()
    with (tmp_path / NAME).open("a") as file:
        file.write('{"t": 8, "act')
    second = MetricsFile({"run_dir": str(tmp_path)}, None, None)
    second.write("learner", (("loss", 9 * 10**9, 2.0),))
    second.close()
    assert list(read_metrics(tmp_path)) == [Row(7.0, "learner", "loss", 1.0), Row(9.0, "learner", "loss", 2.0)]
