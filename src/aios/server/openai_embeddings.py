"""Embeddings as the OpenAI API asks for them and answers: a request as a system call, its reply as JSON.

Knows no HTTP.
"""

from base64 import b64encode
from typing import Any, Literal

import msgspec
from msgspec import Struct

from aios.abi.syscalls import Embeddings, LlmEmbed
from aios.server.openai_request import BadField, bad_request, check_fields

HARMLESS = frozenset({"user"})


class Wanted(Struct, frozen=True):
    """What was asked for: the call, and the form of the answer."""

    call: LlmEmbed
    model: str
    is_base64: bool


class _Request(Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_requests = msgspec.json.Decoder(_Request)


def read_request(body: bytes) -> Wanted:
    """`BadField` when it is not a request, or one that can't be answered as it is meant."""
    try:
        check_fields(_fields.decode(body), _Request, HARMLESS, {})
        request = _requests.decode(body)
        call = msgspec.convert(_call_fields(request), LlmEmbed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request("an embeddings", str(error).replace("`$.texts", "`$.input")) from None
    except RecursionError:
        raise BadField(None, "the request is nested too deeply") from None
    return Wanted(call, request.model, request.encoding_format == "base64")


def _call_fields(request: _Request) -> dict[str, Any]:
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not all(isinstance(text, str) for text in texts):
        raise BadField("input", "tokens are each model's own; send texts")
    return {
        "texts": tuple(texts),
        "model": None if request.model == "auto" else request.model,
        "dimensions": request.dimensions,
    }


def embeddings(wanted: Wanted, reply: Embeddings) -> dict[str, Any]:
    """The reply as one object."""
    vectors: list[Any] = (
        [b64encode(data).decode() for data in reply.vectors] if wanted.is_base64 else reply.lists()
    )
    entries = [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
    ]
    num_tokens = reply.usage.prompt_tokens
    return {
        "object": "list",
        "data": entries,
        "model": reply.model or wanted.model,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }
