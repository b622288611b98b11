"""LLM CORES: one for each replica of a model. Says which may serve a call, and what a failure means.

Knows drivers by their protocol only. Slots and queues are the scheduler's.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from aios.abi.errors import AiosError, NotFound, Overloaded, Unavailable
from aios.abi.messages import Message
from aios.drivers.llm import LLMDriver
from aios.kernel.config import CoreConfig, RetryConfig

Health = Literal["ready", "failing"]

_SHORT = (Message("user", "hello"),)


class CoreStatus(Struct, frozen=True):
    """A core as statistics show it. `tokens` are those generated since the kernel's start."""

    name: str
    model: str
    slots: int
    running: int
    waiting: int
    health: Health
    tokens: int
    failures: int


class Core:
    """A driver and how it fares."""

    __slots__ = (
        "config",
        "counts_tokens",
        "driver",
        "health",
        "model",
        "name",
        "num_failures",
        "num_tokens",
        "window",
    )

    def __init__(self, config: CoreConfig, driver: LLMDriver) -> None:
        self.config = config
        self.name = config.name
        self.driver = driver
        self.model = driver.model
        self.window = config.window or driver.window
        self.health: Health = "ready"
        self.counts_tokens = True
        """Whether its driver can tell what a prompt takes, and so cuts an answer to what is left."""
        self.num_failures = 0
        self.num_tokens = 0

    @property
    def narrows_window(self) -> bool:
        """Whether the window is not the driver's own, so that the driver does not refuse what is too long."""
        return self.window != self.driver.window

    def succeeded(self) -> None:
        self.health = "ready"

    def failed(self, error: AiosError) -> None:
        """Take note of a failure; a refusal for want of room is none."""
        if isinstance(error, Unavailable):
            self.health = "failing"
            self.num_failures += 1


class Cores:
    """All cores, by name."""

    def __init__(self, cores: Iterable[Core]) -> None:
        self._cores = {core.name: core for core in cores}
        self._queues: dict[str | None, str] = {}

    def __iter__(self) -> Iterator[Core]:
        return iter(self._cores.values())

    def __getitem__(self, name: str) -> Core:
        return self._cores[name]

    async def start(self) -> None:
        """Start every driver. Raises the first failure, once all have started or failed."""
        started = await asyncio.gather(*(core.driver.start() for core in self), return_exceptions=True)
        _raise_first(started)
        for core in self:
            core.model = core.config.model or core.driver.model
            core.window = core.config.window or core.driver.window
            core.counts_tokens = await core.driver.num_prompt_tokens(_SHORT, ()) is not None

    async def close(self) -> None:
        """Close every driver. Raises the first failure, once all have closed or failed."""
        closed = await asyncio.gather(*(core.driver.close() for core in self), return_exceptions=True)
        _raise_first(closed)

    def queues(self) -> dict[str, list[str]]:
        """Every run queue of the cores, and the cores that draw from it."""
        found = {queue_of([core.name]): [core.name] for core in self}
        for model in {None, *(core.model for core in self)}:
            names = self._serving(model)
            found[queue_of(names)] = names
            self._queues[model] = queue_of(names)
        return found

    def queue_for(self, model: str | None) -> str:
        """The run queue of calls for `model`. `NotFound` lists the models there are."""
        queue = self._queues.get(model)
        if queue is None:
            known = ", ".join(sorted({core.model for core in self}))
            raise NotFound(f"there is no model {model!r}; there are: {known}")
        return queue

    def _serving(self, model: str | None) -> list[str]:
        return [core.name for core in self if model is None or core.model == model]


def _raise_first(outcomes: Iterable[BaseException | None]) -> None:
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def queue_of(cores: list[str]) -> str:
    """The name of the run queue whose calls any of `cores` may take."""
    return f"llm:{','.join(cores)}"


def retry_delay_s(error: AiosError, attempts: int, config: RetryConfig) -> float | None:
    """Seconds after which a generation that failed `attempts` times is tried again; None when it is not.

    The endpoint's own word counts; without one the delay doubles. A wait longer than `max_delay_s` is not
    worth it: then the caller learns why.
    """
    if isinstance(error, Overloaded):
        most = config.max_refusals
    elif isinstance(error, Unavailable):
        most = config.max_attempts
    else:
        return None
    if attempts >= most:
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= config.max_delay_s else None
    return float(min(config.max_delay_s, config.first_delay_s * 2 ** min(attempts - 1, 16)))
