"""docs/faults.md is what its command makes, and what is said of survivors is said of survivors of the sample."""

from tests.simulation.faults_page import judged, kept, page
from tests.simulation.mutants.__main__ import BASELINE, read, sample
from tests.simulation.planted_faults import FAULTS
from tests.simulation.planted_table import PAGE

GOAL = 0.8


def test_the_page_is_what_its_command_makes_of_what_is_known():
    assert PAGE.read_text(encoding="utf-8") == page(kept())


def test_every_planted_fault_has_a_line_and_was_found():
    lines = kept().splitlines()[2:]
    assert len(lines) == len(FAULTS)
    assert not [line for line in lines if "not found" in line]


def test_enough_mutants_of_a_large_enough_sample_are_killed_and_only_survivors_are_judged():
    verdicts = {name: one for name, one in read().items() if name != BASELINE}
    survivors = {name for name, one in verdicts.items() if one.verdict == "survived"}
    equivalent, lives = judged()
    assert len(verdicts) >= 200
    assert not equivalent.keys() & lives.keys()
    assert equivalent.keys() | lives.keys() <= survivors
    assert len(verdicts) - len(survivors) >= GOAL * (len(verdicts) - len(equivalent))


def test_a_sample_holds_the_smaller_one_and_does_not_depend_on_places():
    assert sample(40)[:25] == sample(25)
    assert len({one.file for one in sample(60)}) > 5
