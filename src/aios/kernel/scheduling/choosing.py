"""Which policy a configuration names."""

from collections.abc import Callable

from aios.kernel.config import PolicyName, SchedulerConfig
from aios.kernel.scheduling import policies
from aios.kernel.scheduling.policies import Policy
from aios.kernel.scheduling.programs import Programs

_UNSHARED: set[PolicyName] = {"fifo", "program_fifo", "rr"}
"""Policies that are known by what they do without tenants."""


def shares(config: SchedulerConfig) -> bool:
    """Whether tenants are served by fair share before the policy orders the programs of one."""
    if config.share is None:
        return config.policy not in _UNSHARED
    return config.share == "fair"


def policy_of(config: SchedulerConfig, programs: Programs) -> Policy:
    """The policy that `config` names, drawing on what `programs` learn."""
    quantum, estimates = config.quantum, programs.estimates
    levels = (quantum, config.level_tokens, config.level_ratio, config.patience)
    made: dict[PolicyName, Callable[[], Policy]] = {
        "fifo": lambda: policies.Fifo(),
        "program_fifo": lambda: policies.ProgramFifo(),
        "rr": lambda: policies.RoundRobin(quantum),
        "priority": lambda: policies.Priority(quantum, config.aging_s),
        "mlfq": lambda: policies.Mlfq(*levels),
        "plas": lambda: policies.Plas(*levels),
        "atlas": lambda: policies.Atlas(*levels),
        "srpt": lambda: policies.Srpt(quantum, estimates),
        "gittins": lambda: policies.Gittins(quantum, estimates),
        "critical_path": lambda: policies.CriticalPath(quantum, estimates),
        "fair": lambda: policies.ProgramFifo(quantum),
        "virtual_finish": lambda: policies.VirtualFinish(quantum, estimates, programs.virtual_time),
        "edf": lambda: policies.EarliestDeadline(quantum, programs.seconds_of),
        "llf": lambda: policies.LeastLaxity(quantum, programs.seconds_of),
        "oracle": lambda: policies.Oracle(quantum),
    }
    return made[config.policy]()
