"""The kit finds every planted fault, passes what is sound, and says what is no buffer."""

import pytest

from buffers.errors import UsageError
from buffers.testing import BrokenBuffer, check, items
from buffers.testing.braid_buffer import BraidBuffer
from cli.main import main
from tests.property.planted_buffers import FAULTS, Sound


@pytest.mark.parametrize("sound", [Sound, BraidBuffer, items.tree])
def test_a_sound_buffer_passes(sound) -> None:
    assert check(sound, examples=40).examples >= 40


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    with pytest.raises(BrokenBuffer) as found:
        check(FAULTS[name], shrink=False)
    assert found.value.steps
    assert found.value.law != "a buffer raises nothing"


def test_cpprb_keeps_its_laws_but_takes_a_priority_that_is_none() -> None:
    pytest.importorskip("cpprb", reason="cpprb comes with the extra `bench`")
    assert check(items.cpprb_guarded, examples=40).abilities == ("priorities", "weights")
    with pytest.raises(BrokenBuffer) as found:
        check(items.cpprb, shrink=False)
    assert found.value.law == "priorities are finite and not negative"


def test_there_are_enough_planted_faults() -> None:
    assert len(FAULTS) >= 15


@pytest.mark.parametrize("nothing", [object, 7, lambda: 1 / 0])
def test_what_is_no_buffer_is_refused(nothing: object) -> None:
    with pytest.raises(UsageError):
        check(nothing)  # type: ignore[arg-type]


def test_the_command_tells_by_its_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    module = "tests.property.planted_buffers"
    assert main(["check-buffer", f"{module}:LastSegmentLost"]) == 1
    assert "1. append(" in capsys.readouterr().out
    assert main(["check-buffer", f"{module}:math"]) == 2
    assert main(["check-buffer", "nowhere:Nothing"]) == 2
    assert main(["check-buffer", "buffers.testing.braid_buffer:BraidBuffer", "--examples", "3"]) == 0
