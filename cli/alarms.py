"""What looks wrong in a run, in words, each with what to do about it. Pure: from a board to sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cli.board import Board


@dataclass(frozen=True)
class Alarm:
    """A number that should stay on one side of a bound."""

    name: str
    bound: float
    above: bool
    """Whether it is the values above the bound that alarm."""
    says: str
    """`{value}` is the number."""


ALARMS = (
    Alarm("truncated_share", 0.05, True, "{value:.0%} of importance weights are cut: the policy moves too fast for "
          "what it trains on; lower trainer.update.rate or schedule.eta"),
    Alarm("masked_share", 0.10, True, "{value:.0%} of tokens are too old to train; lower schedule.eta, or let "
          "responses be shorter"),
    Alarm("skipped", 0.0, True, "a gradient was not finite and was skipped; lower trainer.update.rate"),
    Alarm("mismatch", 0.05, True, "engine and trainer disagree by {value:.3f} nats a token on the same weights; check "
          "that both run the same model and temperature"),
    Alarm("entropy", 0.02, False, "entropy is {value:.3f} nats a token: hardly anything new is tried; raise "
          "trainer.objective_settings.tau or use an earlier version"),
    Alarm("all_wrong_share", 0.8, True, "{value:.0%} of the trained groups are wrong throughout and teach little; "
          "begin with easier problems, or a better model"),
    Alarm("all_right_share", 0.8, True, "{value:.0%} of the trained groups are right throughout and teach little; "
          "harder problems would"),
    Alarm("install_failed", 0.0, True, "a generator could not read new weights; see its log in the run's folder"),
)  # fmt: skip
"""In the order in which they are shown."""

STALLED = 5.0
"""So many times the usual time without a version is a stall."""
IDLE = 0.5
"""A learner that waits for more than this share of its time is starved."""


def alarms(board: Board) -> list[str]:
    """Sentences about a run as it is now; empty if nothing looks wrong."""
    found = []
    for alarm in ALARMS:
        value = board.get(alarm.name)
        if value is not None and (value > alarm.bound if alarm.above else value < alarm.bound):
            found.append(alarm.says.format(value=value))
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
    idle = board.idle_shares().get("learner", 0.0)
    if idle <= IDLE or board.version_s is None:
        return []
    return [f"the learner waits {idle:.0%} of the time for responses: add generators, or raise schedule.eta"]


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


CHECKS: tuple[Callable[[Board], list[str]], ...] = (stalled, starved, lengths_bent, lost)
