"""The native HTTP interface: whose request it is, what it may carry, what comes back."""

import asyncio
import json
import socket
import stat

import aiohttp
import pytest

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import Cancelled, Conflict, OutcomeUnknown, Overloaded, PermissionDenied
from aios.abi.messages import Message
from aios.kernel.config import Config
from aios.sdk import repeating
from aios.sdk.transport import Http
from aios.server import app, http, openapi
from aios.server.app import serving
from aios.server.asgi import send_error
from fakes.upstream import Upstream, refusal

OPERATOR = {"Authorization": "Bearer operator-secret"}
HELLO = {"call": "llm.generate", "args": {"messages": [{"role": "user", "content": "hello"}]}}
HANG = {"call": "llm.generate", "args": {"messages": [{"role": "user", "content": "hang"}]}}


@pytest.fixture
async def session(address):
    async with aiohttp.ClientSession(address.url, headers=OPERATOR) as opened:
        yield opened


async def answer(response: aiohttp.ClientResponse) -> tuple[int, dict]:
    async with response:
        return response.status, json.loads(await response.read())


async def test_a_call_is_answered_with_its_reply(session):
    status, reply = await answer(await session.post("/v1/syscalls", json=HELLO))
    assert (status, reply["text"]) == (200, "hello")


@pytest.mark.parametrize("value", [None, "", "Basic abc", "Bearer", "Bearer ", "Bearer nobody"])
async def test_without_a_right_token_nothing_is_told(address, value):
    headers = {} if value is None else {"Authorization": value}
    async with aiohttp.ClientSession(address.url) as session:
        for path in ("/v1/processes", "/v1/approvals"):
            assert (await answer(await session.get(path, headers=headers)))[0] == 401
        response = await session.post("/v1/syscalls", json=HELLO, headers=headers)
        assert response.headers["WWW-Authenticate"] == "Bearer"
        status, body = await answer(response)
        assert (status, body["error"]["code"]) == (401, "unauthenticated")


async def test_when_to_come_back_is_never_said_too_early():
    sent = []

    async def send(message):
        sent.append(message)

    await send_error(send, Overloaded("full", retry_after=1.2))
    assert dict(sent[0]["headers"])[b"retry-after"] == b"2"


async def test_a_token_in_the_body_is_no_token(address):
    async with aiohttp.ClientSession(address.url) as session:
        body = HELLO | {"token": "operator-secret"}
        assert (await answer(await session.post("/v1/syscalls", json=body)))[0] == 401
        status, _ = await answer(await session.post("/v1/syscalls", json=body, headers=OPERATOR))
        assert status == 400


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_argument"),
        (b"{", 400, "invalid_argument"),
        (b"\xff", 400, "invalid_argument"),
        (b"[" * 100_000, 400, "invalid_argument"),
        (b'{"call": "llm.dream"}', 404, "unknown_call"),
        (b'{"call": "storage.read", "args": {"path": 5}}', 400, "invalid_argument"),
        (b'{"call": "storage.read", "args": {"path": "x"}, "timeout_s": "soon"}', 400, "invalid_argument"),
        (b'{"call": "storage.read", "args": {"path": "x"}}', 404, "not_found"),
        (b'{"call": "tool.list"}', 500, "internal"),
    ],
)
async def test_each_wrong_thing_has_its_status_and_its_code(session, body, status, code):
    found, reply = await answer(await session.post("/v1/syscalls", data=body))
    assert (found, reply["error"]["code"]) == (status, code)
    assert "defect" not in reply["error"]["message"]


async def test_a_body_of_ten_megabytes_is_refused_unheld(session, kernel):
    async def pieces():
        for _ in range(10):
            yield b"x" * 1024 * 1024

    status, reply = await answer(await session.post("/v1/syscalls", data=pieces()))
    assert (status, reply["error"]["code"]) == (413, "too_large")
    assert kernel.seen == []
    assert (await answer(await session.post("/v1/syscalls", json=HELLO)))[0] == 200


