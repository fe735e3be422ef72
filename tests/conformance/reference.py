"""`python -m tests.conformance.reference`: writes `docs/reference` from config classes, commands and docstrings.

config.md      every key of `braid train`             simulate.md   those of `braid simulate`
plugins.md     keys of tasks, rewards, objectives, priority rules
commands.md    every command with its options         ROOM.md       public classes of a room
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from buffers import priorities
from cli.main import Parser, find_commands
from cli.run_config import RunConfig
from cli.simulate import SimConfig
from policies.objectives.objective import known_objectives
from rewards.grading import known_rewards
from rewards.tasks.finding import known_tasks
from sim.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
ROOMS = ("buffers", "rewards", "policies", "actors", "sim")
MADE = "<!-- Made by `python -m tests.conformance.reference`; do not edit. -->"
UNITS = {
    "_bytes_per_s": "bytes/s",
    "bytes_per_s": "bytes/s",
    "_tokens": "tokens",
    "_bytes": "bytes",
    "_ns": "ns",
    "_us": "µs",
    "_gb": "GiB",
    "_s": "s",
}
"""Ends of names, longest first, and the units that they stand for."""


def cell(text: str) -> str:
    """Text for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def sentence(doc: str | None) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join((doc or "").strip().split("\n\n")[0].split())


def is_config(kind: object) -> bool:
    """Whether a value is made by a config class."""
    return dataclasses.is_dataclass(kind) or isinstance(kind, msgspec.Struct)


def fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """(name, type as written, meaning) of a config class's keys, from its source."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    for here, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name):
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            yield here.target.id, ast.unparse(here.annotation), str(after.value.value) if said else ""


def unit(name: str) -> str:
    """The unit that a key's name ends in."""
    return next((said for end, said in UNITS.items() if name.endswith(end)), "")


def shown(value: Any) -> str:
    """A default as TOML would have it."""
    if is_config(value):
        value = msgspec.to_builtins(value)
    return f"`{json.dumps(msgspec.to_builtins(value))}`" if value is not None else "none"


def keys(made: Any, title: str, level: int = 2, prefix: str = "") -> Iterator[str]:
    """A table of a config's keys, then its parts."""
    kind = type(made)
    path = Path(inspect.getfile(kind)).relative_to(ROOT).as_posix()
    rows, parts = [], []
    for name, written, meaning in fields(kind):
        value = getattr(made, name)
        if is_config(value):
            parts.append((name, value))
        else:
            rows.append((f"`{prefix}{name}`", f"`{cell(written)}`", shown(value), unit(name), cell(meaning)))
    yield from ("", f"{'#' * level} {title}", "", f"{sentence(kind.__doc__)} (`{path}`)", "")
    if rows:
        yield from table(("key", "type", "default", "unit", "meaning"), rows)
    for name, value in parts:
        yield from keys(value, f"[{prefix}{name}]", min(level + 1, 4), f"{prefix}{name}.")


def config_page() -> Iterator[str]:
    """Keys of `braid train`."""
    yield from ("# Keys of a training run", "", "What `braid train FILE` reads; `--set key=value` changes any of them.")
    yield from keys(RunConfig(), "Top level")


def simulate_page() -> Iterator[str]:
    """Keys of `braid simulate`."""
    yield from ("# Keys of a simulation", "", "A file that names a `model` or an accelerator is a scenario.")
    yield from keys(Scenario(), "A scenario")
    yield from keys(SimConfig(), "A run of stand-ins")


def plugin_configs() -> Iterator[tuple[str, str, Any]]:
    """(kind, name, default config) of everything that is found by a name."""
    for name in known_tasks():
        yield "task", name, importlib.import_module(f"rewards.tasks.{name}").Config()
    yield "task", "function", importlib.import_module("rewards.tasks.function").Config()
    for name in known_rewards():
        yield "reward", name, importlib.import_module(f"rewards.{name}").Config()
    for name in (*known_objectives(), "function"):
        yield "objective", name, importlib.import_module(f"policies.objectives.{name}").Config()
    for name in priorities.names():
        yield "priority rule", name, priorities.load(name, {})


