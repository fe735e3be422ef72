"""The tutorials of `docs/`, command by command, as somebody who follows them would type them in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
MADE = re.compile(r"`(runs/[\w./-]+\.\w+)`")
"""Files that a tutorial says are there afterwards."""
TUTORIALS = [path for path in sorted((ROOT / "docs").glob("*.md")) if CONSOLE.search(path.read_text("utf-8"))]


def commands(text):
    """The words of every `$ braid ...` line of the console blocks."""
    lines = [line for block in CONSOLE.findall(text) for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line[2:]) for line in lines]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_command_of_a_tutorial_works_and_what_it_promises_is_there(path, tmp_path):
    text = path.read_text("utf-8")
    for program, *words in commands(text):
        assert program == "braid", f"{path.name}: a tutorial's command begins with braid, not {program}"
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"braid {shlex.join(words)}\n{(done.stdout + done.stderr)[-2000:]}"
    for promised in MADE.findall(text):
        assert (tmp_path / promised).is_file(), promised


def test_there_is_a_tutorial():
    assert TUTORIALS
