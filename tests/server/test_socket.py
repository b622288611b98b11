"""The socket: who may come, what a connection may hold, and what ends with it."""

import asyncio
import os
import socket
import stat
import struct

import msgspec
import pytest

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import Cancelled, Conflict, InvalidArgument, OutcomeUnknown, Unavailable
from aios.abi.messages import Message
from aios.sdk import repeating
from aios.sdk.transport import UnixSocket
from aios.server import connection as connections
from aios.server.socket import SocketServer

OPERATOR = "operator-secret"


def ask(text: str) -> sc.LlmGenerate:
    return sc.LlmGenerate(messages=(Message("user", text),))


@pytest.fixture
async def server(kernel, tmp_path):
    listening = SocketServer(kernel, tmp_path / "s")
    await listening.start()
    yield listening
    await listening.close()


@pytest.fixture
async def way(server, tmp_path):
    transport = UnixSocket(tmp_path / "s")
    yield transport
    await transport.close()


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, body: bytes) -> None:
        self.writer.write(struct.pack(">I", len(body)) + body)

    def call(self, call_id: int, call: sc.SystemCall, *, stream: bool = False) -> None:
        name = sc.ROW_OF[type(call)].name
        args = msgspec.Raw(wire.encode(call))
        self.writer.write(wire.frame(wire.Request(name, args, call_id, OPERATOR, stream)))

    async def receive(self) -> wire.Response:
        async with asyncio.timeout(20):
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            return wire.decode_response(await self._reader.readexactly(length))

    async def ends(self) -> bool:
        async with asyncio.timeout(20):
            return await self._reader.read() == b""


@pytest.fixture
async def raw(server, tmp_path):
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    yield Raw(reader, writer)
    writer.close()


async def test_only_its_owner_may_open_the_socket(server, tmp_path):
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_another_users_process_is_turned_away(way, kernel, monkeypatch):
    monkeypatch.setattr(connections, "_is_same_user", lambda peer: False)
    with pytest.raises(Unavailable):
        await way.call(OPERATOR, ask("hello"))
    assert kernel.seen == []


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not say who the peer is")
def test_the_peers_user_is_what_the_system_says_it_is():
    ours, other = socket.socketpair(socket.AF_UNIX)

    class AnothersSocket:
        def getsockopt(self, *_):
            return struct.pack("3i", 1, os.getuid() + 1, 1)

    with ours, other:
        assert connections._is_same_user(ours)
        assert not connections._is_same_user(AnothersSocket())


async def test_a_stale_socket_is_replaced(kernel, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listening = SocketServer(kernel, path)
    await listening.start()
    transport = UnixSocket(path)
    assert await transport.call(OPERATOR, ask("hello")) == sc.LlmAnswer("hello")
    await transport.close()
    await listening.close()
    assert not path.exists()


async def test_a_socket_that_somebody_serves_is_left_alone(server, kernel, tmp_path, way):
    with pytest.raises(Conflict, match="another kernel"):
        await SocketServer(kernel, tmp_path / "s").start()
    assert await way.call(OPERATOR, ask("hello")) == sc.LlmAnswer("hello")


async def test_a_file_in_the_way_is_left_alone(kernel, tmp_path):
    (tmp_path / "f").write_text("mine")
    with pytest.raises(Conflict, match="no socket"):
        await SocketServer(kernel, tmp_path / "f").start()
    assert (tmp_path / "f").read_text() == "mine"


async def test_a_path_too_long_is_an_argument_error(kernel, tmp_path):
    with pytest.raises(InvalidArgument, match="no socket at"):
        await SocketServer(kernel, tmp_path / ("x" * 120)).start()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"call": 7}', b'{"call": "a", "who": "me"}', b"\xff\xfe"]
)
async def test_what_is_no_request_is_answered_and_the_connection_goes_on(raw, kernel, body):
    raw.send(body)
    answer = await raw.receive()
    assert answer.id == 0
    assert answer.error is not None
    assert answer.error.code == "invalid_argument"
    raw.call(1, ask("still here"))
    assert b"still here" in bytes((await raw.receive()).reply)


