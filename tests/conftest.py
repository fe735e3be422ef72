"""Settings of all tests: Hypothesis profiles, a budget of time for each kind of test, and where the real data lies.

The profile `ci` draws the same few examples each time; `BRAID_LONG=1` selects `long`, which searches at random and far
longer, with budgets ten times as large. A kind of test that has used up its budget fails its remaining tests at once,
so that a run ends in bounded time (together with the limit for each test in pyproject.toml) and says where it went.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

LONG = os.environ.get("BRAID_LONG", "") not in ("", "0")
BUDGETS_S = {
    "unit": 240,
    "property": 300,
    "simulation": 400,
    "conformance": 400,
    "end_to_end": 900,
    "sglang": 900,
    "cluster": 400,
}
"""Seconds of running tests allowed to each folder; 37 minutes for `make test` at the very worst, a few expected."""

settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True)
settings.register_profile(
    "long", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("long" if LONG else "ci")

spent_s: dict[str, float] = defaultdict(float)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # or programs under test would ignore it too
    if LONG and config.getoption("timeout", None) is None:
        config.option.timeout = 3600


def kind_of(path: Path) -> str:
    """The folder below `tests/` that a test lies in."""
    parts = path.parts
    return parts[parts.index("tests") + 1] if "tests" in parts else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    begin = time.monotonic()
    result = yield
    spent_s[kind_of(item.path)] += time.monotonic() - begin
    return result


def pytest_runtest_setup(item: pytest.Item) -> None:
    kind = kind_of(item.path)
    budget_s = BUDGETS_S.get(kind, 60) * (10 if LONG else 1)
    if spent_s[kind] > budget_s:
        pytest.fail(f"{kind} tests have used their budget of {budget_s} s; not run", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kind, seconds in spent_s.items():
        terminalreporter.write_line(f"{kind}: {seconds:.1f} s of {BUDGETS_S.get(kind, 60) * (10 if LONG else 1)} s")


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real data; tests that need it are skipped, by name, where it is not there."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("BRAID_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set BRAID_DATA")
    return folder
