"""Many agents at once before limits: slots, rates, memory, capacity that changes, an upstream that fails."""

from aios.bench.schedule import measures, pictures, workloads
from aios.bench.schedule.arms import Arm
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.contenders import ENGINE, OURS, PATIENTLY, SDK, WHEN_TOLD, compete, kernel
from aios.bench.schedule.program import Program
from aios.bench.schedule.records import Trial
from aios.bench.schedule.workload import Workload, upstream
from aios.bench.schedule.workloads import SLOTS
from aios.bench.upstream.config import Stage

SWARM_SLOTS = 64
MAX_HERD = 500
"""Agents that all come back when they are told to, at the same moment: their tries grow with the square."""


def swarm(bench: Bench) -> None:
    """N agents of five steps, all at once: over slots, and over a rate limit."""
    sizes = (50, 250) if bench.quick else (250, 500, 1000, 2000)
    for size in sizes:
        programs = workloads.react(bench.seed, size)
        slots = Workload(f"swarm of {size}, slots", programs, upstream(SWARM_SLOTS))
        _swarm(bench, slots, "slots", is_last=size == sizes[-1])
        _swarm(bench, _rated(f"swarm of {size}, rate", programs), "rate", is_last=size == sizes[-1])


def _rated(name: str, programs: list[Program]) -> Workload:
    """About as much in a minute as the slots could do."""
    config = upstream(0, mode="rate", rpm=60 * SWARM_SLOTS // 4, tpm=60 * SWARM_SLOTS * 250)
    return Workload(name, programs, config)


def _swarm(bench: Bench, workload: Workload, mode: str, *, is_last: bool) -> None:
    told, untold = kernel("plas"), kernel("plas", "nothing")
    rivals: list[Arm] = [SDK, PATIENTLY, kernel("fifo")]
    if mode == "slots":
        rivals.append(ENGINE)
    elif len(workload.programs) <= MAX_HERD:
        rivals.append(WHEN_TOLD)
    found = compete(bench, workload, [*rivals, told, untold])
    if not is_last:
        return
    bench.draw(f"swarm-{mode}", pictures.makespans(workload.name, found.values(), workload.bounds.makespan_s))
    ours = found[told.name]
    done = 1 - measures.num_lost(ours) / len(ours.programs)
    bench.goal(f"finished_{mode}", done, 1 - measures.num_lost(found[SDK.name]) / len(ours.programs))
    if mode == "slots":
        bench.goal("cheap_429", measures.makespan(found[PATIENTLY.name]) / measures.makespan(ours), 1.0)
    _limits_used(bench, workload, found[untold.name])


def _limits_used(bench: Bench, workload: Workload, trial: Trial) -> None:
    """Of what the upstream could do between 30 s and the last time that all slots had something to do."""
    until, config = measures.backlog_end(trial), workload.upstream
    if until <= 2 * measures.SETTLED_S:
        return
    if config.mode == "rate":
        used = trial.report.rate_used(config.rpm, config.tpm, measures.SETTLED_S, until)
    else:
        used = trial.report.capacity_used(measures.SETTLED_S, until)
    known = bench.goals.get("schedule.limits_used")
    bench.goal("limits_used", min(used, known.value if known else 1.0), 1.0)


def exhaustion(bench: Bench) -> None:
    """Where a call too many costs something: memory that overflows, rejections that burn quota.

    The goal takes the paper's case, many agents before one accelerator with room for two long prompts. With
    room for many calls the oldest always get through, and little is lost; that table is there as well.
    """
    swarm, crowd = (200, 100) if bench.quick else (2000, 1000)
    two = upstream(2, mode="memory", memory_tokens=8_000, tick_s=0.1)
    many = upstream(SLOTS, mode="memory", memory_tokens=20_000, tick_s=0.1)
    burn = upstream(0, mode="burn", rpm=600, tpm=400_000, burst_s=10.0)
    calls = workloads.even(bench.seed, crowd, 3, 500, 200)
    scarce = [
        Workload(f"memory for two, {swarm} agents", workloads.even(bench.seed, swarm, 1, 3000, 100), two),
        Workload(f"burning quota, {crowd} agents", calls, burn),
    ]
    ratios = [
        _over_trial_and_error(bench, workload, name)
        for workload, name in zip(scarce, ("memory-two", "burn"), strict=True)
    ]
    _over_trial_and_error(bench, Workload(f"memory for many, {crowd} agents", calls, many), "memory-many")
    bench.goal("over_trial_and_error", min(ratios), 1.0)


def _over_trial_and_error(bench: Bench, workload: Workload, name: str) -> float:
    found = compete(bench, workload, [SDK, PATIENTLY, OURS, kernel("plas", "nothing")])
    bench.draw(name, pictures.makespans(workload.name, found.values(), workload.bounds.makespan_s))
    return measures.makespan(found[PATIENTLY.name]) / measures.makespan(found[OURS.name])


CHANGES = ((120.0, 0.5), (240.0, 1.0), (360.0, 2.0), (480.0, 0.0), (510.0, 1.0))
"""When slots are halved, doubled, doubled again, out for 30 s, back; over what they are at first."""


def shift(bench: Bench) -> None:
    """Capacity that changes, with nothing said of it."""
    slots = 8 if bench.quick else 32
    stages = tuple(Stage(at_s, round(part * slots)) for at_s, part in CHANGES)
    programs = workloads.even(bench.seed, 28 * slots, 30, 500, 200)
    workload = Workload("shift", programs, upstream(slots, mode="shift", stages=stages, tick_s=0.5))
    ours = kernel("plas", "nothing")
    found = compete(bench, workload, [PATIENTLY, ours])
    ends = [*(at_s for at_s, _ in CHANGES[1:]), 630.0]
    times = [
        measures.resettle_s(found[ours.name], at_s, until)
        for (at_s, part), until in zip(CHANGES, ends, strict=True)
        if part
    ]
    bench.rows[-1]["resettle s"] = " ".join(f"{time:.0f}" for time in times)
    bench.goal("resettle_seconds", max(times), 0.0)
    title = "capacity halved, back, doubled, out for 30 s, and nobody was told"
    bench.draw("shift", pictures.slots_used(title, found.values(), 5.0, workload.upstream))


def failures(bench: Bench) -> None:
    """An upstream of which one try in twenty fails and one in fifty breaks off."""
    size = 100 if bench.quick else 500
    config = upstream(error_share=0.05, cut_share=0.02, seed=bench.seed, tick_s=0.5)
    workload = Workload("failures", workloads.heavy(bench.seed, size, 0.8), config)
    compete(bench, workload, [SDK, PATIENTLY, OURS])


def ablation(bench: Bench) -> None:
    """The paper's: no kernel, FIFO, round robin, over one model that can be interrupted."""
    size = 50 if bench.quick else 250
    workload = Workload(
        f"ablation, {size} agents", workloads.react(bench.seed, size), upstream(16, tick_s=0.1)
    )
    interrupted = kernel("rr", can_interrupt=True, note="quantum 32")
    compete(bench, workload, [SDK, PATIENTLY, kernel("fifo"), interrupted, OURS])
