"""What a history is made of: endpoints and cores, tenants, policy and manners, all drawn from its seed."""

import random
from pathlib import Path
from typing import get_args

from msgspec import Struct, structs

from aios.abi.syscalls import Budget
from aios.kernel.config import (
    Config,
    ContextConfig,
    CoreConfig,
    MemoryConfig,
    PolicyName,
    RetryConfig,
    SchedulerConfig,
    TenantConfig,
    ToolConfig,
)
from simulated.endpoint import Move, Outage, Plan

POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)


class Scenario(Struct, frozen=True, kw_only=True):
    """Where, by whom and how the kernel is used. Times are virtual seconds."""

    config: Config
    plans: dict[str, Plan]
    num_programs: int
    spread_s: float
    """Over which programs arrive."""
    pause_s: float
    """Between two rounds of a program's calls, at most."""
    grid_s: float
    """Who waits, waits for multiples of this, so that much falls on one moment; 0 for no such grid."""
    width: int
    """Calls that a program makes at once, at most."""
    meddling_s: float
    """Between two interventions from outside, on average."""
    branching: float
    """Chance of a process to spawn a child in each of its rounds."""
    budgeted: float
    """Chance of a process to have a budget of its own."""
    timed: float
    """Chance of a call to have a deadline."""
    lengths: tuple[int, ...]
    """Of answers, in tokens."""
    closes_at: float | None
    """When the kernel is shut down in the middle of it all; None for at the end."""
    write_s: float
    """What the store takes to write."""


def scenario_of(seed: int, data: Path, policy: PolicyName | None = None) -> Scenario:
    """What the history of `seed` is made of. Policies take turns, unless one is given."""
    draw = random.Random(f"scenario {seed}")
    plans, cores = _cores(draw)
    spread_s = draw.choice((0.0, 0.0, 1.0, 5.0))
    config = Config(
        data=data,
        seed=seed,
        cores=cores,
        scheduler=SchedulerConfig(
            policy=policy or POLICIES[seed % len(POLICIES)],
            share=draw.choice((None, None, "fair", "none")),
            quantum=draw.choice((1, 4, 16)),
            max_waiting=draw.choice((4, 10, 1000, 1000)),
            aging_s=draw.choice((1.0, 10.0)),
            level_tokens=draw.choice((5.0, 20.0, 100.0)),
            patience=draw.choice((0.13, 1.1, 10.3)),
        ),
        retry=RetryConfig(max_attempts=draw.choice((1, 3, 8)), give_up_s=draw.choice((3.0, 30.0, 300.0))),
        tenants=_tenants(draw),
        context=ContextConfig(max_disk_bytes=0, max_snapshot_bytes=draw.choice((0, 1000, 1 << 30, 1 << 30))),
        memory=MemoryConfig(max_parallel=draw.choice((1, 2))),
        tools=ToolConfig(max_parallel=draw.choice((1, 2, 8))),
    )
    return Scenario(
        config=config,
        plans=plans,
        num_programs=draw.choice((4, 8, 12)),
        spread_s=spread_s,
        pause_s=draw.choice((0.0, 0.0, 0.5, 3.0)),
        grid_s=draw.choice((0.0, 0.05)),
        width=draw.choice((1, 2, 4)),
        meddling_s=draw.choice((0.3, 1.0, 5.0)),
        branching=draw.choice((0.0, 0.2, 0.5)),
        budgeted=draw.choice((0.0, 0.2, 0.5)),
        timed=draw.choice((0.0, 0.2)),
        lengths=draw.choice(((1, 3, 8), (8, 20, 60), (1, 5, 40, 100))),
        closes_at=draw.choice((None, None, None, spread_s + draw.uniform(0.5, 10.0))),
        write_s=draw.choice((0.0, 0.01)),
    )


