"""Admission: when a further group may be opened. Stale work is paced here rather than thrown away later.

    live + k <= (eta + 1) * batch * oversample

`live` are the trajectories opened and neither applied nor closed; those applied in a version that has not ended yet
still count, so that several updates a version admit what one would. Without losses, at oversample 1 and reuse 1, this
is AReaL's bound N <= (version + eta + 1) * batch on everything ever opened, and eta = 0 is synchronous RL.

Space is reserved at admission for the longest possible answers, k * (prompt + max_response_tokens) tokens and k *
max_attached_bytes, so an append within its reservation is never refused for space; what a member did not use returns
when it ends. The bytes of a capacity are 13 a token and those of attachments.
"""

from __future__ import annotations


def admissible_groups(live: int, k: int, eta: int, batch: int, oversample: float) -> int:
    """How many groups of k may be opened now."""
    return max(0, int((eta + 1) * batch * oversample + 1e-9) - live) // k


def reservation_tokens(k: int, prompt_tokens: int, max_response_tokens: int) -> int:
    """Tokens that a fresh group of k may come to hold."""
    return k * (prompt_tokens + max_response_tokens)
