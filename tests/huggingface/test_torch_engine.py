"""The engine with a model of Hugging Face's files: loaded by the real path, interrupted exactly."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import torch

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import Delta, Message, Sampling, ToolSpec
from aios.drivers import engine_models
from aios.drivers.engine_frames import Load, Torch
from aios.drivers.engine_models import load_model
from aios.drivers.llm import Finished, Generation, Preempted
from aios.drivers.llm_local import EmbeddedDriver
from aios.drivers.models.huggingface.loading import device_of, dtype_of

ON_CPU = Torch("cpu", "float32", 1)
ADD = ToolSpec("add", "adds", {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})


@pytest.fixture(scope="module")
def folder(make_folder: Callable[..., Path]) -> Path:
    return make_folder("qwen3", template="hermes", max_position_embeddings=600)


def jobs() -> list[Generation]:
    """Free text, a call that must come, and an answer by a schema, all at random."""
    messages = (Message("user", "the weather and the fox"),)
    schema = {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 2}
    out = []
    for seed in range(6):
        sampling = Sampling(temperature=1.0, seed=seed, max_tokens=40, top_k=50 * (seed % 2))
        text = Generation(messages, sampling=sampling)
        call = Generation(messages, (ADD,), sampling, "required")
        bound = Generation(messages, sampling=sampling, response_schema=schema)
        out.append((text, call, bound)[seed % 3])
    return out


async def in_slices(driver: EmbeddedDriver, job: Generation, quantum: int) -> tuple[Finished, int]:
    texts: list[str] = []

    def emit(delta: Delta) -> None:
        texts.append(delta.text)

    outcome = await driver.run(job, None, emit, lambda n: n >= quantum)
    switches = 0
    while isinstance(outcome, Preempted):
        switches += 1
        outcome = await driver.run(job, outcome.snapshot, emit, lambda n: n >= quantum)
    assert "".join(texts) == outcome.text
    return outcome, switches


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
async def test_interrupted_among_neighbours_it_gives_the_tokens_that_it_gives_alone(
    folder: Path, dtype: str
) -> None:
    how = Torch("cpu", dtype, 1)
    alone = EmbeddedDriver(folder, torch=how, slots=1, inline=True)
    expected = [(await in_slices(alone, job, 10_000))[0] for job in jobs()]
    together = EmbeddedDriver(folder, torch=how, slots=4, inline=True)
    found = await asyncio.gather(*(in_slices(together, job, 3 + i) for i, job in enumerate(jobs())))
    for (finished, switches), other in zip(found, expected, strict=True):
        assert (finished.text, finished.tool_calls, finished.finish_reason) == (
            *(other.text, other.tool_calls, other.finish_reason),
        )
        assert switches or finished.usage.completion_tokens < 10
    assert [call.name for call in expected[1].tool_calls] == ["add"]
    assert len(json.loads(expected[2].text)) >= 2
    for driver in (alone, together):
        await driver.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
async def test_a_state_goes_on_from_disk_with_the_same_tokens(
    folder: Path, tmp_path: Path, dtype: str
) -> None:
    def driver() -> EmbeddedDriver:
        on_disk = {"snapshot_folder": tmp_path, "disk_bytes": 1 << 26}
        return EmbeddedDriver(folder, torch=Torch("cpu", dtype, 1), slots=2, inline=True, **on_disk)

    first, second = driver(), driver()
    for job in jobs()[:3]:
        expected, _ = await in_slices(first, job, 10_000)
        shown: list[Delta] = []
        outcome = await first.run(job, None, shown.append, lambda n: n >= 5)
        assert isinstance(outcome, Preempted)
        await first.move_out(outcome.snapshot)
        await second.start()
        outcome = await second.run(job, outcome.snapshot, shown.append, lambda n: False)
        assert isinstance(outcome, Finished)
        assert (outcome.text, outcome.tool_calls) == (expected.text, expected.tool_calls)
        assert "".join(delta.text for delta in shown) == expected.text
    assert (second.statistics().restored, second.statistics().replays) == (3, 0)
    assert second.statistics().last_refused == ""
    for each in (first, second):
        await each.close()


async def test_a_process_of_its_own_gives_the_same(folder: Path) -> None:
    inline = EmbeddedDriver(folder, torch=ON_CPU, inline=True)
    process = EmbeddedDriver(folder, torch=ON_CPU, slots=2)
    job = jobs()[0]
    expected, _ = await in_slices(inline, job, 10_000)
    assert (await in_slices(process, job, 5))[0].text == expected.text
    assert process.window == 600
    for driver in (inline, process):
        await driver.close()


def test_a_name_that_is_neither_here_nor_in_the_hubs_cache_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no folder 'nobody/nothing'"):
        load_model(Load("nobody/nothing", "m", 1, 0, 0, torch=ON_CPU))


def test_a_tokenizer_of_another_model_is_unavailable(make_folder: Callable[..., Path]) -> None:
    small = make_folder("llama", template="llama", vocab_size=300)
    with pytest.raises(Unavailable, match="more tokens than the model"):
        load_model(Load(str(small), "m", 1, 0, 0, torch=ON_CPU))


def test_a_folder_without_a_tokenizer_is_unavailable(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(Unavailable, match="tokenizer"):
        load_model(Load(str(make_folder("llama")), "m", 1, 0, 0, torch=ON_CPU))


def test_without_torch_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_models, "missing", lambda: "pip install 'aios[huggingface]'")
    with pytest.raises(Unavailable, match=r"aios\[huggingface\]"):
        load_model(Load(str(folder), "m", 1, 0, 0, torch=ON_CPU))


def test_devices_and_formats() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (dtype_of("auto", cpu), dtype_of("auto", gpu)) == (torch.float32, torch.bfloat16)
    assert device_of("cpu") == cpu
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for refused in (lambda: device_of("tpu"), lambda: dtype_of("int8", cpu)):
        with pytest.raises(InvalidArgument, match="there are auto"):
            refused()


def test_nothing_that_starts_by_default_imports_torch() -> None:
    modules = "aios.drivers.engine, aios.kernel.drivers, aios.cli.main"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
