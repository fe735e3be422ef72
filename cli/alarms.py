"""What looks wrong in a run, in words, each with what to do about it: training health, and what a board shows."""

from __future__ import annotations

from collections.abc import Callable

from cli.board import Board

STALLED = 5.0
"""So many times the usual time without a version is a stall."""
IDLE = 0.5
"""A learner that waits for more than this share of its time is starved."""


def alarms(board: Board) -> list[str]:
    """Sentences about a run as it is now; empty if nothing looks wrong."""
    found = board.health.sounding()
    for check in CHECKS:
        found += check(board)
    return found


def stalled(board: Board) -> list[str]:
    """No version for far longer than usual."""
    usual = board.version_s
    if usual is None or board.version >= board.versions or board.since_version_s <= max(10.0, STALLED * usual):
        return []
    return [
        f"no new version for {board.since_version_s:.0f} s (usually {usual:.1f} s); see the logs in the run's folder"
    ]


def starved(board: Board) -> list[str]:
    """The learner mostly waits."""
    idle = board.idle_shares().get("learner", 0.0) - board.card_shares().get("learner", 0.0)
    if idle <= IDLE or board.version_s is None:
        return []
    remedy = "add generators, or raise schedule.eta"
    if board.card_shares():
        remedy = "generation takes the card's time; raise engine.slots, or give the generator a card of its own"
    return [f"the learner waits {idle:.0%} of the time for responses: {remedy}"]


def lengths_bent(board: Board) -> list[str]:
    """What is trained is shorter than what was started."""
    ended, trained = board.get("mean_ended_tokens"), board.get("mean_trained_tokens")
    if not ended or not trained or trained >= 0.8 * ended:
        return []
    return [f"trained responses have {trained:.0f} tokens, all that ended {ended:.0f}: long answers are lost; "
            "lower schedule.oversample"]  # fmt: skip


def lost(board: Board) -> list[str]:
    """Groups failed for reasons of infrastructure."""
    failed = board.get("failed") or 0.0
    return [f"{failed:.0f} responses failed with their groups; see the rewarders' logs"] if failed else []


def unread(board: Board) -> list[str]:
    """A generator could not read new weights."""
    failed = board.get("install_failed") or 0.0
    return ["a generator could not read new weights; see its log in the run's folder"] if failed else []


CHECKS: tuple[Callable[[Board], list[str]], ...] = (stalled, starved, lengths_bent, lost, unread)
