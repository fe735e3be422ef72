"""What looks wrong in a run, in words, each with what to do about it: training health, and what a board shows."""

from __future__ import annotations

from collections.abc import Callable

from cli.board import Board

STALLED = 5.0
"""So many times the usual time without a version is a stall."""
FIRST_S = 600.0
"""So long without a first version is one: what is usual is not known yet, and servers may have to start."""
IDLE = 0.7
"""A learner that waits for more than this share of its time is starved,"""
SETTLED = 0.1
"""after this share of the versions: at first every learner waits."""


def alarms(board: Board) -> list[str]:
    """Sentences about a run as it is now; empty if nothing looks wrong."""
    found = board.health.sounding()
    for check in CHECKS:
        found += check(board)
    return found


def stalled(board: Board) -> list[str]:
    """No version for far longer than usual, or none at all."""
    usual, since = board.version_s, board.since_version_s
    most = FIRST_S if usual is None else max(10.0, STALLED * usual)
    if board.version >= board.versions or since <= most:
        return []
    pace = "none since the start" if usual is None else f"usually {usual:.1f} s"
    return [f"no new version for {since:.0f} s ({pace}); see the logs in the run's folder"]


def starved(board: Board) -> list[str]:
    """The learner mostly waits."""
    idle = board.idle_shares().get("learner", 0.0) - board.card_shares().get("learner", 0.0)
    if idle <= IDLE or not SETTLED * board.versions <= board.version < board.versions:
        return []
    remedy = "generation is the slower half; add generators where cores or cards are free, or raise schedule.eta"
    if board.card_shares():
        remedy = "generation takes the card's time; raise engine.slots, or give the generator a card of its own"
    return [f"the learner waits {idle:.0%} of the time for responses: {remedy}"]


def lengths_bent(board: Board) -> list[str]:
    """What is trained is shorter than what was started, and age is a reason: what has no signal may be longer too."""
    ended, trained = board.get("mean_ended_tokens"), board.get("mean_trained_tokens")
    if not ended or not trained or trained >= 0.8 * ended or not board.get("evicted_tokens_age"):
        return []
    return [f"trained responses have {trained:.0f} tokens, all that ended {ended:.0f}: long answers are lost; "
            "lower schedule.oversample"]  # fmt: skip


def lost(board: Board) -> list[str]:
    """Groups failed for reasons of infrastructure."""
    failed = board.get("failed") or 0.0
    return [f"{failed:.0f} responses failed with their groups; see the rewarders' logs"] if failed else []


def unread(board: Board) -> list[str]:
    """Generators that could not read new weights and have not read others since."""
    failed = [actor for actor, value in sorted(board.by_actor("install_failed").items()) if value]
    return [f"{', '.join(failed)} could not read new weights; see its log in the run's folder"] if failed else []


CHECKS: tuple[Callable[[Board], list[str]], ...] = (stalled, starved, lengths_bent, lost, unread)
