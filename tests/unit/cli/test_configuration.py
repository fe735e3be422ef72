"""From TOML and --set to frozen classes: defaults, merging, and errors with key, value and remedy."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import pytest

from actors.cast import RunSettings, buffer_config
from buffers.errors import ContractError, UsageError
from buffers.prompts import Lesson, PromptConfig
from cli.configuration import dump, load, load_text
from cli.run_config import RunConfig


@dataclass(frozen=True)
class Learner:
    lr: float = 1e-3
    steps: int = 10
    penalty: Literal["sequence", "token"] = "sequence"
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self):
        if self.steps <= 0:
            raise ValueError("must be positive")


class Chains(msgspec.Struct, frozen=True, tag="chains", tag_field="kind"):
    longest: Annotated[int, msgspec.Meta(ge=1)] = 16


class Gym(msgspec.Struct, frozen=True, tag="gym", tag_field="kind"):
    dataset: str = "chain_sum"


@dataclass(frozen=True)
class Config:
    seed: int = 0
    name: str = "run"
    resume: str | None = None
    partial: bool = True
    learner: Learner = field(default_factory=Learner)
    task: Chains | Gym = field(default_factory=lambda: Chains(longest=9))
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Demanding:
    model: str
    seed: int = 0


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def complaint(kind, path=None, settings=()):
    with pytest.raises(UsageError) as caught:
        load(kind, path, settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_nothing_given_is_the_defaults():
    assert load(Config) == Config()


def test_settings_win_over_the_file_and_the_file_over_defaults(toml):
    path = toml('seed = 3\n[learner]\nlr = 1\n[task]\nkind = "gym"\ndataset = "gcd"\n[weights]\nformat = 0.5\n')
    config = load(Config, path, ["learner.lr=0.5", "learner.betas=[0.8, 0.9]", "weights.format=1"])
    assert config == Config(
        seed=3, learner=Learner(lr=0.5, betas=(0.8, 0.9)), task=Gym(dataset="gcd"), weights={"format": 1.0}
    )


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("name=plain words", "plain words"),
        ("name=7", "7"),
        ('name="quoted"', "quoted"),
        ("name=a=b", "a=b"),
        ("name=true", "true"),
    ],
)
def test_a_text_field_takes_what_is_typed(setting, expected):
    assert load(Config, None, [setting]).name == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[learner]\nlrr = 1\n", "unknown key learner.lrr; did you mean learner.lr?"),
        ("lr = 1\n", "unknown key lr; did you mean learner.lr?"),
        ("[larner]\nlr = 1\n", "unknown key larner; did you mean learner?"),
        ("[task]\nxyzzy = 1\n", "unknown key task.xyzzy; known here: task.dataset, task.kind, task.longest"),
        (
            '[learner]\nlr = "fast"\n',
            'learner.lr = "fast": expected a number, got a text in quotes; the default is 0.001',
        ),
        ("[learner]\nsteps = 0\n", "must be positive"),
        (
            '[learner]\npenalty = "both"\n',
            'learner.penalty = "both": invalid enum value \'both\'; take one of "sequence", "token"',
        ),
        ("[task]\nlongest = 0\n", "task.longest = 0: expected a whole number >= 1; the default is 9"),
        ("learner = 3\n", "learner = 3: expected a table of keys, got a whole number"),
        ("seed = 1.5\n", "seed = 1.5: expected a whole number, got a number; the default is 0"),
        ("seed = \n", "not valid TOML: Invalid value (at line 1, column 8)"),
        ("a = 1\nb\n", "(at line 2, column 2)"),
    ],
)
def test_bad_values_in_a_file_name_file_key_value_and_remedy(toml, text, says):
    path = toml(text)
    found = complaint(Config, path)
    assert found.startswith(f"{path}: ")
    assert says in found


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("learner.step=3", "--set learner.step=3: unknown key learner.step; did you mean learner.steps?"),
        ("learner.steps=many", '--set learner.steps = "many": expected a whole number, got a text in quotes'),
        ("partial=yes", '--set partial = "yes": expected true or false, got a text in quotes; the default is true'),
        ("learner", "--set learner: write --set part.key=value"),
        ("learner..lr=1", "--set learner..lr=1: write --set part.key=value"),
        ("=1", "--set =1: write --set part.key=value"),
        ("seed.x=1", "--set seed.x: seed: expected a whole number, got a table of keys; the default is 0"),
        ("learner.steps=0", "--set learner.steps: learner: must be positive"),
        ("task.kind=gymm", '--set task.kind = "gymm": invalid value \'gymm\'; the default is "chains"'),
    ],
)
def test_bad_settings_name_themselves(setting, says):
    assert complaint(Config, None, [setting]).startswith(says)


def test_a_key_of_a_part_leaves_the_rest_of_its_default_alone(toml):
    @dataclass(frozen=True)
    class Fast:
        learner: Learner = field(default_factory=lambda: Learner(lr=0.5, steps=3))
        task: Chains | Gym = field(default_factory=lambda: Gym("lcm"))

    assert load(Fast, toml("[learner]\nsteps = 4\n")).learner == Learner(lr=0.5, steps=4)
    assert load(Fast, None, ["task.kind=chains"]).task == Chains()
    assert load(Fast, None, ["task.dataset=gcd"]).task == Gym("gcd")


def test_the_dump_of_a_loaded_config_names_every_key_that_is_not_none(toml):
    text = dump(load(Config, toml("seed = 2\n")))
    assert text.splitlines()[:3] == ["seed = 2", 'name = "run"', "partial = true"]
    assert "steps = 10" in text
    assert 'kind = "chains"' in text


def test_a_missing_file_is_named(tmp_path):
    assert complaint(Config, tmp_path / "none.toml").startswith(f"{tmp_path / 'none.toml'}: no such file")
    assert "cannot be read" in complaint(Config, tmp_path)


def test_a_field_without_default_must_be_given(toml):
    assert "key model is missing" in complaint(Demanding, toml("seed = 1\n"))


def test_the_dumped_config_loads_to_an_equal_one(toml):
    config = Config(
        seed=9, name='a "quoted" name', learner=Learner(penalty="token"), task=Gym("lcm"), weights={"a b": 2.0}
    )
    assert load(Config, toml(dump(config))) == config


@dataclass(frozen=True)
class Nullable:
    limit: int | None = 5


def test_a_config_that_toml_cannot_hold_is_not_dumped():
    assert dump(Nullable(7)) == "limit = 7\n"
    with pytest.raises(ContractError):
        dump(Nullable(None))


def test_a_run_can_choose_how_prompts_are_drawn_and_the_choice_reaches_the_buffer(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[buffer.prompts]\norder = "uniform"\n[[buffer.prompts.curriculum]]\nversion = 3\nhigh = 7\n')
    config = load(RunConfig, path)
    assert load_text(dump(config), RunConfig) == config
    shared = RunSettings(schedule=config.schedule, buffer=config.buffer)
    settings = msgspec.json.decode(msgspec.json.encode(shared), type=RunSettings)
    assert buffer_config(settings).prompts == PromptConfig(order="uniform", curriculum=(Lesson(3, high=7.0),))
