"""Every message of a `UsageError` in the source, listed as a person would meet it, and checked for what to do about it.

`python -m pytest -s -k lists_every` prints the list.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("actors", "buffers", "cli", "policies", "rewards", "sim")
REMEDIES = (
    r"must",
    r"\b(give|name|set|use|write|make|leave|lower|raise|keep|take|choose|add|restore|remove|free|check|number)\b",
    r"\b(try|see|wait|install|run|open|start)\b",
    r"at least",
    r"\b(is|it is|are) (neither|one of|not one of|known)",
    r"needs? ",
    r"are needed",
    r"it takes",
    r"did you mean",
    r"known:",
    r"resume with",
    r"expected",
    r"; \{\}$",
    r"or '",
    r"is synchronous",
    r"below 1 it would",
    r"is not possible with",
    r"not among",
    r"only \{\}",
    r"reads \{\}",
    r"exceeds",
    r"ask for fewer",
    r"keys here:",
    r"is what the letters allow",
    r"one `key = value` a line|one object a line",
)
"""How a message says what is wanted instead."""
ELSEWHERE = {
    "{} is no event log: it does not begin with the format {}": "name a file of RUN/events",
    "store path {} cannot be used: {}": "what the system says; name another --run-dir",
    "buffer.priority {} with {} cannot be made: {}": "what the rule says of its options",
    "{}{}: {}{}{}": "built from the key's type and default (tests/unit/cli/test_configuration.py)",
    "prompts.curriculum: no prompt has a difficulty in [{}, {}] of the stage at version {}": "another stage",
    "{} explores with {} = {}, not {}; use the same arguments, or another file": "the same arguments",
    "--replay {}: neither a seed nor a file that can be read ({})": "a seed, or a saved plan",
    "--replay {}: not a saved plan: {}": "a file that --save wrote",
    "cannot read weights {}: {}": "what the reader says; name a model folder",
    "the weights have no tensor {}; they belong to another model": "the weights of this model",
    "tensor {} has shape {}, the model's config says {}": "the weights of this model",
    "temperature {}: greedy samples cannot be trained on": "a temperature above 0",
    "reward answer_format: mark = {} is no regular expression: {}": "what is wrong with the expression",
    "reward function = {}: {} has no function {}": "the name of a function of the module",
    "reward function = {}: cannot import {}: {}": "what the import says",
    "reward {}: {}": "what the reward says of its settings",
    "rewards {}: two of them give the component {}; keep one": "one of the two",
    "task {}: {}": "what the task says of its settings",
    "task gym: settings = {} do not suit {}: {}": "what the data set says of its settings",
    "task jsonl: {} cannot be read: {}": "what the system says; name a JSONL file",
    "{}": "the reward's own words (tests/end_to_end/test_sandbox.py)",
}
"""Messages whose remedy is no word of theirs, with the remedy."""


def text_of(node):
    """A message with {} where it names a key or a value; empty if it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return text_of(node.left) + text_of(node.right) if isinstance(node, ast.BinOp) else "{}"


def messages():
    """(file:line, message) of every UsageError that is made in the house."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                made = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UsageError"
                if made and node.args:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(text_of(node.args[0]).split())


def has_remedy(message):
    return message in ELSEWHERE or any(re.search(remedy, message) for remedy in REMEDIES)


def test_the_list_of_messages_lists_every_one_with_a_remedy():
    found = list(messages())
    for place, message in found:
        print(f"{place:<48} {message}")
    assert len(found) > 40
    bare = [f"{place}: {message}" for place, message in found if not has_remedy(message)]
    assert not bare, "say what to do instead:\n" + "\n".join(bare)


@pytest.mark.parametrize("message", ["{} is wrong", "cannot do {}", "{} = {} has failed"])
def test_a_message_without_a_remedy_is_found(message):
    assert not has_remedy(message)
