"""The wheel, built and installed in a place of its own, works from elsewhere without the source tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("actors", "buffers", "cli", "policies", "rewards", "sim")


def run(*command, cwd, path=None):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path:
        env["PYTHONPATH"] = str(path)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    built = run(*pip, "--wheel-dir", str(out), str(ROOT), cwd=out)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("braid_rl-*.whl")
    return path


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("place")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target))
    done = run(*pip, str(wheel), cwd=target)
    assert done.returncode == 0, done.stderr
    return target


def test_the_wheel_holds_every_source_file_of_the_rooms_and_nothing_else(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert sources <= inside
    assert {name.partition("/")[0] for name in inside} == set(ROOMS)


def test_the_installed_wheel_imports_from_elsewhere(place, tmp_path):
    code = f"import {', '.join(ROOMS)}; print(*({'.__file__, '.join(ROOMS)}.__file__,), sep='\\n')"
    done = run(sys.executable, "-c", code, cwd=tmp_path, path=place)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(place)) for line in done.stdout.split())


def test_the_installed_wheel_has_the_examples(place, tmp_path):
    code = (
        "from cli.train import EXAMPLE, EXAMPLES; print(EXAMPLE.is_file(), *sorted(p.name for p in EXAMPLES.iterdir()))"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path, path=place)
    assert done.stdout.split() == ["True", *sorted(path.name for path in (ROOT / "examples").iterdir())], done.stderr


def test_the_installed_command_runs_from_elsewhere(wheel, place, tmp_path):
    done = run(str(place / "bin" / "braid"), "--help", cwd=tmp_path, path=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: braid")
    done = run(str(place / "bin" / "braid"), "--version", cwd=tmp_path, path=place)
    assert done.stdout == f"braid {wheel.name.split('-')[1]}\n"


def test_help_is_quick_because_it_imports_no_heavy_library(place, tmp_path):
    code = (
        "import sys; from cli.main import main; main(['--help']);"
        "print('heavy:', *sorted({'torch', 'transformers', 'zmq', 'numpy', 'tensorboard'} & set(sys.modules)))"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path, path=place)
    assert done.stdout.splitlines()[-1].strip() == "heavy:"
