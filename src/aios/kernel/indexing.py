"""The vectors of the index from a core: the kernel asks for them as a process of its own.

That process is called `index`, its tenant too: what it takes is counted, limited (`[tenants.index]`) and
shown as any other's, and nothing of it is on the account of whoever writes or searches. Its calls go through
the queues and gates; those for documents are in the band `batch`, so that agents go first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from aios.abi import syscalls as sc
from aios.abi.errors import Unauthenticated, Unavailable
from aios.abi.syscalls import Hints
from aios.drivers.sentences import Vectors

NAME = "index"
QUERY_S = 2.0
"""How long a search waits for the vector of its query."""
DOCUMENTS_S = 300.0
"""How long documents do; then they are asked for again, later."""
AT_ONCE = 64 * 1024
"""Letters of one call, give or take a text: what models take at once is bounded."""

Trap = Callable[[str, sc.SystemCall, float | None], Awaitable[sc.Reply]]
"""Answers a call of the process with a token, within so many seconds."""


class CoreEmbedder:
    """Has the texts made into vectors by cores of a model. Its process is made when it is needed."""

    def __init__(self, core: str, model: str, trap: Trap, operator: Callable[[], str]) -> None:
        """`operator` gives the operator's token, once the kernel has booted."""
        self._core = core
        self._model = model
        self._trap = trap
        self._operator = operator
        self._token = ""
        self._size = 0
        self._spawning = asyncio.Lock()

    @property
    def name(self) -> str:
        """Core, model and dimensions; empty before the first answer."""
        return f"core {self._core} {self._model} {self._size}" if self._size else ""

    async def start(self) -> None:
        """Nothing is asked before somebody has written or searched: a core that fails stops no kernel."""

    async def close(self) -> None:
        """Its process ends with the kernel."""

    async def vectors(self, texts: Sequence[str], *, is_urgent: bool) -> Vectors:
        """Raises what `llm.embed` raises."""
        found: list[bytes] = []
        for piece in _pieces(texts):
            call = sc.LlmEmbed(
                texts=tuple(piece), model=self._model, hints=Hints() if is_urgent else Hints(band="batch")
            )
            reply = await self._ask(call, QUERY_S if is_urgent else DOCUMENTS_S)
            assert isinstance(reply, sc.Embeddings)
            found += reply.vectors
        matrix = np.frombuffer(b"".join(found), "<f4").astype(np.float32)
        if len({len(one) for one in found}) != 1:
            raise Unavailable(f"core {self._core} gave vectors of different lengths")
        self._size = len(found[0]) // 4
        return matrix.reshape(len(texts), self._size)

    async def _ask(self, call: sc.SystemCall, timeout_s: float) -> sc.Reply:
        try:
            return await self._trap(await self._own_token(), call, timeout_s)
        except Unauthenticated:  # Somebody has ended it.
            self._token = ""
            return await self._trap(await self._own_token(), call, timeout_s)

    async def _own_token(self) -> str:
        async with self._spawning:
            if not self._token:
                spawn = sc.ProcessSpawn(agent=NAME, principal=NAME, tenant=NAME)
                spawned = await self._trap(self._operator(), spawn, None)
                assert isinstance(spawned, sc.Spawned)
                self._token = spawned.token
            return self._token


def _pieces(texts: Sequence[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    room = AT_ONCE
    for text in texts:
        if pieces[-1] and room < len(text):
            pieces.append([])
            room = AT_ONCE
        pieces[-1].append(text)
        room -= len(text)
    return pieces
