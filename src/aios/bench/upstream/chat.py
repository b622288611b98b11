"""What an upstream reads and writes of the chat completions format: only what the rig's clients look at."""

from functools import lru_cache

import msgspec
from msgspec import Struct, structs

from aios.bench.upstream.work import Work, work_in

MODEL = "upstream"
WORD = "word"
"""The text of one token."""


class _Message(Struct):
    content: str | list[dict[str, str]] | None = None


class _Request(Struct):
    messages: list[_Message]
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


_requests = msgspec.json.Decoder(_Request)


class Asked(Struct, frozen=True):
    """A request: its work, as far as its token limit lets it, and how it is to be answered."""

    work: Work
    is_streamed: bool
    finish_reason: str


def asked(body: bytes) -> Asked:
    """Raises `ValueError` when it is no request, or its newest message carries no work."""
    request = _requests.decode(body)
    content = request.messages[-1].content if request.messages else None
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    work = work_in(content or "")
    if work is None:
        raise ValueError("the last message has to be `work ID TOKENS_IN TOKENS_OUT`, and padding")
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None and limit < work.n_out:
        return Asked(structs.replace(work, n_out=limit), request.stream, "length")
    return Asked(work, request.stream, "stop")


@lru_cache
def piece(num_tokens: int) -> bytes:
    """An event with so many tokens."""
    return _event(_chunk([{"index": 0, "delta": {"content": WORD * num_tokens}, "finish_reason": None}]))


def last_events(request: Asked) -> bytes:
    """That it is over and why, what it took, and the end of the stream."""
    ending = _chunk([{"index": 0, "delta": {}, "finish_reason": request.finish_reason}])
    return _event(ending) + _event(_chunk([], usage=_usage(request.work))) + b"data: [DONE]\n\n"


def failure(body: bytes) -> bytes:
    """An error inside a stream, which ends there."""
    return b"data: " + body + b"\n\n"


def invalid(said: str) -> bytes:
    """The body of a refusal as malformed."""
    return msgspec.json.encode({"error": {"message": said, "type": "invalid_request_error", "code": None}})


def whole(request: Asked) -> bytes:
    """The answer in one piece."""
    message = {"role": "assistant", "content": WORD * request.work.n_out}
    choice = {"index": 0, "message": message, "finish_reason": request.finish_reason}
    body = _chunk([choice], object="chat.completion", usage=_usage(request.work))
    return msgspec.json.encode(body)


def _chunk(choices: list[dict[str, object]], **more: object) -> dict[str, object]:
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
    return {**head, "choices": choices, **more}


def _event(data: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _usage(work: Work) -> dict[str, int]:
    return {
        "prompt_tokens": work.n_in,
        "completion_tokens": work.n_out,
        "total_tokens": work.num_tokens,
    }
