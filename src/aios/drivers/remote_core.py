"""What the drivers of all remote models share: a connection pool, and a generation's way through it.

A wire adds its URL, its headers, the body of a request and the reader of an answer. Nothing here knows of
retries: a failure is a typed error, and whether to try again is the kernel's to decide.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

import aiohttp
from msgspec import structs

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import Delta, Message, ToolSpec, Usage
from aios.drivers.answer import Answer
from aios.drivers.continuing import EXACTNESS, NOTHING, Continuation, Partial, Slice, may_be_cut, partial_of
from aios.drivers.exchange import Exchange, Limits, Reading
from aios.drivers.fields import UNCHANGED
from aios.drivers.limits import OnLimits, ignore_limits
from aios.drivers.llm import Finished, Generation, Preempted, Snapshot, SnapshotKind


class RemoteDriver(ABC):
    """One remote core. See `aios.drivers.llm.LLMDriver` for the protocol that it follows.

    `fields` gives fields of the request the names that this endpoint knows, and an empty name to those that
    it refuses. `continuation` is how it goes on with a partial answer; where it does, answers are interrupted
    by ending their streams (`aios.drivers.continuing`).
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        slots: int = 8,
        window: int = 0,
        limits: Limits | None = None,
        fields: Mapping[str, str] = UNCHANGED,
        continuation: Continuation = "none",
        use_environment_proxies: bool = False,
    ) -> None:
        """`InvalidArgument` when the URL or the key can't be used, or the wire knows no such continuation.

        `slots` bounds the connections, 0 for no bound; `window` is in tokens, 0 if not known.
        """
        self._model = model
        self._api_key = _checked_key(api_key)
        self._base = _checked_url(base_url)
        self._url = self._endpoint(self._base).geturl()
        self._slots = slots
        self._window = window
        self._limits = limits or Limits()
        self._fields = dict(fields)
        self._continuation = self._checked_continuation(continuation)
        self._use_environment_proxies = use_environment_proxies
        self._session: aiohttp.ClientSession | None = None
        self._running: set[Exchange] = set()
        self.on_limits: OnLimits = ignore_limits

    @abstractmethod
    def _endpoint(self, base: SplitResult) -> SplitResult:
        """The URL of a request, from the base URL."""

    @abstractmethod
    def _headers(self) -> dict[str, str]:
        """Of every request: the key, and what else this wire wants."""

    @abstractmethod
    def _body(self, job: Generation, partial: str) -> bytes:
        """The request for `job`, whose answer goes on from `partial` if that is not empty.

        `InvalidArgument` where this wire can't say it.
        """

    @abstractmethod
    def _answer(self, job: Generation, emit: Callable[[Delta], None]) -> Answer:
        """What reads the answer to `job`."""

    def _checked_continuation(self, continuation: Continuation) -> Continuation:
        """How this model goes on with a partial answer. `InvalidArgument` where the wire can't say so."""
        if continuation != "none":
            raise InvalidArgument(f"this wire has no continuation, so it can't be {continuation!r}")
        return "none"

    @property
    def model(self) -> str:
        return self._model

    @property
    def snapshot_kind(self) -> SnapshotKind:
        return "none" if self._continuation == "none" else "text"

    @property
    def window(self) -> int:
        return self._window

    async def start(self) -> None:
        """Make ready. The endpoint is not asked: one that is down now may be up when it is needed."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._slots),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", **self._headers()},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s),
            trust_env=self._use_environment_proxies,
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        for exchange in self._running:
            exchange.stop()
        if session is not None:
            await session.close()

    async def run(
        self,
        job: Generation,
        resume: Snapshot | None,
        emit: Callable[[Delta], None],
        must_yield: Callable[[int], bool],
    ) -> Finished | Preempted:
        if self._continuation == "none" and resume is not None:
            raise InvalidArgument("this core can't go on from a snapshot: it has no continuation")
        before = partial_of(resume)
        if before is not NOTHING:
            left = (job.sampling.max_tokens or before.num_tokens + 1) - before.num_tokens
            if left < 1:
                return Finished(before.text, (), "length", before.whole_usage(Usage()), self._model)
            job = _shortened(job, left)
        answer = self._answer(job, emit)
        if self._continuation != "none" and may_be_cut(job):
            answer.go_on(before, Slice(before, job.sampling.stop, emit, must_yield))
        await self._perform(answer, self._limits, self._url, lambda: self._body(job, before.text))
        return self._preempted(answer.cut()) if answer.is_cut else answer.finish()

    def _preempted(self, partial: Partial) -> Preempted:
        return Preempted(partial.to_snapshot(EXACTNESS[self._continuation]))

    async def _perform(self, answer: Reading, limits: Limits, url: str, body: Callable[[], bytes]) -> None:
        """Fill the answer. Raises what `LLMDriver.run` raises."""
        if self._session is None:
            raise Unavailable(f"the core of {self._model!r} is not running")
        exchange = Exchange(answer, limits, self._api_key, self.on_limits)
        self._running.add(exchange)
        try:
            await exchange.perform(self._session, url, body())
        finally:
            self._running.discard(exchange)

    def drop(self, snapshot: Snapshot) -> None:  # noqa: B027 - for every wire
        """There are none to forget."""

    async def num_prompt_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int | None:
        return None


def _shortened(job: Generation, max_tokens: int) -> Generation:
    """The rest of a job, of whose answer so many tokens are left."""
    if job.sampling.max_tokens is None:
        return job
    return structs.replace(job, sampling=structs.replace(job.sampling, max_tokens=max_tokens))


def _checked_url(base_url: str) -> SplitResult:
    try:
        parts = urlsplit(base_url)
        host = (parts.hostname or "").encode("idna")
        is_usable = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidArgument("base_url must be an http or https address, such as http://127.0.0.1:11434/v1")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidArgument("base_url must hold no user, password or fragment; keys go in api_key_env")
    return parts._replace(path=parts.path.rstrip("/"))


def _checked_key(api_key: str | None) -> str:
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidArgument("the key of a core must be printable ASCII")
    return key
