"""The arms without a kernel: agents that call an endpoint themselves, each with its own way to try again.

The same code for an upstream in process and for one behind HTTP. Answers are not streamed: it is what an SDK
does unless told otherwise, and so a failure in the middle can be tried again.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from aios.bench.upstream.model import Broken, Refused, Upstream
from aios.bench.upstream.work import Work, prompt_of

if TYPE_CHECKING:
    import aiohttp


class Lost(Exception):
    """A call that was given up. The cause says what the last try met."""


class Endpoint(Protocol):
    """Something that answers a call once."""

    async def answer(self, work: Work) -> None:
        """Return once the whole answer is there. Raises `Refused`, `Broken` or `TimeoutError`."""
        ...


class InProcess:
    """An `Endpoint` over an upstream on this very loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def answer(self, work: Work) -> None:
        try:
            await self._upstream.serve(work, lambda num_tokens: None)
        except Broken as broken:
            if broken.body:
                raise Refused(503, broken.body) from None
            raise


class Spread:
    """An `Endpoint` that is several: each call goes to one by chance, or to its conversation's own."""

    def __init__(self, endpoints: Sequence[Endpoint], seed: int, *, is_sticky: bool) -> None:
        self._endpoints = endpoints
        self._draw = random.Random(seed)
        self._is_sticky = is_sticky

    async def answer(self, work: Work) -> None:
        if self._is_sticky and work.conversation:
            chosen = random.Random(work.conversation).randrange(len(self._endpoints))
        else:
            chosen = self._draw.randrange(len(self._endpoints))
        await self._endpoints[chosen].answer(work)


class OverHttp:
    """An `Endpoint` at an OpenAI-compatible `url`, such as `http://127.0.0.1:8001/v1`."""

    def __init__(self, url: str, session: "aiohttp.ClientSession") -> None:
        self._url = url + "/chat/completions"
        self._session = session

    async def answer(self, work: Work) -> None:
        import aiohttp

        body = {"model": "upstream", "messages": [{"role": "user", "content": prompt_of(work)}]}
        try:
            async with self._session.post(self._url, json=body) as response:
                answer = await response.read()
                if response.status != 200:
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    raise Refused(response.status, answer, headers)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Broken from error


class Retries(Struct, frozen=True):
    """How somebody tries again: waits that double, up to a longest one, each less a random part of it."""

    name: str
    num_retries: int | None
    """None for as long as it takes."""
    first_s: float
    longest_s: float
    jitter: float
    """The largest part of a wait that may be left out, from 0 to 1."""
    honours: float = 0.0
    """The longest Retry-After, in seconds, that is waited for instead; 0 where it is not read."""
    gives_up_beyond: bool = False
    """Whether a longer one ends the call. Else it is as if there were none."""
    timeout_s: float | None = None
    """Of one try; None for none."""

    def wait_s(self, num_tries: int, failure: Exception, draw: random.Random) -> float | None:
        """Seconds to wait after the `num_tries`th try failed so; None to give up."""
        if isinstance(failure, Refused) and not _may_pass(failure.status):
            return None
        if self.num_retries is not None and num_tries > self.num_retries:
            return None
        told_s = _retry_after(failure) if self.honours else None
        if told_s is not None and told_s > self.honours and self.gives_up_beyond:
            return None
        if told_s is not None and 0 < told_s <= self.honours:
            return told_s
        wait_s = min(self.first_s * 2.0 ** min(num_tries - 1, 60), self.longest_s)
        return wait_s * (1 - self.jitter * draw.random())


DEFAULT = Retries("direct-default", 2, 0.5, 8.0, 0.25, honours=120.0, gives_up_beyond=True, timeout_s=600.0)
"""The OpenAI SDK for Python as it comes (version 3; earlier ones heed no Retry-After above 60 s)."""
PATIENT = Retries("direct-patient", None, 1.0, 60.0, 0.5)
"""As tutorials and proxies tell: exponential, with jitter, never giving up."""
RETRY_AFTER = Retries("direct-retry-after", None, 1.0, 1.0, 0.5, honours=3600.0)
"""Comes back when told, and after about a second where it is told nothing."""


class Direct:
    """Agents that call an endpoint themselves. Waits are drawn by `seed` and call."""

    def __init__(self, endpoint: Endpoint, retries: Retries, seed: int = 0) -> None:
        self._endpoint = endpoint
        self._retries = retries
        self._seed = seed

    async def call(self, work: Work) -> int:
        """Make a call, however many tries it takes: how many it took. Raises `Lost` when it is given up."""
        draw = random.Random(f"{self._seed}/{work.id}")
        num_tries = 0
        while True:
            num_tries += 1
            try:
                await self._try(work)
                return num_tries
            except (Refused, Broken, TimeoutError) as failure:
                wait_s = self._retries.wait_s(num_tries, failure, draw)
                if wait_s is None:
                    raise Lost(f"call {work.id} was given up after {num_tries} tries") from failure
            await asyncio.sleep(wait_s)

    async def _try(self, work: Work) -> None:
        if self._retries.timeout_s is None:
            await self._endpoint.answer(work)
            return
        async with asyncio.timeout(self._retries.timeout_s):
            await self._endpoint.answer(work)


def _may_pass(status: int) -> bool:
    """Whether the SDK would try again after such an answer."""
    return status in (408, 409, 429) or status >= 500


def _retry_after(failure: Exception) -> float | None:
    if not isinstance(failure, Refused):
        return None
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if header in failure.headers:
            return float(failure.headers[header]) * unit
    return None
