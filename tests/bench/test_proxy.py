"""The benches of load: their upstream, their measures and their tables. No figure is judged."""

import asyncio
import itertools
import json

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.messages import Delta, Sampling, Usage
from aios.bench import idle, overhead, proxy, scale
from aios.bench.chat_server import STREAM, WHOLE, WORDS, ChatConnection, Slots
from aios.bench.pauses import Pauses
from aios.bench.peer import peer
from aios.bench.proxy import Pace
from aios.drivers.llm import Generation
from aios.drivers.llm_remote import OpenAIDriver

REQUEST = b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"model":"x"}'
STREAMED = b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\ncontent-length: 15\r\n\r\n{"stream":true}'
HELD = REQUEST.replace(b"/v1", b"/slots/v1", 1)
TINY = Pace(slices=1, calls=2, span_s=0.1, cpu_slices=1, cpu_calls=1)
COLUMNS = {"way", "calls/s", "spread", "µs", "floor", "floor/s", "floor µs", "paused"}


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)


def connected(slots) -> tuple[ChatConnection, Wire]:
    connection, wire = ChatConnection(slots), Wire()
    connection.connection_made(wire)
    return connection, wire


# ---- the upstream


@given(cuts=st.lists(st.integers(0, len(REQUEST + STREAMED + REQUEST)), max_size=6))
def test_requests_are_found_however_they_are_cut(cuts):
    sent = REQUEST + STREAMED + REQUEST
    connection, wire = connected(slots=None)
    places = [0, *sorted(cuts), len(sent)]
    for begin, end in itertools.pairwise(places):
        connection.data_received(sent[begin:end])
    assert wire.written == [WHOLE, STREAM, WHOLE]


async def test_a_call_over_the_slots_waits_its_turn():
    slots = Slots(num_slots=2, hold_s=60.0)
    answered = []
    for number in range(4):
        slots.hold(lambda number=number: answered.append(number))
    assert answered == []
    for number in range(4):
        slots._end(lambda number=number: answered.append(number))
    assert answered == [0, 1, 2, 3]
    assert slots._num_free == 2


async def test_only_the_door_with_slots_holds_them():
    slots = Slots(num_slots=1, hold_s=60.0)
    connection, wire = connected(slots)
    connection.data_received(HELD)
    assert wire.written == []
    connection.data_received(REQUEST)
    assert wire.written == [WHOLE]


async def test_our_own_driver_and_a_plain_client_read_its_answers():
    slots = Slots(num_slots=1, hold_s=0.0)
    server = await asyncio.get_running_loop().create_server(lambda: ChatConnection(slots), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    deltas: list[Delta] = []
    job = Generation((), sampling=Sampling(seed=1, max_tokens=100))
    for door in ("/v1", "/slots/v1"):
        driver = OpenAIDriver(url + door, "m")
        await driver.start()
        answer = await driver.run(job, None, deltas.append, lambda num_tokens: False)
        await driver.close()
        assert (answer.text, answer.usage) == ("".join(WORDS), Usage(12, len(WORDS)))
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json={}) as got:
        told = json.loads(await got.read())
    assert told["choices"][0]["message"]["content"] == "".join(WORDS)
    assert told["usage"]["completion_tokens"] == len(WORDS) == len(deltas) / 2
    server.close()


# ---- peers and measures


async def test_a_peer_says_what_processor_time_it_has_used():
    async with peer("upstream") as upstream:
        assert 0 < await upstream.cpu_s() <= await upstream.cpu_s()


def test_what_is_lost_is_a_share_of_what_was_watched(monkeypatch):
    readings = iter([0.0, 0.0001, 0.7501, 0.7502, 1.0002])
    monkeypatch.setattr("aios.bench.pauses.time.perf_counter", lambda: next(readings))
    pauses = Pauses()
    assert pauses.share == 0
    pauses.look(1.0)
    assert pauses.share == pytest.approx(1.0 / 1.0002)


async def test_a_tiny_run_has_every_row_and_every_goal(monkeypatch):
    monkeypatch.setattr(proxy, "AGENTS", 2)
    told = []
    result = await proxy.measure(True, told.append, TINY)
    assert result.goals.keys() == {
        "overhead.proxy_added_ms",
        "overhead.proxy_throughput",
        "overhead.proxy_cpu_ms",
    }
    assert len(result.rows) == len(told) == 3
    assert all(row.keys() <= COLUMNS for row in result.rows)
    assert result.goals["overhead.proxy_cpu_ms"].value > 0
    assert result.goals["overhead.proxy_throughput"].value > 0


async def test_processor_time_is_told_for_a_call_and_without_the_first_round(monkeypatch):
    monkeypatch.setattr(overhead, "SLICE", 5)
    monkeypatch.setattr(overhead.time, "process_time", itertools.count(1.0, 0.5).__next__)
    made = []

    async def call():
        made.append(1)

    found = await overhead._cpu_times([call] * 10, quick=True)
    assert len(made) == 60
    assert (found.low, found.median, found.high) == pytest.approx((100_000, 100_000, 100_000))


# ---- many agents


def test_no_two_scripted_tasks_begin_alike_and_each_is_solved():
    tasks, _ = scale.scripted(400, 0)
    assert len(tasks) == 400
    row = asyncio.run(scale._measure("scripted", 12, 3))
    assert (row["agents"], row["finished"], row["solved"]) == (12, 12, 12)


def test_time_per_agent_is_compared_to_the_base():
    rows = [{"core": "scripted", "agents": number, "cpu ms/agent": ms} for number, ms in ((250, 4), (9, 5))]
    scale._compare(rows)
    assert [row["over base"] for row in rows] == [1.0, 1.25]


def test_the_goals_are_of_the_most_agents():
    rows = [
        {"agents": 250, "finished": 250, "over base": 1.0},
        {"agents": 1000, "finished": 900, "over base": 1.1},
        {"agents": 5000, "B/agent": 7},
    ]
    goals = scale._goals(rows, 7, True)
    assert {key: goal.value for key, goal in goals.items()} == {
        "scale.all_finished": 0.9,
        "scale.linearity": 1.1,
        "scale.idle_agent_bytes": 7,
    }


async def test_an_idle_agent_weighs_something(monkeypatch):
    sizes = iter([1000, 1000 + 4 * 300])
    monkeypatch.setattr(idle, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(idle, "FIRST", 1)
    monkeypatch.setattr(idle, "JournalConfig", lambda: type("Few", (), {"max_events": 4}))
    assert await idle.bytes_per_agent(4) == 300


def test_resident_bytes_are_more_than_python_itself_takes():
    assert idle.resident_bytes() > 1024 * 1024
