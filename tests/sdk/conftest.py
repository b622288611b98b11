"""A kernel for each test, reached in each of the three ways."""

from collections.abc import AsyncIterator

import pytest
from booting import booted, reached

from aios.kernel.kernel import Kernel
from aios.sdk.agent import Connection


@pytest.fixture
async def kernel(tmp_path) -> AsyncIterator[Kernel]:
    async with booted(tmp_path) as running:
        yield running


@pytest.fixture(params=["process", "socket", "http"])
async def connection(request, kernel) -> AsyncIterator[Connection]:
    async with reached(request.param, kernel) as reaching:
        yield reaching