@pytest.mark.parametrize(
    ("call", "args", "code"),
    [
        ("storage.explode", b"{}", "unknown_call"),
        ("storage.read", b"{}", "invalid_argument"),
        ("storage.read", b'{"path": 3}', "invalid_argument"),
        ("storage.read", b'{"path": "a", "as": "root"}', "invalid_argument"),
        ("memory.search", b'{"limit": 100000}', "invalid_argument"),
    ],
)
async def test_a_bad_call_is_answered_by_its_id(raw, kernel, call, args, code):
    raw.writer.write(wire.frame(wire.Request(call, msgspec.Raw(args), 5, OPERATOR)))
    answer = await raw.receive()
    assert (answer.id, answer.error.code) == (5, code)
    assert kernel.seen == []


async def test_a_frame_too_large_is_refused_before_it_is_read_and_ends_the_connection(raw):
    raw.writer.write(struct.pack(">I", 10 * 1024 * 1024))
    assert (await raw.receive()).error.code == "too_large"
    assert await raw.ends()


async def test_a_defect_is_internal_and_says_nothing_of_itself(raw, caplog):
    raw.call(1, sc.ToolList())
    answer = await raw.receive()
    assert answer.error.code == "internal"
    assert "defect" not in answer.error.message
    assert "a defect" in caplog.text


async def test_an_id_in_flight_is_not_used_twice(raw, kernel):
    raw.call(1, ask("hang"))
    await kernel.until(lambda: kernel.num_hanging == 1)
    raw.call(1, ask("again"))
    assert (await raw.receive()).error.code == "conflict"


async def test_a_cancelled_call_is_answered_as_cancelled(raw, kernel):
    raw.call(1, ask("hang"))
    await kernel.until(lambda: kernel.num_hanging == 1)
    raw.send(wire.encode(wire.Request("", id=1, cancel=True)))
    assert (await raw.receive()).error.code == "cancelled"
    assert len(kernel.cancelled) == 1


async def test_a_cancel_right_behind_its_call_settles_it_too(raw):
    raw.call(1, ask("hang"))
    raw.send(wire.encode(wire.Request("", id=1, cancel=True)))
    assert (await raw.receive()).error.code == "cancelled"


async def test_a_cancel_of_nothing_is_nothing(raw):
    raw.send(wire.encode(wire.Request("", id=9, cancel=True)))
    raw.call(1, ask("hello"))
    assert (await raw.receive()).id == 1


