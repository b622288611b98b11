"""`aios bench constrained`: answers by JSON Schemas and tool calls, how many fit, and at what speed.

Schemas and tools are drawn from a seed. Each batch of jobs is run twice by the engine itself: bound, then
free for as many tokens each, so that rows are as full in both; the ratio is of the processor's time.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
from msgspec import Struct, structs

from aios.abi.messages import JsonSchema, Message, Sampling
from aios.bench import schemas
from aios.bench.apart import measured_apart, print_measured
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import Failed, Load, Progress, Submit
from aios.drivers.llm import Finished, Generation
from aios.drivers.llm_local import EMBEDDED_MODEL
from aios.drivers.models.chat import ChatFormat

BATCH = 64
MAX_TOKENS = 320
"""Of an answer: more than the longest of these schemas needs, less than babble would take."""


class Case(Struct, frozen=True):
    """A job, and what has to fit: the answer's text a schema, or the calls their tools'."""

    job: Generation
    schema: JsonSchema | None
    tools: dict[str, JsonSchema]


class Batch(Struct):
    """What a batch of cases came to."""

    valid: int = 0
    cut: int = 0
    tokens: int = 0
    bound_s: float = 0.0
    free_s: float = 0.0


def run(quick: bool, seed: int, folder: Path = EMBEDDED_MODEL) -> dict[str, Any]:
    """Rows and goals. `errors.Unavailable` where `folder` has no model."""
    return measured_apart(__name__, folder, quick, seed)


def measure(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """What `run` gives, measured in this process."""
    num_cases = 4 * BATCH if quick else 2000
    engine = Engine.load(Load(str(folder), "embedded", BATCH, 256 << 20, 0))
    end_id = ChatFormat(folder / "tokenizer.model").end_id
    cases = [drawn(seed * num_cases + number) for number in range(num_cases)]
    batches: list[Batch] = []
    num_valid = 0
    for start in range(0, num_cases, BATCH):
        batches.append(_batch(engine, cases[start : start + BATCH], end_id))
        done = min(start + BATCH, num_cases)
        num_valid = sum(batch.valid for batch in batches)
        print(f"constrained: {done} of {num_cases}, {num_valid} fit", file=sys.stderr, flush=True)
    valid = num_valid / num_cases
    ratios = sorted(batch.free_s / batch.bound_s for batch in batches)
    speed = statistics.median(ratios)
    row = {
        "cases": num_cases,
        "valid": round(valid, 4),
        "cut": sum(batch.cut for batch in batches),
        "tokens": sum(batch.tokens for batch in batches),
        "bound tokens/s": round(sum(batch.tokens for batch in batches) / sum(b.bound_s for b in batches)),
        "free tokens/s": round(sum(batch.tokens for batch in batches) / sum(b.free_s for b in batches)),
        "speed of free": round(speed, 3),
        "range": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    }
    goals = {
        "constrained.valid": {"value": valid, "bound": 1.0, "quick": quick},
        "constrained.speed": {"value": round(speed, 4), "bound": 1.0, "quick": quick},
    }
    return {"rows": [row], "goals": goals}


def drawn(seed: int) -> Case:
    """A case: every other one asks for a call, the others for an answer by a schema."""
    draw = Random(seed)
    sampling = Sampling(temperature=1.0, seed=seed, max_tokens=MAX_TOKENS)
    words = " and the ".join(draw.sample(schemas.WORDS, 3))
    messages = (Message("user", f"Tell of the {words}."),)
    if seed % 2:
        tools = tuple(schemas.tool(draw, name) for name in ("look_up", "book", "send")[: draw.randint(1, 3)])
        job = Generation(messages, tools, sampling, "required")
        return Case(job, None, {tool.name: tool.parameters for tool in tools})
    schema = schemas.answer_schema(draw)
    return Case(Generation(messages, (), sampling, response_schema=schema), schema, {})


def _batch(engine: Engine, cases: Sequence[Case], end_id: int) -> Batch:
    out = Batch()
    begun = time.process_time()
    answers = list(_answers(engine, [case.job for case in cases]))
    out.bound_s = time.process_time() - begun
    out.valid = sum(map(is_valid, cases, answers))
    out.cut = sum(answer.finish_reason == "length" for answer in answers)
    out.tokens = sum(answer.usage.completion_tokens for answer in answers)
    free = [_freed(case.job, answer, end_id) for case, answer in zip(cases, answers, strict=True)]
    begun = time.process_time()
    list(_answers(engine, free))
    out.free_s = time.process_time() - begun
    return out


def is_valid(case: Case, answer: Finished) -> bool:
    """Whether an answer parses and fits, or has calls that all do."""
    if case.schema is None:
        calls = [(case.tools[call.name], call.arguments) for call in answer.tool_calls]
        return bool(calls) and all(jsonschema_rs.is_valid(*call) for call in calls)
    try:
        return jsonschema_rs.is_valid(case.schema, json.loads(answer.text))
    except ValueError:
        return False


def _freed(job: Generation, answer: Finished, end_id: int) -> Generation:
    """The same prompt, for free text of as many tokens: its end is all but ruled out."""
    num_tokens = answer.usage.completion_tokens
    sampling = structs.replace(job.sampling, max_tokens=num_tokens, logit_bias={end_id: -100.0})
    return Generation(job.messages, job.tools, sampling)


def _answers(engine: Engine, jobs: Sequence[Generation]) -> Iterator[Finished]:
    found: dict[int, Finished] = {}
    for number, job in enumerate(jobs):
        failed = [event for event in engine.obey(Submit(number, job, None)) if isinstance(event, Failed)]
        assert not failed, failed
    while engine.is_busy:
        for event in engine.step():
            assert isinstance(event, Progress), event
            if event.finished is not None:
                found[event.run] = event.finished
    return (found[number] for number in range(len(jobs)))


if __name__ == "__main__":
    print_measured(measure)