async def test_a_body_that_declares_too_much_is_refused_unread(address):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.url.rpartition(":")[2]))
    writer.write(
        b"POST /v1/syscalls HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer operator-secret\r\n"
        b"Content-Length: 99999999999\r\n\r\n"
    )
    async with asyncio.timeout(20):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_body_as_large_as_may_be_is_taken(session):
    padded = json.dumps(HELLO).encode().ljust(wire.MAX_FRAME)
    assert (await answer(await session.post("/v1/syscalls", data=iter_of(padded))))[0] == 200


async def iter_of(body: bytes):
    yield body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]"])
async def test_a_request_for_another_host_is_refused(session, kernel, host):
    status, reply = await answer(await session.post("/v1/syscalls", json=HELLO, headers={"Host": host}))
    assert (status, reply["error"]["code"]) == (403, "permission_denied")
    assert kernel.seen == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
async def test_the_loopbacks_names_are_ours(session, host):
    assert (await answer(await session.post("/v1/syscalls", json=HELLO, headers={"Host": host})))[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8000"])
async def test_a_web_pages_request_is_refused(session, kernel, origin):
    headers = {"Origin": origin}
    assert (await answer(await session.post("/v1/syscalls", json=HELLO, headers=headers)))[0] == 403
    preflight = await session.options("/v1/syscalls", headers=headers)
    assert preflight.status == 403
    assert not [name for name in preflight.headers if name.lower().startswith("access-control")]
    assert kernel.seen == []


async def test_a_host_that_is_configured_is_ours_and_so_are_its_pages(kernel, tmp_path):
    config = Config(data=tmp_path, port=0, socket=tmp_path / "s", allowed_hosts=("aios.lan",))
    headers = OPERATOR | {"Host": "aios.lan:8000", "Origin": "https://aios.lan"}
    async with serving(kernel, config) as address, aiohttp.ClientSession(address.url) as session:
        assert (await answer(await session.post("/v1/syscalls", json=HELLO, headers=headers)))[0] == 200


async def test_a_stream_is_events_and_ends_with_the_reply(session):
    body = HELLO | {"stream": True}
    body["args"] = {"messages": [{"role": "user", "content": "one two"}]}
    async with session.post("/v1/syscalls", json=body) as response:
        assert response.content_type == "text/event-stream"
        events = [json.loads(line[6:]) for line in (await response.read()).split(b"\n\n") if line]
    assert [event["delta"]["text"] for event in events[:-1]] == ["one", "two"]
    assert events[-1]["reply"]["text"] == "one two"


async def test_an_error_before_the_stream_has_its_status(session):
    body = HELLO | {"stream": True, "args": {"messages": [{"role": "user", "content": "fail"}]}}
    body["call"] = "storage.read"
    body["args"] = {"path": "x"}
    assert (await answer(await session.post("/v1/syscalls", json=body)))[0] == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_cancels_its_call(address, kernel, stream):
    async with aiohttp.ClientSession(address.url, headers=OPERATOR) as session:
        asking = asyncio.create_task(session.post("/v1/syscalls", json=HANG | {"stream": stream}))
        await kernel.until(lambda: kernel.num_hanging == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await kernel.until(lambda: len(kernel.cancelled) == 1)


async def test_a_stream_nobody_reads_is_cancelled(address, kernel, monkeypatch):
    monkeypatch.setattr("aios.server.calls.MAX_UNREAD", 1_000_000)
    body = json.dumps(
        {
            "call": "llm.generate",
            "args": {"messages": [{"role": "user", "content": "flood 300 hang"}]},
            "stream": True,
        }
    ).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", int(address.url.rpartition(":")[2]), limit=1024)
    head = f"Host: localhost\r\nAuthorization: Bearer operator-secret\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(b"POST /v1/syscalls HTTP/1.1\r\n" + head.encode() + body)
    await kernel.until(lambda: len(kernel.cancelled) == 1)
    writer.transport.abort()


async def test_a_process_is_spawned_listed_and_approvals_are_decided(session, kernel):
    status, spawned = await answer(await session.post("/v1/processes", json={"agent": "mine"}))
    assert (status, spawned["token"]) == (200, "token-2")
    assert (await answer(await session.get("/v1/processes")))[1] == {"processes": []}
    assert (await answer(await session.get("/v1/approvals")))[1] == {"approvals": []}
    assert (await answer(await session.post("/v1/approvals/a1", json={"decision": "approve"})))[0] == 200
    assert (await answer(await session.post("/v1/approvals/a2", json={"decision": "deny"})))[0] == 200
    assert kernel.seen[-2:] == [sc.AccessApprove(approval_id="a1"), sc.AccessDeny(approval_id="a2")]
    for body in ({}, {"decision": "maybe"}, {"decision": "deny", "as": "root"}):
        assert (await answer(await session.post("/v1/approvals/a1", json=body)))[0] == 400
    for data in (b'{"decision": "\xff"}', b'{"x": ' + b"[" * 100_000):
        assert (await answer(await session.post("/v1/approvals/a1", data=data)))[0] == 400
    assert (await answer(await session.post("/v1/processes", json={"agent": ""})))[0] == 400


async def test_only_the_operator_sees_the_metrics(session):
    response = await session.get("/metrics")
    assert (response.status, response.content_type) == (200, "text/plain")
    text = await response.text()
    assert "aios_scheduler_waiting 3\n" in text
    assert 'aios_cores_slots{name="nano"} 64\n' in text
    assert "policy" not in text
    _, spawned = await answer(await session.post("/v1/processes", json={"agent": "mine"}))
    headers = {"Authorization": f"Bearer {spawned['token']}"}
    assert (await answer(await session.get("/metrics", headers=headers)))[0] == 403


async def test_health_and_description_need_no_token(address):
    async with aiohttp.ClientSession(address.url) as session:
        assert await answer(await session.get("/healthz")) == (200, {"status": "ok"})
        status, description = await answer(await session.get("/openapi.json"))
    assert status == 200
    assert description["openapi"].startswith("3.")


def test_the_description_has_every_call_and_no_loose_ends():
    text = json.dumps(openapi.describe())
    described = openapi.describe()
    bodies = described["paths"]["/v1/syscalls"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert [body["properties"]["call"]["const"] for body in bodies["oneOf"]] == list(sc.TABLE)
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= set(described["components"]["schemas"])


async def test_nothing_there_and_the_wrong_method_are_told_as_errors(session):
    status, body = await answer(await session.get("/v1/nothing"))
    assert (status, body["error"]["code"]) == (404, "not_found")
    status, body = await answer(await session.get("/v1/syscalls"))
    assert (status, body["error"]["code"]) == (405, "invalid_argument")


async def test_a_write_that_the_end_cuts_off_may_have_taken_effect(kernel, config, monkeypatch):
    monkeypatch.setattr(repeating, "PAUSES_S", (0.0,))
    async with serving(kernel, config) as address:
        way = Http(address.url)
        write = sc.StorageWrite(path="hang", content="x")
        writing = asyncio.create_task(way.call("operator-secret", write))
        await kernel.until(lambda: kernel.num_hanging == 1)
    with pytest.raises(OutcomeUnknown, match=r"storage\.write") as raised:
        await writing
    assert [raised.value.key] == kernel.keys
    await way.close()


async def test_ending_answers_what_is_in_flight_and_leaves_nothing(kernel, config):
    async with serving(kernel, config) as address:
        way = Http(address.url)
        call = sc.LlmGenerate(messages=(Message("user", "hang"),))
        calling = asyncio.create_task(way.call("operator-secret", call))
        await kernel.until(lambda: kernel.num_hanging == 1)
    with pytest.raises(Cancelled):
        await calling
    await way.close()
    assert not config.socket_path.exists()


async def test_an_address_that_others_reach_needs_to_be_meant(kernel, tmp_path):
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(PermissionDenied, match="allow_remote"):
            async with serving(kernel, Config(data=tmp_path, host=host, port=0, socket=tmp_path / "s")):
                pass
    assert not (tmp_path / "s").exists()


async def test_a_port_that_is_taken_is_told(kernel, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(data=tmp_path, port=taken.getsockname()[1], socket=tmp_path / "s")
        with pytest.raises(Conflict, match="can't be had"):
            async with serving(kernel, config):
                pass
    assert not (tmp_path / "s").exists()


async def test_the_address_that_is_told_is_one_that_answers(kernel, tmp_path):
    config = Config(data=tmp_path, host="127.0.0.2", port=0, socket=tmp_path / "s")
    async with serving(kernel, config) as address, aiohttp.ClientSession(headers=OPERATOR) as session:
        assert address.url.startswith("http://127.0.0.2:")
        assert (await answer(await session.get(f"{address.url}/v1/processes")))[0] == 200
        headers = {"Origin": address.url}
        assert (await answer(await session.get(f"{address.url}/v1/processes", headers=headers)))[0] == 403


@pytest.mark.parametrize(
    "path", ["/v1/syscalls", "/v1/processes", "/v1/approvals/a1", "/v1/chat/completions"]
)
async def test_a_strangers_body_is_not_waited_for(address, kernel, path):
    reader, writer = await connected(address)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        "Authorization: Bearer nobody\r\nContent-Length: 1000000\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        assert b" 401 " in await reader.readline()
    writer.close()
    assert kernel.seen == []


async def test_a_client_that_says_nothing_is_not_kept(address, monkeypatch):
    monkeypatch.setattr(http, "HEAD_S", 0.0)
    reader, writer = await connected(address)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("start", [b"\r\n", b"POST /v1/syscalls HTTP/1.1\r\nHost: local"])
async def test_a_head_that_is_begun_is_finished_in_time(address, monkeypatch, start):
    reader, writer = await connected(address)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(20):
        await reader.readuntil(b"}")
        monkeypatch.setattr(http, "HEAD_S", 0.0)
        writer.write(start)
        assert await reader.read() == b""
    writer.close()


async def test_a_head_that_goes_on_without_end_is_refused(address, kernel):
    for end in (b"", b"\r\n\r\n"):
        reader, writer = await connected(address)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + end)
        async with asyncio.timeout(20):
            assert b" 400 " in await reader.readline()
        writer.close()


async def test_a_request_may_take_longer_than_its_head(address, kernel, monkeypatch):
    async with aiohttp.ClientSession(address.url, headers=OPERATOR) as session:
        assert (await answer(await session.post("/v1/syscalls", json=HELLO)))[0] == 200
        monkeypatch.setattr(http, "HEAD_S", 0.0)
        assert (await answer(await session.post("/v1/syscalls", json=HELLO)))[0] == 200


async def test_connections_over_the_bound_are_not_kept(kernel, config, monkeypatch):
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 1)
    async with serving(kernel, config) as address:
        _, first = await connected(address)
        reader, second = await connected(address)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        first.close()
        second.close()


async def connected(address):
    return await asyncio.open_connection("127.0.0.1", int(address.url.rpartition(":")[2]))


async def test_a_server_that_is_full_is_overloaded():
    """Uvicorn says so in words of its own."""
    async with Upstream(refusal(503, b"Service Unavailable")) as full:
        way = Http(full.base_url.removesuffix("/v1"))
        with pytest.raises(Overloaded):
            await way.call("operator-secret", sc.ProcessList())
        await way.close()


async def test_a_client_makes_fewer_connections_than_a_server_takes(address):
    way = Http(address.url)
    await way.call("operator-secret", sc.ProcessList())
    assert 0 < way._session.connector.limit < app._MAX_CONCURRENT
    await way.close()


async def test_the_socket_is_served_beside_http(address):
    assert stat.S_ISSOCK(address.socket.stat().st_mode)
