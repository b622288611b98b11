"""A store in a fresh folder, and histories on a clock that stands still."""

import pytest
from held import Histories

from aios.drivers.store import Store
from aios.kernel.config import MemoryConfig


@pytest.fixture
async def store(tmp_path):
    store = Store(tmp_path / "aios.db")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def histories(store):
    histories = Histories(store, MemoryConfig())
    await histories.start()
    yield histories
    await histories.manager.close()
    histories.manager.check()


@pytest.fixture
def agent(histories):
    return histories.agent()
