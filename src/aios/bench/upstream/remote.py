"""An upstream in a process of its own, as the rig that started it sees it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from aios.bench.upstream.config import UpstreamConfig
from aios.bench.upstream.ledger import Report
from aios.bench.upstream.strain import Strain

if TYPE_CHECKING:
    import aiohttp

START_S = 60.0


class Address(Struct, frozen=True):
    """The one line that the process prints."""

    url: str
    """What clients call the base URL, with `/v1`."""
    pid: int
    core: int | None
    """The processor core that it holds to; None where it may run on one only, or can't choose."""


class Standing(Struct, frozen=True):
    """How things stand: the ledger, and whether the process could keep up."""

    report: Report
    strain: Strain


class RemoteUpstream:
    """Its ledger and its settings, over HTTP; calls go to `url`."""

    def __init__(self, address: Address, session: "aiohttp.ClientSession") -> None:
        self.address = address
        self.url = address.url
        self._session = session

    async def standing(self) -> Standing:
        return await self._post("/ledger")

    async def reset(self) -> Standing:
        """Begin anew; calls under way are cut off. Gives how things stood before."""
        return await self._post("/reset")

    async def configure(self, config: UpstreamConfig) -> Standing:
        """Begin anew as another upstream. Gives how things stood before."""
        return await self._post("/configure", msgspec.json.encode(config))

    async def _post(self, path: str, body: bytes = b"") -> Standing:
        root = self.url.removesuffix("/v1")
        async with self._session.post(root + path, data=body) as response:
            answer = await response.read()
            if response.status != 200:
                raise ValueError(answer.decode())
            return msgspec.json.decode(answer, type=Standing)


@asynccontextmanager
async def upstream_process(config: UpstreamConfig) -> AsyncIterator[RemoteUpstream]:
    """An upstream process that ends with this block."""
    import aiohttp

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aios.bench.upstream.server"),
        *("--config", msgspec.json.encode(config).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_S)
        address = msgspec.json.decode(line, type=Address)
        async with aiohttp.ClientSession() as session:
            yield RemoteUpstream(address, session)
    finally:
        process.stdin.close()
        await process.wait()
