"""A chat completions request of the OpenAI API as a system call.

Owns which fields are taken, which change nothing and are passed over, and which are refused because leaving
them out would give another answer than the one asked for. Knows no HTTP.
"""

import re
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Message, ToolCall, ToolSpec
from aios.abi.syscalls import LlmGenerate

Json = dict[str, Any]

HARMLESS = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Fields that say who asks, how fast or how thorough it should be: none of them makes an answer wrong."""

NEUTRAL: dict[str, Any] = {
    "modalities": ["text"],
    "functions": [],
}
"""Fields that are taken with this value only, at which they change nothing."""

MAX_SEED = 2**63
_PATH = re.compile(r" - at `\$\.(?:sampling\.)?([^`]+)`")


class BadField(InvalidArgument):
    """A request that can't be taken because of one field; `param` is where it is, as the API calls it."""

    def __init__(self, param: str | None, message: str) -> None:
        super().__init__(message)
        self.param = param


class Chat(Struct, frozen=True):
    """What was asked for: the call, and the form of the answer."""

    call: LlmGenerate
    model: str
    """As the client named it; `auto` lets the kernel choose."""
    is_streamed: bool
    with_usage: bool
    """A stream ends with what it took."""
    only_one_call: bool
    """An answer may call one tool at most."""


class _Function(Struct):
    name: str
    arguments: str = ""


class _Call(Struct):
    id: str
    function: _Function
    type: Literal["function"] = "function"


class _Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _ToolFunction(Struct):
    name: str
    description: str | None = None
    parameters: Json | None = None


class _Tool(Struct):
    function: _ToolFunction
    type: Literal["function"] = "function"


class _NamedFunction(Struct):
    name: str


class _NamedTool(Struct):
    function: _NamedFunction
    type: Literal["function"] = "function"


class _JsonSchema(Struct):
    schema: Json


class _ResponseFormat(Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Request(Struct):
    model: str
    messages: list[_Message]
    tools: list[_Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _NamedTool | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    response_format: _ResponseFormat | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


_fields = msgspec.json.Decoder(dict[str, Raw])
_requests = msgspec.json.Decoder(_Request)


def read_request(body: bytes) -> Chat:
    """`BadField` when it is not a request, or one that can't be answered as it is meant."""
    try:
        check_fields(_fields.decode(body), _Request, HARMLESS, NEUTRAL)
        request = _requests.decode(body)
        call = msgspec.convert(_call_fields(request), LlmGenerate)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request("a chat completions", str(error)) from None
    except RecursionError:
        raise BadField(None, "the request is nested too deeply") from None
    with_usage = request.stream_options is not None and request.stream_options.include_usage is True
    return Chat(call, request.model, request.stream is True, with_usage, request.parallel_tool_calls is False)


def bad_request(kind: str, error: str) -> BadField:
    """What is wrong with a request of this kind."""
    found = _PATH.search(error)
    return BadField(found[1] if found else None, f"not {kind} request: {error}")


def check_fields(
    fields: dict[str, Raw], request: type[Struct], harmless: frozenset[str], neutral: dict[str, Any]
) -> None:
    """`BadField` for one that is neither of the request, nor harmless, nor at its neutral value."""
    for name, raw in fields.items():
        if name in request.__struct_fields__ or name in harmless or bytes(raw) == b"null":
            continue
        if name not in neutral:
            raise BadField(name[:64], f"the field {name[:64]!r} is not supported here; leave it out")
        if msgspec.json.decode(raw) != neutral[name]:
            allowed = msgspec.json.encode(neutral[name]).decode()
            raise BadField(name, f"{name!r} may only be {allowed} here; leave it out")


def _call_fields(request: _Request) -> Json:
    """The fields of `LlmGenerate`; what the request leaves open stays at the kernel's defaults."""
    fields: Json = {
        "messages": tuple(_message(index, message) for index, message in enumerate(request.messages)),
        "tools": tuple(_tool(tool) for tool in request.tools or ()),
        "model": None if request.model == "auto" else request.model,
        "sampling": _sampling(request),
        "tool_choice": _tool_choice(request),
    }
    if request.response_format is not None:
        fields["response_schema"] = _schema(request.response_format)
    return fields


def _sampling(request: _Request) -> Json:
    max_tokens = (
        request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    )
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    chosen = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logit_bias": _bias(request.logit_bias or {}),
        "n": request.n,
        "logprobs": (request.top_logprobs or 0) if request.logprobs else None,
        # The API takes negative seeds: all that counts is that the same one gives the same answer.
        "seed": None if request.seed is None else request.seed % MAX_SEED,
        "max_tokens": max_tokens,
        "stop": stop,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _bias(bias: dict[str, float]) -> dict[int, float]:
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError:
        raise BadField("logit_bias", "tokens are named by their ids, which are whole numbers") from None


def _message(index: int, message: _Message) -> Message:
    where = f"messages[{index}]"
    if message.content is None and message.role != "assistant":
        raise BadField(f"{where}.content", f"a message of the role {message.role} needs content")
    if message.role == "tool" and message.tool_call_id is None:
        raise BadField(f"{where}.tool_call_id", "a tool's message needs the id of the call that it answers")
    if isinstance(message.content, list) and not all(isinstance(p.get("type"), str) for p in message.content):
        raise BadField(f"{where}.content", "every part of a message's content needs a type")
    return Message(
        "system" if message.role == "developer" else message.role,
        message.content or "",
        tuple(_tool_call(where, call) for call in message.tool_calls or ()),
        message.tool_call_id,
        message.name,
    )


def _tool_call(where: str, call: _Call) -> ToolCall:
    try:
        arguments = msgspec.json.decode(call.function.arguments or "{}", type=Json)
    except msgspec.DecodeError:
        raise BadField(
            f"{where}.tool_calls", f"the arguments of call {call.id[:64]!r} are no JSON object"
        ) from None
    return ToolCall(call.id, call.function.name, arguments)


def _tool(tool: _Tool) -> ToolSpec:
    function = tool.function
    return ToolSpec(function.name, function.description or "", function.parameters or {})


def _tool_choice(request: _Request) -> str:
    names = {tool.function.name for tool in request.tools or ()}
    choice = request.tool_choice
    if isinstance(choice, _NamedTool):
        name = choice.function.name
        if name not in names or name in ("auto", "none", "required"):
            raise BadField("tool_choice", f"there is no tool {name[:64]!r} in tools to choose")
        return name
    if choice == "required" and not names:
        raise BadField("tool_choice", "a tool call is required, but there are no tools")
    return choice or "auto"


def _schema(wanted: _ResponseFormat) -> Json | None:
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.type == "text":
        return None
    if wanted.json_schema is None:
        raise BadField("response_format.json_schema", "an answer by a schema needs the schema")
    return wanted.json_schema.schema
