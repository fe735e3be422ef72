"""The pictures of a report, as PNG bytes. The only door to matplotlib, which draws without a display (Agg)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from actors.kernel.operations import NS
from actors.timeline import Slice, Timeline, lanes

Series = dict[str, tuple[Sequence[float], Sequence[float]]]
"""Name -> (x, y)."""
COLOURS = {"update": "#d95f02", "checkpoint": "#7570b3", "publish": "#1b9e77", "install": "#e7298a", "wait": "#cccccc",
           "lease": "#66a61e", "score": "#a6761d"}  # fmt: skip
SHADES = ("#2b5c8a", "#4f8fc0", "#86b8dc", "#3d7a6d")
"""Of segments, by the version that was newest when they began."""
MOST_SLICES = 4000
"""More are not drawn; a picture shows no more."""


def lines(title: str, axes: tuple[str, str], series: Series) -> bytes:
    """Curves over one axis."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    plot = figure.add_subplot()
    for name, (xs, ys) in series.items():
        plot.plot(xs, ys, label=name, marker="." if len(xs) < 30 else "", linewidth=1.4)
    plot.set(title=title, xlabel=axes[0], ylabel=axes[1])
    plot.grid(alpha=0.3)
    if len(series) > 1:
        plot.legend(fontsize=8)
    return png(figure)


def bars(title: str, axis: str, parts: dict[str, dict[str, float]]) -> bytes:
    """Stacked horizontal bars: row -> part -> length."""
    figure = Figure(figsize=(7, 0.9 + 0.45 * max(1, len(parts))), layout="constrained")
    plot = figure.add_subplot()
    names = list(dict.fromkeys(name for row in parts.values() for name in row))
    left = dict.fromkeys(parts, 0.0)
    for number, name in enumerate(names):
        widths = [row.get(name, 0.0) for row in parts.values()]
        plot.barh(list(parts), widths, left=list(left.values()), label=name, color=COLOURS.get(name, f"C{number}"))
        left = {row: left[row] + width for row, width in zip(parts, widths, strict=True)}
    plot.invert_yaxis()
    plot.set(title=title, xlabel=axis)
    plot.legend(fontsize=8, ncols=4)
    return png(figure)


def timelines(named: Sequence[tuple[str, Timeline]]) -> bytes:
    """Timelines one above the other, each from its own beginning over the same number of versions."""
    rows = [sorted({(one.actor, lane) for one, lane in drawn(line)}) for _, line in named]
    heights = [min(5.0, max(2.0, 0.07 * len(each) + 0.8)) for each in rows]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    plots = figure.subplots(len(named), 1, height_ratios=heights, squeeze=False)[:, 0]
    for plot, (name, line), places in zip(plots, named, rows, strict=True):
        height, middles = spread(places)
        for one, lane in drawn(line):
            colour = (
                SHADES[one.version % len(SHADES)] if one.category == "segment" else COLOURS.get(one.category, "#888")
            )
            width = max(one.end_ns - one.begin_ns, line.end_ns // 2000) / NS
            plot.barh(height[one.actor, lane], width, left=one.begin_ns / NS, height=0.9, color=colour)
        plot.set_yticks(list(middles.values()), list(middles), fontsize=8)
        plot.invert_yaxis()
        plot.set(title=name, xlabel="seconds")
    return png(figure)


def spread(places: Sequence[tuple[str, int]]) -> tuple[dict[tuple[str, int], float], dict[str, float]]:
    """Where each row (actor, lane) is drawn, and the middle of each actor's rows, far enough apart for their names."""
    height: dict[tuple[str, int], float] = {}
    middles: dict[str, float] = {}
    least, top = 0.07 * len(places), 0.0
    for actor in dict.fromkeys(actor for actor, _ in places):
        mine = [place for place in places if place[0] == actor]
        block = max(len(mine), least)
        middles[actor] = top + (block - 1) / 2
        for number, place in enumerate(mine):
            height[place] = middles[actor] + number - (len(mine) - 1) / 2
        top += block
    return height, middles


def drawn(line: Timeline) -> list[tuple[Slice, int]]:
    """The slices that a picture shows, with their rows: what took time, without lives and single scores."""
    shown = [one for one in line.slices if one.category not in ("life", "score", "publish")]
    shown = sorted(shown, key=lambda one: one.begin_ns)[:MOST_SLICES]
    return list(zip(shown, lanes(shown), strict=True))


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out)
    return out.getvalue()
