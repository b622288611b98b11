"""LLM CORES: one for each replica of a model. Says which may serve a call, and how each fares.

Knows drivers by their protocol only. Queues are the scheduler's; whether a call may enter is the gate's.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from aios.abi.errors import (
    AiosError,
    ContextOverflow,
    Exhausted,
    InvalidArgument,
    Misconfigured,
    NotFound,
    Unavailable,
)
from aios.abi.messages import Message, Usage
from aios.drivers.clock import Clock
from aios.drivers.limits import RateLimits
from aios.drivers.llm import Embedder, LLMDriver, SnapshotKind
from aios.kernel.config import CoreConfig
from aios.kernel.cores.gate import Gate

RATE_S = 10.0
"""Over which the tokens a second of a core are smoothed."""

_CHARS_PER_TOKEN = 3.0
"""Until a core has told something: rather too many tokens than too few."""
_LEARNT = 0.2
"""How much the newest prompt counts."""
_CAUTION = 0.98
"""Of what an endpoint told of one prompt: the next one is another."""
_SHRUNK = 0.75
"""Of what was refused: is tried next, where an endpoint tells no numbers."""

LASTING = (Exhausted, Misconfigured)
"""Faults of a core that somebody has to mend."""

_EMBED = "embed:"
_OWN = "own:"
_TEXT = "text:"
_STATE = "state:"
"""How run queues begin: of embeddings; of calls that go on where they were, from texts, and from a state
elsewhere than where they were."""
_SHORT = (Message("user", "hello"),)


class Core:
    """A driver, its gate, and how it fares."""

    __slots__ = (
        "_rate",
        "_rated_at",
        "chars_per_token",
        "config",
        "counts_tokens",
        "driver",
        "fault",
        "gate",
        "goes_on",
        "model",
        "name",
        "num_failures",
        "num_tokens",
        "silent_since",
        "spent",
        "window",
    )

    def __init__(self, config: CoreConfig, driver: LLMDriver) -> None:
        """`InvalidArgument` where it is to embed and its driver cannot."""
        if config.embeds and not isinstance(driver, Embedder):
            raise InvalidArgument(f"core {config.name!r} cannot embed: nothing of its kind does")
        self.config = config
        self.name = config.name
        self.driver = driver
        self.model = driver.model
        self.window = config.window or driver.window
        self.gate = Gate(
            config.slots,
            tokens_in_flight=config.tokens_in_flight,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        self.counts_tokens = True
        """Whether its driver can tell what a prompt takes, and so cuts an answer to what is left."""
        self.chars_per_token = _CHARS_PER_TOKEN
        """Of its prompts, learnt from what it told of them."""
        self.goes_on = True
        """Whether its endpoint has never refused to go on with a partial answer."""
        self.silent_since: float | None = None
        """Since when it has only refused and failed; None while it answers."""
        self.fault: AiosError | None = None
        """How it failed or refused last, lasting faults first; None since it has answered."""
        self.num_failures = 0
        self.num_tokens = 0
        self.spent = 0.0
        """Money, by its prices."""
        self._rate = 0.0
        self._rated_at = 0.0

    @property
    def narrows_window(self) -> bool:
        """Whether the window is not the driver's own, so that the driver does not refuse what is too long."""
        return self.window != self.driver.window

    def read(self, num_chars: int, num_tokens: int) -> None:
        """It told how many tokens so many characters of a prompt were."""
        if num_tokens > 0:
            seen = min(max(num_chars / num_tokens, 0.5), 20.0)
            self.chars_per_token += _LEARNT * (seen - self.chars_per_token)

    def overflowed(self, num_chars: int, error: ContextOverflow) -> None:
        """It refused a prompt of so many characters as too long: learn what it told, or guess less."""
        num_tokens = error.num_tokens or math.ceil(num_chars / self.chars_per_token)
        if error.num_tokens:
            self.chars_per_token = max(0.5, _CAUTION * num_chars / num_tokens)
        if error.window:
            self.window = min(self.window or error.window, error.window)
        elif not self.window:
            self.window = max(1, int(_SHRUNK * num_tokens))
        elif not error.num_tokens:
            self.chars_per_token = max(0.5, _SHRUNK * self.chars_per_token)

    def answered(self, usage: Usage, now: float) -> None:
        """A generation ended well there, `usage` being its tokens."""
        self.silent_since = self.fault = None
        self.spent += cost_of(self.config, usage)
        self._rate = self.rate(now) + usage.completion_tokens / RATE_S
        self._rated_at = now

    def failed(self, error: AiosError, now: float) -> None:
        """Take note of a failure."""
        if self.silent_since is None:
            self.silent_since = now
        if not isinstance(self.fault, LASTING) or isinstance(error, LASTING):
            self.fault = error
        self.num_failures += isinstance(error, Unavailable)

    def silent_s(self, now: float) -> float:
        """For how long it has only refused and failed."""
        return 0.0 if self.silent_since is None else now - self.silent_since

    def rate(self, now: float) -> float:
        """Tokens a second that its finished generations come to, smoothed."""
        return self._rate * math.exp((self._rated_at - now) / RATE_S)


