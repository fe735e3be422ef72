"""A board on the terminal (rich), and as one plain line where there is no terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.alarms import alarms
from cli.board import STATES, Board


def panel(board: Board, title: str) -> RenderableType:
    """The whole view."""
    parts: list[RenderableType] = [head(board), numbers(board), levels(board)]
    sentences = alarms(board)
    parts += [Text(f"! {sentence}", style="bold yellow") for sentence in sentences]
    if not sentences:
        parts.append(Text("nothing looks wrong", style="green"))
    return Panel(Group(*parts), title=title, title_align="left")


def head(board: Board) -> RenderableType:
    """How far it is, and how long it will take."""
    grid = Table.grid(padding=(0, 2))
    left = "" if board.left_s is None else f"{clock(board.left_s)} left"
    bar = ProgressBar(total=max(1, board.versions), completed=board.version, width=40)
    grid.add_row(f"version {board.version}/{board.versions}", bar, clock(board.elapsed_s), left)
    return grid


def numbers(board: Board) -> RenderableType:
    """Accuracy, reward, lengths, staleness, throughput, idle shares."""
    grid = Table.grid(padding=(0, 3))
    grid.add_row("accuracy", accuracy(board), "generated", f"{board.rate('decoded_tokens'):,.0f} tokens/s")
    grid.add_row("reward", shown(board, "reward", ".3f"), "trained", f"{board.rate('trained_tokens'):,.0f} tokens/s")
    grid.add_row("response", shown(board, "response_tokens", ".0f", " tokens"), "staleness", staleness(board))
    cards = board.card_shares()
    idle = "  ".join(
        f"{actor} {share:.0%}" + (f" ({cards[actor]:.0%} for the card)" if actor in cards else "")
        for actor, share in board.idle_shares().items()
    )
    return Group(grid, Text(f"idle      {idle or '-'}"))


def levels(board: Board) -> RenderableType:
    """Where the trajectories are."""
    told = [f"{name.removeprefix('state_')} {value:.0f}" for name in STATES if (value := board.get(name)) is not None]
    ends = [
        f"{name} {value:.0f}" for name in ("trained", "evicted", "failed") if (value := board.get(name)) is not None
    ]
    return Text(f"responses {'  '.join(told) or '-'}   |   {'  '.join(ends) or '-'}")


def accuracy(board: Board) -> str:
    """The newest held-out accuracy, and the first."""
    if not board.evaluations:
        return "-"
    (_, first, _), (_, sampled, greedy) = board.evaluations[0], board.evaluations[-1]
    return f"{sampled:.3f} sampled, {greedy:.3f} greedy (at first {first:.3f})"


def staleness(board: Board) -> str:
    """Ages against their bound, and the lag of tokens."""
    if board.get("age_max") is None:
        return "-"
    age, lag = shown(board, "age_mean", ".1f"), shown(board, "lag_mean", ".1f")
    return f"{age} versions (bound {board.eta}), tokens {lag} behind"


def shown(board: Board, name: str, spec: str, unit: str = "") -> str:
    """A number, or a dash."""
    value = board.get(name)
    return "-" if value is None else f"{value:{spec}}{unit}"


def clock(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def line(board: Board, evaluated: bool) -> str:
    """The same in one plain line."""
    parts = [f"{board.elapsed_s:5.0f} s  version {board.version}/{board.versions}"]
    if board.get("reward") is not None:
        parts.append(f"reward {shown(board, 'reward', '.2f')}  tokens {shown(board, 'response_tokens', '.0f')}")
        parts.append(f"lag {shown(board, 'lag_mean', '.1f')} (max {shown(board, 'lag_max', '.0f')})")
    if not board.version and board.get("decoded_tokens") is None:
        parts.append("starting")
    else:
        parts.append(f"generated {board.rate('decoded_tokens'):.0f}/s  trained {board.rate('trained_tokens'):.0f}/s")
    if evaluated:
        parts.append(f"held-out {accuracy(board)}")
    if board.left_s is not None:
        parts.append(f"{clock(board.left_s)} left")
    return "  ".join(parts)
