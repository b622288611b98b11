"""After each test nothing of its tools' processes may be left."""

from pathlib import Path

import pytest
from tools_under_test import Tools, descendants

from aios.kernel.config import ToolConfig


@pytest.fixture
async def make_tools():
    made: list[Tools] = []
    before = descendants()

    def make(config: ToolConfig = ToolConfig(), protected: tuple[Path, ...] = ()) -> Tools:  # noqa: B008
        made.append(Tools(config, protected))
        return made[-1]

    yield make
    for tools in made:
        tools.manager.check()
        await tools.manager.close()
        assert tools.manager.statistics()["hosts"] == 0
        assert tools.clock.num_timers == 0
    assert descendants() <= before


@pytest.fixture
def tools(make_tools) -> Tools:
    return make_tools()
