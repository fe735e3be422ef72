"""The synchronous core of a trainer on a very small model."""

import dataclasses

import numpy as np
import pytest
import torch

from buffers.errors import UsageError
from policies import models
from policies.models import TinyConfig, logps_of_tokens, tiny_model
from policies.objectives import grpo, mirror_descent
from policies.packing import Batch
from policies.trainers.update import Abandoned, Config, TrainingDiverged, Update, micro_batches

SMALL = TinyConfig(width=16, layers=1, heads=2, kv_heads=1, head_width=8, feed_forward=16, vocabulary=12)


def batch(seed=0, rows=8, longest=14, version=0, outcomes=None):
    """Random rows of random lengths in groups of 4, with the model's own log-probabilities as behaviour."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, longest + 1, rows).astype(np.int32)
    places = np.arange(longest)[None]
    mask = (places >= 3) & (places < lengths[:, None])
    ids = np.where(places < lengths[:, None], rng.integers(0, 12, (rows, longest)), 0).astype(np.int32)
    with torch.no_grad():
        logp, _ = logps_of_tokens(tiny_model(SMALL, 1), torch.from_numpy(ids.astype(np.int64)), 1.0)
    rewards = (rng.random(rows) < 0.5).astype(np.float32) if outcomes is None else np.array(outcomes, np.float32)
    return Batch(
        version=version,
        ids_BT=ids,
        behaviour_BT=logp.numpy() * mask,
        versions_BT=np.where(mask, version, -1).astype(np.int32),
        produced_BT=mask,
        mask_BT=mask,
        lengths_B=lengths,
        rewards_B=rewards,
        outcomes_B=rewards,
        groups_B=(np.arange(rows) // 4).astype(np.int32),
        weight_B=np.ones(rows, np.float32),
    )


def update(objective=None, **settings):
    objective = objective or mirror_descent.Objective(mirror_descent.Config(divide_by="tokens"))
    return Update(tiny_model(SMALL, 1), objective, Config(rise_updates=1, **settings))


def weights(updater):
    return torch.cat([weight.detach().flatten() for weight in updater.model.parameters()])


def test_cutting_an_update_in_micro_batches_does_not_change_it():
    whole, cut = update(micro_tokens=10_000), update(micro_tokens=20)
    for seed in range(3):
        first, second = whole.apply(batch(seed)), cut.apply(batch(seed))
        assert first.metrics["loss"] == pytest.approx(second.metrics["loss"], abs=1e-5)
        assert first.metrics["gradient_norm"] == pytest.approx(second.metrics["gradient_norm"], rel=1e-3)
    assert torch.allclose(whole.reference.lm_head.weight, cut.reference.lm_head.weight, atol=1e-5)


def test_micro_batches_keep_to_their_budget_and_cover_each_row_once():
    lengths = np.array([5, 90, 7, 30, 31, 8, 200], np.int32)
    parts = [rows.tolist() for rows in micro_batches(lengths, 96)]
    assert sorted(row for rows in parts for row in rows) == list(range(7))
    assert parts[0] == [6]
    for rows in parts[1:]:
        assert len(rows) * max(lengths[row] for row in rows) <= 96


def test_the_reference_stays_for_r_updates_and_is_then_the_current_weights():
    updater = update(updates_per_reference=3)
    start = updater.reference.lm_head.weight.clone()
    for seed in range(3):
        updater.apply(batch(seed))
        assert torch.equal(updater.reference.lm_head.weight, start)
    before = updater.model.lm_head.weight.clone()
    updater.apply(batch(3))
    assert torch.equal(updater.reference.lm_head.weight, before)
    assert updater.counters.since_reference == 1


def test_the_penalty_is_nothing_at_the_reference_and_something_after_a_step():
    updater = update(updates_per_reference=2, rate=1e-2)
    assert updater.apply(batch(0)).metrics["penalty"] == 0.0
    assert updater.apply(batch(1)).metrics["penalty"] > 0.0
    assert updater.apply(batch(2)).metrics["penalty"] == 0.0


def test_an_update_without_signal_at_the_reference_moves_nothing():
    updater = update()
    start = weights(updater)
    done = updater.apply(batch(0, outcomes=[1] * 4 + [0] * 4))
    assert torch.equal(weights(updater), start)
    assert (done.metrics["all_right_share"], done.metrics["all_wrong_share"]) == (0.5, 0.5)
    assert done.feedback == (0.0, 0.0)


def test_fresh_tokens_of_the_same_engine_show_no_mismatch_and_shifted_ones_do():
    fresh = batch(0, version=4)
    assert update().apply(fresh).metrics["mismatch"] < 1e-6
    shifted = dataclasses.replace(fresh, behaviour_BT=fresh.behaviour_BT - 0.25 * fresh.mask_BT)
    assert update().apply(shifted).metrics["mismatch"] == pytest.approx(0.25, abs=1e-4)
    metrics = update().apply(shifted).metrics
    assert (metrics["mismatch_over_1e-01"], metrics["fresh_tokens"]) == (1.0, shifted.mask_BT.sum())
    assert update().apply(fresh).metrics["mismatch_over_1e-06"] < 0.5
    old = dataclasses.replace(shifted, versions_BT=shifted.versions_BT - 1)
    metrics = update().apply(old).metrics
    assert (metrics["mismatch"], metrics["mean_lag"]) == (0.0, 1.0)
    assert metrics["off_policy"] == pytest.approx(0.25, abs=1e-4)


def test_mismatch_is_measured_where_the_reference_holds_the_weights_that_drew_the_token():
    updater = update(updates_per_reference=3, rate=1e-2)
    shown = []
    for number, version in enumerate((0, 0, 1, 1, 2, 2)):
        of_version_0 = dataclasses.replace(batch(0, version=0), version=version)
        shown.append(updater.apply(of_version_0).metrics["mismatch"])
        if number == 2:
            assert updater.counters.reference_version == 0
    assert shown[:3] == pytest.approx([0.0] * 3, abs=1e-6)
    assert shown[3:] == [0.0] * 3, "a reference that was taken within a version drew nothing"
    assert updater.counters.reference_version == -1
    current = batch(0, version=3)
    assert updater.apply(current).metrics["mismatch"] > 1e-3, "the weights have moved, the log-probabilities have not"


def test_truncated_tokens_are_counted():
    fresh = batch(0)
    far = fresh.behaviour_BT.copy()
    far[0, 3:5] -= 1.0
    done = update().apply(dataclasses.replace(fresh, behaviour_BT=far))
    assert done.metrics["truncated_share"] == pytest.approx(2 / fresh.mask_BT.sum())


def test_the_temperature_divides_the_logits():
    ids = torch.from_numpy(batch(0).ids_BT.astype(np.int64))
    model = tiny_model(SMALL, 1)
    logits = model(input_ids=ids).logits / 0.5
    expected = torch.log_softmax(logits[:, 4], -1).gather(-1, ids[:, 5:6])[:, 0]
    found, entropy = logps_of_tokens(model, ids, 0.5)
    assert torch.allclose(found[:, 5], expected, atol=1e-5)
    policy = torch.distributions.Categorical(logits=logits[:, 4])
    assert torch.allclose(entropy[:, 5], policy.entropy(), atol=1e-5)


def test_a_gradient_that_is_not_finite_is_skipped_and_too_many_are_an_error():
    updater = update(most_skipped=2)
    start, broken = weights(updater), batch(0)
    broken.behaviour_BT[0, 4] = np.nan
    for _ in range(2):
        assert updater.apply(broken).metrics["skipped"] == 1.0
        assert torch.equal(weights(updater), start)
    with pytest.raises(TrainingDiverged, match="3 gradients in a row"):
        updater.apply(broken)


def test_a_good_update_forgives_skipped_ones():
    updater, broken = update(most_skipped=1), batch(0)
    broken.behaviour_BT[0, 4] = np.nan
    for _ in range(3):
        updater.apply(broken)
        assert updater.apply(batch(1)).metrics["skipped"] == 0.0


def test_the_optimizer_is_reset_with_the_reference_where_asked():
    forgetful = update(reset_optimizer=True, updates_per_reference=2)
    lasting = update(reset_optimizer=False, updates_per_reference=2)
    for seed in range(3):
        forgetful.apply(batch(seed))
        lasting.apply(batch(seed))
    steps = [next(iter(updater.optimizer.state.values()))["step"].item() for updater in (forgetful, lasting)]
    assert steps == [1, 3]


def test_the_rate_rises_from_the_start_and_after_a_reset():
    updater = Update(
        tiny_model(SMALL, 1),
        grpo.Objective(grpo.Config()),
        Config(rate=1.0e-3, rise_updates=4, updates_per_reference=6, reset_optimizer=True),
    )
    rates = []
    for seed in range(8):
        updater.apply(batch(seed))
        rates.append(updater.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3, 2.5e-4, 5e-4])


def test_an_abandoned_update_changes_nothing():
    updater = update(micro_tokens=20)
    answers = iter([False, True])
    updater.stopped = lambda: next(answers)
    start = weights(updater)
    with pytest.raises(Abandoned):
        updater.apply(batch(0))
    assert torch.equal(weights(updater), start)
    assert updater.counters.updates == 0
    assert all(weight.grad is None for weight in updater.model.parameters())


def test_a_config_whose_penalty_has_no_gradient_is_refused():
    with pytest.raises(UsageError, match="updates_per_reference"):
        update(updates_per_reference=1)


def test_greedy_samples_are_refused():
    with pytest.raises(UsageError, match="temperature 0"):
        update(temperature=0.0)


def test_a_wide_vocabulary_is_worked_through_in_pieces_with_the_same_numbers_and_gradient(monkeypatch):
    def measured():
        model = tiny_model(SMALL, 1)
        ids = torch.from_numpy(batch(5).ids_BT.astype(np.int64))
        logp, entropy = logps_of_tokens(model, ids, 0.7)
        (logp * torch.linspace(-1, 1, logp.numel()).view(logp.shape)).sum().backward()
        assert not entropy.requires_grad
        return [logp.detach(), entropy, *(weight.grad for weight in model.parameters())]

    plain = measured()
    monkeypatch.setattr(models, "WIDE_VOCABULARY", 1)
    monkeypatch.setattr(models, "PIECE_TOKENS", 17)
    for one, other in zip(plain, measured(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_bfloat16_is_near_float32_and_keeps_float32_weights():
    exact, rough = update(), update(precision="bfloat16")
    first, second = exact.apply(batch(1)), rough.apply(batch(1))
    assert first.metrics["loss"] != second.metrics["loss"]
    assert first.metrics["loss"] == pytest.approx(second.metrics["loss"], abs=0.02)
    assert first.metrics["entropy"] == pytest.approx(second.metrics["entropy"], rel=0.01)
    assert {weight.dtype for weight in rough.weights} == {torch.float32}
    assert 0 < float((weights(exact) - weights(rough)).abs().mean()) < exact.config.rate
