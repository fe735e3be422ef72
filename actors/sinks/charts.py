"""Names of charts, the same for every sink that draws them: which groups they stand in, and which five come first.

A chart is `actor/number`; numbers of several actors of a kind (generators, rewarders) stand beside each other.
"""

from __future__ import annotations

FIRST: dict[str, tuple[str, ...]] = {
    "held-out accuracy": ("evaluator/eval_sampled", "evaluator/eval_greedy"),
    "reward": ("learner/reward", "learner/outcome"),
    "response length": ("learner/response_tokens", "replay/mean_ended_tokens", "replay/mean_trained_tokens"),
    "staleness": ("learner/age_mean", "learner/age_max", "learner/lag_mean"),
    "busy and waiting": ("learner/update_s", "learner/wait_s", "generator-.*/busy_s"),
}
"""The five charts that matter first: title -> names (regular expressions)."""


def chart(actor: str, name: str) -> str:
    """The name of an actor's number."""
    return f"{actor}/{name}"
