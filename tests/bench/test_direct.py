"""Agents without a kernel: how often each of the usual ways tries again, and how long it waits."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from aios.bench.upstream.direct import DEFAULT, PATIENT, RETRY_AFTER, Direct, InProcess, Lost, Retries
from aios.bench.upstream.model import Broken, Refused, Upstream, UpstreamConfig, Work
from aios.bench.virtual import run_virtual

WORK = Work(1, 10, 100)
FULL = Refused(429, b"")


class Scripted:
    """Fails as listed, then answers; keeps when it was asked."""

    def __init__(self, failures: Iterable[Exception]) -> None:
        self._failures = list(failures)
        self.asked: list[float] = []

    async def answer(self, work: Work) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        if self._failures:
            raise self._failures.pop(0)


def waits(retries: Retries, *failures: Exception) -> list[float]:
    """Seconds between the tries of a call that meets these failures."""

    async def play() -> list[float]:
        endpoint = Scripted(failures)
        await Direct(endpoint, retries).call(WORK)
        return [after - before for before, after in zip(endpoint.asked, endpoint.asked[1:], strict=False)]

    return run_virtual(play())


def told(seconds: float) -> Refused:
    return Refused(429, b"", {"retry-after": str(seconds)})


def test_an_sdk_tries_twice_more_then_gives_up() -> None:
    first, second = waits(DEFAULT, FULL, Broken())
    assert 0.375 <= first <= 0.5
    assert 0.75 <= second <= 1.0
    with pytest.raises(Lost, match="3 tries"):
        waits(DEFAULT, FULL, FULL, FULL)


def test_an_sdk_waits_as_told_but_not_for_too_long() -> None:
    assert waits(DEFAULT, told(7), Refused(429, b"", {"retry-after-ms": "1500", "retry-after": "2"})) == [
        7,
        1.5,
    ]
    with pytest.raises(Lost, match="1 tries"):
        waits(DEFAULT, told(121))


def test_an_sdk_gives_up_on_silence_after_ten_minutes() -> None:
    async def play() -> float:
        upstream = Upstream(UpstreamConfig(mode="engine", slots=1))
        with pytest.raises(Lost):
            await Direct(InProcess(upstream), DEFAULT).call(Work(1, 0, 100_000))
        assert [call.outcome for call in upstream.report().calls] == ["abandoned"] * 3
        return asyncio.get_running_loop().time()

    assert 1801 <= run_virtual(play()) <= 1802


def test_patience_doubles_up_to_a_minute_and_heeds_nobody() -> None:
    found = waits(PATIENT, *[told(5)] * 12)
    longest = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert all(most / 2 <= wait <= most for wait, most in zip(found, longest, strict=True))


def test_who_heeds_only_what_it_is_told_comes_back_in_a_second_else() -> None:
    as_told, guessed = waits(RETRY_AFTER, told(90), FULL)
    assert as_told == 90
    assert 0.5 <= guessed <= 1.0


@pytest.mark.parametrize("retries", [DEFAULT, PATIENT, RETRY_AFTER])
def test_what_is_the_caller_s_own_fault_is_not_tried_again(retries: Retries) -> None:
    assert retries.wait_s(1, Refused(400, b""), random.Random(0)) is None


def test_a_call_that_dies_in_memory_can_be_tried_again() -> None:
    async def play() -> None:
        config = UpstreamConfig(mode="memory", slots=2, memory_tokens=150, decode_s_per_token=0.01)
        upstream = Upstream(config)
        direct = Direct(InProcess(upstream), PATIENT)
        tries = await asyncio.gather(*(direct.call(Work(id, 0, 100)) for id in range(3)))
        report = upstream.report()
        assert sum(tries) == report.num_tries > 3
        assert report.num_done == 3
        assert report.wasted_s > 0

    run_virtual(play())
