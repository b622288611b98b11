"""Every experiment in virtual time, by its name."""

from collections.abc import Callable

from aios.bench.schedule.bench import Bench
from aios.bench.schedule.orders import chains, deadlines, heavy, mix, prefixes, recorded
from aios.bench.schedule.swarms import ablation, exhaustion, failures, shift, swarm
from aios.bench.schedule.tenants import fair, noisy

EXPERIMENTS: dict[str, Callable[[Bench], None]] = {
    "swarm": swarm,
    "heavy": heavy,
    "mix": mix,
    "chains": chains,
    "deadlines": deadlines,
    "prefixes": prefixes,
    "fair": fair,
    "noisy": noisy,
    "exhaustion": exhaustion,
    "shift": shift,
    "failures": failures,
    "trace": recorded,
    "ablation": ablation,
}
