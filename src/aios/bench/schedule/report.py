"""What a run leaves for a reader: Markdown tables, and plots where matplotlib is. Measures nothing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aios.bench.schedule.bench import Bench, Line

TABLES = "schedule.md"


def write(bench: Bench, out: Path) -> list[str]:
    """Write tables and plots to `out`; what is to be said of it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLES).write_text(tables(bench), "utf-8")
    return [f"tables are in {out / TABLES}", *_draw_all(bench, out)]


def tables(bench: Bench) -> str:
    """Goals first, then one table for each workload."""
    goals = [
        {"goal": key.removeprefix("schedule."), "value": goal.value, "bound or rival": goal.bound}
        for key, goal in bench.goals.items()
    ]
    parts = ["## Goals", markdown(goals)]
    for workload in dict.fromkeys(row["workload"] for row in bench.rows):
        rows = [row for row in bench.rows if row["workload"] == workload]
        parts += [f"## {workload[:1].upper()}{workload[1:]}", markdown(rows, without=["workload"])]
    return "\n\n".join(parts) + "\n"


def markdown(rows: Sequence[dict[str, Any]], without: Iterable[str] = ()) -> str:
    """A table of these rows; a column that none of them has a value in is left out."""
    skipped = set(without)
    columns = [
        column
        for column in dict.fromkeys(column for row in rows for column in row)
        if column not in skipped and any(row.get(column) is not None for row in rows)
    ]
    lines = [columns, ["---"] * len(columns)]
    lines += [[_text(row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


# ---- plots


def _draw_all(bench: Bench, out: Path) -> list[str]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ["plots are left out: matplotlib is not installed (pip install 'aios[dev]')"]
    drawn = []
    for plot, lines in bench.series.items():
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        _DRAW.get(plot.partition(",")[0], _lines)(axes, lines)
        axes.set_title(plot)
        path = out / f"{plot.replace(', ', '-').replace(' ', '-')}.svg"
        figure.savefig(path, metadata={"Date": None})
        drawn.append(f"drew {path}")
    return drawn


def _lines(axes: Any, lines: Sequence[Line]) -> None:
    for line in lines:
        axes.plot(line.x, line.y, label=line.label, linewidth=1.2)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _turnaround(axes: Any, lines: Sequence[Line]) -> None:
    _lines(axes, lines)
    axes.set(xscale="log", xlabel="turnaround, seconds", ylabel="share of programs that are through")


def _makespan(axes: Any, lines: Sequence[Line]) -> None:
    """One bar for each arm, with how many it lost: a short bar of an arm that loses its agents is no win."""
    bars = axes.barh([line.label for line in lines], [line.x[0] for line in lines])
    axes.bar_label(bars, [f"{line.y[0]:.0f} lost" if line.y[0] else "" for line in lines], fontsize=8)
    axes.set(xlabel="makespan, seconds")
    axes.invert_yaxis()


def _shift(axes: Any, lines: Sequence[Line]) -> None:
    _lines(axes, lines)
    axes.set(xlabel="seconds", ylabel="slots in use")


def _service(axes: Any, lines: Sequence[Line]) -> None:
    _lines(axes, lines)
    axes.set(xlabel="seconds", ylabel="tokens of service")


_DRAW = {"turnaround": _turnaround, "makespan": _makespan, "shift": _shift, "service": _service}
