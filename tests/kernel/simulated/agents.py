"""An agent as the world sees it, and what it asks of a model."""

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.abi.syscalls import BANDS, Budget, Hints
from simulated.endpoint import Call


class Agent:
    """A process."""

    def __init__(self, spawned: sc.Spawned, tenant: str, *, may_use_tools: bool) -> None:
        self.pid = spawned.pid
        self.token = spawned.token
        self.tenant = tenant
        self.may_use_tools = may_use_tools
        self.is_limited = False
        """It or one above it has a budget of its own."""
        self.band = BANDS.index("normal")
        self.priority = 0
        self.num_kept = self.num_sent = 0
        """Messages of its history that were acknowledged, and that were sent."""

    def entitle(self, call: sc.ProcessSpawn, parent: "Agent | None") -> None:
        """What its hints get it: of its parent's at most, unless that is the operator."""
        own, hints = parent or self, call.hints
        band = own.band if hints.band is None else BANDS.index(hints.band)
        priority = own.priority if hints.priority is None else hints.priority
        self.band = band if parent is None else max(band, parent.band)
        self.priority = priority if parent is None else min(priority, parent.priority)
        self.is_limited = call.budget is not None or (parent is not None and parent.is_limited)


class Asked(Struct, frozen=True):
    """A generation, and for whom."""

    agent: Agent
    call: Call
    generate: sc.LlmGenerate
    began: float
    timeout_s: float | None

    @property
    def is_limited(self) -> bool:
        """By a budget of its own, or of its agent's."""
        return self.agent.is_limited or self.generate.budget != Budget()


def entitled(agent: Agent, said: Hints) -> tuple[int, int]:
    """Band and priority of a call of `agent` that says this."""
    band = max(agent.band, 0 if said.band is None else BANDS.index(said.band))
    priority = agent.priority if said.priority is None else min(agent.priority, said.priority)
    return band, priority
