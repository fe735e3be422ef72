r"""Where a response says its answer: the last `\boxed{...}`, else the last marked place, else nothing.

Marks, in this order: `\boxed{3}`, `<answer>3</answer>`, `#### 3`. Of the first kind that occurs, the last occurrence
counts, so that a response may correct itself. A sentence with `answer is` or `answer:`, or a line
that begins with `A:`, is a weaker sign, kept apart (`last_sentence`). Everything here is linear in the text.
"""

from __future__ import annotations

import re

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
BRACE = re.compile(rf"{BOX.pattern}|\\.|[{{}}]", re.DOTALL)
"""Where a box opens, what is escaped, and braces."""
HASHES = "####"
SENTENCE = re.compile(r"(?:\banswer(?:\s+is\b|\s*:)|^A:)[ \t]*:?", re.IGNORECASE | re.MULTILINE)
END = re.compile(r"\.\s|\.$|\n|<\|")


def find_final_answer(response: str) -> str | None:
    """The text that the response marks as its answer, stripped; None where it marks none."""
    box = last_box(response)
    if box is not None:
        return box
    before, closed, _ = response.rpartition("</answer>")
    _, opened, inside = before.rpartition("<answer>")
    if closed and opened:
        return inside.strip()
    _, mark, rest = response.rpartition(HASHES)
    return rest.split("\n", 1)[0].strip() if mark else None


def last_sentence(response: str) -> str:
    """What follows the last `answer is`, up to the end of the sentence; the whole text without one."""
    found = list(SENTENCE.finditer(response))
    return END.split(response[found[-1].end() :].strip())[0].strip() if found else response


def last_box(text: str) -> str | None:
    r"""Content of the `\boxed{...}` that closes last; None without one whose braces are balanced."""
    open_at: list[int | None] = []
    found: tuple[int, int] | None = None
    for match in BRACE.finditer(text):
        if match[0] == "}":
            start = open_at.pop() if open_at else None
            if start is not None:
                found = start, match.start()
        elif match[0].endswith("{") and match[0] != r"\{":
            open_at.append(match.end() if match[0] != "{" else None)
    return text[slice(*found)].strip() if found else None
