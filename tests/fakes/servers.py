"""The documented peculiarities of the servers that there are presets for: how each tells the same answer.

All of them tell `Hello you`, with 7 tokens of prompt and 2 of answer. Written from each one's documentation.
"""

from typing import Any

from msgspec import Struct

from aios.abi import errors
from aios.abi.messages import Usage
from fakes.upstream import Script, chunk, event, refusal, usage
from fakes.wires import ANTHROPIC, GEMINI, SSE


class Server(Struct, frozen=True):
    """How one server answers and fails."""

    answer: Script
    usage: Usage
    failing: Script
    """How it refuses when it has no room."""
    kind: type[errors.AiosError] = errors.Overloaded
    """What that means."""


def told(*pieces: bytes, **headers: str) -> Script:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Script(pieces, headers=(*SSE, *named))


def piece(text: str, finish: str | None = None, **more: Any) -> bytes:
    return event(chunk({"content": text}, finish, **more))


HELLO = piece("Hello ") + piece("you", "stop")
DONE = event(b"[DONE]")
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
BUSY = refusal(503, {"error": {"message": "busy", "type": "server_error"}})
LIMITS = {
    "x_ratelimit_limit_requests": "14400",
    "x_ratelimit_remaining_requests": "14370",
    "x_ratelimit_reset_requests": "2m59.56s",
    "x_ratelimit_limit_tokens": "18000",
    "x_ratelimit_remaining_tokens": "0",
    "x_ratelimit_reset_tokens": "7.66s",
}

SERVERS: dict[str, Server] = {
    # Usage comes in a chunk of its own, without choices.
    "openai": Server(
        told(HELLO, event(usage(7, 2, 5)), DONE, **LIMITS),
        Usage(7, 2, 5),
        refusal(
            429, {"error": {"code": "rate_limit_exceeded", "type": "tokens", "message": "TPM"}}, **LIMITS
        ),
        errors.RateLimited,
    ),
    "azure": Server(
        # The first chunk has no choices, and tells what its filters found in the prompt.
        told(
            event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
            HELLO,
            event(usage(7, 2)),
            DONE,
        ),
        Usage(7, 2),
        refusal(
            429,
            {
                "error": {
                    "code": "429",
                    "message": "exceeded the call rate limit of your tier. Retry after 6 s.",
                }
            },
            retry_after="6",
        ),
        errors.RateLimited,
    ),
    "anthropic": Server(
        Script((ANTHROPIC.text,), headers=SSE),
        Usage(7, 3, 2),
        refusal(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ),
    "gemini": Server(
        Script((GEMINI.text,), headers=SSE),
        Usage(7, 3, 2),
        refusal(503, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}),
    ),
    # The same chunks as OpenAI's; a throttled request is told as AWS tells it.
    "bedrock": Server(
        told(HELLO, event(usage(7, 2)), DONE),
        Usage(7, 2),
        refusal(429, {"message": "Too many requests, please wait before trying again."}),
    ),
    # Usage stands in a field of its own on the last chunk; rates are told with every answer.
    "groq": Server(
        told(piece("Hello "), piece("you", "stop", x_groq={"id": "req_1", "usage": COUNTS}), DONE, **LIMITS),
        Usage(7, 2),
        refusal(
            429,
            {"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}},
            retry_after="2",
            **LIMITS,
        ),
        errors.RateLimited,
    ),
    # The end of an answer is called `eos`, and the last chunk has both it and the usage.
    "together": Server(
        told(piece("Hello "), piece("you", "eos", usage=COUNTS), DONE),
        Usage(7, 2),
        refusal(
            503, {"error": {"message": "The engine is currently overloaded", "type": "service_unavailable"}}
        ),
    ),
    # Usage comes with the last chunk, and it need not be asked for.
    "fireworks": Server(
        told(piece("Hello "), piece("you", "stop", usage=COUNTS), DONE),
        Usage(7, 2),
        refusal(429, {"error": {"message": "deployment overloaded"}}, x_ratelimit_over_limit="no"),
    ),
    # Comments keep the connection alive; a failure after the first byte comes as an event.
    "openrouter": Server(
        told(b": OPENROUTER PROCESSING\n\n", HELLO, b": OPENROUTER PROCESSING\n\n", event(usage(7, 2)), DONE),
        Usage(7, 2),
        told(
            piece("Hel"),
            event(
                {
                    "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
                    "error": {"code": 503, "message": "no provider"},
                }
            ),
        ),
    ),
    # Usage comes with the last chunk; errors have their sentence at the top.
    "mistral": Server(
        told(piece("Hello "), piece("you", "stop", usage=COUNTS), DONE),
        Usage(7, 2),
        refusal(
            429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}
        ),
        errors.RateLimited,
    ),
    # Comments keep the connection alive; cached tokens have a name of their own.
    "deepseek": Server(
        told(
            b": keep-alive\n\n",
            piece("Hello "),
            piece(
                "you", "stop", usage=COUNTS | {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 3}
            ),
            DONE,
        ),
        Usage(7, 2, 4),
        refusal(402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
        errors.Exhausted,
    ),
    "cerebras": Server(
        told(piece("Hello "), piece("you", "stop", usage=COUNTS, time_info={"queue_time": 0.1}), DONE),
        Usage(7, 2),
        refusal(429, {"message": "Requests per minute limit exceeded", "type": "too_many_requests_error"}),
        errors.RateLimited,
    ),
    # The last chunk's text is empty and the usage follows it; some versions send no `[DONE]`.
    "ollama": Server(
        told(piece("Hello "), piece("you"), piece("", "stop"), event({"choices": [], "usage": COUNTS})),
        Usage(7, 2),
        refusal(
            503, {"error": {"message": "server busy, please try again", "type": "api_error", "code": None}}
        ),
    ),
    # Each chunk may have usage; the shape of an error was not always OpenAI's.
    "vllm": Server(
        told(
            piece("", usage=None),
            piece("Hello ", usage={"prompt_tokens": 7, "completion_tokens": 1}),
            piece("you", "stop", stop_reason=None),
            event(usage(7, 2)),
            DONE,
        ),
        Usage(7, 2),
        told(
            piece("Hel"),
            event({"object": "error", "message": "engine is dead", "type": "Internal", "code": 503}),
        ),
    ),
    "sglang": Server(
        told(piece("Hello "), piece("you", "stop", matched_stop=2), event(usage(7, 2)), DONE),
        Usage(7, 2),
        refusal(
            503, {"object": "error", "message": "The request queue is full.", "type": "503", "code": 503}
        ),
    ),
    # Counts are among its timings; a failure in a stream has a field of its own.
    "llama.cpp": Server(
        told(
            piece("Hello "),
            piece("you"),
            event(
                chunk(
                    {}, "stop", timings={"cache_n": 3, "prompt_n": 4, "predicted_n": 2, "predicted_ms": 1.5}
                )
            ),
            DONE,
        ),
        Usage(7, 2, 3),
        told(
            piece("Hel"),
            b'error: {"code": 503, "message": "Loading model", "type": "unavailable_error"}\n\n',
        ),
    ),
    # Its errors may be a sentence alone, in an event of their own name.
    "lmstudio": Server(
        told(HELLO, event(usage(7, 2)), DONE),
        Usage(7, 2),
        told(
            piece("Hel"),
            b"event: error\n" + event({"error": {"message": "model is overloaded", "code": 503}}),
        ),
    ),
}
