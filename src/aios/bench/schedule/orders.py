"""Whom to serve first: turnaround, the end of the tail, deadlines, and a trace of a real service."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from aios.bench.schedule import measures, pictures, trace, workloads
from aios.bench.schedule.arms import Arm, memory_folder
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.contenders import ENGINE, ORACLE, OURS, PATIENTLY, compete, kernel
from aios.bench.schedule.records import Trial
from aios.bench.schedule.workload import Workload, upstream
from aios.bench.schedule.workloads import SLOTS, SPEED
from aios.kernel.config import PolicyName

ORDERS: tuple[PolicyName, ...] = ("program_fifo", "mlfq", "gittins", "srpt", "virtual_finish")


def heavy(bench: Bench) -> None:
    """Heavy-tailed programs that arrive at random: whom to serve first.

    Under a load above 1 the queue grows for as long as programs arrive, here for about forty minutes,
    and with it the distance between all orders: from first come to the best, and from that to an oracle.
    """
    worst = 1.0
    for load in (1.1,) if bench.quick else workloads.LOADS:
        seeds = bench.seeds if load > 0.9 else bench.seeds[:1]
        ratios = [_heavy(bench, load, seed) for seed in seeds]
        over_oracle, gain, tail = (statistics.fmean(part) for part in zip(*ratios, strict=True))
        worst = max(worst, over_oracle)
    bench.goal("turnaround_over_oracle", worst, 1.0)
    bench.goal("turnaround_gain", gain, 1.0)
    bench.goal("tail_over_fcfs", tail, 1.0)


def _heavy(bench: Bench, load: float, seed: int) -> tuple[float, float, float]:
    """Ours over the oracle, first come over ours, both by the mean; the 99th percentile over first come's."""
    slots, size = (8, 500) if bench.quick else (32, 6000 if load > 0.9 else 2000)
    workload = Workload(f"heavy at {load}", workloads.heavy(seed, size, load, slots), upstream(slots))
    arms: list[Arm] = [kernel("fifo"), OURS, ORACLE]
    if load > 1 and seed == bench.seed and not bench.quick:
        arms += [ENGINE, PATIENTLY, *map(kernel, ORDERS)]
    found = compete(bench, workload, arms, seed)
    if load > 1 and seed == bench.seed:
        _draw(bench, workload, [arm.name for arm in arms[:3]], found)
    first, ours, best = (measures.summary(found[arm.name]) for arm in arms[:3])
    return ours.mean_s / best.mean_s, first.mean_s / ours.mean_s, ours.p99_s / first.p99_s


def _draw(bench: Bench, workload: Workload, main: Sequence[str], found: Mapping[str, Trial]) -> None:
    title = f"{len(workload.programs):,} heavy-tailed programs at load 1.1, {workload.upstream.slots} slots"
    bench.draw("heavy-means", pictures.means(title, found.values(), workload.bounds.mean_turnaround_s))
    bench.draw("heavy-turnaround", pictures.turnarounds(title, [found[arm] for arm in main]))


def mix(bench: Bench) -> None:
    """Chats, tool users and fan-outs."""
    size = 200 if bench.quick else 1000
    policies: tuple[PolicyName, ...] = ("fifo", "program_fifo", "plas", "atlas", "srpt")
    for load in (0.95,) if bench.quick else (0.95, 1.1):
        workload = Workload(f"mix at {load}", workloads.mix(bench.seed, size, load), upstream())
        found = compete(bench, workload, [ENGINE, *map(kernel, policies), ORACLE])
    title = f"{size:,} chats, tool users and fan-outs at load {load}, {SLOTS} slots"
    bench.draw("mix", pictures.means(title, found.values(), workload.bounds.mean_turnaround_s))


