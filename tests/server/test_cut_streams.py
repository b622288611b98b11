"""Streams whose connection breaks: with a key they go on by themselves, without one they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Conflict, Unavailable
from aios.abi.messages import Delta
from aios.kernel.config import Config
from aios.sdk import repeating
from aios.sdk.client import Client
from aios.sdk.transport import Http, UnixSocket
from aios.server.app import serving
from fakes.served import ScriptedKernel

TEXT = "one two three four five six seven eight"
Opener = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Saying:
    """Says half of it and hangs; asked again it says `again`, or nothing before the end."""

    def __init__(self) -> None:
        self.num_asked = 0
        self.again = TEXT
        self.is_silent_again = False

    async def __call__(self, call: sc.LlmGenerate, emit: Callable[[Delta], None]) -> sc.LlmAnswer:
        self.num_asked += 1
        if self.num_asked == 1:
            await _say(" ".join(TEXT.split(" ")[:4]), emit)
            await asyncio.Event().wait()
        if not self.is_silent_again:
            await _say(self.again, emit)
        return sc.LlmAnswer(self.again)


async def _say(text: str, emit: Callable[[Delta], None]) -> None:
    for number, word in enumerate(text.split(" ")):
        emit(Delta(f" {word}" if number else word, num_tokens=1))
        await asyncio.sleep(0)


class Proxy:
    """Hands bytes on, until all its connections are cut."""

    def __init__(self, connect: Opener) -> None:
        self._connect = connect
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await self._connect()
        self._writers += [writer, their_writer]
        self._pumps += [
            asyncio.create_task(self._pump(reader, their_writer)),
            asyncio.create_task(self._pump(their_reader, writer)),
        ]

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.transport.abort()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "PAUSES_S", (0.0,) * 4)


@pytest.fixture
def saying() -> Saying:
    return Saying()


@asynccontextmanager
async def cutting(way: str, saying: Saying, folder: Path) -> AsyncIterator[Any]:
    """A client behind a proxy, and what cuts it off."""
    kernel = ScriptedKernel(saying)
    async with serving(kernel, Config(data=folder, port=0, socket=folder / "s")) as address:
        if way == "socket":
            proxy = Proxy(lambda: asyncio.open_unix_connection(str(address.socket)))
            server = await asyncio.start_unix_server(proxy.take, folder / "p")
            transport: Any = UnixSocket(folder / "p")
        else:
            port = int(address.url.rpartition(":")[2])
            proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", port))
            server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
            transport = Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield Client(transport, kernel.operator_token), proxy.cut
        await transport.close()
        await proxy.close()
        server.close()


def listening(cut: Callable[[], None], told: list[str], *at: int) -> Callable[[Delta], None]:
    def on_delta(delta: Delta) -> None:
        told.append(delta.text)
        if len(told) in at:
            cut()

    return on_delta


@pytest.mark.parametrize("way", ["socket", "http"])
@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_stream_with_a_key_goes_on(saying: Saying, tmp_path: Path, way: str, is_silent: bool) -> None:
    saying.is_silent_again = is_silent
    told: list[str] = []
    async with cutting(way, saying, tmp_path) as (client, cut):
        answer = await client.llm.generate("hello", on_delta=listening(cut, told, 1), key="k")
    assert "".join(told) == answer.text == TEXT
    assert saying.num_asked == 2


@pytest.mark.parametrize("way", ["socket", "http"])
async def test_a_stream_without_a_key_ends(saying: Saying, tmp_path: Path, way: str) -> None:
    told: list[str] = []
    async with cutting(way, saying, tmp_path) as (client, cut):
        with pytest.raises(Unavailable, match="connection to the kernel was lost"):
            await client.llm.generate("hello", on_delta=listening(cut, told, 1))
    assert saying.num_asked == 1
    assert told


async def test_the_loop_over_a_stream_goes_on_too(saying: Saying, tmp_path: Path) -> None:
    told: list[str] = []
    async with cutting("socket", saying, tmp_path) as (client, cut):
        stream = client.llm.stream("hello", key="k")
        async for delta in stream:
            listening(cut, told, 1)(delta)
    assert "".join(told) == stream.answer.text == TEXT
    assert saying.num_asked == 2


async def test_another_answer_than_was_shown_is_refused(saying: Saying, tmp_path: Path) -> None:
    saying.again = "something else"
    told: list[str] = []
    async with cutting("socket", saying, tmp_path) as (client, cut):
        with pytest.raises(Conflict, match="another than was shown"):
            await client.llm.generate("hello", on_delta=listening(cut, told, 1), key="k")
    assert TEXT.startswith("".join(told))
