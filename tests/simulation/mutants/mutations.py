"""Small changes to the protocol's source, one at a time: what a slip of the hand would leave behind.

    source --ast--> sites(tree): each a place in a function and a change --apply--> a mutated tree

Invariant: the sites of a source are a function of its text, in the order of the text; a site has a name that does not
depend on line numbers, so that what is known of a mutant outlives changes elsewhere in its file.

Left out: what is said about a decision rather than decided (log, metrics, details of refusals, `assert`), constants of
a module (sizes of caches), fields that an `__init__` forgets, and functions that only look (`LOOKING`).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]

FILES = (
    "actors/controller.py",
    "actors/generator.py",
    "actors/learner.py",
    "actors/replay.py",
    "actors/rewarder.py",
    "actors/supervisor.py",
    "actors/kernel/asks.py",
    "actors/kernel/cell.py",
    "actors/kernel/supervision.py",
    "buffers/admission.py",
    "buffers/buffer.py",
    "buffers/group.py",
    "buffers/holdings.py",
    "buffers/journal.py",
    "buffers/leasing.py",
    "buffers/learning.py",
    "buffers/trajectory.py",
)
"""Where the protocol is decided."""

LOOKING = {
    "Buffer._counted",
    "Buffer._refuse",
    "Buffer._wrong_attempt",
    "Buffer.prompt",
    "Buffer.effective_prompt_share",
    "Buffer.view",
    "AskBook.__len__",
    "Cell.cancel",
    "Cell.note",
    "Cell.random",
    "Generator._on_report",
}
"""Functions that decide nothing in the cast: for readers, metrics and tests."""

SAID = {"decide", "note", "add", "flush"}
"""Methods whose calls record and do not act."""

ORDER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


class Site(NamedTuple):
    """One possible change."""

    function: str
    operator: str
    before: str
    after: str
    line: int
    apply: Callable[[], None]
    """Changes the tree that the site was found in."""


class Mutant(NamedTuple):
    """A site of a file, by name."""

    file: str
    index: int
    name: str
    line: int


def sites(tree: ast.Module) -> Iterator[Site]:
    """Every change of the functions of a module."""
    for owner, function in _functions(tree):
        name = f"{owner}.{function.name}" if owner else function.name
        if name not in LOOKING:
            for node in function.body:
                yield from _statement(name, function.body, node)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield node.name, inner


def _statement(function: str, body: list[ast.stmt], node: ast.stmt) -> Iterator[Site]:
    if _is_said(node):
        return
    yield from _removal(function, body, node)
    if isinstance(node, ast.If | ast.While):
        yield from _negation(function, node)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "args", "decorator_list"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.stmt):
                yield from _statement(function, value, one)
            elif isinstance(one, ast.expr):
                yield from _expression(function, one)
            elif isinstance(one, ast.ExceptHandler):
                for inner in one.body:
                    yield from _statement(function, one.body, inner)


def _is_said(node: ast.stmt) -> bool:
    """Docstrings, log, metrics, checks."""
    if isinstance(node, ast.Assert | ast.Raise | ast.Pass | ast.Nonlocal):
        return True
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if isinstance(call, ast.Constant):
        return True
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in SAID


def _removal(function: str, body: list[ast.stmt], node: ast.stmt) -> Iterator[Site]:
    """A statement that is forgotten."""
    if function.endswith(".__init__"):
        return  # an actor without the field does not even start
    deletable = isinstance(node, ast.Expr | ast.AugAssign | ast.Delete | ast.Continue | ast.Break)
    deletable |= isinstance(node, ast.Return) and (node.value is None or node is not body[-1])
    deletable |= isinstance(node, ast.Assign) and all(
        isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets
    )
    if deletable:

        def remove() -> None:
            body[next(index for index, one in enumerate(body) if one is node)] = ast.copy_location(ast.Pass(), node)

        yield Site(function, "forget", _text(node), "", node.lineno, remove)


def _negation(function: str, node: ast.If | ast.While) -> Iterator[Site]:
    """A condition the wrong way round, where no comparison in it can be turned."""
    if isinstance(node.test, ast.Name | ast.Attribute | ast.Call):

        def negate() -> None:
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)

        yield Site(function, "negate", _text(node.test), f"not {_text(node.test)}", node.lineno, negate)


def _expression(function: str, top: ast.expr) -> Iterator[Site]:
    for node in ast.walk(top):
        if isinstance(node, ast.JoinedStr):
            for inner in ast.walk(node):
                inner.said = True  # type: ignore[attr-defined]
        if getattr(node, "said", False) or not isinstance(node, ast.expr):
            continue
        for operator, change in _changes(node):
            before = _text(node)
            yield Site(function, operator, before, _tried(node, change), node.lineno, change.begin)


class _Change(NamedTuple):
    begin: Callable[[], None]
    end: Callable[[], None]


def _swap(node: ast.AST, field: str, value: object) -> _Change:
    before = getattr(node, field)
    return _Change(lambda: setattr(node, field, value), lambda: setattr(node, field, before))


def _changes(node: ast.expr) -> Iterator[tuple[str, _Change]]:
    if isinstance(node, ast.Compare):
        for index, one in enumerate(node.ops):
            turned = ORDER[type(one)]()
            yield "compare", _swap(node, "ops", [*node.ops[:index], turned, *node.ops[index + 1 :]])
    elif isinstance(node, ast.BoolOp):
        yield "and-or", _swap(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for index in range(len(node.values)):
            if len(node.values) > 2:
                yield "shorten", _swap(node, "values", node.values[:index] + node.values[index + 1 :])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "negate", _swap(node, "operand", ast.copy_location(ast.UnaryOp(ast.Not(), node.operand), node))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv):
        other = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult}[type(node.op)]
        yield "arithmetic", _swap(node, "op", other())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", _swap(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "constant", _swap(node, "value", node.value + 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("max", "min"):
        yield "max-min", _swap(node.func, "id", "min" if node.func.id == "max" else "max")
    elif isinstance(node, ast.IfExp):
        yield "if-else", _Change(lambda: _exchange(node), lambda: _exchange(node))


def _exchange(node: ast.IfExp) -> None:
    node.body, node.orelse = node.orelse, node.body


def _tried(node: ast.expr, change: _Change) -> str:
    change.begin()
    text = _text(node)
    change.end()
    return text


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 110 else f"{text[:107]}..."


def mutants(file: str) -> list[Mutant]:
    """All of one file, named."""
    counts: Counter[str] = Counter()
    found = []
    for index, site in enumerate(sites(ast.parse((ROOT / file).read_text(encoding="utf-8")))):
        what = f"{site.before} --> {site.after}" if site.after else f"without {site.before}"
        name = f"{file} {site.function}: {what}"
        counts[name] += 1
        found.append(Mutant(file, index, name if counts[name] == 1 else f"{name} (number {counts[name]})", site.line))
    return found


def mutated(mutant: Mutant) -> ast.Module:
    """The tree of a mutant's file with its one change."""
    tree = ast.parse((ROOT / mutant.file).read_text(encoding="utf-8"))
    next(site for index, site in enumerate(sites(tree)) if index == mutant.index).apply()
    return ast.fix_missing_locations(tree)
