"""A published saturation, simulated: it must come out, and for the reason that the simulator names."""

import pytest

from sim.fidelity.cases import CASES, said

PUBLISHED = {"eta 0": 27.1, "eta 1": 47.8}
"""Thousands of tokens a second (AReaL, table 7, 1.5B)."""


def test_one_step_of_staleness_gains_what_was_published_because_training_binds():
    found = {case.schedule: said(case) for case in CASES if case.schedule in PUBLISHED}
    ratio = found["eta 1"].k_tokens_per_s / found["eta 0"].k_tokens_per_s
    assert ratio == pytest.approx(PUBLISHED["eta 1"] / PUBLISHED["eta 0"], rel=0.15)
    assert found["eta 1"].bottleneck == "training"