def chains(bench: Bench) -> None:
    """Chains of very different length: the end of the tail."""
    size = 300 if bench.quick else 600
    declared, learnt = [], []
    policies: tuple[PolicyName, ...] = ("fifo", "program_fifo", "plas")
    for seed in bench.seeds:
        workload = Workload("chains", workloads.chains(seed, size), upstream())
        says = kernel("critical_path", says="steps", note="steps declared")
        found = compete(bench, workload, [*map(kernel, policies), says], seed)
        declared.append(measures.makespan(found[says.name]) / workload.bounds.makespan_s)
        after = _learnt(bench, workload, seed, size)
        learnt.append(measures.makespan(after) / workload.bounds.makespan_s)
        if seed == bench.seed:
            title = f"{size} chains, all at once, {SLOTS} slots"
            drawn = [found[kernel("fifo").name], found[OURS.name], found[says.name], after]
            bench.draw("chains", pictures.slots_used(title, drawn, 5.0, workload.upstream))
    bench.goal("makespan_declared", max(declared), 1.0)
    bench.goal("makespan_learnt", max(learnt), 1.0)


def _learnt(bench: Bench, workload: Workload, seed: int, size: int) -> Trial:
    """On the data folder of a kernel that has seen as many such programs."""
    with tempfile.TemporaryDirectory(prefix="aios-learnt-", dir=memory_folder()) as folder:
        arm = kernel("critical_path", note="steps learnt", data=Path(folder))
        before = Workload("chains, to learn from", workloads.chains(seed + 1000, size), upstream())
        compete(bench, before, [arm], seed)
        return compete(bench, workload, [arm], seed)[arm.name]


CACHE_TOKENS = 120_000
"""Of each replica: room for about forty conversations, of some hundred that go on at the same time."""


def prefixes(bench: Bench) -> None:
    """Four replicas with a prefix cache each: who keeps conversations where their beginning is cached.

    `sticky` is what a load balancer does that hashes the conversation. The kernel that is blind has the same
    placement, but each call looks to it like a new conversation.
    """
    size = 200 if bench.quick else 1500
    arms: list[Arm] = [
        structs.replace(ENGINE, name="engine queues, random"),
        structs.replace(ENGINE, name="engine queues, sticky", is_sticky=True),
        kernel("fifo", note="blind to caches", is_forgetful=True),
        kernel("fifo"),
        structs.replace(OURS, name="kernel, plas, blind to caches", is_forgetful=True),
        OURS,
    ]
    for load in (0.7,) if bench.quick else (0.5, 0.7, 0.9):
        programs = workloads.prefixes(bench.seed, size, load, 4 * 8)
        config = upstream(8, cache_tokens=CACHE_TOKENS)
        workload = Workload(f"shared beginnings at {load}", programs, config, replicas=4)
        found = compete(bench, workload, arms)
        for row, trial in zip(bench.rows[-len(arms) :], found.values(), strict=True):
            row["cached"] = round(measures.cached(trial), 4)
        title = f"{size:,} conversations at load {load}, 4 replicas of 8 slots with a cache each"
        bench.draw("prefixes", pictures.means(title, found.values(), workload.bounds.mean_turnaround_s))


def deadlines(bench: Bench) -> None:
    """How many are through in time."""
    size = 150 if bench.quick else 1000
    policies: tuple[PolicyName, ...] = ("fifo", "plas", "edf", "llf")
    for load in (0.95, 1.1):
        workload = Workload(f"deadlines at {load}", workloads.deadlines(bench.seed, size, load), upstream())
        found = compete(
            bench, workload, [*map(kernel, policies), kernel("llf", says="work", note="work declared")]
        )
        for row, trial in zip(bench.rows[-len(found) :], found.values(), strict=True):
            row["in time"] = round(measures.on_time(trial), 4)
        shares = {arm: measures.on_time(trial) for arm, trial in found.items()}
        title = f"{size:,} programs with deadlines at load {load}, {SLOTS} slots"
        bench.draw(f"deadlines-{load}", pictures.shares(title, "share that is through in time", shares))


def recorded(bench: Bench) -> None:
    """A trace of a real service, where there is one."""
    path = trace.found()
    if path is None:
        bench.say(f"the trace is left out: there is no {trace.FILE}; BENCH_DATA may name its folder")
        return
    requests = trace.read(path, 300 if bench.quick else 3000)
    for load in (0.95,) if bench.quick else (0.8, 0.95, 1.1):
        programs = trace.played(requests, SPEED, SLOTS, load)
        workload = Workload(f"trace at {load}", programs, upstream())
        compete(bench, workload, [ENGINE, kernel("fifo"), OURS, ORACLE])
