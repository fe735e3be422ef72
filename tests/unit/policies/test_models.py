"""The tiny model, its tokenizer, and lockstep generation against the model itself."""

import numpy as np
import pytest
import torch

from buffers.errors import UsageError
from policies.generate import Lockstep
from policies.models import TinyConfig, load_model, logps_of_tokens, tiny_model
from policies.tokens import CHARACTERS, character_tokenizer, decode, encode, load_tokenizer

CODEC = character_tokenizer()


def test_the_tiny_model_has_the_size_that_is_written_down():
    assert sum(weight.numel() for weight in tiny_model(TinyConfig(), 0).parameters()) == 115_136


def test_the_weights_are_a_function_of_the_seed_and_leave_the_random_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (tiny_model(TinyConfig(), seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(1), expected)


def test_every_character_has_an_id_of_its_own_and_comes_back():
    assert decode(CODEC, encode(CODEC, CHARACTERS)) == CHARACTERS
    assert len(set(encode(CODEC, CHARACTERS).tolist())) == len(CHARACTERS)
    assert decode(CODEC, np.array([CODEC.eos_token_id])) == "$"
    assert len(CODEC) == 64


def test_the_model_stops_at_the_tokenizers_end():
    model = tiny_model(TinyConfig(), 0)
    assert model.config.eos_token_id == CODEC.eos_token_id
    assert model.config.pad_token_id == CODEC.pad_token_id


def test_an_unknown_character_is_one_unknown_id():
    assert encode(CODEC, "aÉb").tolist() == [*encode(CODEC, "a"), 1, *encode(CODEC, "b")]


def test_too_many_or_repeated_characters_are_refused():
    with pytest.raises(UsageError, match="raise size"):
        character_tokenizer("abc", 4)
    with pytest.raises(UsageError, match="without repeats"):
        character_tokenizer("aa")


def test_a_folder_without_model_or_tokenizer_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no model in"):
        load_model(tmp_path)
    with pytest.raises(UsageError, match="no tokenizer in"):
        load_tokenizer(tmp_path)


def test_skipped_positions_are_far_positions_and_no_new_rows():
    model, ids_BT = tiny_model(TinyConfig(), 0), torch.arange(3, 23)[None]
    plain, _ = logps_of_tokens(model, ids_BT, 1.0)
    shifted, _ = logps_of_tokens(model, ids_BT, 1.0, positions_BT=torch.arange(100, 120)[None])
    assert torch.allclose(plain, shifted, atol=1e-4)  # rotary positions are relative
    positions_BT = torch.arange(20)[None] + 30 * (torch.arange(20) >= 10)
    skipped, _ = logps_of_tokens(model, ids_BT, 1.0, positions_BT=positions_BT)
    assert torch.allclose(plain[:, :10], skipped[:, :10], atol=1e-5)
    assert not torch.allclose(plain[:, 11:], skipped[:, 11:], atol=1e-3)
    alone, _ = logps_of_tokens(model, ids_BT[:, 10:], 1.0)
    assert not torch.allclose(alone[:, 1:], skipped[:, 11:], atol=1e-3)  # the first half is still attended to


def generate(temperature, prompts=("a6b+=", "c1d*e-f/g(=", "b0c)="), tokens=40, seed=3):
    model = tiny_model(TinyConfig(init_std=0.3), 4)
    ids = [encode(CODEC, text) for text in prompts]
    done = Lockstep(model).generate(
        ids,
        max_tokens=tokens,
        stop_id=CODEC.eos_token_id,
        temperature=temperature,
        rng=torch.Generator().manual_seed(seed),
    )
    return model, ids, done


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_recorded_log_probabilities_are_the_models_own(temperature):
    model, prompts, done = generate(temperature)
    assert len({len(one.ids) for one in done}) > 1, "rows must end at different times for this test to tell"
    for prompt, one in zip(prompts, done, strict=True):
        row = torch.from_numpy(np.concatenate([prompt, one.ids]).astype(np.int64))[None]
        expected, _ = logps_of_tokens(model, row, temperature)
        assert np.allclose(one.logps, expected[0, len(prompt) :].detach().numpy(), atol=2e-5)


def test_greedy_generation_takes_the_likeliest_token():
    model, prompts, done = generate(0.0)
    for prompt, one in zip(prompts, done, strict=True):
        row = torch.from_numpy(np.concatenate([prompt, one.ids]).astype(np.int64))[None]
        likeliest = model(input_ids=row).logits[0, len(prompt) - 1 : -1].argmax(-1)
        assert likeliest.tolist() == one.ids.tolist()


def test_responses_end_with_their_stop_token_or_at_the_limit():
    _, _, done = generate(1.0, prompts=("a1b+=",) * 64, tokens=25)
    ends = {len(one.ids) == 25 or one.ids[-1] == CODEC.eos_token_id for one in done}
    assert ends == {True}
    assert any(len(one.ids) < 25 for one in done)
    assert all(CODEC.eos_token_id not in one.ids[:-1] for one in done)


def test_sampled_tokens_have_the_models_frequencies():
    model, prompts, done = generate(1.0, prompts=("a1b+=",) * 4000, tokens=1)
    counts = np.bincount([int(one.ids[0]) for one in done], minlength=64) / 4000
    policy = model(input_ids=torch.from_numpy(prompts[0].astype(np.int64))[None]).logits[0, -1].softmax(-1)
    assert np.abs(counts - policy.detach().numpy()).max() < 0.03


def test_weights_in_a_pickle_are_refused_without_being_opened(tmp_path):
    tiny_model(TinyConfig(), 1).config.save_pretrained(tmp_path)

    class Planted:
        def __reduce__(self):
            return (tmp_path.joinpath("opened").write_text, ("it ran",))

    torch.save({"planted": Planted()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no model in .*give a Hugging Face model folder"):
        load_model(tmp_path)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_what_is_no_folder_is_not_looked_up_on_the_network(load, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *where, **how: pytest.fail(f"asked for {where}"))
    with pytest.raises(UsageError, match="give a Hugging Face model folder"):
        load("somebody/something")
