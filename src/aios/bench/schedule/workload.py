"""A workload with the upstream it meets: all that an arm is given."""

from typing import Any

from msgspec import Struct

from aios.bench.schedule.bounds import Bounds, Rates, bounds_of
from aios.bench.schedule.program import Program, Speed
from aios.bench.schedule.workloads import SLOTS, SPEED
from aios.bench.upstream.config import UpstreamConfig


class Workload(Struct, frozen=True):
    """`name` is its own among all; `weights` are of tenants, 1 where none is given."""

    name: str
    programs: list[Program]
    upstream: UpstreamConfig
    weights: dict[str, float] = {}
    replicas: int = 1
    """How many such upstreams there are."""

    @property
    def bounds(self) -> Bounds:
        config = self.upstream
        burst = config.burst_s / 60
        rates = Rates(config.rpm, config.tpm, config.rpm * burst, config.tpm * burst)
        changes = [(stage.at_s, stage.slots) for stage in config.stages]
        return bounds_of(self.programs, speed_of(config), config.slots * self.replicas, rates, changes)

    @property
    def tokens_running(self) -> int:
        """The most answer tokens that can be in flight at once."""
        largest = max((work.n_out for program in self.programs for work in program.works), default=0)
        return self.upstream.slots * largest

    @property
    def largest_prompt(self) -> int:
        return max((work.n_in for program in self.programs for work in program.works), default=0)


def speed_of(config: UpstreamConfig) -> Speed:
    return Speed(config.prefill_s_per_token, config.decode_s_per_token)


def upstream(slots: int = SLOTS, *, tick_s: float = 0.0, **how: Any) -> UpstreamConfig:
    """One of the bench's speed, with `slots`; `how` is whatever else it should be.

    Answers come in one piece, unless something depends on when the pieces come: each costs the run an event.
    """
    return UpstreamConfig(
        slots=slots,
        prefill_s_per_token=SPEED.prefill_s,
        decode_s_per_token=SPEED.decode_s,
        tick_s=tick_s,
        **how,
    )
