"""Every workload, drawn from a seed: what programs arrive when, and what each of their calls takes.

Open workloads arrive at a load: the share of the slots' time that their calls need. Knows no upstream but its
speed, and no scheduler.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from aios.bench.schedule.program import Program, Speed, Step
from aios.bench.upstream.work import Work

SPEED = Speed(prefill_s=0.0002, decode_s=0.004)
"""A mid-sized model on one accelerator; a call of 500 + 225 tokens takes a second."""

SLOTS = 16
LOADS = (0.5, 0.8, 0.95, 1.1)
MAX_STEPS = 500
MAX_PROMPT = 4000
MAX_ANSWER = 4000

Make = Callable[["Draw", int, float], Program]
"""Draws a program of this id that arrives at this second."""


class Draw:
    """A seeded source of what workloads are made of."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._ids = itertools.count(1)

    def lognormal(self, median: float, sigma: float) -> float:
        return self.random.lognormvariate(math.log(median), sigma)

    def count(self, median: float, sigma: float, most: int, least: int = 1) -> int:
        return min(most, max(least, round(self.lognormal(median, sigma))))

    def next_id(self) -> int:
        return next(self._ids)

    def work(self, n_in: int, n_out: int) -> Work:
        return Work(self.next_id(), max(1, min(n_in, MAX_PROMPT)), max(1, min(n_out, MAX_ANSWER)))

    def answer(self, median: float = 200.0, sigma: float = 0.8) -> int:
        return self.count(median, sigma, MAX_ANSWER, least=8)

    def arrivals(self, per_second: float) -> Iterator[float]:
        """A Poisson process."""
        now = 0.0
        while True:
            now += self.random.expovariate(per_second)
            yield now


# ---- programs


def react_program(
    draw: Draw, number: int, arrival_s: float, *, steps: int = 5, gap_s: float = 0.5
) -> Program:
    """Think, act, read what came of it: a prompt that grows, and a tool between two answers."""
    prompt = 300
    made = []
    for step in range(steps):
        answer = draw.random.randint(100, 300)
        made.append(Step((draw.work(prompt, answer),), gap_s if step < steps - 1 else 0.0))
        prompt += answer + 50
    return Program(number, arrival_s, tuple(made))


def heavy_program(draw: Draw, number: int, arrival_s: float) -> Program:
    """Heavy-tailed: most programs are through in two steps, some go on for hundreds."""
    steps = draw.count(2.2, 1.7, MAX_STEPS)
    made = [
        Step(
            (draw.work(300 + 100 * step, draw.answer()),),
            draw.lognormal(0.4, 1.6) if step < steps - 1 else 0.0,
        )
        for step in range(steps)
    ]
    return Program(number, arrival_s, tuple(made), kind="heavy")


def chat_program(draw: Draw, number: int, arrival_s: float) -> Program:
    """A person who reads and types between turns."""
    turns = draw.count(4.0, 0.6, 20)
    made = [
        Step(
            (draw.work(150 + 250 * turn, draw.answer(120.0)),),
            draw.lognormal(6.0, 0.7) if turn < turns - 1 else 0.0,
        )
        for turn in range(turns)
    ]
    return Program(number, arrival_s, tuple(made), kind="chat")


def fan_program(draw: Draw, number: int, arrival_s: float) -> Program:
    """A planner that hands out work in parallel and puts the answers together, up to three times."""
    made = []
    for _ in range(draw.random.randint(1, 3)):
        width = draw.random.randint(4, 16)
        made.append(Step((draw.work(800, draw.answer(100.0)),), draw.lognormal(0.2, 0.5)))
        made.append(Step(tuple(draw.work(600, draw.answer()) for _ in range(width))))
        made.append(Step((draw.work(400 + 150 * width, draw.answer(250.0)),)))
    return Program(number, arrival_s, tuple(made), kind="fan")


def chain_program(draw: Draw, number: int, arrival_s: float, *, kind: str, steps: int) -> Program:
    """One call after the other, with short tools between."""
    made = [
        Step((draw.work(400, draw.answer(200.0, 0.4)),), 0.1 if step < steps - 1 else 0.0)
        for step in range(steps)
    ]
    return Program(number, arrival_s, tuple(made), kind=kind)


# ---- workloads


def react(seed: int, num_programs: int) -> list[Program]:
    """The paper's swarm: five steps each, all at once."""
    draw = Draw(seed)
    return [react_program(draw, number, 0.0) for number in range(num_programs)]


def heavy(seed: int, num_programs: int, load: float, slots: int = SLOTS) -> list[Program]:
    return at_load(seed, num_programs, load, slots, heavy_program)


def mix(seed: int, num_programs: int, load: float, slots: int = SLOTS) -> list[Program]:
    """Chats, tool users and fan-outs; three, two and one in six."""

    def make(draw: Draw, number: int, arrival_s: float) -> Program:
        kinds = (chat_program, heavy_program, fan_program)
        return draw.random.choices(kinds, (3, 2, 1))[0](draw, number, arrival_s)

    return at_load(seed, num_programs, load, slots, make)


def deadlines(seed: int, num_programs: int, load: float, slots: int = SLOTS) -> list[Program]:
    """Each asks to be through within one and a half to eight times what it takes when it is alone."""

    def make(draw: Draw, number: int, arrival_s: float) -> Program:
        steps = draw.count(4.0, 0.8, 40)
        program = chain_program(draw, number, arrival_s, kind="deadline", steps=steps)
        return replace(program, deadline_s=draw.random.uniform(1.5, 8.0) * SPEED.path_s(program))

    return at_load(seed, num_programs, load, slots, make)


