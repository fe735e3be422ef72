"""The face: sub-commands found without importing them, one line for what goes wrong, exit statuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import Command, find_commands, main

ROOT = Path(__file__).parents[3]

GREET = """
NAME = "greet"
HELP = "say something"

def configure(parser):
    parser.add_argument("--times", type=int, default=1)

def main(args):
    from buffers.errors import UsageError
    if args.times == 0:
        raise UsageError("greet: times = 0; at least 1")
    if args.times == 1:
        raise RuntimeError("broken\\nin two lines")
    if args.times == 2:
        raise KeyboardInterrupt
    print("hello " * args.times)
    return 0
"""


@pytest.fixture
def commands(tmp_path, monkeypatch):
    folder = tmp_path / "greeting_room"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "greet.py").write_text(GREET)
    (folder / "explode.py").write_text('NAME = "explode"\nHELP = "never import me"\nraise SystemError("imported")\n')
    (folder / "machinery.py").write_text('"""No command."""\nNAME = "machinery"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield find_commands("greeting_room", [str(folder)])
    for name in [name for name in sys.modules if name.startswith("greeting_room")]:
        del sys.modules[name]


def test_commands_are_the_files_with_a_name_and_a_help_line(commands):
    assert [command.name for command in commands] == ["explode", "greet"]
    assert commands[1] == Command("greet", "say something", "greeting_room.greet")


def test_help_lists_the_commands_and_imports_none(commands, capsys):
    assert main(["--help"], commands) == 0
    out = capsys.readouterr().out
    assert "greet    say something" in out
    assert "never import me" in out


def test_no_words_print_the_help(commands, capsys):
    assert main([], commands) == 0
    assert "never import me" in capsys.readouterr().out


def test_a_command_gets_its_arguments_and_gives_the_status(commands, capsys):
    assert main(["greet", "--times", "3"], commands) == 0
    assert capsys.readouterr().out == "hello hello hello \n"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["greet", "--times", "0"], 2, "error: greet: times = 0; at least 1\n"),
        (["greet", "--times", "1"], 1, "error: RuntimeError: broken in two lines\n"),
        (["greet", "--times", "2"], 130, ""),
        (["greet", "--times", "x"], 2, "error: braid greet: argument --times: invalid int value: 'x'; see"),
        (["greet", "--tmes", "4"], 2, "error: braid greet: unrecognized arguments: --tmes 4; see"),
        (["great"], 2, "error: braid: no command 'great'; did you mean `braid greet`?\n"),
        (["zzz"], 2, "error: braid: no command 'zzz'; there are: explode, greet\n"),
        (["--verbose"], 2, "error: braid: unrecognized arguments: --verbose; see `braid --help`\n"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(commands, capsys, words, status, says):
    assert main(words, commands) == status
    err = capsys.readouterr().err
    assert err.startswith(says)
    assert err.count("\n") == (1 if says else 0)


def test_debug_adds_the_traceback(commands, capsys):
    assert main(["greet", "--times", "1", "--debug"], commands) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_version_is_that_of_the_distribution(capsys, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"braid-rl": "1.2.3"}.__getitem__)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "braid 1.2.3\n"


def test_a_run_that_ends_for_want_of_signal_has_come_to_its_end(capsys):
    settings = ("standins.solve_share=1", "buffer.no_signal=evict", "buffer.max_gen_batches=3")
    words = [word for one in settings for word in ("--set", one)]
    assert main(["simulate", *words, "--json"]) == 0
    assert '"finished: no signal left"' in capsys.readouterr().out


def test_a_reader_that_has_enough_of_the_output_is_told_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", "from cli.main import run; run()", "--version"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
