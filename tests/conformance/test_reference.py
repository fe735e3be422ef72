"""The reference in `docs/reference` is what the source says today, and the source says what every key means."""

import dataclasses
import re

import msgspec
import pytest

from cli.run_config import RunConfig
from cli.simulate import SimConfig
from sim.scenario import Scenario
from tests.conformance.reference import FOLDER, fields, is_config, keys, pages, plugin_configs, signature, unit

MAKE = "run python -m tests.conformance.reference"


def test_the_pages_are_up_to_date():
    written = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    made = pages()
    assert written.keys() == made.keys(), MAKE
    stale = [name for name in made if made[name] != written[name]]
    assert not stale, f"{', '.join(stale)}: {MAKE}"


def unexplained(made, prefix=""):
    """Keys of a config, nested ones too, without a word about what they mean."""
    for name, _, meaning in fields(type(made)):
        value = getattr(made, name)
        if is_config(value):
            yield from unexplained(value, f"{prefix}{name}.")
        elif not meaning.strip():
            yield f"{prefix}{name}"


@pytest.mark.parametrize("made", [RunConfig(), Scenario(), SimConfig()], ids=lambda made: type(made).__name__)
def test_every_key_says_what_it_means(made):
    assert list(unexplained(made)) == []


def test_every_key_of_a_plugin_says_what_it_means():
    bare = [f"{kind} {name}: {key}" for kind, name, made in plugin_configs() for key in unexplained(made)]
    assert bare == []


def test_every_argument_of_a_command_says_what_it_means():
    bare = [line for line in pages()["commands.md"].splitlines() if re.match(r"\| `[^|]*\|  \|", line)]
    assert bare == []


@dataclasses.dataclass(frozen=True)
class Part:
    """A part."""

    wait_s: float = 1.5
    """How long."""


class Whole(msgspec.Struct, frozen=True):
    """All of it."""

    bare: int = 3
    names: tuple[str, ...] = ("a | b",)
    """Words."""
    part: Part = Part()


def test_a_key_without_a_meaning_is_found():
    assert list(unexplained(Whole())) == ["bare"]


def test_a_table_has_type_default_unit_and_meaning():
    text = "\n".join(keys(Whole(), "Top"))
    assert '| `names` | `tuple[str, ...]` | `["a | b"]` |  | Words. |' in text
    assert "### [part]" in text
    assert "| `part.wait_s` | `float` | `1.5` | s | How long. |" in text
    assert (unit("segment_tokens"), unit("bytes_per_s"), unit("eta")) == ("tokens", "bytes/s", "")


def test_a_signature_leaves_out_what_is_not_given():
    import ast

    (node,) = ast.parse("def put(self, at: int, *, more: bool = False) -> None: ...").body
    assert signature(node) == "put(at: int, *, more: bool=False) -> None"
