"""Find what a spec names: `module:name` to the object."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from buffers.errors import UsageError


def load(name: str) -> Any:
    """The object that `module:name` stands for; `UsageError` names the part that does not exist."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"{name!r} names nothing; write module:name")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise UsageError(f"{name!r}: there is no module {error.name!r}; check the spelling or install it") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{name!r}: {module} has no {attribute!r}; check the spelling")
        found = getattr(found, part)
    return found