def cost_of(config: CoreConfig, usage: Usage) -> float:
    """Money for these tokens."""
    price_cached = config.price_in if config.price_cached is None else config.price_cached
    new = usage.prompt_tokens - usage.cached_tokens
    money = new * config.price_in + usage.cached_tokens * price_cached
    return (money + usage.completion_tokens * config.price_out) / 1e6


class Cores:
    """All cores, by name."""

    def __init__(self, cores: Iterable[Core]) -> None:
        self._cores = {core.name: core for core in cores}
        self._queues: dict[str | None, str] = {}
        self._embedding: dict[str | None, str] = {}
        """Run queues by model: of generations, and of embeddings."""
        self.on_limits: Callable[[str], None] = lambda core: None
        """Told of a core whose endpoint has told its limits."""

    def __iter__(self) -> Iterator[Core]:
        return iter(self._cores.values())

    def __getitem__(self, name: str) -> Core:
        return self._cores[name]

    async def start(self, clock: Clock) -> None:
        """Start every driver. Raises the first failure, once all have started or failed."""
        for core in self:
            core.driver.on_limits = partial(self._observe, core, clock)
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
        """Every run queue of the cores, and the cores that it is meant for."""
        found = {own_queue(core.name): [core.name] for core in self}
        for core in self:
            found.setdefault(self._texts(core.model), self._going_on(core.model, "text"))
            found.setdefault(self._states(core), self._alike(core))
        generating = [core for core in self if core.config.generates]
        for model in dict.fromkeys([None, *(core.model for core in generating)]):
            names = [core.name for core in generating if model in (None, core.model)]
            self._queues[model] = f"llm:{','.join(names)}"
            found[self._queues[model]] = names
        embedding = [core for core in self if core.config.embeds]
        for model in dict.fromkeys(core.model for core in embedding):
            names = [core.name for core in embedding if core.model == model]
            self._embedding[model] = f"{_EMBED}{','.join(names)}"
            self._embedding.setdefault(None, self._embedding[model])
            found[self._embedding[model]] = names
        return {queue: names for queue, names in found.items() if names}

    def stand_ins(self, queue: str, names: Iterable[str]) -> list[str]:
        """The cores that take the calls of a queue meant for `names` while none of those can.

        Nothing stands in where a call goes on from a snapshot, which is of one core or model, nor for
        embeddings, which are of one model.
        """
        if queue.startswith(_EMBED) or is_going_on(queue):
            return []
        named = dict.fromkeys(one for name in names for one in self._cores[name].config.fallback)
        return [one for one in named if one not in names]

    def queue_for(self, model: str | None) -> str:
        """The run queue of calls for `model`. `NotFound` lists the models there are."""
        return _found(self._queues, model, "")

    def queue_to_go_on(self, core: str, kind: SnapshotKind, *, elsewhere: bool = False) -> str:
        """The run queue of calls that go on from a snapshot of this kind which a core has made.

        A state stays at its core unless it is to go on `elsewhere`, where it is made anew.
        """
        if kind == "text":
            return self._texts(self[core].model)
        return self._states(self[core]) if elsewhere else own_queue(core)

    def _states(self, core: Core) -> str:
        return f"{_STATE}{','.join(self._alike(core))}"

    def _alike(self, core: Core) -> list[str]:
        """The cores whose states of the same job are the same."""
        same = self._going_on(core.model, "state")
        return [name for name in same if type(self[name].driver) is type(core.driver)]

    def _texts(self, model: str) -> str:
        """The run queue of calls that go on from a text of this model, on any of its cores that can."""
        return f"{_TEXT}{','.join(self._going_on(model, 'text'))}"

    def _going_on(self, model: str, kind: SnapshotKind) -> list[str]:
        cores = (core for core in self if core.config.generates and core.model == model)
        return [core.name for core in cores if core.driver.snapshot_kind == kind]

    def queue_for_embedding(self, model: str | None) -> str:
        """The same of calls for the vectors of `model`; None for that of the first core that embeds."""
        if not self._embedding:
            raise NotFound(
                "there is no core that embeds; one does that has embeds = true in its configuration"
            )
        return _found(self._embedding, model, " that embeds")

    def _observe(self, core: Core, clock: Clock, limits: RateLimits) -> None:
        core.gate.observe(clock.now(), limits)
        self.on_limits(core.name)


def _found(queues: Mapping[str | None, str], model: str | None, which: str) -> str:
    queue = queues.get(model)
    if queue is None:
        known = ", ".join(sorted(name for name in queues if name is not None))
        raise NotFound(f"there is no model{which} {model!r}; there are: {known}")
    return queue


def _raise_first(outcomes: Iterable[BaseException | None]) -> None:
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def own_queue(core: str) -> str:
    """The run queue of calls that go on where they were: on this core alone."""
    return f"{_OWN}{core}"


def is_going_on(queue: str) -> bool:
    """Whether the calls in a run queue have begun, and go on from a snapshot."""
    return queue.startswith((_OWN, _TEXT, _STATE))
