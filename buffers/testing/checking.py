"""Run everything that a buffer claims, and say in words what broke first."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from buffers.errors import BraidError
from buffers.testing import laws
from buffers.testing.machine import machine_for
from buffers.testing.model import Violation
from buffers.testing.protocol import Factory, checked_abilities


@dataclass(frozen=True, slots=True)
class Report:
    """What was run without a finding."""

    abilities: tuple[str, ...]
    examples: int


class BrokenBuffer(BraidError):
    """An invariant does not hold. `law` names it, `steps` the shrunk commands, `examples` were needed."""

    def __init__(self, law: str, what: str, steps: tuple[str, ...], examples: int) -> None:
        lines = [what, *(f"  {number}. {step}" for number, step in enumerate(steps, 1))]
        super().__init__("\n".join(lines))
        self.law, self.steps, self.examples = law, steps, examples


def check(factory: Factory, examples: int = 400, steps: int = 30, shrink: bool = True) -> Report:
    """Test a buffer; raises `BrokenBuffer` with the shrunk finding, `NotABuffer` where it cannot be tested.

    Without `shrink` the steps are those of the first failure, which is found sooner. The same
    examples are drawn each time. An exception of the buffer's own is a finding like any other.
    """
    abilities = checked_abilities(factory)
    counting = machine_for(factory, abilities)
    plain = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    found: BaseException | None = _run(counting, plain)
    if found is not None:
        needed = counting.examples - 1
        shrinking = machine_for(factory, abilities) if shrink else counting
        full = settings(plain, phases=(Phase.generate, Phase.shrink))
        shrunk = (_run(shrinking, full) if shrink else None) or found
        raise _broken(shrunk, shrinking.story, max(1, needed)) from None
    for ability, law in (
        ("priorities", laws.frequencies_follow_the_priorities),
        ("weights", laws.weighted_mean_is_the_uniform_mean),
    ):
        if ability in abilities:
            try:
                law(factory)
            except Exception as error:
                told = (f"{laws.DRAWS} draws from {len(laws.PRIORITIES)} trajectories of {laws.PRIORITIES}",)
                raise _broken(error, told, counting.examples + 1) from None
    return Report(abilities, counting.examples)


def _run(machine: type, how: settings) -> BaseException | None:
    """What a machine's run ended with; Hypothesis's own report is not shown."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            run_state_machine_as_test(machine, settings=how)
        except ExceptionGroup as several:
            return several.exceptions[0]
        except Exception as error:
            return error
    return None


def _broken(error: BaseException, steps: tuple[str, ...], examples: int) -> BrokenBuffer:
    law = error.law if isinstance(error, Violation) else "a buffer raises nothing"
    what = str(error) if isinstance(error, Violation) else f"{law}: {type(error).__name__}: {error}"
    return BrokenBuffer(law, what, steps, examples)
