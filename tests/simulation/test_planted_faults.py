"""The checker proved: faults planted in the protocol, each found by the sweep within a few plans.

`python -m tests.simulation.planted_table` makes the table of docs/faults.md: how many plans found each.
"""

import pytest

from sim.plan import run_plan
from tests.simulation.planted_faults import BESIDE, FAULTS


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.plant.__name__)
def test_a_planted_fault_is_found(planted, monkeypatch):
    planted.plant(monkeypatch)
    for seed in range(planted.seeds):
        outcome = run_plan(planted.plan(seed))
        if outcome.violation:
            assert outcome.invariant in (*planted.invariants, *BESIDE), outcome.violation
            return
    pytest.fail(f"{planted.plant.__name__} was not found in {planted.seeds} plans")
