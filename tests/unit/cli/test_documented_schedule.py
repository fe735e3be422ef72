"""The schedule of `docs/schedules.md`, from the page as it stands: simulated, refused when misspelt, and named live."""

import json
import re
import sys
from pathlib import Path

import pytest

from actors.schedules.schedule import JobView, Schedule
from buffers.plugin import load
from cli import configuration
from cli.main import main
from cli.run_config import RunConfig

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "schedules.md").read_text("utf-8")
NAME = "growing_segments:GrowingSegments"


def block(language):
    """The only block of a language on the page."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def scenario(tmp_path, monkeypatch):
    (tmp_path / "growing_segments.py").write_text(block("python"))
    (tmp_path / "growing.toml").write_text(block("toml"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield str(tmp_path / "growing.toml")
    sys.modules.pop("growing_segments", None)


def simulated(capsys, *words):
    assert main(["simulate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_documented_schedule_does_what_the_page_says_of_it(scenario, capsys):
    grown = simulated(capsys, scenario)
    plain = simulated(capsys, scenario, "--set", "rule=actors.schedules.schedule:Schedule")
    for found in (grown, plain):
        for figure in (f"{found['segments']:,}", f"{found['events']:,}", f"{found['tokens_per_s']:,.0f}"):
            assert figure in PAGE, f"docs/schedules.md does not say {figure}"
    assert grown["segments"] < 0.6 * plain["segments"]
    assert grown["staleness"] == plain["staleness"]


def test_a_misspelt_rule_is_one_line_and_status_2(scenario, capsys):
    assert main(["simulate", scenario, "--set", "rule=growing_segments:Growing"]) == 2
    assert "growing_segments has no 'Growing'" in capsys.readouterr().err
    assert main(["simulate", scenario, "--set", "rule=growing:GrowingSegments"]) == 2
    assert "there is no module 'growing'" in capsys.readouterr().err


def test_the_config_of_a_live_run_takes_the_same_file(scenario):
    config = configuration.load(RunConfig, ROOT / "examples" / "cpu_reasoning.toml", [f"rule={NAME}"])
    budget = load(config.rule)(config.schedule).budget
    job = JobView(trajectory=1, prompt=1, length=40, min_version=0, home="")
    assert budget(job) == 40 > Schedule(config.schedule).budget(job)
