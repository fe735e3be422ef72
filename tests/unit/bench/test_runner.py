"""The benchmark runner: known names, lines, and what an unknown name gets."""

import pytest

from tests.bench import __main__ as runner
from tests.bench.alternate import alternate, row, seconds


def test_a_bench_is_a_file_that_defines_run(tmp_path):
    (tmp_path / "speed.py").write_text("import json\n\ndef run():\n    yield {}\n")
    (tmp_path / "alternate.py").write_text("def alternate():\n    pass\n")
    assert runner.known_benches(tmp_path) == ["speed"]


def test_an_unknown_name_is_one_line_that_names_the_known_ones(capsys, monkeypatch):
    monkeypatch.setattr(runner, "known_benches", lambda: ["engine", "messages"])
    assert runner.main(["mesages"]) == 2
    assert capsys.readouterr().err == "error: no benchmark 'mesages'; there are: engine, messages\n"
    assert runner.main([]) == 2
    assert capsys.readouterr().err == "error: name a benchmark; there are: engine, messages\n"


def test_a_line_without_a_column_is_refused():
    line = row("small", 2.0, "peer 1.0", 4.0, "s", runs=3, better="less")
    assert runner.checked(dict(line)) == dict(line)
    with pytest.raises(ValueError, match="lacks peer"):
        runner.checked({key: value for key, value in line.items() if key != "peer"})


def test_the_ratio_is_above_one_where_ours_is_better():
    assert row("c", 2.0, "p", 4.0, "s", 1, better="less")["ratio"] == 2.0
    assert row("c", 2.0, "p", 4.0, "token/s", 1, better="more")["ratio"] == 0.5


def test_runs_alternate_and_medians_forget_outliers():
    order = []
    ours, theirs = iter([99.0, 1.0, 2.0, 100.0]), iter([99.0, 10.0, 30.0, 20.0])
    medians = alternate(lambda: order.append("o") or next(ours), lambda: order.append("t") or next(theirs), runs=3)
    assert medians == (2.0, 20.0)
    assert "".join(order) == "ot" + "ot" + "to" + "ot"


def test_seconds_measures_the_work():
    assert 0 <= seconds(lambda: sum(range(10)))() < 1
