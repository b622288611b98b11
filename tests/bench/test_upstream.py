"""The upstream's rules: what each mode lets in, turns away and kills, and that its ledger adds up."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aios.bench.upstream.ledger import Report, merged
from aios.bench.upstream.model import Broken, Refused, Stage, Upstream, UpstreamConfig, Work
from aios.bench.upstream.prefixes import PrefixCache
from aios.bench.upstream.quota import span
from aios.bench.upstream.work import prompt_of, work_in
from aios.bench.virtual import run_virtual

SECOND = Work(1, 0, 100)
"""One second of work: 100 tokens of answer at 10 ms."""
CONFIG = UpstreamConfig(slots=2, prefill_s_per_token=0.001, decode_s_per_token=0.01)


class Client:
    """Keeps what became of each call."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.upstream = Upstream(config)
        self.pieces: list[tuple[float, int]] = []
        self.ended: dict[int, tuple[float, BaseException | None]] = {}

    async def call(self, work: Work, at_s: float = 0.0) -> None:
        await asyncio.sleep(at_s)
        failure: BaseException | None = None
        try:
            await self.upstream.serve(work, self._emit)
        except (Refused, Broken) as error:
            failure = error
        self.ended[work.id] = asyncio.get_running_loop().time(), failure

    def _emit(self, num_tokens: int) -> None:
        self.pieces.append((asyncio.get_running_loop().time(), num_tokens))

    def failure(self, id: int) -> Any:
        return self.ended[id][1]


def played(config: UpstreamConfig, *calls: tuple[float, Work]) -> tuple[Client, Report]:
    """Calls that come at given seconds, and the ledger after the last of them."""

    async def play() -> tuple[Client, Report]:
        client = Client(config)
        await asyncio.gather(*(client.call(work, at_s) for at_s, work in calls))
        client.upstream.close()
        return client, client.upstream.report()

    return run_virtual(play())


def seconds(*ids: int, at_s: float = 0.0) -> list[tuple[float, Work]]:
    """Calls of a second each."""
    return [(at_s, structs.replace(SECOND, id=id)) for id in ids]


def assert_adds_up(report: Report) -> None:
    spent_s = report.useful_s + report.wasted_s + report.open_s
    assert spent_s + report.idle_s == pytest.approx(report.capacity_s)
    assert min(report.useful_s, report.wasted_s, report.open_s, report.idle_s) >= -1e-9
    assert report.num_tries == len(report.calls) + len(report.refusals)


# ---- work and time


def test_a_prompt_carries_its_work_and_is_as_long_as_it_says() -> None:
    work = Work(17, 120, 45)
    assert work_in(prompt_of(work)) == work
    assert len(prompt_of(work)) == 480
    assert work_in("What is a kernel?") is None
    later = Work(18, 1200, 45, 7, 1000, 2, 300)
    assert work_in(prompt_of(later)) == later
    assert len(prompt_of(later, 1000)) == 800


def test_a_call_takes_its_time_and_comes_in_pieces() -> None:
    client, report = played(CONFIG, (0.0, Work(1, 500, 100)))
    assert client.ended[1] == (pytest.approx(1.5), None)
    assert client.pieces[0] == (pytest.approx(0.51), 1)
    assert client.pieces[1] == (pytest.approx(0.61), 10)
    assert sum(num_tokens for _, num_tokens in client.pieces) == 100
    assert report.useful_s == pytest.approx(1.5)
    assert report.idle_s == pytest.approx(1.5)


def test_without_ticks_an_answer_comes_in_one_piece() -> None:
    client, report = played(structs.replace(CONFIG, tick_s=0.0), (0.0, Work(1, 500, 100)))
    assert client.ended[1] == (pytest.approx(1.5), None)
    assert client.pieces == [(pytest.approx(1.5), 100)]
    assert report.useful_s == pytest.approx(1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "rate"},
        {"slots": 0},
        {"mode": "memory"},
        {"mode": "shift"},
        {"mode": "memory", "memory_tokens": 9, "tick_s": 0.0},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|above"):
        UpstreamConfig(**wrong)


# ---- a prefix cache

CACHED = structs.replace(CONFIG, cache_tokens=1000)


def talk(id: int, conversation: int, n_in: int, n_known: int, kind: int = 1) -> Work:
    return Work(id, n_in, 100, conversation, n_known, kind, 200)


def test_what_a_cache_holds_of_a_prompt_is_not_read_again() -> None:
    first, second, other = talk(1, 7, 300, 200), talk(2, 7, 500, 400), talk(3, 8, 300, 200)
    client, report = played(CACHED, (0.0, first), (2.0, second), (4.0, other))
    assert [call.n_hit for call in report.calls] == [0, 400, 200]
    assert [client.ended[id][0] for id in (1, 2, 3)] == pytest.approx([1.3, 3.1, 5.1])
    assert report.useful_s == pytest.approx(1.3 + 1.1 + 1.1)


def test_a_cache_forgets_the_conversation_that_was_unused_for_longest() -> None:
    cache = PrefixCache(1000)
    for conversation in (1, 2):
        cache.keep(talk(conversation, conversation, 300, 200))
    cache.take(talk(3, 1, 500, 400))
    cache.keep(talk(4, 3, 600, 200))
    assert cache.take(talk(5, 1, 500, 400)) == 400
    assert cache.take(talk(6, 2, 500, 400)) == 200  # The system prompt alone, which all of them use.
    assert cache.take(talk(7, 3, 800, 700)) == 700
    assert cache.take(talk(8, 9, 500, 200, kind=2)) == 0
    assert cache.take(Work(9, 500, 100)) == 0


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(250, 900)), max_size=40))
def test_a_cache_never_holds_more_than_there_is_room_for(turns: list[tuple[int, int]]) -> None:
    cache = PrefixCache(1000)
    for number, (conversation, n_in) in enumerate(turns):
        work = talk(number, conversation, n_in, n_in - 50)
        assert 0 <= cache.take(work) <= work.n_known
        cache.keep(work)
        assert sum(cache._held.values()) == cache._used <= 1000


def test_reports_of_several_upstreams_become_one() -> None:
    _, one = played(CONFIG, *seconds(1, 2, 3))
    _, other = played(CONFIG, *seconds(4, 5, at_s=0.5))
    both = merged([one, other])
    assert_adds_up(both)
    assert (both.num_calls, both.num_done, both.num_tries) == (5, 4, 5)
    assert [(point.at_s, point.num_running, point.capacity) for point in both.curve] == [
        (0.0, 2, 4),
        (0.5, 4, 4),
        (1.0, 2, 4),
        (1.5, 0, 4),
    ]
    assert both.capacity_used(0.0, 1.5) == pytest.approx(4 / 6)


# ---- slots


def test_a_call_above_the_slots_is_turned_away_and_told_nothing_else() -> None:
    client, report = played(CONFIG, *seconds(1, 2, 3), *seconds(4, at_s=1.5))
    refused = client.failure(3)
    assert refused.status == 429
    assert refused.headers == {}
    assert b"concurrent" in refused.body
    assert client.failure(4) is None
    assert report.num_refused == {"slots": 1}
    assert report.rejections_per_call == 0.25
    assert_adds_up(report)


# ---- rates


def test_a_rate_is_told_in_headers_and_one_who_waits_as_told_is_let_in() -> None:
    async def play() -> None:
        upstream = Upstream(structs.replace(CONFIG, mode="rate", slots=0, rpm=60, burst_s=2.0))
        nothing = Work(1, 0, 0)
        for _ in range(2):
            await upstream.serve(nothing, print)
        assert upstream.headers()["x-ratelimit-remaining-requests"] == "0"
        await asyncio.sleep(0.25)
        with pytest.raises(Refused) as refused:
            await upstream.serve(nothing, print)
        assert refused.value.status == 429
        assert refused.value.headers == {
            "x-ratelimit-limit-requests": "2",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1.75s",
            "retry-after": "1",
            "retry-after-ms": "750",
        }
        await asyncio.sleep(0.75)
        await upstream.serve(nothing, print)
        assert upstream.report().num_refused == {"requests": 1}

    run_virtual(play())


def test_tokens_have_a_rate_of_their_own() -> None:
    config = structs.replace(CONFIG, mode="rate", slots=0, tpm=12_000, burst_s=1.0)
    client, report = played(
        config, *seconds(1, 2), *((0.4, work) for _, work in seconds(3)), *seconds(4, at_s=0.5)
    )
    assert client.failure(3).headers["retry-after-ms"] == "100"
    assert client.failure(4) is None
    assert report.rate_used(0, 12_000, 0.0, 1.5) == pytest.approx(1.0)


def test_a_rate_may_be_kept_secret() -> None:
    config = structs.replace(CONFIG, mode="rate", slots=0, rpm=60, burst_s=1.0, tells=False)
    client, _ = played(config, *seconds(1, 2))
    assert client.failure(2).status == 429
    assert client.failure(2).headers == {}
    assert client.upstream.headers() == {}


@pytest.mark.parametrize(("mode", "num_done"), [("rate", 11), ("burn", 1)])
def test_who_hammers_gets_nothing_where_rejected_calls_cost_quota(mode: Any, num_done: int) -> None:
    config = structs.replace(CONFIG, mode=mode, slots=0, rpm=60, burst_s=1.0)
    calls = [(tenth / 10, Work(tenth, 0, 1)) for tenth in range(101)]
    _, report = played(config, *calls)
    assert report.num_done == num_done


@given(st.floats(0.0, 100_000.0))
def test_a_span_is_read_as_it_is_written(number: float) -> None:
    from aios.drivers.limits import seconds_until

    assert seconds_until(span(number), 0.0) == pytest.approx(number, abs=0.0011)


# ---- memory


def test_when_memory_overflows_the_youngest_dies_with_its_work() -> None:
    config = structs.replace(CONFIG, mode="memory", memory_tokens=150)
    client, report = played(config, *seconds(1), *seconds(2, at_s=0.2))
    assert client.failure(1) is None
    assert client.ended[2][0] == pytest.approx(0.9)
    assert b"out of memory" in client.failure(2).body
    assert report.wasted_s == pytest.approx(0.7)
    assert report.useful_s == pytest.approx(1.0)
    assert [call.outcome for call in report.calls] == ["done", "killed"]
    assert_adds_up(report)


def test_more_calls_than_slots_share_the_speed_of_the_slots() -> None:
    config = structs.replace(CONFIG, mode="memory", memory_tokens=10_000)
    client, report = played(config, *seconds(1, 2, 3, 4))
    assert client.ended[4][0] == pytest.approx(2.0, abs=0.2)
    assert report.useful_s == pytest.approx(4.0)
    assert report.capacity_used(0.0, 1.5) == pytest.approx(1.0)
    assert report.in_flight_s == pytest.approx(8.0, abs=0.4)
    assert_adds_up(report)


# ---- engine


def test_an_engine_serves_in_the_order_of_arrival_and_turns_nobody_away() -> None:
    config = structs.replace(CONFIG, mode="engine", slots=1)
    client, report = played(config, *seconds(3, 1, 2))
    assert list(client.ended) == [3, 1, 2]
    assert client.ended[2][0] == pytest.approx(3.0)
    assert report.refusals == ()
    assert [point.num_waiting for point in report.curve if point.at_s < 3] == [2, 1, 0]


def test_who_leaves_the_queue_is_passed_over() -> None:
    async def play() -> Report:
        client = Client(structs.replace(CONFIG, mode="engine", slots=1))
        tasks = [asyncio.create_task(client.call(work)) for _, work in seconds(1, 2, 3)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        return client.upstream.report()

    report = run_virtual(play())
    assert report.span_s == pytest.approx(2.0)
    assert [call.outcome for call in report.calls] == ["done", "abandoned", "done"]


# ---- shift


def test_who_runs_when_slots_are_taken_away_is_let_finish() -> None:
    config = structs.replace(CONFIG, mode="shift", stages=(Stage(0.5, 1),))
    client, report = played(config, *seconds(1, 2), *seconds(3, at_s=0.8), *seconds(4, at_s=1.2))
    assert client.failure(1) is client.failure(2) is client.failure(4) is None
    assert client.failure(3).status == 429
    assert report.capacity_s == pytest.approx(2 * 1.0 + 1.2)
    assert_adds_up(report)


@pytest.mark.parametrize("outage", ["reset", "503"])
def test_an_outage_ends_what_runs_and_answers_nobody(outage: Any) -> None:
    stages = (Stage(0.5, 0), Stage(30.5, 2))
    config = structs.replace(CONFIG, mode="shift", stages=stages, outage=outage)
    client, report = played(config, *seconds(1), *seconds(2, at_s=10), *seconds(3, at_s=31))
    assert client.ended[1] == (0.5, client.failure(1))
    assert isinstance(client.failure(1), Broken)
    assert isinstance(client.failure(2), Broken if outage == "reset" else Refused)
    assert client.failure(3) is None
    assert report.wasted_s == pytest.approx(0.5)
    assert report.num_refused == {"outage": 1}
    assert_adds_up(report)


# ---- failures


def test_failures_are_of_the_call_and_its_try_not_of_the_order() -> None:
    config = structs.replace(CONFIG, slots=200, error_share=0.3, cut_share=0.3, seed=7)
    calls = seconds(*range(100))
    forth, report = played(config, *calls)
    back, _ = played(config, *reversed(calls))
    kinds = {id: repr(failure) for id, (_, failure) in forth.ended.items()}
    assert kinds == {id: repr(failure) for id, (_, failure) in back.ended.items()}
    assert 15 <= report.num_refused["error"] <= 45
    assert 10 <= sum(call.outcome == "broken" for call in report.calls) <= 40
    assert_adds_up(report)


# ---- interrupting


def test_an_interrupted_call_gives_its_slot_back_and_goes_on_where_it_was() -> None:
    async def play() -> Report:
        upstream = Upstream(structs.replace(CONFIG, slots=1))
        tokens: list[int] = []
        paused = await upstream.serve(SECOND, tokens.append, lambda num_tokens: num_tokens >= 40)
        assert paused is not None
        assert sum(tokens) == paused.num_tokens == 41
        await upstream.serve(Work(2, 0, 100), lambda num_tokens: None)
        assert await upstream.serve(SECOND, tokens.append, paused=paused) is None
        assert sum(tokens) == 100
        return upstream.report()

    report = run_virtual(play())
    assert report.span_s == pytest.approx(2.0)
    assert report.useful_s == pytest.approx(2.0)
    assert report.calls[0].num_pauses == 1
    assert_adds_up(report)


def test_an_interrupted_call_that_is_forgotten_or_finds_no_slot_was_for_nothing() -> None:
    async def play() -> Report:
        client = Client(structs.replace(CONFIG, slots=1))
        upstream = client.upstream
        first = await upstream.serve(SECOND, print, lambda num_tokens: True)
        second = await upstream.serve(Work(2, 0, 100), print, lambda num_tokens: True)
        assert first is not None
        assert second is not None
        upstream.forget(first)
        other = asyncio.create_task(client.call(Work(3, 0, 100)))
        await asyncio.sleep(0.5)
        with pytest.raises(Refused):
            await upstream.serve(second.work, print, paused=second)
        await other
        return upstream.report()

    report = run_virtual(play())
    assert [call.outcome for call in report.calls] == ["abandoned", "abandoned", "done"]
    assert report.wasted_s == pytest.approx(0.02)
    assert report.num_refused == {"slots": 1}


# ---- the ledger

works = st.builds(Work, st.integers(0, 30), st.integers(0, 300), st.integers(0, 200))
arrivals = st.lists(st.tuples(st.floats(0, 5), works, st.none() | st.floats(0.01, 2)), max_size=20)
configs = st.sampled_from(
    [
        CONFIG,
        structs.replace(CONFIG, mode="rate", slots=3, rpm=60, burst_s=4.0),
        structs.replace(CONFIG, mode="burn", slots=0, tpm=6000, burst_s=5.0),
        structs.replace(CONFIG, mode="memory", memory_tokens=300),
        structs.replace(CONFIG, mode="engine"),
        structs.replace(CONFIG, mode="shift", stages=(Stage(1.0, 1), Stage(2.0, 0), Stage(3.0, 4))),
        structs.replace(CONFIG, slots=5, error_share=0.2, cut_share=0.4),
    ]
)


@given(configs, arrivals, st.floats(0, 6))
def test_slot_time_adds_up_whatever_happens(
    config: UpstreamConfig, calls: list[tuple[float, Work, float | None]], look_s: float
) -> None:
    async def impatient(client: Client, at_s: float, work: Work, patience_s: float | None) -> None:
        await asyncio.sleep(at_s)
        try:
            async with asyncio.timeout(patience_s):
                await client.call(work)
        except TimeoutError:
            pass

    async def play() -> tuple[Report, Report]:
        client = Client(config)
        agents = asyncio.gather(*(impatient(client, *call) for call in calls))
        await asyncio.sleep(look_s)
        amid = client.upstream.report()
        await agents
        client.upstream.close()
        return amid, client.upstream.report()

    amid, after = run_virtual(play())
    assert_adds_up(amid)
    assert_adds_up(after)
    assert after.open_s == 0
    assert after.num_tries == len(calls)
    assert after.curve[-1].num_running == after.curve[-1].num_waiting == 0


def test_a_report_looks_at_spans_of_time() -> None:
    _, report = played(CONFIG, *seconds(1), *seconds(2, 3, 4, at_s=2))
    assert report.capacity_used() == pytest.approx(3 / 6)
    assert report.capacity_used(0, 1) == pytest.approx(0.5)
    assert report.capacity_used(1, 2) == 0
    assert report.capacity_used(2) == pytest.approx(1.0)
    assert report.rejections_after(0, 1) == 0
    assert report.rejections_after(2) == 0.5
    assert report.rate_used(120, 0, 0, 3) == pytest.approx(3 / 6)
