"""Made-up tasks, played by the perfect assistant, as rows of tokens in batches of few lengths."""

import random
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from aios.abi.messages import Message, ToolSpec
from aios.bench.tasks import Task, generate, play_gold
from aios.bench.tasks.task import CLOCK, Runner
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.schema_text import tool_line
from aios.drivers.toolbox import BUILTIN, ToolContext

SPECS: dict[str, ToolSpec] = {tool.spec.name: tool.spec for tool in BUILTIN}

Row = tuple[list[int], list[bool]]
"""Tokens, and for each whether the assistant says it."""


@cache
def runner() -> Runner:
    """What runs tools in a made-up world."""
    builtin = {tool.spec.name: tool.run for tool in BUILTIN}
    return Runner(builtin, lambda world: ToolContext(world, lambda: CLOCK))


def conversation(task: Task) -> list[Message]:
    """The task as the perfect assistant does it."""
    return play_gold(task, runner())[0]


def encode(task: Task, chat: ChatFormat) -> Row:
    """The whole conversation of a task as one row."""
    head = chat.encode_head(task.system, task.specs(SPECS))
    tokens, said = head, [False] * len(head)
    for message in conversation(task):
        if message.role == "system":
            continue
        turn = chat.encode_turn(message)
        mine = message.role == "assistant"
        tokens += turn
        said += [False] + [mine] * (len(turn) - 1)
    return tokens, said


def batches(
    chat: ChatFormat,
    buckets: tuple[tuple[int, int], ...],
    first_seed: int,
    stride: int,
    longest: Callable[[], int],
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Tokens and marks for ever, a bucket as soon as it is full, and the next seed to start again from.

    Rows longer than `longest()` says at the time, and than every bucket, are left out. A row has one token
    more than its bucket: the last is only ever the wanted one.
    """
    waiting: list[list[Row]] = [[] for _ in buckets]
    seed = first_seed
    while True:
        row = encode(generate(seed, "train"), chat)
        seed += stride
        place = next((i for i, (length, _) in enumerate(buckets) if len(row[0]) <= length + 1), None)
        if place is None or buckets[place][0] > longest():
            continue
        waiting[place].append(row)
        if len(waiting[place]) == buckets[place][1]:
            yield *pack(waiting[place], buckets[place][0] + 1, chat.pad_id), seed
            waiting[place] = []


def pack(rows: list[Row], length: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows padded to `length`; the marks are 1 where the assistant speaks, 0 elsewhere, -1 on padding."""
    tokens = np.full((len(rows), length), pad, dtype=np.int64)
    marks = np.full((len(rows), length), -1, dtype=np.int8)
    for index, (row, said) in enumerate(rows):
        tokens[index, : len(row)] = row
        marks[index, : len(row)] = said
    return tokens, marks


def sample_texts(count: int, seed: int) -> Iterator[str]:
    """The texts of `count` conversations, for the tokenizer."""
    rng = random.Random(seed)
    for _ in range(count):
        task = generate(rng.randrange(2**40, 2**41), "train")
        yield task.system
        yield from (tool_line(spec) for spec in task.specs(SPECS))
        for message in conversation(task):
            yield message.text
            for call in message.tool_calls:
                yield call.name
                yield from (f" {value}" for value in call.arguments.values())
