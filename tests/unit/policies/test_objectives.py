"""Objectives on small categorical policies, against the paper's formulas and finite differences."""

import math

import pytest
import torch

from buffers.errors import UsageError
from policies.objectives import grpo, mirror_descent, reinforce
from policies.objectives.objective import Objective, Tokens, find_objective


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


R4 = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
G4 = torch.zeros(4, dtype=torch.int64)


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


def numeric_gradient(function, theta, step=1e-6):
    result = torch.zeros_like(theta)
    for index in range(theta.numel()):
        bump = torch.zeros(theta.numel())
        bump[index] = step
        bump = bump.view_as(theta)
        result.view(-1)[index] = (function(theta + bump) - function(theta - bump)) / (2 * step)
    return result


def equation_3(theta, theta_ref, actions, rewards, tau):
    """g of the paper's equation 3, by analytic score functions: d log pi / d theta_tv = 1[a_t = v] - pi_tv."""
    policy = torch.softmax(theta, -1)
    g = torch.zeros_like(theta)
    for action, reward in zip(actions, rewards, strict=True):
        score = torch.nn.functional.one_hot(action, theta.shape[1]) - policy
        ratio = (logps(theta, action[None]) - logps(theta_ref, action[None])).sum()
        g += score * (reward - rewards.mean()) - tau / 2 * (2 * ratio * score)
    return g / len(actions)


def test_with_behaviour_equal_to_the_reference_the_gradient_is_equation_3_of_the_paper():
    theta_ref, actions = categorical(1)
    theta = theta_ref + 0.3 * torch.randn(theta_ref.shape, generator=torch.Generator().manual_seed(2))
    objective = mirror_descent.Objective(mirror_descent.Config(tau=0.4))
    advantage = objective.advantages(R4, G4)
    found = gradient(objective, theta, actions, logps(theta_ref, actions), advantage) / 4
    assert torch.allclose(found, -equation_3(theta, theta_ref, actions, R4, 0.4), atol=1e-12)


def test_the_squared_surrogate_of_the_paper_has_minus_two_tau_times_that_gradient():
    theta_ref, actions = categorical(3)
    theta, tau = theta_ref + 0.2, 0.7
    theta[0, 0] -= 0.5
    reference = logps(theta_ref, actions)

    def surrogate(theta):
        ratio = (logps(theta, actions) - reference).sum(1)
        return ((R4 - R4.mean() - tau * ratio) ** 2).mean()

    objective = mirror_descent.Objective(mirror_descent.Config(tau=tau))
    found = gradient(objective, theta, actions, reference, objective.advantages(R4, G4)) / 4
    assert torch.allclose(numeric_gradient(surrogate, theta), 2 * tau * found, atol=1e-8)


def test_the_token_penalty_squares_each_token_by_itself():
    theta_ref, actions = categorical(4)
    theta = theta_ref * 0.5
    reference = logps(theta_ref, actions)
    objective = mirror_descent.Objective(mirror_descent.Config(tau=0.3, penalty="token"))

    def written_out(theta):
        drift = logps(theta, actions) - reference
        return -(R4 - 0.5) @ logps(theta, actions).sum(1) + 0.15 * (drift**2).sum()

    found = gradient(objective, theta, actions, reference, objective.advantages(R4, G4))
    assert torch.allclose(numeric_gradient(written_out, theta), found, atol=1e-8)


@pytest.mark.parametrize("penalty", ["sequence", "token"])
def test_a_group_of_equal_rewards_has_the_penalty_only(penalty):
    theta_ref, actions = categorical(5)
    theta = theta_ref * 0.7
    reference = logps(theta_ref, actions)
    objective = mirror_descent.Objective(mirror_descent.Config(tau=0.2, penalty=penalty))
    loss = objective.loss(tokens(theta, actions, reference, objective.advantages(torch.ones(4), G4)))
    drift = logps(theta, actions) - reference
    square = drift.sum(1).square() if penalty == "sequence" else drift.square().sum(1)
    assert loss.total.item() == pytest.approx(0.1 * square.sum().item())
    assert loss.total.item() == pytest.approx(loss.sums["penalty"].item())


def test_a_stale_token_weighs_as_much_as_the_reference_prefers_it_up_to_the_limit():
    theta, actions = categorical(6, sequences=2, length=2)
    reference = logps(theta, actions)
    behaviour = reference - torch.log(torch.tensor([[1.5, 0.5], [3.0, 1.0]]))
    objective = mirror_descent.Objective(mirror_descent.Config(tau=0.0, truncate=2.0))
    advantage = torch.tensor([0.5, -0.5])
    weights = torch.tensor([[1.5, 0.5], [2.0, 1.0]])

    def written_out(theta):
        return -(advantage[:, None] * weights * logps(theta, actions)).sum()

    found = gradient(objective, theta, actions, reference, advantage, behaviour=behaviour)
    assert torch.allclose(numeric_gradient(written_out, theta), found, atol=1e-8)
    loss = objective.loss(tokens(theta, actions, reference, advantage, behaviour=behaviour))
    assert loss.sums["truncated"].item() == 1


