"""A recorded trace as a workload: `mooncake_conversation.jsonl.gz`, requests to a real chat service.

The trace is not part of this package: `bench/data.py` says where it is looked for.
"""

import gzip
from pathlib import Path

import msgspec
from msgspec import Struct

from aios.bench import data
from aios.bench.schedule.program import Program, Speed, Step
from aios.bench.upstream.work import Work

FILE = "mooncake_conversation.jsonl.gz"
BLOCK = 512
"""Tokens of one block of a prompt, as the trace hashes them."""


class Request(Struct, frozen=True):
    """One line of the trace; `timestamp` is milliseconds from its begin."""

    timestamp: int
    input_length: int
    output_length: int
    hash_ids: list[int]


def found() -> Path | None:
    """Where the trace is on this machine; None where it is not."""
    return data.find(FILE)


def read(path: Path, most: int) -> list[Request]:
    """The first `most` requests."""
    decoder = msgspec.json.Decoder(Request)
    with gzip.open(path, "rb") as lines:
        return [decoder.decode(line) for line, _ in zip(lines, range(most), strict=False)]


def played(requests: list[Request], speed: Speed, slots: int, load: float) -> list[Program]:
    """One program of one call for each request, arrivals scaled so that they need `load` of the slots' time.

    A prompt counts without the blocks that an endless prefix cache would hold by then.
    """
    seen: set[int] = set()
    works = [_work(number, request, seen) for number, request in enumerate(requests, 1)]
    work_s = sum(map(speed.service_s, works))
    span_ms = max(1, requests[-1].timestamp - requests[0].timestamp)
    scale = work_s / (load * slots * span_ms)
    return [
        Program(number, (request.timestamp - requests[0].timestamp) * scale, (Step((work,)),), kind="trace")
        for number, (request, work) in enumerate(zip(requests, works, strict=True))
    ]


def _work(number: int, request: Request, seen: set[int]) -> Work:
    known = sum(block in seen for block in request.hash_ids)
    seen.update(request.hash_ids)
    return Work(number, max(1, request.input_length - known * BLOCK), max(1, request.output_length))
