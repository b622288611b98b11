"""What the benches of context and cache do, in small."""

import itertools
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.bench.cache import _belady, _misses
from aios.bench.context.cases import drawn
from aios.bench.context.exactness import Case, Group, _is_exact
from aios.bench.context.restart import measured
from aios.drivers.engine_frames import Load
from aios.drivers.engine_models import load_model
from aios.drivers.llm_local import EMBEDDED_MODEL

needs_model = pytest.mark.skipif(
    not (EMBEDDED_MODEL / "model.safetensors").exists(), reason="the weights are not there yet"
)


@needs_model
def test_interrupted_moved_and_restarted_cases_are_exact(tmp_path: Path) -> None:
    model = load_model(Load(str(EMBEDDED_MODEL), "embedded", 1, 0, 0))
    kinds = {drawn(number)[0]: number for number in range(60, 0, -1)}
    cases = [Case(*drawn(number), quantum=5) for number in kinds.values()]
    for case in cases:
        case.doings = type(case.doings)()
    Group(model, cases, Random(4), tmp_path).run()
    assert all(_is_exact(model, case) for case in cases)
    assert sum(case.doings["interrupted"] for case in cases) > len(cases)


@needs_model
async def test_a_killed_kernels_generations_go_on_after_it(tmp_path: Path) -> None:
    found = await measured(6, lambda line: None, EMBEDDED_MODEL)
    (row,) = found["rows"]
    assert row["answered before the kill"] < row["same tokens"] == row["asked once more, the same"] == 6
    assert row["tokens for those"] == 0


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=20), st.integers(1, 6))
def test_nobody_misses_less_than_who_knows_the_future(prompts: list[list[int]], room: int) -> None:
    # A block is named by all before it, as in the trace.
    named = [
        list(itertools.accumulate(prompt, lambda before, one: before * 7 + one + 1)) for prompt in prompts
    ]
    best = _belady([block for prompt in named for block in prompt], room)
    assert best <= _misses(named, room, 0)
    assert best >= len({block for prompt in named for block in prompt})