def noisy(seed: int, num_quiet: int, num_flood: int, slots: int = SLOTS) -> list[Program]:
    """Eight quiet tenants that together need 40 % of the slots, and one that sends everything at once."""
    quiet = at_load(seed, num_quiet, 0.4, slots, react_program)
    draw = Draw(seed + 1)
    flood = [react_program(draw, num_quiet + number, 0.0) for number in range(num_flood)]
    tenants = itertools.cycle([f"quiet-{number}" for number in range(8)])
    named = [replace(program, tenant=tenant) for program, tenant in zip(quiet, tenants, strict=False)]
    return numbered([*named, *(replace(program, tenant="flood") for program in flood)])


SHAPES = {"short": (200, 60), "middle": (500, 200), "long": (2000, 500)}
"""Prompt and answer tokens of tenants whose calls differ in size."""


def fair(seed: int, num_tenants: int, service: float, parallel: int = SLOTS) -> list[Program]:
    """Tenants that always have calls waiting, `service` tokens of them each, of sizes that differ.

    Each has `parallel` programs with calls one after the other, so that even one alone could fill the slots.
    """
    draw = Draw(seed)
    programs = []
    for tenant, (shape, (n_in, n_out)) in zip(
        range(num_tenants), itertools.cycle(SHAPES.items()), strict=False
    ):
        steps = max(1, round(service / parallel / (n_in + 2 * n_out)))
        for _ in range(parallel):
            made = tuple(Step((draw.work(n_in, draw.answer(n_out, 0.3)),)) for _ in range(steps))
            programs.append(Program(0, 0.0, made, tenant=f"{shape}-{tenant}", kind=shape))
    return numbered(programs)


CHAINS = {"long": 0.02, "middle": 0.08, "short": 0.9}
"""Kinds of chains, with their share of the programs."""
LONG_STEPS = 0.27
"""Steps of a long chain for each program: alone it takes three quarters of what the slots need for all."""
CHAIN_STEPS = {"middle": 20, "short": 3}


def chains(seed: int, num_programs: int) -> list[Program]:
    """All at once, of very different length: who begins a long one late, ends late."""
    draw = Draw(seed)
    kinds = [kind for kind, share in CHAINS.items() for _ in range(round(share * num_programs))]
    draw.random.shuffle(kinds)
    steps = CHAIN_STEPS | {"long": LONG_STEPS * num_programs}
    return [
        chain_program(draw, number, 0.0, kind=kind, steps=draw.count(steps[kind], 0.1, MAX_STEPS))
        for number, kind in enumerate(kinds)
    ]


def even(seed: int, num_programs: int, steps: int, n_in: int, n_out: int) -> list[Program]:
    """Programs of one size, all at once: for limits of memory, rate, capacity; only amounts matter."""
    draw = Draw(seed)
    return [
        Program(
            number,
            0.0,
            tuple(
                Step((draw.work(n_in, draw.answer(n_out, 0.3)),), 0.2 if step < steps - 1 else 0.0)
                for step in range(steps)
            ),
        )
        for number in range(num_programs)
    ]


NUM_KINDS = 4
SHARED_TOKENS = 1500


def prefixes(seed: int, num_programs: int, load: float, slots: int) -> list[Program]:
    """Conversations that grow, begun with one of four long system prompts: most of it was read before.

    The load is what would be needed if all of that were cached.
    """

    def make(draw: Draw, number: int, arrival_s: float) -> Program:
        kind, steps = draw.random.randint(1, NUM_KINDS), draw.count(5.0, 0.6, 20, least=2)
        made: list[Step] = []
        n_in = n_known = SHARED_TOKENS
        for step in range(steps):
            n_in, n_out = n_in + draw.count(250.0, 0.7, 2000, least=50), draw.answer(120.0)
            work = Work(draw.next_id(), n_in, n_out, number + 1, n_known, kind, SHARED_TOKENS)
            made.append(Step((work,), draw.lognormal(2.0, 1.0) if step < steps - 1 else 0.0))
            n_in = n_known = n_in + n_out
        return Program(number, arrival_s, tuple(made), kind=f"kind-{kind}")

    return at_load(seed, num_programs, load, slots, make)


# ---- arrivals


def at_load(seed: int, num_programs: int, load: float, slots: int, make: Make) -> list[Program]:
    """Programs that arrive at random, so often that their calls need `load` of the slots' time."""
    draw = Draw(seed)
    made = [make(draw, number, 0.0) for number in range(num_programs)]
    per_second = load * slots * num_programs / SPEED.work_s(made)
    return [
        replace(program, arrival_s=at) for program, at in zip(made, draw.arrivals(per_second), strict=False)
    ]


def numbered(programs: Sequence[Program]) -> list[Program]:
    """With ids of their own, of programs and of calls, after several were put together."""
    ids = itertools.count(1)
    return [
        replace(
            program,
            id=number,
            steps=tuple(
                Step(tuple(Work(next(ids), work.n_in, work.n_out) for work in step.works), step.gap_s)
                for step in program.steps
            ),
        )
        for number, program in enumerate(programs)
    ]
