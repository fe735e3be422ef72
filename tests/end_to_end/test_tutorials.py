"""The tutorials of `docs/`, command by command, as somebody who follows them would type them in a folder of their own.

`python` and `toml` blocks become the file that the text before them names ("Save it as `x.py`"); every line of an `sh`
block is run; blocks without a language are not. A comment before an `sh` block says how the test differs from the page:

    <!-- test: add --short -->                      appended to each line, so that it takes less time
    <!-- test: status 1, says WORDS, add ... -->    how the last line ends, and what it must print

The pages are those of `docs/README.md`, in its order and in one folder, since later ones use what the first has made.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(?:^<!-- test: ([^\n]*?) -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"[Ss]ave\s+(?:it|this)\s+as\s+`([\w.]+)`")
MADE = re.compile(r"`(runs/[\w./-]+\.\w+)`")
"""Files that a page says are there afterwards."""
PAGES = re.findall(r"^\d+\. \[[^\]]+\]\((\w+\.md)\)", (DOCS / "README.md").read_text("utf-8"), re.MULTILINE)
FIRST = PAGES[0]


class Broken(AssertionError):
    """A tutorial does not work as it stands."""


@dataclass(frozen=True)
class Step:
    """A file to save, or a command to run."""

    file: str
    text: str
    status: int = 0
    says: str = ""


def steps(page: str, text: str) -> Iterator[Step]:
    """What a page asks its reader to do, in order."""
    place = 0
    for block in BLOCK.finditer(text):
        hint, language, body = block.groups()
        if language == "sh":
            wishes = dict(wish.split(" ", 1) for wish in hint.split(", ")) if hint else {}
            unknown = wishes.keys() - {"add", "status", "says"}
            if unknown:
                raise Broken(f"{page}: a test comment says {unknown.pop()!r}; it knows add, status and says")
            *lines, last = body.splitlines()
            more = f" {wishes['add']}" if "add" in wishes else ""
            yield from (Step("", line + more) for line in lines)
            yield Step("", last + more, int(wishes.get("status", 0)), wishes.get("says", ""))
        elif language in ("python", "toml"):
            named = SAVED.findall(text[place : block.start()])
            if not named:
                raise Broken(f"{page}: a {language} block without the name of its file before it")
            yield Step(named[-1], body)
        else:
            raise Broken(f"{page}: what is a block of {language}?")
        place = block.end()


@dataclass
class Reader:
    """Somebody who follows pages in a folder."""

    folder: Path
    env: dict[str, str]
    seen: set[str]

    def follow(self, page: str, text: str) -> None:
        """Do what a page says; `Broken` where it does not work."""
        for step in steps(page, text):
            if step.file:
                (self.folder / step.file).write_text(step.text)
            else:
                self.run(page, step)
        for promised in MADE.findall(text):
            if not (self.folder / promised).is_file():
                raise Broken(f"{page}: there is no {promised}")
        self.seen.add(page)

    def run(self, page: str, step: Step) -> None:
        """One command."""
        done = subprocess.run(
            ["bash", "-c", step.text],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            check=False,
        )
        if done.returncode != step.status or step.says not in done.stdout:
            wanted = f"status {step.status}" + (f" and {step.says!r}" if step.says else "")
            raise Broken(f"{page}: {step.text}\nended with {done.returncode}, not {wanted}:\n{done.stdout[-3000:]}")


def reader_in(folder: Path, home: Path) -> Reader:
    """A reader for whom `braid` is this source tree, started as the installed command is."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "braid"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -P -m cli "$@"\n')
    command.chmod(0o755)
    place = folder / "place"
    place.mkdir()
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return Reader(place, {**env, "PATH": f"{folder / 'bin'}:{env['PATH']}", "HOME": str(home)}, set())


@pytest.fixture(scope="module")
def reader(tmp_path_factory, home, cache):
    cache.mkdir(parents=True, exist_ok=True)
    return reader_in(tmp_path_factory.mktemp("reader"), home)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_tutorial_works_and_what_it_promises_is_there(page, reader):
    text = (DOCS / page).read_text("utf-8")
    if "runs/first" in text and page != FIRST and FIRST not in reader.seen:
        reader.follow(FIRST, (DOCS / FIRST).read_text("utf-8"))
    reader.follow(page, text)


def test_the_six_tutorials_are_listed_and_lead_to_pages_that_exist():
    assert len(PAGES) == 6
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


SAVE = "Save it as `mine.py`:\n\n```python\nVALUE = 1\n```\n\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nbraid simulate --set schedule.etaa=1\n```\n", "did you mean schedule.eta?"),
        ("```sh\nbraid simulate --set rule=mine:Rule\n```\n", "there is no module 'mine'"),
        (SAVE + "```sh\nbraid check-buffer mine:Buffer\n```\n", "mine has no 'Buffer'"),
        ("<!-- test: status 1 -->\n```sh\nbraid --version\n```\n", "ended with 0, not status 1"),
        ("<!-- test: says 17 -->\n```sh\nbraid --help\n```\n", "not status 0 and '17'"),
        ("<!-- test: ad --short -->\n```sh\nbraid --help\n```\n", "says 'ad'"),
        ("```python\nVALUE = 1\n```\n", "without the name of its file"),
        ("```console\n$ braid\n```\n", "what is a block of console?"),
        ("It makes `runs/none/trace.json`.\n", "there is no runs/none/trace.json"),
    ],
)
def test_a_tutorial_that_does_not_work_is_found(text, said, tmp_path, home):
    with pytest.raises(Broken) as broken:
        reader_in(tmp_path, home).follow("page.md", text)
    assert said in str(broken.value)


def test_what_a_comment_adds_is_added_to_each_line(tmp_path, home):
    text = (
        SAVE
        + "<!-- test: status 3, says one, add one -->\n```sh\necho\ngrep -q VALUE mine.py && echo; exit 3; echo\n```\n"
    )
    found = list(steps("page.md", text))
    assert [step.text for step in found] == [
        "VALUE = 1\n",
        "echo one",
        "grep -q VALUE mine.py && echo; exit 3; echo one",
    ]
    assert [(step.status, step.says) for step in found[1:]] == [(0, ""), (3, "one")]
