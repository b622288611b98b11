"""What an experiment leaves for a reader: a page of Markdown tables, with its plots. Measures nothing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aios.bench.report import environment
from aios.bench.schedule import plots
from aios.bench.schedule.bench import Bench, Section


def write(section: Section, bench: Bench, out: Path) -> list[str]:
    """Write the page and its plots to `out`; what is to be said of it."""
    out.mkdir(parents=True, exist_ok=True)
    page = out / f"{section.name}.md"
    page.write_text(tables(section, bench), "utf-8")
    try:
        drawn = plots.draw(section.plots, out)
    except ImportError:
        return [f"wrote {page}; plots are left out: matplotlib is not installed (pip install 'aios[dev]')"]
    return [f"wrote {page} and {len(drawn)} plots"]


def tables(section: Section, bench: Bench) -> str:
    """How it was made, goals, then one table for each workload."""
    parts = [f"# {section.name}", section.about, _origin(section, bench), *_counts(section)]
    goals = [
        {"goal": key.removeprefix("schedule."), "value": goal.value, "bound or rival": goal.bound}
        for key, goal in bench.goals.items()
        if key in section.goals
    ]
    if goals:
        parts.append(markdown(goals))
    parts += [f"![{plot.title}]({name}.png)" for name, plot in section.plots.items()]
    for workload in dict.fromkeys(row["workload"] for row in section.rows):
        rows = [row for row in section.rows if row["workload"] == workload]
        parts += [
            f"## {workload[:1].upper()}{workload[1:]}",
            markdown(rows, without=["experiment", "workload"]),
        ]
    return "\n\n".join(parts) + "\n"


def _origin(section: Section, bench: Bench) -> str:
    how = f"aios bench schedule --only {section.name} --seed {bench.seed}{' --quick' if bench.quick else ''}"
    how += f" --seeds {bench.num_seeds}" if bench.num_seeds else ""
    where = environment()
    return (
        f"`{how}`, commit {where['commit'] or 'unknown'}, {where['cores']} cores of {where['cpu']}, "
        f"Python {where['python']}."
    )


def _counts(section: Section) -> list[str]:
    """What is counted over all runs of the kernel in it."""
    found = []
    if section.num_bounded:
        found.append(
            f"Runs of the kernel above W/C + max CP: {section.num_above_graham} of {section.num_bounded}."
        )
    if section.rejections:
        found.append(
            f"The kernel's refused tries a call after 30 s, in the worst run: {max(section.rejections):.4f}."
        )
    return [" ".join([f"Programs the kernel lost: {section.num_lost}.", *found])] if found else []


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
