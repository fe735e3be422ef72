"""Bounds on published rows."""

import pytest

from buffers.errors import UsageError
from sim.fidelity.published import targets

HEAD = "source,model,gpu,gpus,schedule,setup,metric,observed\n"
SYNC = 'a,m,H20,128 colocated,sync,"generation 100 s, old logprob 20, update 60 s",step_s,190\n'


def rows(tmp_path, text):
    path = tmp_path / "targets.csv"
    path.write_text(HEAD + text)
    return targets(path)


def test_generation_lies_between_its_tail_and_its_throughput_and_the_update_scales(tmp_path):
    _, even, lean = rows(
        tmp_path, SYNC + "a,m,H20,64 gen + 64 train,async,,step_s,150\na,m,H20,96 gen + 32 train,async,,step_s,500\n"
    )
    assert (even.low, even.high, even.holds) == (120, 200, True)
    assert (lean.low, lean.high, lean.why, lean.holds) == (240, 240, "training-bound", False)


def test_a_row_without_phases_beside_it_is_named_and_not_guessed(tmp_path):
    alone, other = rows(tmp_path, "b,m,H20,64 gen + 64 train,async,,step_s,150\n" + SYNC)
    assert (alone.low, alone.holds) == (None, None)
    assert "no synchronous row" in alone.why
    assert "no row beside it" in other.why


def test_what_was_observed_changes_no_bound(tmp_path):
    for observed in (10, 1000):
        found = rows(
            tmp_path, SYNC.replace("190", str(observed)) + f"a,m,H20,64 gen + 64 train,x,,step_s,{observed}\n"
        )[1]
        assert (found.low, found.high) == (120, 200)


def test_a_broken_file_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no file of targets"):
        rows(tmp_path, "a,m,H20,8,sync,,step_s,fast\n")
