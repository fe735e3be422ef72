"""The check-up: every line says what it found, and what to do where it is not good."""

from collections import namedtuple

import pytest

from cli import doctor
from cli.main import main

Usage = namedtuple("Usage", "total used free")


def test_the_check_up_names_everything_and_every_example(capsys):
    assert main(["doctor"]) in (0, 1)
    text = capsys.readouterr().out
    for what in ("python", "cores", "memory", "shared memory", "disk", "ports", "packages", "gpu"):
        assert f"  {what}" in text
    for path in doctor.EXAMPLES.glob("*.toml"):
        assert path.name in text


def test_a_full_disk_is_not_good_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(1, 1, 0))
    for found, remedy in ((doctor.disk(tmp_path), "--run-dir"), (doctor.shared_memory(), "--shm-size")):
        assert not found.good
        assert remedy in found.says


def test_a_package_that_is_too_old_or_missing_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "required", lambda: [("numpy", "999.1"), ("no-such-package", "1")])
    found = doctor.packages()
    assert not found.good
    assert "is older than 999.1; no-such-package is missing" in found.says
    assert "make env" in found.says


@pytest.mark.parametrize(
    ("config", "gpus", "says"),
    [
        ({"generators": 2}, [], ["8 processes", "no model: a tiny one is warmed up"]),
        ({"engine": {"device": "cuda"}}, [], ["MISSING a GPU"]),
        ({"trainer": {"device": "cuda:0"}}, ["a card"], ["a GPU"]),
        ({"model": {"path": "/nowhere"}}, [], ["MISSING the model folder /nowhere"]),
    ],
)
def test_an_example_says_what_it_needs(config, gpus, says):
    found = doctor.needs(config, gpus)
    for one in says:
        assert any(text.startswith(one) for text in found)
