"""Text snapshots through the kernel: who shares a remote core in turns gets the answer it would get alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from test_continuing import whole

from aios.abi import errors
from aios.abi import syscalls as sc
from aios.abi.messages import Delta, Message, Sampling
from aios.drivers.llm_remote import OpenAIDriver
from aios.kernel.config import Config, CoreConfig, RetryConfig, SchedulerConfig
from aios.kernel.kernel import Kernel
from fakes.continuing import ContinuingUpstream, Way
from fakes.upstream import Script, refusal
from fakes.wires import SSE

BUSY = refusal(503, {"error": {"message": "busy"}}, retry_after_ms="1")


class Lives:
    """A kernel under `rr`, and the endpoints of its cores."""

    def __init__(self, kernel: Kernel, upstreams: list[ContinuingUpstream]) -> None:
        self.kernel = kernel
        self.upstreams = upstreams
        self.has_interrupted = asyncio.Event()
        kernel.journal.subscribe(self._saw)

    def _saw(self, event: Any) -> None:
        if event.kind == "preempted":
            self.has_interrupted.set()

    async def spawn(self, **fields: Any) -> str:
        spawned = await self.kernel.trap(self.kernel.operator_token, sc.ProcessSpawn(agent="agent", **fields))
        assert isinstance(spawned, sc.Spawned)
        return spawned.token

    async def ask(self, number: int, token: str | None = None, **options: Any) -> sc.LlmAnswer:
        answer = await self.kernel.trap(token or await self.spawn(), question(number), **options)
        assert isinstance(answer, sc.LlmAnswer)
        return answer

    async def begin(self, count: int) -> "list[asyncio.Task[sc.LlmAnswer]]":
        """Ask as many questions at the same moment."""
        tokens = [await self.spawn() for _ in range(count)]
        return [asyncio.create_task(self.ask(number, token)) for number, token in enumerate(tokens)]

    async def ask_all(self, count: int) -> list[sc.LlmAnswer]:
        return await asyncio.gather(*await self.begin(count))


def question(number: int) -> sc.LlmGenerate:
    return sc.LlmGenerate((Message("user", f"question {number}"),), sampling=Sampling(max_tokens=200, seed=1))


@asynccontextmanager
async def living(
    folder: Path, *ways: Way, slots: int = 1, cores: tuple[CoreConfig, ...] = (), **more: Any
) -> AsyncIterator[Lives]:
    """A core for each of `ways`, all of one model, and `cores`."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(ContinuingUpstream(way)) for way in ways]
        remote = [
            CoreConfig(
                name=f"core{number}",
                kind="anthropic" if way == "anthropic" else "openai",
                model="big",
                base_url=upstream.base_url,
                continuation="prefill" if way == "anthropic" else way,
                slots=slots,
                **more,
            )
            for number, (way, upstream) in enumerate(zip(ways, upstreams, strict=True))
        ]
        config = Config(
            data=folder,
            cores=(*remote, *cores),
            scheduler=SchedulerConfig(policy="rr", quantum=4),
            retry=RetryConfig(max_attempts=3),
        )
        kernel = await stack.enter_async_context(Kernel(config))
        yield Lives(kernel, upstreams)
        kernel.check()
        assert kernel.statistics()["context"] == {"snapshots": 0, "snapshot_bytes": 0}


async def alone(count: int) -> list[str]:
    """The answers to as many questions, of an endpoint that is never interrupted."""
    async with ContinuingUpstream("exact") as upstream:
        driver = OpenAIDriver(upstream.base_url, "big")
        await driver.start()
        found = [await whole(driver, _generation(question(number))) for number in range(count)]
        await driver.close()
    return [one.text for one in found]


def _generation(call: sc.LlmGenerate) -> Any:
    from aios.drivers.llm import Generation

    return Generation(call.messages, sampling=call.sampling)


@pytest.mark.parametrize("ways", [("exact",), ("prefill",), ("anthropic",), ("exact", "prefill", "exact")])
async def test_agents_in_turns_get_the_answers_they_get_alone(tmp_path: Path, ways: tuple[Way, ...]) -> None:
    async with living(tmp_path, *ways) as lives:
        answers = await lives.ask_all(6)
        assert [one.text for one in answers] == await alone(6)
        assert sum(one.num_switches for one in answers) > 6


async def test_a_text_goes_on_at_another_core_of_the_model_alone(tmp_path: Path) -> None:
    """Not on one of another model, nor on one that cannot."""
    async with ContinuingUpstream("exact", seed=1) as other:
        core = CoreConfig(
            name="other", kind="openai", model="small", base_url=other.base_url, continuation="exact", slots=1
        )
        async with living(tmp_path, "exact", "exact", "none", cores=(core,)) as lives:
            token = await lives.spawn()
            calls = [
                lives.kernel.trap(token, sc.LlmGenerate(question(n).messages, model="big")) for n in range(6)
            ]
            answers = await asyncio.gather(*calls)
            assert [one.text for one in answers] == await alone(6)
            goes_on = [asked.body["messages"][-1]["role"] for asked in lives.upstreams[2].asked]
            assert set(goes_on) == {"user"}
            moved = [
                {asked.body["messages"][0]["content"] for asked in one.asked} for one in lives.upstreams[:2]
            ]
            assert moved[0] & moved[1], "none was continued where it did not begin"
        assert not other.asked


async def test_who_is_never_interrupted_shares_a_core_call_by_call(tmp_path: Path) -> None:
    async with living(tmp_path, "none") as lives:
        assert {one.num_switches for one in await lives.ask_all(4)} == {0}


