"""`braid explore --live`: real processes break and heal; the checks see what a run leaves, and a planted fault."""

import json

import msgspec
import pytest

from actors.kernel.operations import NS
from cli.main import main
from sim import live
from sim.faults import Act
from sim.live import LivePlan, draw_live, run_live


def test_a_run_under_every_kind_of_fault_keeps_the_ledger():
    acts = (
        Act(0, "delay", "*", 0.2, NS // 50, NS // 2),
        Act(NS // 3, "drop", "replay", 0.3, 0, NS // 2),
        Act(NS // 2, "pause", "g0", for_ns=NS // 2),
        Act(NS, "crash", "replay"),
        Act(3 * NS // 2, "crash", "learner"),
        Act(2 * NS, "partition", "controller", for_ns=NS // 2),
    )
    outcome = run_live(msgspec.structs.replace(draw_live(2), acts=acts))
    assert outcome.violation == ""
    assert outcome.deaths >= 2
    assert outcome.lost > 0
    assert outcome.delayed > 0
    assert outcome.answers > 100


def test_a_store_that_lost_what_was_acknowledged_is_noticed(monkeypatch):
    """The store forgets between the end of the run and the check; so does the comparison's other side, the weights."""

    def forgetful(config, rows):
        return recover(config, [row for row in rows if not row[0].startswith(b"m")])

    recover = live.Buffer.recover
    monkeypatch.setattr(live.Buffer, "recover", forgetful)
    plan = draw_live(1)
    config = {**plan.config, "schedule": {**plan.config["schedule"], "versions": 2}}
    outcome = run_live(LivePlan(1, config, ()))
    assert outcome.invariant in (1, 9)
    assert "the run is kept in" in outcome.violation


def test_the_command_tells_one_object(capsys, monkeypatch):
    status = main(["explore", "--live", "--seeds", "1", "--first", "0", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert status == 0, result
    assert (result["plans"], result["violations"]) == (1, [])


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--jobs", "0"]])
def test_bad_input_is_one_line(capsys, words):
    assert main(["explore", "--live", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
