"""Names of files: none hides a module of the standard library, none says nothing."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("actors", "buffers", "cli", "policies", "rewards", "sim")
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "experimental"}


def module_names():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path, path.parent.name if path.stem == "__init__" else path.stem


def test_no_module_bears_the_name_of_a_standard_library_module():
    clashes = [str(path) for path, name in module_names() if name in sys.stdlib_module_names]
    assert clashes == []
    assert "types" in sys.stdlib_module_names


def test_no_module_has_a_name_that_says_nothing():
    found = [str(path) for path, name in module_names() if EMPTY_WORDS & set(name.split("_"))]
    assert found == []


def test_every_module_says_what_it_is():
    silent = [str(path) for path, _ in module_names() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []
