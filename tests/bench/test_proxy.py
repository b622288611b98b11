"""The benches of load: their upstream, their measures and their tables. No figure is judged."""

import asyncio
import itertools
import json
from functools import partial

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.messages import Delta, Sampling, Usage
from aios.bench import idle, overhead, proxy, scale, slices
from aios.bench.chat_server import STREAM, WHOLE, WORDS, ChatConnection, Slots
from aios.bench.pauses import Pauses, QuietTime
from aios.bench.peer import peer
from aios.bench.proxy import Pace
from aios.drivers.llm import Generation
from aios.drivers.llm_remote import OpenAIDriver

REQUEST = b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"model":"x"}'
STREAMED = b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\ncontent-length: 15\r\n\r\n{"stream":true}'
HELD = REQUEST.replace(b"/v1", b"/slots/v1", 1)
SLOW = REQUEST.replace(b"/v1", b"/slow/v1", 1)
TINY = Pace(slices=1, calls=2, span_s=0.01, slow_slices=1, cpu_slices=1)
COLUMNS = {"way", "calls/s", "spread", "µs", "cpu µs", "floor", "floor/s", "floor µs", "left out", "paused"}


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)


def connected(slots, slow=None) -> tuple[ChatConnection, Wire]:
    connection, wire = ChatConnection(slots, slow), Wire()
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


async def test_only_the_doors_with_slots_hold_them_each_its_own():
    slots, slow = Slots(num_slots=1, hold_s=60.0), Slots(num_slots=2, hold_s=600.0)
    connection, wire = connected(slots, slow)
    connection.data_received(HELD + SLOW)
    assert (slots._num_free, slow._num_free) == (0, 1)
    assert wire.written == []
    connection.data_received(REQUEST)
    assert wire.written == [WHOLE]


async def test_our_own_driver_and_a_plain_client_read_its_answers():
    slots = Slots(num_slots=1, hold_s=0.0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ChatConnection(slots, slots), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    deltas: list[Delta] = []
    job = Generation((), sampling=Sampling(seed=1, max_tokens=100))
    for door in ("/v1", "/slots/v1", "/slow/v1"):
        driver = OpenAIDriver(url + door, "m")
        await driver.start()
        answer = await driver.run(job, None, deltas.append, lambda num_tokens: False)
        await driver.close()
        assert (answer.text, answer.usage) == ("".join(WORDS), Usage(12, len(WORDS)))
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json={}) as got:
        told = json.loads(await got.read())
    assert told["choices"][0]["message"]["content"] == "".join(WORDS)
    assert told["usage"]["completion_tokens"] == len(WORDS) == len(deltas) / 3
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


def quiet_time(monkeypatch, spans) -> QuietTime:
    """After looks before which work took so long, each with a yardstick that then took so long."""
    readings = iter(itertools.accumulate([0.0, *itertools.chain.from_iterable(spans)]))
    monkeypatch.setattr("aios.bench.pauses.time.process_time", lambda: next(readings))
    quiet = QuietTime()
    for _ in spans:
        quiet.look()
    return quiet


def test_quiet_time_is_all_the_work_where_nothing_is_paused(monkeypatch):
    quiet = quiet_time(monkeypatch, [(0.001, 0.0001)] * 50)
    assert quiet.seconds == pytest.approx(0.05)


def test_long_pauses_are_no_quiet_time(monkeypatch):
    spans = [(0.001, 0.0001)] * 50
    spans[10], spans[20] = (0.7, 0.0001), (0.001, 0.7)
    assert quiet_time(monkeypatch, spans).seconds == pytest.approx(0.049)


def test_short_pauses_show_in_the_yardstick(monkeypatch):
    spans = [(0.001, 0.0001), (0.003, 0.0003)] * 50
    assert quiet_time(monkeypatch, spans).seconds == pytest.approx(0.1)


async def test_a_tiny_run_has_every_row_and_every_goal(monkeypatch):
    monkeypatch.setattr(proxy, "AGENTS", 2)
    told = []
    result = await proxy.measure(True, told.append, TINY)
    assert result.goals.keys() == {
        "overhead.proxy_added_ms",
        "overhead.proxy_throughput",
        "overhead.proxy_cpu_ms",
    }
    assert len(result.rows) == len(told) == 4
    assert all(row.keys() <= COLUMNS for row in result.rows)
    assert result.goals["overhead.proxy_cpu_ms"].value > 0
    assert result.goals["overhead.proxy_throughput"].value > 0


async def test_a_tiny_run_of_the_kernel_alone_has_every_row_and_every_goal(monkeypatch):
    monkeypatch.setattr(overhead, "AGENTS", slices.SLICE)
    monkeypatch.setattr(overhead, "CONNECTIONS", 2)
    told = []
    pace = overhead.Pace(rounds=3, slices=1, span_s=0.01, cpu_slices=1)
    result = await overhead.measure(pace, True, Pauses(), told.append)
    assert set(result.goals) == {
        f"overhead.{key}"
        for key in ("in_process_per_second", "cpu_us_per_call", "socket_per_second", "http_per_second")
    }
    assert len(result.rows) == 4
    assert len(told) == 3
    assert all(row.keys() <= COLUMNS for row in result.rows)
    assert all(goal.value > 0 for goal in result.goals.values())


async def in_slices(monkeypatch, wall_s, rounds=3):
    """Of ten callers, where a call takes as long as `wall_s` says next, and half of it of the processor."""
    clock = {"wall": 0.0}
    monkeypatch.setattr(slices, "SLICE", 10)
    monkeypatch.setattr(slices.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(slices.time, "process_time", lambda: clock["wall"] / 2)

    async def call():
        clock["wall"] += next(wall_s)

    return await slices.sliced([call] * 10, rounds)


async def test_the_first_and_the_last_round_do_not_count(monkeypatch):
    found = await in_slices(monkeypatch, iter([1e-4] * 10 + [1e-5] * 10 + [1e-4] * 10))
    assert (found.per_second.low, found.per_second.high) == pytest.approx((100_000, 100_000))
    assert (found.cpu_us.median, found.left_out) == (pytest.approx(5), 0)


async def test_slices_that_were_paused_are_left_out_and_counted(monkeypatch):
    spans = [1e-5] * 15 + [0.01] + [1e-5] * 24
    found = await in_slices(monkeypatch, iter(spans), rounds=4)
    assert found.left_out == 0.5
    assert found.cpu_us.high == pytest.approx(5)


async def test_where_all_slices_were_paused_they_are_told_as_they_are(monkeypatch):
    found = await in_slices(monkeypatch, itertools.repeat(0.01))
    assert (found.left_out, found.per_second.median) == (1, pytest.approx(100))


async def test_callers_are_not_in_step():
    steps = []

    async def call():
        steps.append("?")
        await asyncio.sleep(0)
        steps.append("!")

    await slices.sliced([call] * 60, 4)
    assert "!" * 60 not in "".join(steps)


async def test_what_asking_takes_is_not_the_calls():
    readings = iter([1.0, 1.1, 1.7])

    class Server:
        async def cpu_s(self):
            return next(readings)

    made = []

    async def call():
        made.append(1)

    assert await slices.cpu_us(Server(), [call] * 5) == pytest.approx(100_000)
    assert len(made) == 5


async def test_two_ways_are_measured_in_turn_and_not_the_first_time():
    made = []

    async def call(name):
        made.append(name)
        await asyncio.sleep(0)

    # However long the machine was paused, each slice makes a call.
    found = await slices.rates([partial(call, "ours")], [partial(call, "floor")], 0.0, 2)
    assert len(found) == 2
    assert [name for name, _ in itertools.groupby(made)] == ["ours", "floor"] * 3


def test_the_quieter_half_has_the_quarter_in_its_middle():
    found = slices.quieter_half([9, 1, 5, 2, 7])
    assert (found.low, found.median, found.high) == (1, 2, 5)


# ---- many agents


def test_no_two_scripted_tasks_begin_alike_and_each_is_solved():
    tasks, _ = scale.scripted(400, 0)
    assert len(tasks) == 400
    row = asyncio.run(scale._measure("scripted", 12, 3))
    assert (row["agents"], row["finished"], row["solved"]) == (12, 12, 12)


def test_time_per_agent_is_compared_to_the_base():
    rows = [{"core": "scripted", "agents": number, "quiet ms/agent": ms} for number, ms in ((250, 4), (9, 5))]
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