PLUGINS = {
    "task": "`task.name`, with its keys in `task.settings`. `module:name`: a function (below) or a class of your own.",
    "reward": "Names in `rewards.rewards`, with their keys in `rewards.settings.NAME`. `module:name`: your function.",
    "objective": "`trainer.objective`, with its keys in `trainer.objective_settings`. `module:name`: yours.",
    "priority rule": "`buffer.priority`. `module:name`: yours.",
}


def plugins_page() -> Iterator[str]:
    """Keys of what is found by a name."""
    yield "# Tasks, rewards, objectives, priority rules"
    last = ""
    for kind, name, made in plugin_configs():
        if kind != last:
            yield from ("", f"## {kind.capitalize()}s", "", PLUGINS[kind])
            last = kind
        yield from keys(made, name, 3)


def commands_page() -> Iterator[str]:
    """Every command with its options."""
    yield "# Commands"
    for command in find_commands():
        parser = Parser(prog=f"braid {command.name}", add_help=False)
        command.load()[0](parser)
        yield from ("", f"## braid {command.name}", "", f"{command.help[:1].upper()}{command.help[1:]}.", "")
        rows = [(f"`{option(one)}`", cell(one.help or ""), usual(one)) for one in parser._actions]
        yield from table(("argument", "meaning", "default"), rows)


def option(one: argparse.Action) -> str:
    """How an argument is written."""
    takes = "" if one.nargs == 0 else one.metavar or (one.dest.upper() if one.option_strings else one.dest)
    takes = "{" + ",".join(map(str, one.choices)) + "}" if one.choices else str(takes)
    words = " ".join(filter(None, (", ".join(one.option_strings), takes)))
    return words if one.option_strings or one.nargs != "?" else f"[{words}]"


def usual(one: argparse.Action) -> str:
    """The default of an argument."""
    return "" if one.default in (None, False, "", []) else f"`{one.default}`"


def room_page(room: str) -> Iterator[str]:
    """Public classes of a room, from the source."""
    yield f"# {room}"
    for path in sorted((ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        if not classes:
            continue
        yield from ("", f"## {path.relative_to(ROOT).as_posix()}", "", sentence(ast.get_docstring(tree)))
        for node in classes:
            bases = ", ".join(map(ast.unparse, node.bases))
            yield from ("", f"### {node.name}{f'({bases})' if bases else ''}", "", sentence(ast.get_docstring(node)))
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            rows = [
                (f"`{cell(signature(one))}`", cell(sentence(ast.get_docstring(one))))
                for one in methods
                if not one.name.startswith("_")
            ]
            yield from ("", *table(("method", ""), rows)) if rows else ()


def signature(one: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Name, arguments without self, and result."""
    words = [argument for argument in ast.unparse(one.args).split(", ") if argument not in ("self", "cls")]
    result = f" -> {ast.unparse(one.returns)}" if one.returns else ""
    return f"{one.name}({', '.join(words)}){result}"


def pages() -> dict[str, str]:
    """Name of the file to its text."""
    made = {
        "config.md": config_page(),
        "simulate.md": simulate_page(),
        "plugins.md": plugins_page(),
        "commands.md": commands_page(),
        **{f"{room}.md": room_page(room) for room in ROOMS},
    }
    texts = {name: "\n".join([MADE, *lines]) + "\n" for name, lines in made.items()}
    titles = {name: text.split("\n")[1].lstrip("# ") for name, text in texts.items()}
    index = [f"- [{titles[name]}]({name})" for name in texts]
    return {"README.md": "\n".join([MADE, "# Reference", "", *index]) + "\n", **texts}


def main() -> None:
    """Write the folder."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"wrote {len(pages())} pages into {FOLDER}")


if __name__ == "__main__":
    main()