def _cores(draw: random.Random) -> tuple[dict[str, Plan], tuple[CoreConfig, ...]]:
    is_calm = draw.random() < 0.25
    plans, cores = {}, []
    for number in range(draw.choice((1, 1, 2, 2, 3))):
        plan = _plan(draw, number, is_calm=is_calm)
        name = f"core-{number}"
        plans[name] = plan if is_calm else _with_troubles(draw, plan)
        cores.append(_core(draw, name, plan))
    if len(cores) > 1 and draw.random() < 0.8:
        cores[0] = structs.replace(cores[0], fallback=(cores[1].name,))
        if not is_calm:  # So that the other has something to stand in for.
            plans["core-0"] = structs.replace(plans["core-0"], outages=(_outage(draw),))
    return plans, tuple(cores)


def _plan(draw: random.Random, number: int, *, is_calm: bool) -> Plan:
    return Plan(
        model=draw.choice(("model-a", f"model-{number}")),
        capacity=draw.choice((1, 1, 2, 2, 3)),
        memory=0 if is_calm else draw.choice((0, 0, 100, 500)),
        snapshot_kind=draw.choice(("state", "state", "state", "none")),
        token_s=draw.choice((0.01, 0.05)),
        prefill_s=draw.choice((0.0, 0.1, 1.0)),
        piece=draw.choice((1, 1, 8)),
        requests_per_minute=0 if is_calm else draw.choice((0, 0, 6, 30)),
        tells=draw.random() < 0.5,
        retry_after=draw.choice((None, 0.5, 5.0)),
    )


def _core(draw: random.Random, name: str, plan: Plan) -> CoreConfig:
    """As its owner sees it: each limit is known, or has to be found out."""
    return CoreConfig(
        name=name,
        slots=draw.choice((plan.capacity, plan.capacity, 0)),
        tokens_in_flight=draw.choice((0, plan.memory or 300)),
        requests_per_minute=draw.choice((0, plan.requests_per_minute)),
        price_in=draw.choice((0.0, 1000.0)),
        price_out=draw.choice((0.0, 2000.0)),
    )


def _with_troubles(draw: random.Random, plan: Plan) -> Plan:
    def now_and_then(*chances: float) -> float:
        return draw.choice(chances) if draw.random() < 0.4 else 0.0

    return structs.replace(
        plan,
        failing=now_and_then(0.02, 0.2, 0.7),
        cutting=now_and_then(0.1, 0.4),
        hanging=now_and_then(0.02, 0.1),
        refusing=now_and_then(0.05),
        losing=now_and_then(0.2, 1.0),
        stop_s=now_and_then(0.2, 2.0),
        outages=tuple(_outage(draw) for _ in range(draw.choice((0, 1, 2)))),
        moves=tuple(_move(draw, at) for at in range(draw.choice((0, 0, 0, 3)))),
    )


def _outage(draw: random.Random) -> Outage:
    begin = draw.uniform(0, 15)
    kind = draw.choice(("down", "down", "hang", "exhausted", "crowded"))
    return Outage(begin, begin + draw.choice((1.0, 10.0, 60.0)), kind)


def _move(draw: random.Random, number: int) -> Move:
    return Move(5.0 * number + draw.uniform(0, 5), draw.choice((0.5, 1.0, 2.0)))


def _tenants(draw: random.Random) -> dict[str, TenantConfig]:
    names = ("default", "blue", "red")[: draw.choice((1, 2, 3))]
    return {name: TenantConfig(weight=draw.choice((1.0, 1.0, 3.0)), budget=_purse(draw)) for name in names}


def _purse(draw: random.Random) -> Budget:
    return draw.choice(
        (
            *(Budget(), Budget(), Budget(), Budget(), Budget()),
            Budget(tokens=draw.choice((500, 3000))),
            Budget(calls=draw.choice((10, 50))),
            Budget(money=draw.choice((0.5, 5.0))),
            Budget(wall_s=draw.choice((5.0, 20.0))),
        )
    )
