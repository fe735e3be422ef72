"""One card: what a person is told of it, and what the roles get."""

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
import torch
from transformers import Qwen3Config

from buffers.errors import UsageError
from cli import configuration, doctor, one_card
from cli.one_card import EVALUATOR, GENERATOR, LEARNER, plan_card
from cli.run_config import RunConfig
from policies.memory import GIB, engine_need, size_of, trainer_need

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "one_gpu.toml"
CPU = ("engine.device=cpu", "trainer.device=cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of the shape that the example asks for, without weights."""
    folder = tmp_path_factory.mktemp("qwen3-0.6b")
    Qwen3Config(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    ).save_pretrained(folder)
    return folder


def config(*settings):
    return configuration.load(RunConfig, EXAMPLE, [*CPU, *settings])


def test_the_example_fits_a_card_of_24_gb(model):
    plan = plan_card(config("cluster.memory_gib=22.4"), model)  # three processes' CUDA contexts take 1.5 GiB of 23.9
    assert plan.words.startswith("the card: about 20.58 GiB of 22.40 GiB: generator-0 2.22 GiB")
    assert (plan.card.by, plan.card.cache, plan.card.turn_s) == ("time", "drop", 1.0)


def test_a_model_that_does_not_fit_is_refused_with_the_keys_to_lower(model):
    with pytest.raises(UsageError, match=r"about 20.58 GiB of 16.00 GiB.*lower engine.slots.*micro_tokens"):
        plan_card(config("cluster.memory_gib=16"), model)
    with pytest.raises(UsageError, match=r"set cluster.cache = 'drop'"):
        plan_card(config("cluster.memory_gib=22.4", "cluster.cache=keep"), model)


def test_by_memory_each_process_gets_its_part_and_no_more_rows_than_fit_it(model):
    given = config("cluster.share=memory", "cluster.memory_gib=44", "cluster.evaluator_memory=0.2", "engine.slots=99")
    plan, size = plan_card(given, model), size_of(model)
    parts = {name: sections["card"]["memory"] * 44 * GIB for name, sections in plan.own.items()}
    assert sum(parts.values()) == pytest.approx(44 * GIB)
    for name in (GENERATOR, EVALUATOR):
        engine = dataclasses.replace(given.engine, **plan.own[name]["engine"])
        assert engine_need(size, engine).most <= parts[name]
        assert engine_need(size, dataclasses.replace(engine, slots=engine.slots + 1)).most > parts[name]
        assert engine.cached_rows == 0, "slots come first"
    assert trainer_need(size, given.trainer.update.micro_tokens).most <= parts[LEARNER]
    assert f"engine.slots = {plan.own[GENERATOR]['engine']['slots']}" in plan.words
    with pytest.raises(UsageError, match=r"leave the learner 8.80 GiB; it needs 16.1"):
        plan_card(dataclasses.replace(given, cluster=msgspec.structs.replace(given.cluster, engine_memory=0.6)), model)
    with pytest.raises(UsageError, match=r"cluster.evaluator_memory = 0.1 leaves its engine 4.40 GiB"):
        plan_card(config("cluster.share=memory", "cluster.memory_gib=44"), model)


def test_sglang_is_told_its_part_on_a_gpu_only(model, monkeypatch):
    settings = ("generates_with=sglang", "cluster.share=memory", "cluster.evaluator_memory=0.2")
    given = config(*settings, "cluster.memory_gib=60")
    assert "sglang" not in plan_card(given, model).own[GENERATOR], "on a CPU its cache is sglang.kv_tokens"
    devices = ("sglang.device=cuda", "engine.device=cuda", "trainer.device=cuda", 'sglang.arguments=["--x"]')
    monkeypatch.setattr(one_card, "find_device", lambda name: torch.device("cpu"))
    own = plan_card(config(*settings, "cluster.memory_gib=60", *devices), model).own
    assert own[GENERATOR]["sglang"]["arguments"] == ("--x", "--mem-fraction-static", "0.4")


def test_the_settings_of_a_run_name_the_folder_of_the_locks_and_keep_what_was_there(model, tmp_path):
    before = {"own": {EVALUATOR: {"engine": {"slots": 3}, "sglang": {"log": "x"}}}, "seed": 1}
    after = plan_card(config("cluster.memory_gib=22.4"), model).applied(before, tmp_path)
    assert after["card"]["folder"] == str(tmp_path.resolve() / "card")
    assert after["own"][EVALUATOR] == {"engine": {"slots": 3, "cached_rows": 0}, "sglang": {"log": "x"}}
    assert after["seed"] == 1
    json.dumps(after)


def test_the_check_up_says_what_of_a_card_an_example_takes(model, tmp_path):
    assert doctor.card(EXAMPLE, {}) == []
    raw = {"cluster": {"placement": "colocated"}, "model": {"path": str(tmp_path / "none")}}
    assert doctor.card(EXAMPLE, raw)[0].startswith("one card for all roles")
    path = tmp_path / "one.toml"
    path.write_text(EXAMPLE.read_text().replace('"cuda"', '"cpu"'))
    raw["model"]["path"] = str(model)
    assert "the card: about" in doctor.card(path, raw)[0]
    assert doctor.card(EXAMPLE, raw)[0].startswith("MISSING room on one card: device 'cuda'")
