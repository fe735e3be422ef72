"""From a TOML file and `--set part.key=value` to nested frozen config classes, with errors that a person can act on.

    file text --tomllib--> tables --+
    --set a.b=3 -> {"a": {"b": 3}} -+--> one table --check keys--> --msgspec--> Config

A config class is a frozen dataclass or `msgspec.Struct` with defaults; parts nest. Its own checks (`__post_init__`) may
raise `ValueError` with the remedy: the key is named here. Every failure is a `UsageError` of one line that names where
the value came from, the key, the value and what to write instead. Nothing is read from the environment.

Left out: `None` in TOML, which has no word for it. A field that may be None has the default None, and is then not
written; `dump` refuses a config that it could not read back.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w
from msgspec import inspect

from buffers.errors import ContractError, UsageError

T = TypeVar("T")
Table = dict[str, Any]
"""A parsed TOML table: the one place where values have no static type yet."""
WORDS = {"int": "a whole number", "float": "a number", "str": "a text in quotes", "bool": "true or false",
         "array": "a list in [ ]", "object": "a table of keys"}  # fmt: skip
"""msgspec's names of types, as a person would say them."""


def load(kind: type[T], path: Path | None = None, settings: Sequence[str] = ()) -> T:
    """The config of class `kind`: its defaults, then the file's values, then those of `--set part.key=value`.

    Raises `UsageError` for a missing or malformed file, an unknown key, a value of a wrong type or out of range.
    """
    given = read_table(path) if path else {}
    shape = inspect.type_info(kind)
    check_keys(given, shape, str(path))
    typed: list[str] = []
    for setting in settings:
        key, value = read_setting(setting, shape)
        typed.append(key)
        insert(given, key, value)
    defaults = defaults_of(shape)
    try:
        return msgspec.convert(merge(defaults, given, shape), kind)
    except msgspec.ValidationError as error:
        raise wrong_value(error, given, shape, typed, str(path or "config")) from None


def dump(config: object) -> str:
    """The resolved config as TOML that `load` reads back to an equal one; fields that are None are left out."""
    text = tomli_w.dumps(plain(config))
    if load_text(text, type(config)) != config:
        raise ContractError(f"{type(config).__name__} does not survive TOML: a None whose default is another value?")
    return text


def written(table: Table) -> str:
    """A table as TOML."""
    return tomli_w.dumps(table)


def load_text(text: str, kind: type[T]) -> T:
    """The config of class `kind` out of TOML text that `dump` wrote."""
    shape = inspect.type_info(kind)
    return msgspec.convert(merge(defaults_of(shape), tomllib.loads(text), shape), kind)


def read_table(path: Path) -> Table:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; name an existing config or leave it out") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a TOML file ({error}); name one that can") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}; texts stand in quotes, one `key = value` a line") from None


