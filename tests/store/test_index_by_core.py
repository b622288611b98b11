"""The index's vectors from a core or from a model in a folder: who asks, who pays, what a failure does."""

import asyncio

import pytest

from aios.abi import syscalls as sc
from aios.abi.errors import Misconfigured, Unavailable
from aios.drivers.clock import ManualClock
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.config import Config, CoreConfig, MemoryConfig, TenantConfig
from aios.kernel.kernel import Kernel
from fakes.sentence_folder import write_model


class Breaking(ScriptedDriver):
    """Embeds as long as it is not broken."""

    is_broken = False

    async def embed(self, texts, dimensions):
        if self.is_broken:
            raise Unavailable("it is broken")
        return await super().embed(texts, dimensions)


@pytest.fixture
def driver():
    return Breaking(model="minds", at_once=True)


@pytest.fixture
def booted(tmp_path, driver):
    """A kernel whose index has its vectors from the core `vectors`, and time in the test's hand."""

    def boot(**fields):
        config = Config(
            data=tmp_path,
            cores=(CoreConfig(name="vectors", generates=False, embeds=True),),
            memory=MemoryConfig(embedding="core:vectors"),
            **fields,
        )
        return Kernel(config, drivers={"vectors": driver}, clock=ManualClock())

    return boot


async def told(kernel, call):
    """What is answered, while time goes on."""
    task = asyncio.create_task(kernel.trap(kernel.operator_token, call))
    while not task.done():
        kernel._clock.advance(0.05)
        await asyncio.sleep(0)
    return await task


async def settled(kernel):
    """Wait until nothing goes on in the background, while time does."""
    task = asyncio.create_task(kernel.idle())
    while not task.done():
        kernel._clock.advance(0.05)
        await asyncio.sleep(0)


async def found(kernel, text, mode="both"):
    return [hit.note.text for hit in (await told(kernel, sc.MemorySearch(text=text, mode=mode))).hits]


async def index_of(kernel):
    """The living processes that are the index's."""
    entries = (await told(kernel, sc.ProcessList())).processes
    return [entry for entry in entries if entry.agent == "index" and entry.state == "running"]


async def test_the_index_asks_as_a_process_of_its_own_and_is_counted(booted, driver):
    async with booted() as kernel:
        assert not await index_of(kernel)
        await told(kernel, sc.MemoryAdd(text="Ada lives there"))
        await settled(kernel)
        assert driver.embedded[-1] == ("Ada lives there",)
        assert kernel.statistics()["vectors"]["made"] == 1
        (index,) = await index_of(kernel)
        usage = await told(kernel, sc.ProcessUsage(pid=index.pid))
        assert usage.prompt_tokens >= 3
        assert await found(kernel, "lives there", "meaning") == ["Ada lives there"]
        assert driver.embedded[-1] == ("lives there",)
        await told(kernel, sc.ProcessKill(pid=index.pid))
        await told(kernel, sc.MemoryAdd(text="Bob drinks tea"))
        await settled(kernel)
        assert driver.embedded[-1] == ("Bob drinks tea",)


async def test_while_its_core_fails_searches_go_on_and_nothing_is_lost(booted, driver):
    driver.is_broken = True
    async with booted() as kernel:
        await told(kernel, sc.MemoryAdd(text="Ada lives there"))
        assert await found(kernel, "lives", "keyword") == ["Ada lives there"]
        assert await found(kernel, "livess") == ["Ada lives there"]
        while not kernel.statistics()["vectors"]["failing"]:
            kernel._clock.advance(1)
            await asyncio.sleep(0)
        assert kernel.cores()[0].failures > 0
        driver.is_broken = False
        while not kernel.statistics()["vectors"]["made"]:
            kernel._clock.advance(1)
            await asyncio.sleep(0)
        assert await found(kernel, "lives", "meaning") == ["Ada lives there"]


async def test_its_tenants_budget_bounds_it_and_nobody_elses(booted, driver):
    tenants = {"index": TenantConfig(budget=sc.Budget(tokens=0))}
    async with booted(tenants=tenants) as kernel:
        await told(kernel, sc.MemoryAdd(text="Ada lives there"))
        await settled(kernel)
        assert kernel.statistics()["vectors"]["failing"] == 1
        assert not driver.embedded
        assert await found(kernel, "livess") == ["Ada lives there"]


async def test_a_model_in_a_folder_finds_what_is_said_in_other_words(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra `embed`")
    folder = write_model(tmp_path / "model", {"lives": (1, 0), "residence": (1, 0.1), "tea": (0, 1)})
    config = Config(data=tmp_path / "data", memory=MemoryConfig(embedding=f"model:{folder}"))
    async with Kernel(config, drivers={"scripted": ScriptedDriver()}) as kernel:
        for text in ("Ada lives there", "tea for two"):
            await kernel.trap(kernel.operator_token, sc.MemoryAdd(text=text))
        await kernel.idle()
        hits = (await kernel.trap(kernel.operator_token, sc.MemorySearch(text="residence"))).hits
        assert [hit.note.text for hit in hits] == ["Ada lives there"]


async def test_a_folder_without_a_model_is_told_at_boot(tmp_path):
    config = Config(data=tmp_path, memory=MemoryConfig(embedding=f"model:{tmp_path / 'none'}"))
    kernel = Kernel(config, drivers={"scripted": ScriptedDriver()})
    with pytest.raises(Misconfigured, match="embed"):
        await kernel.start()


def test_the_configuration_names_a_core_that_embeds():
    with pytest.raises(ValueError, match="'nano', which is no core with embeds = true"):
        Config(memory=MemoryConfig(embedding="core:nano"))
