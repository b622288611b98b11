"""An upstream behind HTTP, in a process of its own: `python -m aios.bench.upstream.server --config JSON`.

Listens on a free loopback port, prints one JSON line once it does, and ends when its stdin ends. Besides
`/v1/chat/completions` there are `/ledger` (how things stand), `/reset` (begin anew) and `/configure` (begin
anew as the posted configuration says), which answer with a `Standing`: how things stood before. It holds to
the last of the cores that it may run on, where there are two. See `remote.py` for the other side.
"""

import argparse
import asyncio
import os
import resource
import socket
import sys
from typing import Any

import msgspec

from aios.bench.upstream import chat
from aios.bench.upstream.http import Answer, Connection
from aios.bench.upstream.model import Broken, Refused, Upstream, UpstreamConfig
from aios.bench.upstream.remote import Address, Standing
from aios.bench.upstream.strain import Watcher


class Server:
    """The endpoints, over one upstream at a time."""

    def __init__(self, config: UpstreamConfig) -> None:
        self._upstream = Upstream(config)
        self._answering: set[asyncio.Task[Any]] = set()
        """Who answers chat calls."""
        self.watcher = Watcher()

    async def handle(self, path: str, body: bytes, answer: Answer) -> None:
        match path:
            case "/v1/chat/completions":
                await self._chat(body, answer)
            case "/ledger":
                answer.whole(200, self._standing())
            case "/reset":
                self._begin_anew(self._upstream.config, answer)
            case "/configure":
                try:
                    config = msgspec.json.decode(body, type=UpstreamConfig)
                except msgspec.DecodeError as error:
                    answer.whole(400, str(error).encode())
                else:
                    self._begin_anew(config, answer)
            case _:
                answer.whole(404, b"")

    def _standing(self) -> bytes:
        return msgspec.json.encode(Standing(self._upstream.report(), self.watcher.strain()))

    def _begin_anew(self, config: UpstreamConfig, answer: Answer) -> None:
        answer.whole(200, self._standing())
        for task in self._answering:
            task.cancel()
        self._upstream.close()
        self._upstream = Upstream(config)
        self.watcher.reset()

    # ---- chat

    async def _chat(self, body: bytes, answer: Answer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            request = chat.asked(body)
            await (self._stream if request.is_streamed else self._answer_whole)(request, answer)
        except ValueError as error:
            answer.whole(400, chat.invalid(str(error)))
        finally:
            self._answering.discard(task)

    async def _stream(self, request: chat.Asked, answer: Answer) -> None:
        upstream = self._upstream
        try:
            await upstream.serve(
                request.work,
                lambda num_tokens: answer.event(chat.piece(num_tokens)),
                on_let_in=lambda: answer.begin(upstream.headers()),
            )
            answer.end(chat.last_events(request))
        except Refused as refused:
            answer.whole(refused.status, refused.body, refused.headers)
        except Broken as broken:
            if broken.body:
                answer.end(chat.failure(broken.body))
            else:
                answer.cut()

    async def _answer_whole(self, request: chat.Asked, answer: Answer) -> None:
        upstream = self._upstream
        headers: dict[str, str] = {}
        try:
            await upstream.serve(
                request.work,
                lambda num_tokens: None,
                on_let_in=lambda: headers.update(upstream.headers()),
            )
            answer.whole(200, chat.whole(request), headers)
        except Refused as refused:
            answer.whole(refused.status, refused.body, refused.headers)
        except Broken as broken:
            if broken.body:
                answer.whole(503, broken.body)
            else:
                answer.cut()


async def serve(config: UpstreamConfig, core: int | None) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = Server(config)
    bound = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener = await loop.create_server(lambda: Connection(server.handle), sock=bound)
    watching = loop.create_task(server.watcher.run())
    address = Address(f"http://127.0.0.1:{bound.getsockname()[1]}/v1", os.getpid(), core)
    print(msgspec.json.encode(address).decode(), flush=True)
    await _stdin_ended()
    watching.cancel()
    listener.close()


async def _stdin_ended() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.read(4096):
        pass


def hold_to_one_core() -> int | None:
    """Run on the last of the cores that this process may use, and leave the others: which one, if any."""
    if not hasattr(os, "sched_setaffinity") or len(cores := os.sched_getaffinity(0)) < 2:
        return None
    core = max(cores)
    os.sched_setaffinity(0, {core})
    return core


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m aios.bench.upstream.server")
    parser.add_argument("--config", default="{}", metavar="JSON", help="an UpstreamConfig")
    config = msgspec.json.decode(parser.parse_args().config, type=UpstreamConfig)
    # Thousands of agents without a kernel have a connection each.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(config, hold_to_one_core()))


if __name__ == "__main__":
    main()