def read_setting(setting: str, shape: inspect.Type) -> tuple[str, Any]:
    """Split `part.key=value`; the value is read as TOML, or as plain text where that fails or the field is a text."""
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UsageError(f"--set {setting}: write --set part.key=value")
    table: Table = {}
    insert(table, key, text)
    check_keys(table, shape, f"--set {setting}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key, text.strip()
    if wants_text(find_shape(shape, key.split("."))) and not isinstance(value, str):
        return key, text.strip()
    return key, value


def insert(table: Table, key: str, value: object) -> None:
    """Put a value at a dotted key, making the tables on the way."""
    *parts, last = key.split(".")
    for part in parts:
        below = table.get(part)
        if not isinstance(below, dict):
            below = table[part] = {}
        table = below
    table[last] = value


def check_keys(table: Mapping[str, Any], shape: inspect.Type, origin: str) -> None:
    """Raise `UsageError` for a key that no config class knows, naming the nearest that one does."""
    known = list(known_keys(shape))
    for key in unknown_keys(table, shape, ""):
        near = nearest(key, known)
        hint = f"did you mean {near}?" if near else f"known here: {', '.join(siblings(key, known))}"
        raise UsageError(f"{origin}: unknown key {key}; {hint}")


def unknown_keys(table: Mapping[str, Any], shape: inspect.Type, prefix: str) -> Iterator[str]:
    """Dotted keys of a table that its shape does not have."""
    fields = {name: below for part in parts_of(shape) for name, below in fields_of(part)}
    if not fields:
        return
    for name, value in table.items():
        if name not in fields:
            yield f"{prefix}{name}"
        elif isinstance(value, dict):
            yield from unknown_keys(value, fields[name], f"{prefix}{name}.")


def known_keys(shape: inspect.Type, prefix: str = "") -> Iterator[str]:
    """All dotted keys of a shape, tables as well as values."""
    for part in parts_of(shape):
        for name, below in fields_of(part):
            yield f"{prefix}{name}"
            yield from known_keys(below, f"{prefix}{name}.")


def parts_of(shape: inspect.Type) -> list[inspect.StructType | inspect.DataclassType]:
    """The config classes that a field may hold: itself, or those of its union."""
    members = shape.types if isinstance(shape, inspect.UnionType) else (shape,)
    return [member for member in members if isinstance(member, inspect.StructType | inspect.DataclassType)]


def fields_of(part: inspect.StructType | inspect.DataclassType) -> Iterator[tuple[str, inspect.Type]]:
    """Names as written in TOML and shapes of a config class's fields, the tag of a union among them."""
    for field in part.fields:
        yield field.encode_name, field.type
    if isinstance(part, inspect.StructType) and part.tag_field:
        yield part.tag_field, inspect.StrType()


def find_shape(shape: inspect.Type, names: Sequence[str]) -> inspect.Type:
    """The shape at a path of names; `AnyType` where there is none."""
    for name in names:
        found = [below for part in parts_of(shape) for field, below in fields_of(part) if field == name]
        if not found:
            return inspect.AnyType()
        shape = found[0]
    return shape


def wants_text(shape: inspect.Type) -> bool:
    """Whether a field holds a text and nothing else (None aside)."""
    members = shape.types if isinstance(shape, inspect.UnionType) else (shape,)
    return any(isinstance(member, inspect.StrType) for member in members) and all(
        isinstance(member, inspect.StrType | inspect.NoneType) for member in members
    )


def nearest(key: str, known: Sequence[str]) -> str | None:
    """The known key that a person most likely meant: similar beside it, or of the same name in another part."""
    beside = difflib.get_close_matches(key, siblings(key, known), n=1)
    if beside:
        return beside[0]
    elsewhere = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
    return elsewhere[0] if elsewhere else next(iter(difflib.get_close_matches(key, known, n=1)), None)


def siblings(key: str, known: Sequence[str]) -> list[str]:
    """Known keys of the same table."""
    return sorted({other for other in known if other.rpartition(".")[0] == key.rpartition(".")[0]})


def defaults_of(shape: inspect.Type) -> Table:
    """The defaults of a config class as nested tables; a field without default is absent."""
    table: Table = {}
    for part in parts_of(shape)[:1]:
        for field in part.fields:
            if field.default is not msgspec.NODEFAULT:
                table[field.encode_name] = plain(field.default, keep_none=True)
            elif field.default_factory is not msgspec.NODEFAULT:
                table[field.encode_name] = plain(field.default_factory(), keep_none=True)
            elif parts_of(field.type):
                table[field.encode_name] = defaults_of(field.type)
    return table


def merge(below: Table, above: Table, shape: inspect.Type) -> Table:
    """The tables of `above` over those of `below`, key by key where both are the same config class."""
    tags = [part.tag_field for part in parts_of(shape) if isinstance(part, inspect.StructType) and part.tag_field]
    if not parts_of(shape) or any(tag in above and above[tag] != below.get(tag) for tag in tags):
        return above
    merged = dict(below)
    for name, value in above.items():
        beneath = below.get(name)
        both = isinstance(value, dict) and isinstance(beneath, dict)
        merged[name] = merge(beneath or {}, value, find_shape(shape, [name])) if both else value
    return merged


def wrong_value(
    error: msgspec.ValidationError, given: Table, shape: inspect.Type, typed: Sequence[str], file: str
) -> UsageError:
    """A `UsageError` with origin, key, value and remedy out of what msgspec says; `typed` are the keys of --set."""
    complaint, _, path = str(error).partition(" - at `$")
    names = re.findall(r"[^.\[\]`]+", path)
    missing = re.match(r"Object missing required field `(\w+)`", complaint)
    key = ".".join([*names, missing[1]] if missing else names)
    if missing:
        return UsageError(f"{file}: key {key} is missing; add it: it has no default")
    value, default, wanted = lookup(given, names), lookup(defaults_of(shape), names), find_shape(shape, names)
    for word, said in WORDS.items():
        complaint = complaint.replace(f"`{word}`", said)
    setting = next((at for at in typed if f"{at}.".startswith(f"{key}.") or f"{key}.".startswith(f"{at}.")), None)
    origin = file if setting is None else f"--set {setting}"
    where = origin if setting == key else f"{origin}: {key}"
    shown = "" if value is None or isinstance(value, dict) else f" = {json.dumps(value, default=str)}"
    remedy = "" if default is None or isinstance(default, dict) else f"; the default is {json.dumps(default)}"
    if isinstance(wanted, inspect.LiteralType):
        remedy = f"; take one of {', '.join(json.dumps(one) for one in wanted.values)}"
    return UsageError(f"{where}{shown}: {complaint[:1].lower()}{complaint[1:]}{remedy}")


def lookup(table: object, names: Sequence[str]) -> object:
    """The value at a path of names, as far as it leads; None where it does not exist."""
    for name in names:
        if isinstance(table, Mapping):
            table = table.get(name)
        elif isinstance(table, list | tuple) and name.isdigit() and int(name) < len(table):
            table = table[int(name)]
    return table


def plain(value: object, keep_none: bool = False) -> Any:
    """Config classes as nested tables of plain values, tags of unions among them; without fields that are None."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        return plain(tag | msgspec.structs.asdict(value), keep_none)
    if dataclasses.is_dataclass(value):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, keep_none)
    if isinstance(value, dict):
        return {key: plain(below, keep_none) for key, below in value.items() if keep_none or below is not None}
    if isinstance(value, list | tuple):
        return [plain(below, keep_none) for below in value]
    return value
