"""Recorded serving runs, predicted. Skipped, by name, without the data."""

import pytest

from cli.main import main
from sim.fidelity.cases import CASES
from sim.fidelity.published import targets
from sim.fidelity.serving import served


@pytest.fixture(scope="module")
def runs(data):
    return served(data / "sim" / "llmservingsim")


def test_recorded_serving_runs_are_predicted_within_five_percent(runs):
    assert len(runs) >= 2
    for run in runs:
        assert run.table.token_s == pytest.approx(run.measured.token_s, rel=0.05), run.name
        assert run.table.latency_s == pytest.approx(run.measured.latency_s, rel=0.05), run.name


def test_the_table_does_better_than_a_roofline(runs):
    for run in runs:
        assert abs(run.table.latency_s / run.measured.latency_s - 1) < abs(
            run.roofline.latency_s / run.measured.latency_s - 1
        )


def test_no_data_is_one_clear_line(tmp_path, capsys):
    assert main(["fidelity", str(tmp_path)]) == 2
    assert "no llmservingsim folder" in capsys.readouterr().err


def test_every_published_row_has_a_case(data):
    rows = targets(data / "sim" / "published" / "targets.csv")
    assert {(row.source, row.model, row.schedule) for row in rows} == {
        (case.source, case.model, case.schedule) for case in CASES
    }
