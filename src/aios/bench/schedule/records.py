"""What a run of a workload leaves behind: a record for each program and call, and the upstream's ledger.

Seconds count from the run's begin, as the ledger's do.
"""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, structs

from aios.bench.schedule.program import Speed
from aios.bench.upstream.ledger import Record, Report
from aios.bench.upstream.work import Work


class CallRecord(Struct):
    """A call as its agent sees it, and as the upstream served it last."""

    id: int
    program: int
    tenant: str
    n_in: int
    n_out: int
    created: float
    left: float | None = None
    """When the agent had its answer, or gave up."""
    is_lost: bool = False
    begun: float | None = None
    """When the upstream began the try that was answered, or the last one."""
    first: float | None = None
    """When that try had its first token."""
    ended: float | None = None
    """When the upstream was through with it."""


class ProgramRecord(Struct):
    """One program; `deadline` is a time of the run, as the others are."""

    id: int
    tenant: str
    kind: str
    arrival: float
    deadline: float | None = None
    end: float | None = None
    state: Literal["running", "done", "lost"] = "running"
    error: str = ""
    """Why it was lost."""


class Trial(Struct):
    """One workload, run against one arm with one seed."""

    workload: str
    arm: str
    seed: int
    slots: int
    """What the upstream can do at the same time; 0 where only rates bound it."""
    programs: list[ProgramRecord]
    calls: list[CallRecord]
    report: Report
    wall_s: float = 0.0
    """What the run took on this machine."""
    paused: list[tuple[float, float]] = []
    """Spans in which this machine stood still, or was about to catch up: of runs in real time."""
    notes: dict[str, Any] = {}
    """What else there is to say of the run."""


def call_record(work: Work, program: ProgramRecord, created: float) -> CallRecord:
    return CallRecord(work.id, program.id, program.tenant, work.n_in, work.n_out, created)


def join(calls: Iterable[CallRecord], report: Report, speed: Speed) -> None:
    """Write into each call when the upstream served it: the try that was answered, else the last one."""
    tries: dict[int, Record] = {}
    for record in report.calls:
        known = tries.get(record.id)
        if known is None or known.outcome != "done":
            tries[record.id] = record
    for call in calls:
        if (served := tries.get(call.id)) is not None and served.began_s is not None:
            call.begun = served.began_s
            call.ended = report.span_s if served.ended_s is None else served.ended_s
            call.first = min(call.ended, call.begun + call.n_in * speed.prefill_s)


def write(trial: Trial, folder: Path) -> Path:
    """Keep a trial as compressed JSON lines: its head, then programs, calls, and the upstream's own lines."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{trial.workload}.{trial.arm}.{trial.seed}".replace("/", "-").replace(" ", "-")
    report = trial.report
    bulky = {"programs", "calls", "report", "refusals", "curve"}
    counts = {key: value for key, value in structs.asdict(report).items() if key not in bulky}
    head = {key: value for key, value in structs.asdict(trial).items() if key not in bulky}
    lines: list[tuple[str, Any]] = [("trial", head), ("report", counts)]
    lines += [("program", program) for program in trial.programs]
    lines += [("call", call) for call in trial.calls]
    lines += [("try", record) for record in report.calls]
    lines += [("refusal", refusal) for refusal in report.refusals]
    lines += [("point", point) for point in report.curve]
    encode = msgspec.json.Encoder().encode
    path = folder / f"{name}.jsonl.gz"
    with gzip.GzipFile(path, "wb", compresslevel=5, mtime=0) as file:
        for kind, line in lines:
            file.write(encode({kind: line}) + b"\n")
    return path