async def test_a_stream_has_nothing_twice(tmp_path: Path) -> None:
    async with living(tmp_path, "exact") as lives:
        streams: list[list[Delta]] = [[], [], []]
        tokens = [await lives.spawn() for _ in range(3)]
        asked = (lives.ask(n, tokens[n], emit=streams[n].append) for n in range(3))
        answers = await asyncio.gather(*asked)
        assert ["".join(delta.text for delta in one) for one in streams] == [one.text for one in answers]
        assert sum(one.num_switches for one in answers) > 3


async def test_an_endpoint_without_room_delays_what_goes_on(tmp_path: Path) -> None:
    """Also where a part was delivered already: that is in the snapshot."""
    async with living(tmp_path, "exact") as lives:
        stream: list[Delta] = []
        token, others = await lives.spawn(), await lives.spawn()
        other = asyncio.create_task(lives.ask(1, others))

        def emit(delta: Delta) -> None:
            stream.append(delta)
            if len(stream) == 4:
                lives.upstreams[0].scripts_first += [BUSY, Script(status=0, ending="reset"), BUSY]

        answer = await lives.ask(0, token, emit=emit)
        assert answer.text == "".join(delta.text for delta in stream) == (await alone(1))[0]
        assert answer.num_switches > 0
        assert (await other).text == (await alone(2))[1]


async def test_a_core_that_refuses_to_go_on_is_not_interrupted_again(tmp_path: Path) -> None:
    async with living(tmp_path, "exact") as lives:
        lives.upstreams[0].way = "none"
        answers = await lives.ask_all(4)
        assert [one.text for one in answers] == await alone(4), "begun again: nobody had seen a part"
        asked = [one.body.get("continue_final_message") for one in lives.upstreams[0].asked]
        assert 1 <= asked.count(True) <= 4, "once for each that was interrupted by then"
        assert {one.num_switches for one in await lives.ask_all(3)} == {0}


async def test_who_has_seen_a_part_learns_that_it_does_not_go_on(tmp_path: Path) -> None:
    async with living(tmp_path, "exact") as lives:
        lives.upstreams[0].way = "none"
        tokens = [await lives.spawn() for _ in range(3)]
        asked = (lives.ask(number, token, emit=lambda delta: None) for number, token in enumerate(tokens))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        failed = [one for one in outcomes if isinstance(one, errors.Unavailable)]
        assert failed
        assert 'continuation = "none"' in str(failed[0])


async def test_a_drained_core_hands_its_texts_over(tmp_path: Path) -> None:
    async with living(tmp_path, "exact", "prefill") as lives:
        asked = await lives.begin(4)
        await lives.has_interrupted.wait()
        await lives.kernel.trap(lives.kernel.operator_token, sc.CoreDrain(core="core0"))
        num_asked = len(lives.upstreams[0].asked)
        answers = await asyncio.gather(*asked)
        assert [one.text for one in answers] == await alone(4)
        assert {one.core for one in answers} <= {"core0", "core1"}
        assert len(lives.upstreams[0].asked) <= num_asked + 1, "what was being asked for, and no more"
        assert (await lives.ask(5)).core == "core1"


async def test_usage_adds_up_and_is_paid(tmp_path: Path) -> None:
    async with living(tmp_path, "exact", price_in=1e6, price_out=1e6) as lives:
        answers = await lives.ask_all(3)
        spent = sum(one.usage.prompt_tokens + one.usage.completion_tokens for one in answers)
        assert lives.kernel.cores()[0].spent == spent
        assert all(one.usage.prompt_tokens >= 6 * (1 + one.num_switches) for one in answers)


async def test_what_a_budget_pays_is_not_read_twice(tmp_path: Path) -> None:
    async with living(tmp_path, "exact") as lives:
        rich = await lives.spawn(budget=sc.Budget(tokens=10_000))
        others = await lives.begin(5)
        answer = await lives.ask(0, rich)
        assert answer.num_switches == 0
        assert sum([(await other).num_switches for other in others]) > 0


async def test_rates_count_each_slice_once(tmp_path: Path) -> None:
    async with living(tmp_path, "exact", tokens_per_minute=100_000) as lives:
        answers = await lives.ask_all(3)
        (rate,) = (one for one in lives.kernel.cores()[0].rates if one.unit == "tokens")
        used = sum((one.usage.prompt_tokens + one.usage.completion_tokens) for one in answers)
        assert sum(one.num_switches for one in answers) > 3
        assert 95_000 - rate.left <= 1.5 * used


async def test_cancelling_one_that_goes_on_frees_its_connection(tmp_path: Path) -> None:
    async with living(tmp_path, "exact") as lives:
        upstream = lives.upstreams[0]
        asking, other = await lives.begin(2)
        await lives.has_interrupted.wait()
        upstream.scripts_first += [Script(_begun(upstream), headers=SSE, ending="hang")]
        await upstream.has_begun.wait()
        upstream.was_left.clear()
        asking.cancel()
        other.cancel()
        for task in (asking, other):
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.wait_for(upstream.was_left.wait(), 30)


def _begun(upstream: ContinuingUpstream) -> tuple[bytes, ...]:
    return upstream._told({"max_tokens": 2, "stream_options": {}}, "", "a").pieces[:1]


async def test_a_snapshot_of_an_ended_agent_is_forgotten(tmp_path: Path) -> None:
    async with living(tmp_path, "exact") as lives:
        asked = await lives.begin(3)
        await lives.has_interrupted.wait()
        pids = [
            entry.pid
            for entry in (await lives.kernel.trap(lives.kernel.operator_token, sc.ProcessList())).processes
        ]
        for pid in pids[1:]:
            await lives.kernel.trap(lives.kernel.operator_token, sc.ProcessKill(pid=pid))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        # Those whose turn came while the others were being ended may have been answered.
        assert any(isinstance(one, errors.Cancelled) for one in outcomes)
        assert all(isinstance(one, errors.Cancelled | sc.LlmAnswer) for one in outcomes)
