"""The `braid` command: finds the sub-commands, runs one, and turns what goes wrong into one line and an exit status.

A sub-command is one file of this package that defines at its top level

    NAME = "train"                            what is typed after `braid`; a string literal
    HELP = "train a model"                    one line; a string literal
    configure(parser: ArgumentParser) -> None     adds its arguments
    main(args: Namespace) -> int                  runs and returns the exit status

Names and help lines are read from the source text, so that `braid --help` imports no sub-command; only the one that
runs is imported. Exit status: 0 done, 2 bad input (`UsageError`, one line), 130 stopped by the person, 1 anything else
(one line; the traceback with `--debug`).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.metadata
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import cli
from buffers.errors import UsageError

DISTRIBUTION = "braid-rl"


@dataclass(frozen=True)
class Command:
    """A sub-command that was found but not imported."""

    name: str
    help: str
    module: str

    def load(self) -> tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]:
        """Import the sub-command's file; its `configure` and `main`."""
        module = importlib.import_module(self.module)
        return module.configure, module.main


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a `UsageError`: one line that ends like every other bad input."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving."""
        raise UsageError(f"{self.prog}: {message}; see `{self.prog} --help`")


def find_commands(package: str = cli.__name__, paths: Sequence[str] = tuple(cli.__path__)) -> list[Command]:
    """Every file of the package that defines `NAME` and `HELP`, in order of name, without importing it."""
    found = []
    for folder in paths:
        for info in pkgutil.iter_modules([folder]):
            names = read_strings(Path(folder) / f"{info.name}.py")
            if "NAME" in names and "HELP" in names:
                found.append(Command(names["NAME"], names["HELP"], f"{package}.{info.name}"))
    return sorted(found, key=lambda command: command.name)


def read_strings(path: Path) -> dict[str, str]:
    """Top-level `NAME = "literal"` assignments of a source file; empty where there is no such file."""
    if not path.is_file():
        return {}
    strings = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            strings.update({target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)})
    return strings


def main(argv: Sequence[str] | None = None, commands: Sequence[Command] | None = None) -> int:
    """Run `braid` with these arguments (default: the process's own); returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        status = _status_of(words, find_commands() if commands is None else commands)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads the output, `head` perhaps, has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        return complain(error, 2, debug)
    except Exception as error:
        return complain(error, 1, debug)


def _status_of(words: Sequence[str], commands: Sequence[Command]) -> int:
    try:
        return dispatch(words, commands)
    except SystemExit as leaving:  # how argparse ends after --help
        return leaving.code if isinstance(leaving.code, int) else 0


def dispatch(words: Sequence[str], commands: Sequence[Command]) -> int:
    """Parse the words up to the sub-command, then hand the rest to it."""
    place = next((index for index, word in enumerate(words) if not word.startswith("-")), len(words))
    top = top_parser(commands)
    options = top.parse_args(words[:place])
    if options.version:
        print(f"braid {find_version()}")
        return 0
    if place == len(words):
        top.print_help()
        return 0
    command = choose(words[place], commands)
    configure, run_command = command.load()
    parser = Parser(prog=f"braid {command.name}", description=command.help)
    configure(parser)
    return run_command(parser.parse_args(words[place + 1 :]))


def top_parser(commands: Sequence[Command]) -> Parser:
    """The parser of what stands before the sub-command; its help lists the sub-commands."""
    width = max((len(command.name) for command in commands), default=0)
    lines = [f"  {command.name:<{width}}  {command.help}" for command in commands]
    parser = Parser(
        prog="braid",
        usage="braid [--version] [--debug] COMMAND ...",
        description="Fully asynchronous reinforcement learning for language models, live and in virtual time.",
        epilog="\n".join(["commands (each has --help):", *lines]) if lines else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    return parser


def find_version() -> str:
    """Version of the installed distribution."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "of a source tree that is not installed"


def choose(name: str, commands: Sequence[Command]) -> Command:
    """The command of this name; `UsageError` naming the nearest one otherwise."""
    by_name = {command.name: command for command in commands}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"did you mean `braid {near[0]}`?" if near else f"there are: {', '.join(by_name) or 'none'}"
    raise UsageError(f"braid: no command {name!r}; {hint}")


def complain(error: Exception, status: int, debug: bool) -> int:
    """Print an error as one line, and its traceback when asked for; returns the status."""
    if debug:
        traceback.print_exception(error)
    text = " ".join(str(error).split()) or "no message"
    kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
    print(f"error: {kind}{text}", file=sys.stderr)
    return status


def run() -> NoReturn:
    """Entry point of the installed command. Code of a person (`module:name`) is found in the folder it is typed in."""
    sys.path.append(str(Path.cwd()))  # last, so that a person's file never takes the place of one of ours
    sys.exit(main())
