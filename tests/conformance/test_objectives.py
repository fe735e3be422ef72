"""What every objective must do: walks the folder, so a new file is tested by being there."""

import dataclasses

import pytest
import torch

from policies.objectives.objective import Tokens, find_objective, known_objectives

NAMES = (*known_objectives(), f"{__name__}:plain_policy_gradient")
R4 = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
G4 = torch.zeros(4, dtype=torch.int64)


def plain_policy_gradient(tokens):
    """A person's objective: one function."""
    return -tokens.advantage_B[:, None] * tokens.logp_BT


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def categorical(seed, sequences=4, length=3, vocabulary=5):
    """Logits of a policy with one categorical per position, and sequences drawn from it at random."""
    rng = torch.Generator().manual_seed(seed)
    theta = torch.randn(length, vocabulary, generator=rng)
    actions = torch.randint(vocabulary, (sequences, length), generator=rng)
    return theta, actions


def logps(theta, actions):
    return torch.stack([torch.log_softmax(theta, -1)[t, actions[:, t]] for t in range(actions.shape[1])], 1)


def tokens(theta, actions, reference, advantage, behaviour=None, mask=None, weight=None):
    reference = reference.detach()
    return Tokens(
        logps(theta, actions),
        reference,
        reference if behaviour is None else behaviour,
        torch.ones_like(reference) if mask is None else mask,
        advantage,
        torch.ones(len(actions)) if weight is None else weight,
    )


def gradient(objective, theta, *arguments, **more):
    theta = theta.clone().requires_grad_()
    objective.loss(tokens(theta, *arguments, **more)).total.backward()
    return theta.grad


@pytest.mark.parametrize("name", NAMES)
def test_masked_tokens_change_nothing(name):
    theta_ref, actions = categorical(7)
    theta, reference = theta_ref * 0.8, logps(theta_ref, actions)
    mask = torch.ones_like(reference)
    mask[1], mask[2, 1] = 0.0, 0.0
    objective = find_objective(name)
    advantage = objective.advantages(R4, G4)
    off = reference - 0.1
    wild, wild_reference = (torch.where(mask > 0, kept, kept - 4.0) for kept in (off, reference))
    first = gradient(objective, theta, actions, reference, advantage, behaviour=off, mask=mask)
    second = gradient(objective, theta, actions, wild_reference, advantage, behaviour=wild, mask=mask)
    assert torch.allclose(first, second)
    unmasked = gradient(objective, theta, actions, reference, advantage, behaviour=off)
    assert not torch.allclose(first, unmasked)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_adds_up_over_trajectories_and_scales_with_group_weights(name):
    theta_ref, actions = categorical(8)
    theta, reference = theta_ref * 0.8, logps(theta_ref, actions)
    objective = find_objective(name)
    advantage = objective.advantages(R4, G4)
    whole = gradient(objective, theta, actions, reference, advantage)
    parts = [gradient(objective, theta, actions[rows], reference[rows], advantage[rows]) for rows in ([0, 2], [1], [3])]
    assert torch.allclose(whole, sum(parts))
    triple = gradient(objective, theta, actions, reference, advantage, weight=torch.full((4,), 3.0))
    assert torch.allclose(3 * whole, triple)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_pulls_towards_better_answers(name):
    theta, actions = categorical(9, sequences=2)
    objective = find_objective(name)
    advantage = objective.advantages(torch.tensor([1.0, 0.0]), torch.zeros(2, dtype=torch.int64))
    assert advantage[0] > 0 > advantage[1]
    moved = theta - 0.01 * gradient(objective, theta, actions, logps(theta, actions), advantage)
    gap = (logps(moved, actions) - logps(theta, actions)).sum(1)
    assert gap[0] > gap[1]


@pytest.mark.parametrize("name", NAMES)
def test_advantages_of_a_group_do_not_see_other_groups(name):
    objective = find_objective(name)
    rewards = torch.tensor([1.0, 0.0, 0.25, 0.5, 1.0, 0.0])
    groups = torch.tensor([0, 0, 1, 1, 0, 1])
    together = objective.advantages(rewards, groups)
    for group in (0, 1):
        rows = groups == group
        alone = objective.advantages(rewards[rows], torch.zeros(3, dtype=torch.int64))
        assert torch.allclose(together[rows], alone)


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_is_made_from_a_frozen_config_with_defaults(name):
    kind = type(find_objective(name))
    assert kind.config_type.__dataclass_params__.frozen
    assert kind.__doc__
    for field in dataclasses.fields(kind.config_type):
        assert field.default is not dataclasses.MISSING
    assert find_objective(name).divide_by in ("sequences", "tokens")


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_reports_its_penalty_and_its_truncated_tokens_without_gradient(name):
    theta, actions = categorical(10)
    objective = find_objective(name)
    reference = logps(theta * 0.9, actions)
    advantage = objective.advantages(R4, G4)
    behaviour = reference.clone()
    behaviour[0] -= 5.0
    moved = theta.clone().requires_grad_()
    loss = objective.loss(tokens(moved, actions, reference, advantage, behaviour=behaviour))
    assert loss.total.shape == ()
    assert loss.total.requires_grad
    assert {"penalty", "truncated"} <= set(loss.sums)
    assert not any(value.requires_grad for value in loss.sums.values())
    assert loss.sums["truncated"].item() == (0 if ":" in name else 3), "a function's weights are not known"


@pytest.mark.parametrize("name", NAMES)
def test_a_trajectory_without_loss_bearing_tokens_is_allowed(name):
    theta, actions = categorical(11)
    objective = find_objective(name)
    reference = logps(theta * 0.9, actions)
    none = torch.zeros_like(reference)
    found = gradient(objective, theta, actions, reference, objective.advantages(R4, G4), mask=none)
    assert found.abs().max() == 0
