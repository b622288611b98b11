"""Experiments in real time, run only when they are asked for: over the wire, and on the embedded model."""

import asyncio
from collections.abc import Callable
from typing import Literal

from msgspec import structs

from aios.bench.demo import Report, prepared
from aios.bench.schedule import measures, records, workloads
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.contenders import OURS, PATIENTLY, kernel
from aios.bench.schedule.play import virtual_trial
from aios.bench.schedule.wire import wire_trial
from aios.bench.schedule.workload import Workload, upstream

WIRE_SLOTS = 32


def wire(bench: Bench) -> None:
    """Calls of a second: how long slots are idle while calls wait, and that virtual time tells the same."""
    size = 64 if bench.quick else 400
    config = upstream(WIRE_SLOTS, tick_s=0.25)
    swarm = Workload(f"swarm of {size}, {WIRE_SLOTS} slots", workloads.react(bench.seed, size), config)
    chains = Workload("chains", workloads.chains(bench.seed, size), config)
    idle = []
    for workload in (swarm,) if bench.quick else (swarm, chains):
        for arm in (PATIENTLY, kernel("fifo"), OURS):
            bench.say(f"{workload.name}, {arm.name}: about {workload.bounds.makespan_s:.0f} s")
            trial = wire_trial(arm, workload, bench.seed)
            if bench.out:
                records.write(trial, bench.out / "ledgers")
            share = measures.idle_with_backlog(trial)
            virtual = measures.summary(virtual_trial(arm, workload, bench.seed))
            raw = measures.idle_with_backlog(structs.replace(trial, paused=[]))
            own = {
                "in virtual time s": round(virtual.makespan_s, 1),
                "idle with backlog": round(share, 5),
                "with pauses": round(raw, 5),
                "paused s": round(sum(until - since for since, until in trial.paused), 1),
            }
            bench.keep(arm, workload, trial, **own)
            if arm is not PATIENTLY:
                idle.append(share)
    bench.goal("idle_with_backlog", max(idle), 0.0)


def embedded(bench: Bench) -> None:
    """The paper's ablation on a model that really runs: agents with a task each, first come or in turn."""
    size = 16 if bench.quick else 100
    policies: tuple[Literal["fifo", "rr"], ...] = ("fifo", "rr")
    for policy in policies:
        bench.say(f"embedded model, {size} agents, {policy}")
        report = asyncio.run(_embedded(size, policy, bench.seed))
        bench.add(
            {
                "workload": f"embedded model, {size} agents",
                "arm": f"kernel, {policy}",
                "seed": bench.seed,
                "programs": size,
                "lost": size - report.finished,
                "makespan s": report.wall_s,
                "tokens/s": report.tokens_per_s,
                "switches": report.context_switches,
                "call wait mean ms": round(report.waiting_ms["mean"], 1),
                "call wait p90 ms": round(report.waiting_ms["p90"], 1),
                "call turnaround mean ms": round(report.turnaround_ms["mean"], 1),
            }
        )


async def _embedded(size: int, policy: Literal["fifo", "rr"], seed: int) -> Report:
    async with prepared(size, policy, 32, seed) as demo:
        await demo.run()
        return demo.report()


EXTRAS: dict[str, Callable[[Bench], None]] = {"wire": wire, "embedded": embedded}
