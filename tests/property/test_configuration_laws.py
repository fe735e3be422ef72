"""Laws of configs: what is dumped loads to the same; bad input gives a `UsageError` and no more."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from buffers.errors import UsageError
from cli.configuration import dump, load, load_text

NUMBERS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Inner:
    lr: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    law: Literal["a", "b"] = "a"


class Left(msgspec.Struct, frozen=True, tag="left", tag_field="kind"):
    depth: int = 1


class Right(msgspec.Struct, frozen=True, tag="right", tag_field="kind"):
    note: str | None = None
    inner: Inner = Inner(lr=2.0)


@dataclass(frozen=True)
class Outer:
    name: str = "n"
    on: bool = False
    limit: int | None = None
    inner: Inner = field(default_factory=lambda: Inner(sizes=(7,)))
    side: Left | Right = field(default_factory=lambda: Left(3))
    weights: dict[str, float] = field(default_factory=dict)


INNERS = st.builds(Inner, lr=NUMBERS, sizes=st.lists(INTEGERS, max_size=3).map(tuple), law=st.sampled_from("ab"))
SIDES = st.builds(Left, INTEGERS) | st.builds(Right, st.none() | TEXTS, INNERS)
OUTERS = st.builds(
    Outer, TEXTS, st.booleans(), st.none() | INTEGERS, INNERS, SIDES, st.dictionaries(TEXTS, NUMBERS, max_size=3)
)


@given(OUTERS)
def test_a_dumped_config_loads_to_an_equal_one(config):
    assert load_text(dump(config), Outer) == config


@given(OUTERS)
def test_a_setting_changes_its_own_key_alone(config):
    loaded = load(Outer, None, [f"side.kind={config.side.__struct_config__.tag}", f"inner.lr={config.inner.lr}"])
    assert loaded.inner == Inner(lr=config.inner.lr, sizes=(7,))
    assert type(loaded.side) is type(config.side)
    assert (loaded.name, loaded.on, loaded.weights) == ("n", False, {})


def complaint(path=None, settings=()):
    try:
        load(Outer, path, settings)
    except UsageError as error:
        return str(error)
    return None


PARTS = st.sampled_from(["name", "on", "limit", "inner", "lr", "sizes", "law", "side", "kind", "weights", "x", "", " "])
VALUES = TEXTS | st.sampled_from(["1", "true", "[]", "[1, 'a']", "{}", "{a = 1}", "nan", "1e400", '"', "left", "right"])


@given(st.lists(st.tuples(st.lists(PARTS, min_size=1, max_size=3), VALUES), max_size=3))
def test_any_settings_are_a_config_or_a_usage_error(settings):
    said = complaint(None, [f"{'.'.join(key)}={value}" for key, value in settings])
    assert said is None or ": " in said


def test_any_file_is_a_config_or_a_usage_error(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "run.toml"

    @given(st.lists(st.tuples(PARTS, VALUES), max_size=4).map(lambda lines: "\n".join(f"{k} = {v}" for k, v in lines)))
    def check(text):
        path.write_text(text, encoding="utf-8")
        said = complaint(path)
        assert said is None or ": " in said

    check()