async def test_too_many_calls_on_a_connection_are_refused_not_held_up(raw, kernel, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CALLS", 2)
    raw.call(1, ask("hang"))
    raw.call(2, ask("hang"))
    raw.call(3, ask("one more"))
    answer = await raw.receive()
    assert (answer.id, answer.error.code, answer.error.retry_after) == (3, "overloaded", 1.0)


async def test_too_many_bytes_on_a_connection_are_refused(raw, kernel, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CALL_BYTES", 1000)
    raw.call(1, ask("hang" + "x" * 2000))
    raw.call(2, ask("one more"))
    assert (await raw.receive()).error.code == "overloaded"


async def test_a_client_that_does_not_read_its_stream_is_given_up(raw, kernel, monkeypatch):
    monkeypatch.setattr(connections, "MAX_UNREAD", 1_000_000)
    raw.writer.transport.pause_reading()
    raw.call(1, ask("flood 50 then hang"), stream=True)
    await kernel.until(lambda: len(kernel.cancelled) == 1)


async def test_answers_wait_for_a_client_that_is_slow_to_read_them(raw, kernel, monkeypatch):
    """More than may lie unread: held back, none lost, and the connection stands."""
    monkeypatch.setattr(connections, "MAX_UNREAD", 1_000_000)
    raw.writer.transport.pause_reading()
    for call_id in range(1, 21):
        raw.call(call_id, ask("x" * 300_000))
    await kernel.until(lambda: len(kernel.seen) > 0)
    raw.writer.transport.resume_reading()
    answers = [await raw.receive() for _ in range(20)]
    assert sorted(answer.id for answer in answers) == list(range(1, 21))


async def test_losing_the_connection_cancels_its_calls(server, kernel, raw):
    raw.call(1, ask("hang"))
    await kernel.until(lambda: kernel.num_hanging == 1)
    raw.writer.transport.abort()
    await kernel.until(lambda: len(kernel.cancelled) == 1)


async def test_losing_the_connection_kills_the_processes_spawned_over_it(way, kernel):
    mine = await way.call(OPERATOR, sc.ProcessSpawn(agent="a"))
    for call in (sc.ProcessSpawn(agent="b", durable=True), sc.ProcessSpawn(agent="c", lease_s=9.0)):
        await way.call(OPERATOR, call)
    gone = await way.call(OPERATOR, sc.ProcessSpawn(agent="d"))
    await way.call(gone.token, sc.ProcessExit(result="done"))
    ended = await way.call(OPERATOR, sc.ProcessSpawn(agent="e"))
    await way.call(OPERATOR, sc.ProcessKill(pid=ended.pid))
    kernel.killed.clear()
    await way.close()
    await kernel.until(lambda: len(kernel.killed) > 0)
    assert kernel.killed == [mine.pid]


async def test_a_process_spawned_as_its_client_dies_is_killed(raw, kernel):
    kernel.may_spawn.clear()
    raw.call(1, sc.ProcessSpawn(agent="a"))
    await kernel.until(lambda: len(kernel.seen) == 1)
    raw.writer.transport.abort()
    kernel.may_spawn.set()
    await kernel.until(lambda: len(kernel.killed) == 1)


async def test_closing_the_server_answers_what_is_in_flight(server, kernel, way):
    calling = asyncio.create_task(way.call(OPERATOR, ask("hang")))
    await kernel.until(lambda: kernel.num_hanging == 1)
    await server.close()
    with pytest.raises(Cancelled):
        await calling


async def test_a_write_that_the_end_cuts_off_may_have_taken_effect(server, kernel, way, monkeypatch):
    monkeypatch.setattr(repeating, "PAUSES_S", (0.0,))
    writing = asyncio.create_task(way.call(OPERATOR, sc.StorageWrite(path="hang", content="x")))
    await kernel.until(lambda: kernel.num_hanging == 1)
    await server.close()
    with pytest.raises(OutcomeUnknown, match=r"storage\.write") as raised:
        await writing
    assert [raised.value.key] == kernel.keys


async def test_an_answer_may_be_larger_than_what_may_lie_unread(way, monkeypatch):
    monkeypatch.setattr(connections, "MAX_UNREAD", 1_000_000)
    reply = await way.call(OPERATOR, sc.StorageRead(path="large"))
    assert len(reply.content) == 8 * 1024 * 1024


async def test_a_lost_connection_fails_its_calls_and_the_next_call_connects_again(kernel, tmp_path):
    """What changes nothing has failed; what may have taken effect is asked for again, with the same key."""
    first = SocketServer(kernel, tmp_path / "s")
    await first.start()
    way = UnixSocket(tmp_path / "s")
    reading = asyncio.create_task(way.call(OPERATOR, ask("hang")))
    await kernel.until(lambda: kernel.num_hanging == 1)
    kernel.may_spawn.clear()
    spawning = asyncio.create_task(way.call(OPERATOR, sc.ProcessSpawn(agent="a")))
    await kernel.until(lambda: len(kernel.seen) == 2)
    for lost in list(first._connections):
        lost.abort()
    with pytest.raises(Unavailable):
        await reading
    await kernel.until(lambda: len(kernel.seen) == 3)
    kernel.may_spawn.set()
    assert isinstance(await spawning, sc.Spawned)
    keys = [key for key in kernel.keys if key]
    assert (len(keys), len(set(keys))) == (2, 1)
    assert await way.call(OPERATOR, ask("again")) == sc.LlmAnswer("again")
    await way.close()
    await first.close()


async def test_without_a_kernel_the_socket_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="no kernel listens"):
        await UnixSocket(tmp_path / "nothing").call(OPERATOR, ask("hello"))
