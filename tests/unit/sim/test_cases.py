"""Published rows as cases: what counts as fitted, what a metric means, and a report made in pieces."""

import pytest

from cli.fidelity import kept
from sim.fidelity import cases
from sim.fidelity.cases import CASES, Case, Said, Transfer, every, said, value
from sim.scenario import Scenario, plant

STAGED = Transfer(470e9, cases.STAGED)


def transfer(unpublished):
    return Case("someone", "a model", "broadcast", STAGED, "broadcast", unpublished)


def test_every_case_can_be_built_and_has_a_row_that_its_ratio_is_taken_to():
    for case in CASES:
        if isinstance(case.scenario, Scenario):
            assert plant(case.scenario).engine.batching.kv_tokens > 0
        assert any((one.source, one.model, one.schedule) == (case.source, case.model, case.base) for one in CASES)


def test_a_row_is_fitted_where_something_was_chosen_on_it():
    assert transfer("fitted on this row: 75 GB/s").fitted
    assert transfer("fitted on broadcast: 75 GB/s").fitted
    assert not transfer("fitted on another: 75 GB/s").fitted
    assert not transfer("assumed: 75 GB/s").fitted


def test_a_transfer_takes_its_bytes_over_the_bandwidth():
    assert said(transfer("")).step_s == pytest.approx(470e9 / 75.6e9)


def test_metrics_are_read_off_what_was_said():
    one = Case("s", "m", "x", STAGED, "x", "", steps=250)
    found = Said(7.2, 3.0, "tail", 5.0)
    named = {"step_s": 7.2, "k_tokens_per_s": 3.0, "rollout_s": 5.0, "hours": 0.5, "seconds": 7.2}
    assert {metric: value(one, found, metric) for metric in named} == pytest.approx(named)


def test_notes_keep_what_was_simulated_until_the_case_changes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cases, "said", lambda case: asked.append(case) or Said(1.0, 2.0, "tail"))
    monkeypatch.setattr(cases, "CASES", (transfer(""),))
    notes = tmp_path / "notes.json"
    assert list(every(notes)) == list(every(notes)) == [Said(1.0, 2.0, "tail")]
    assert len(asked) == 1
    monkeypatch.setattr(
        cases, "CASES", (Case("someone", "a model", "broadcast", Transfer(1.0, cases.STAGED), "b", ""),)
    )
    assert len(list(every(notes))) == 1
    assert len(asked) == 2


def test_the_table_of_live_runs_is_kept_where_none_are_given(tmp_path):
    report = tmp_path / "fidelity.md"
    assert "No live runs" in kept(report)
    report.write_text("# Fidelity\n\n| run | tokens/s | x |\n| --- | --- | --- |\n| base | 1 | 2 |\n\nLengths\n")
    assert kept(report) == "| run | tokens/s | x |\n| --- | --- | --- |\n| base | 1 | 2 |"