@pytest.mark.parametrize(
    ("tau", "expected"), [(0.01, 0.9931), (0.1, 0.9307), (0.5, 0.7169), (1, 0.6201), (10, 0.5125), (1000, 0.5001)]
)
def test_the_soft_baseline_has_the_values_worked_out_by_hand(tau, expected):
    assert mirror_descent.soft_baseline(R4, G4, tau)[0].item() == pytest.approx(expected, abs=6e-5)


def test_the_soft_baseline_falls_with_tau_from_the_maximum_to_the_mean_and_never_overflows():
    values = [mirror_descent.soft_baseline(R4, G4, tau)[0].item() for tau in (1e-4, 0.03, 0.3, 3.0, 1e4)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.0, abs=1e-3)
    assert values[-1] == pytest.approx(0.5, abs=1e-3)


def test_the_closed_form_satisfies_the_consistency_constraint():
    reference = torch.softmax(torch.tensor([0.3, -1.0, 0.5, 0.0]), 0)
    tau = 0.3
    log_z = torch.log((reference * (R4 / tau).exp()).sum())
    best = reference * (R4 / tau).exp() / log_z.exp()
    assert torch.allclose(R4 - tau * log_z, tau * (best / reference).log(), atol=1e-14)


def test_a_penalty_without_gradient_is_refused():
    objective = mirror_descent.Objective(mirror_descent.Config())
    with pytest.raises(UsageError, match="updates_per_reference 1"):
        objective.check(1)
    objective.check(2)
    mirror_descent.Objective(mirror_descent.Config(tau=0.0)).check(1)


def test_grpo_equals_decoupled_ppo_in_its_other_form():
    rng = torch.Generator().manual_seed(11)
    theta_ref, actions = categorical(11)
    theta = theta_ref + 0.5 * torch.randn(theta_ref.shape, generator=rng)
    reference = logps(theta_ref, actions)
    behaviour = reference + 0.2 * torch.randn(reference.shape, generator=rng)
    objective = grpo.Objective(grpo.Config(low=0.2, high=0.28, truncate=math.inf, standardize=False))
    advantage = objective.advantages(R4, G4)
    found = objective.loss(tokens(theta, actions, reference, advantage, behaviour=behaviour)).total
    current, column = logps(theta, actions), advantage[:, None]
    clipped = (current - reference).exp().clamp(0.8, 1.28)
    other = torch.minimum((current - behaviour).exp() * column, (reference - behaviour).exp() * clipped * column).sum()
    assert found.item() == pytest.approx(-other.item())


def test_grpo_stops_pushing_a_token_that_has_left_the_clip():
    theta_ref, actions = categorical(12, sequences=2, length=1)
    actions[0], actions[1] = 0, 1
    theta = theta_ref.clone()
    theta[0, 0] += 3.0
    objective = grpo.Objective(grpo.Config())
    advantage = torch.tensor([1.0, 0.0])
    reference = logps(theta_ref, actions)
    assert gradient(objective, theta, actions, reference, advantage).abs().max() == 0
    assert gradient(objective, theta, actions, reference, -advantage).abs().max() > 0
    assert objective.loss(tokens(theta, actions, reference, advantage)).sums["clipped"].item() == 1


def test_reinforce_weighs_by_the_current_policy_without_differentiating_the_weight():
    theta, actions = categorical(13)
    behaviour = logps(theta * 0.9, actions)
    objective = reinforce.Objective(reinforce.Config(truncate=5.0))
    weights, advantage = (logps(theta, actions) - behaviour).exp(), R4 - 0.5

    def written_out(moved):
        return -(advantage[:, None] * weights * logps(moved, actions)).sum()

    found = gradient(objective, theta, actions, logps(theta * 0.5, actions), advantage, behaviour=behaviour)
    assert torch.allclose(numeric_gradient(written_out, theta), found, atol=1e-8)


def test_an_objective_of_someone_else_is_found_by_module_and_class():
    found: Objective = find_objective("policies.objectives.reinforce:Objective", {"truncate": 3.0})
    assert found.config.truncate == 3.0


def test_unknown_objectives_and_settings_are_refused_by_name():
    with pytest.raises(UsageError, match="mirror_decent"):
        find_objective("mirror_decent")
    with pytest.raises(UsageError, match="did you mean tau"):
        find_objective("mirror_descent", {"taw": 1.0})


def test_arrays_that_do_not_fit_are_refused():
    zeros = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="behaviour_BT"):
        Tokens(zeros, zeros, torch.zeros(2, 4), zeros, torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="reference_BT"):
        Tokens(zeros, zeros.clone().requires_grad_(), zeros, zeros, torch.zeros(2), torch.zeros(2))
