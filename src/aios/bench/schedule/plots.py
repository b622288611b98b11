"""What is drawn of a run: bars and curves as plain data, and their pictures where matplotlib is.

Measures nothing. An arm has the same colour in every picture.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

WIDTH_IN = 7.5
DPI = 110
COLOURS = {
    "direct, an SDK's retries": "#c0392b",
    "direct, patient retries": "#e67e22",
    "direct, when told to": "#b7950b",
    "the engine's own queue": "#7f8c8d",
    "kernel, fifo": "#8e44ad",
    "kernel, program_fifo": "#6c3483",
    "kernel, plas": "#1f618d",
    "kernel, plas, told nothing": "#5dade2",
    "kernel, fair": "#16a085",
    "kernel, srpt": "#1e8449",
    "kernel, oracle": "#111111",
    "capacity": "#bbbbbb",
}
"""Of arms that come again and again, by the label up to a colon; others take the next of `OTHERS`."""
OTHERS = ("#d35400", "#2c3e50", "#f39c12", "#27ae60", "#c39bd3", "#d98880", "#909497", "#45b39d")


class Line(Struct, frozen=True):
    """One line of a picture: `x` and `y` have the same length."""

    label: str
    x: list[float]
    y: list[float]


class Curves(Struct, frozen=True):
    """Lines over a common axis; `bound` is a level that is drawn across."""

    title: str
    x: str
    y: str
    lines: list[Line]
    log: Literal["", "x", "y"] = ""
    bound: float | None = None
    bound_label: str = "bound"


class Bar(Struct, frozen=True):
    """`note` is written at its end."""

    label: str
    value: float
    note: str = ""


class Bars(Struct, frozen=True):
    """One bar for each arm; `bound` is a line that none should be short of, or long of."""

    title: str
    x: str
    bars: list[Bar]
    bound: float | None = None
    bound_label: str = "bound"


Plot = Curves | Bars


def draw(plots: Mapping[str, Plot], out: Path) -> list[Path]:
    """Draw each to `out/NAME.png`: the files. Raises `ImportError` where matplotlib is not."""
    import matplotlib
    from matplotlib.figure import Figure

    paths = []
    with matplotlib.rc_context({"font.size": 9}):
        for name, plot in plots.items():
            figure = Figure(figsize=(WIDTH_IN, _height(plot)), layout="constrained", dpi=DPI)
            axes = figure.add_subplot()
            _bars(axes, plot) if isinstance(plot, Bars) else _curves(axes, plot)
            axes.set_title(plot.title, fontsize=10, loc="left")
            axes.spines[["top", "right"]].set_visible(False)
            path = out / f"{name}.png"
            figure.savefig(path, metadata={"Software": None})
            paths.append(path)
    return paths


def _height(plot: Plot) -> float:
    return 0.9 + 0.3 * len(plot.bars) if isinstance(plot, Bars) else 4.0


def _bars(axes: Any, plot: Bars) -> None:
    labels = [bar.label for bar in plot.bars]
    bars = axes.barh(labels, [bar.value for bar in plot.bars], height=0.65, color=_colours(labels))
    axes.bar_label(bars, [f" {_number(bar.value)}  {bar.note}" for bar in plot.bars], fontsize=8)
    if plot.bound is not None:
        axes.axvline(plot.bound, color="black", linestyle=":", linewidth=1)
        axes.set_xlabel(f"{plot.x} (dotted: {plot.bound_label} {_number(plot.bound)})")
    else:
        axes.set_xlabel(plot.x)
    axes.margins(x=0.3)
    axes.invert_yaxis()


def _curves(axes: Any, plot: Curves) -> None:
    for line, colour in zip(plot.lines, _colours([line.label for line in plot.lines]), strict=True):
        axes.plot(line.x, line.y, label=line.label, linewidth=1.3, color=colour)
    if plot.bound is not None:
        axes.axhline(plot.bound, color="black", linestyle=":", linewidth=1, label=plot.bound_label)
    axes.set(xlabel=plot.x, ylabel=plot.y)
    if plot.log:
        axes.set(**{f"{plot.log}scale": "log"})
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)


def _colours(labels: Sequence[str]) -> list[str]:
    others = itertools.cycle(OTHERS)
    return [COLOURS.get(label.partition(":")[0]) or next(others) for label in labels]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
