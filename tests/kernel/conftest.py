"""What the kernel's tests share; how they drive a kernel is in `driving.py`."""

from collections.abc import AsyncIterator, Callable

import pytest
from driving import Run, boot, question

from aios.abi.syscalls import LlmGenerate


@pytest.fixture
async def run(tmp_path) -> AsyncIterator[Run]:
    async with boot(tmp_path) as running:
        yield running


@pytest.fixture
def ask() -> Callable[..., LlmGenerate]:
    return question
