"""What a name `module:name` stands for: code of a person, or a port that a spec names.

The module is imported as Python imports any: from the folder that a command was started in, from PYTHONPATH, or
installed. Whatever is wrong with it ends in one `UsageError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from buffers.errors import UsageError


def load(name: str, key: str = "") -> Any:
    """The object that `module:name` stands for; `UsageError` names the part that does not exist or does not work.

    `key` is the config's key that the name is the value of.
    """
    given = f"{key} = {name!r}" if key else repr(name)
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"{given} names nothing; write module:name")
    try:
        found: Any = import_module(module)
    except Exception as error:  # it is a person's code, so it may fail in any way
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            missing = f"{given}: there is no module {error.name!r}"
            raise UsageError(f"{missing}; check the spelling, and start in the folder that it lies in") from None
        raise UsageError(
            f"{given}: {module} cannot be imported: {type(error).__name__}: {error}; make it import"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{given}: {module} has no {attribute!r}; check the spelling")
        found = getattr(found, part)
    return found
