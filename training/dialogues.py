"""Made-up tasks, played by the perfect assistant, as rows of tokens in batches of few lengths."""

import random
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from aios.abi.messages import Message, ToolSpec
from aios.bench.tasks import Task, generate, play_gold
from aios.bench.tasks.task import Runner
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
    return Runner(builtin, lambda world: ToolContext(world, lambda: world.clock))


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
    drilled: Callable[[], float],
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Tokens and marks for ever, a bucket as soon as it is full, and the next seed to start again from.

    Rows longer than `longest()` says at the time, and than every bucket, are left out. A row has one token
    more than its bucket: the last is only ever the wanted one. In front of a share of the batches, which
    `drilled()` says, comes one of `drill`.
    """
    waiting: list[list[Row]] = [[] for _ in buckets]
    spoken = [token for token in range(chat.vocab_size) if chat.surface(token)]
    seed = first_seed
    while True:
        row = encode(generate(seed, "train", blend=True), chat)
        seed += stride
        place = next((i for i, (length, _) in enumerate(buckets) if len(row[0]) <= length + 1), None)
        if place is None or buckets[place][0] > longest():
            continue
        waiting[place].append(row)
        if len(waiting[place]) == buckets[place][1]:
            rng = random.Random(seed)
            if rng.random() < drilled():
                yield *drill(rng, spoken, 3, 512), seed
            yield *pack(waiting[place], buckets[place][0] + 1, chat.pad_id), seed
            waiting[place] = []


def drill(rng: random.Random, spoken: list[int], rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of short runs of random pieces, half of them repeated; the marks are 1 where a repeat goes on.

    `spoken` are the pieces to draw from. Nothing but copying tells what comes there, whatever they are: what
    an assistant needs for the words that it has never seen.
    """
    tokens, marks = np.zeros((rows, length + 1), np.int64), np.full((rows, length + 1), -1, np.int8)
    for row, mark in zip(tokens, marks, strict=True):
        runs: list[list[int]] = []
        at = 0
        while at <= length:
            again = bool(runs) and rng.random() < 0.5
            if not again:
                runs.append(rng.choices(spoken, k=rng.randint(3, 12)))
            run = (rng.choice(runs) if again else runs[-1])[: length + 1 - at]
            row[at : at + len(run)] = run
            mark[at + 1 : at + len(run)] = 1 if again else -1
            at += len(run)
    return tokens, marks


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
